//! Programs that the agent starts when it needs them: whether they are there is said at its start, not by the first
//! gateway that is missing one.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Where a bare name is looked for when there is no PATH.
const PATH: &str = "/bin:/usr/bin";

/// Whether there is such a program: a path, or a bare name in PATH.
pub fn is_there(program: &Path) -> bool {
    is_in(
        env::var_os("PATH").as_deref().unwrap_or(OsStr::new(PATH)),
        program,
    )
}

fn is_in(path: &OsStr, program: &Path) -> bool {
    if program
        .parent()
        .is_some_and(|folder| !folder.as_os_str().is_empty())
    {
        return runs(program);
    }
    env::split_paths(path).any(|folder| runs(&folder.join(program)))
}

fn runs(program: &Path) -> bool {
    fs::metadata(program).is_ok_and(|of| of.is_file() && of.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_there_when_it_can_be_run() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("wireguard-go");
        let path = env::join_paths([Path::new("/nowhere"), folder.path()]).unwrap();
        let bare = Path::new("wireguard-go");
        let is_there = |mode: u32| {
            fs::write(&program, "").unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
            [is_in(&path, bare), is_in(OsStr::new("/nowhere"), &program)]
        };
        assert_eq!(is_there(0o755), [true, true]);
        assert_eq!(is_there(0o644), [false, false]);
        assert!(!is_in(&path, Path::new("wireguard")));
        assert!(!is_in(OsStr::new("/nowhere"), bare));
        // A folder of that name is none.
        fs::remove_file(&program).unwrap();
        fs::create_dir(&program).unwrap();
        assert!(!is_in(&path, bare) && !is_in(&path, &program));
    }
}
