//! The host's own kernel as a test machine: whether it has WireGuard, and how a command gets namespaces of its own.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Whether a WireGuard link can be made in a new network namespace of this host, by this user.
pub fn has_wireguard() -> bool {
    let mut command = unshare();
    command.args(["--net", "--", "ip", "link", "add", "probe0", "type", "wireguard"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs `inner.sh` of `folder` in new namespaces, which end with it: it is the first process of its own.
pub(super) fn command(folder: &Path) -> Command {
    let mut command = unshare();
    command.args([
        "--net",
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    command
        .args(["--", "/bin/sh"])
        .arg(folder.join("inner.sh"))
        .arg(folder)
        .arg("native");
    command
}

/// Without root, a user namespace gives the rights over the other ones.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command
}
