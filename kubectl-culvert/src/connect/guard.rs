//! The kill switch: nothing leaves this machine outside of the tunnel.
//!
//! A table of our own, put in place and taken away in one transaction each, so that there is no moment with half of it.
//! What may leave: what stays on the machine, what goes into a tunnel, and what has our mark: WireGuard's own packets and
//! our requests to the apiserver. Besides, what an uplink cannot live without and what leads nowhere but to the neighbour:
//! DHCP, and IPv6's neighbour discovery. Forwarded packets (of containers, of machines on this one) leave through the tunnel
//! or not at all. [`script`] is pure.
//!
//! Who is killed leaves the table behind, so nothing leaks; the next run finds it by its name.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use culvert_wireguard::netlink::nftables;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::names::MARK;

/// The table's name.
pub const TABLE: &str = "culvert-connect";

/// How long nft may take; it takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// The kill switch could not be worked.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// There is no such program.
    #[error("the program `nft` is not in PATH")]
    Missing,

    /// It could not be run.
    #[error("failed to run `nft`")]
    Run(#[source] io::Error),

    /// It refused.
    #[error("`nft` refused the kill switch: {0}")]
    Refused(String),

    /// It does not end.
    #[error("`nft` does not answer")]
    Late,
}

/// What puts the table in place, whatever stood there.
pub fn script() -> String {
    format!(
        "table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
    chain out {{
        type filter hook output priority 0; policy accept;
        oifname \"lo\" accept
        oifname \"cvc*\" accept
        meta mark {MARK:#x} accept
        udp sport 68 udp dport 67 accept
        udp sport 546 udp dport 547 accept
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit }} ip6 hoplimit 255 accept
        reject with icmpx admin-prohibited
    }}
    chain forward {{
        type filter hook forward priority 0; policy accept;
        oifname \"cvc*\" accept
        iifname \"cvc*\" accept
        reject with icmpx admin-prohibited
    }}
}}
"
    )
}

/// Puts it in place.
pub async fn close() -> Result<(), GuardError> {
    nft(&script()).await
}

/// Takes it away; nothing happens where there is none.
pub async fn open() -> Result<(), GuardError> {
    let script = format!("table inet {TABLE}\ndelete table inet {TABLE}\n");
    nft(&script).await
}

/// Whether it is in place. The kernel says so in a fraction of the time that `nft` takes to start.
pub fn is_closed() -> Result<bool, culvert_wireguard::Error> {
    nftables::has_table(TABLE)
}

async fn nft(input: &str) -> Result<(), GuardError> {
    let mut command = Command::new("nft");
    command
        .args(["-f", "-"])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => GuardError::Missing,
        _ => GuardError::Run(error),
    })?;
    let mut stdin = child.stdin.take();
    let running = async {
        if let Some(stdin) = &mut stdin {
            // A program that ends before it has read everything says why.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        drop(stdin);
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(PATIENCE, running).await {
        Ok(output) => output.map_err(GuardError::Run)?,
        Err(_) => return Err(GuardError::Late),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(GuardError::Refused(
        said.lines().next().unwrap_or_default().to_owned(),
    ))
}
