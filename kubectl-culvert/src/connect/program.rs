//! Whether a program that would be run is there: to look takes much less than to start what is not.

use std::env;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Whether a program can be run: at this path, or, where it is a name alone, in PATH.
pub(super) fn is_there(program: &Path) -> bool {
    if program.components().count() > 1 || program.is_absolute() {
        return is_program(program);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| is_program(&folder.join(program)))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_a_shell_finds_it() {
        for program in ["sh", "/bin/sh"] {
            assert!(is_there(Path::new(program)), "{program}");
        }
        for other in ["/bin", "/etc/passwd", "./sh", "culvert-of-nowhere", "/none/sh"] {
            assert!(!is_there(Path::new(other)), "{other}");
        }
    }
}
