use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::output::Terminal;

fn screen(out: bool) -> Screen {
    Screen {
        colour: false,
        colour_err: false,
        terminal: Terminal { out, err: false },
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn files_are_for_their_owner_alone_and_so_are_their_folders() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("culvert/tenant/laptop.key");
    write(&path, &[b"one", b"\n"], Existing::Stays).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"one\n");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(
        fs::read_dir(path.parent().unwrap()).unwrap().count(),
        1,
        "something was left behind"
    );
}

#[test]
fn a_file_that_is_there_stays_unless_it_is_to_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("laptop.key");
    fs::write(&path, "old").unwrap();
    assert!(matches!(
        write(&path, &[b"new"], Existing::Stays),
        Err(PrivateError::Exists(_))
    ));
    assert_eq!(fs::read(&path).unwrap(), b"old");
    write(&path, &[b"new"], Existing::Replaced).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    // Whatever it was before.
    assert_eq!(mode(&path), 0o600);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "something was left behind"
    );
}

#[test]
fn a_secret_goes_to_a_terminal_or_where_it_was_asked_for() {
    assert_eq!(Out::of(None, screen(true), "it").unwrap(), Out::Standard);
    assert!(matches!(
        Out::of(None, screen(false), "it"),
        Err(PrivateError::NotATerminal(_))
    ));
    assert_eq!(
        Out::of(Some(Path::new("-")), screen(false), "it").unwrap(),
        Out::Standard
    );
    let file = Path::new("wg0.conf");
    assert_eq!(
        Out::of(Some(file), screen(true), "it").unwrap(),
        Out::Path(file.to_owned())
    );
}
