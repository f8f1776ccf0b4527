//! What is looked at before anybody is asked anything, in the order in which a person can mend it: the command line, the
//! program that is to be run, the right to do it.

use std::env;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::thread::{CapabilitySet, capabilities};

use super::error::ConnectError;
use super::machine::Backend;
use super::options::Options;
use crate::keys::check_name;

/// Whether what is asked for can be begun here.
pub fn check(options: &Options) -> Result<(), ConnectError> {
    check_name(&options.name)?;
    if options.closed && options.netns.is_some() {
        return Err(ConnectError::NothingToClose);
    }
    // Whether the others are there is the kernel's to say. What takes down runs no program.
    if options.backend == Backend::Userspace && !options.down && !is_there(&options.program) {
        return Err(ConnectError::NoProgram(options.program.clone()));
    }
    let may = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN));
    if may { Ok(()) } else { Err(ConnectError::NotRoot) }
}

/// Whether a program can be run: at this path, or, where it is a name alone, in PATH.
fn is_there(program: &Path) -> bool {
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
