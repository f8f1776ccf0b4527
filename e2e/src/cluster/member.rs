//! Somebody who uses a gateway of a cluster: a place outside of it, and a WireGuard interface of the kernel's or a
//! program's.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{Pings, SOON, network};
use crate::{Namespace, Program, process, wait};

/// A client with one tunnel.
pub struct Member {
    /// Where it is.
    pub namespace: Namespace,

    /// Its outer address.
    pub address: Ipv4Addr,

    /// Its interface. Programs' sockets lie in one folder whatever the namespace: each has a name of its own.
    link: String,
    folder: PathBuf,
    /// wireguard-go, where that is what moves its packets.
    program: Option<Program>,
    /// How many series of pings there were: each has a log.
    pings: AtomicU32,
}

impl Member {
    /// A client number `n`, without a tunnel yet.
    pub fn new(number: u8, folder: &Path) -> Result<Self> {
        let name = format!("client-{number}");
        let namespace = Namespace::new(&name)?;
        let address = Ipv4Addr::new(198, 51, 100, 10 + number);
        network::connect(&namespace, "clients0", address, Ipv4Addr::new(198, 51, 100, 1))?;
        let folder = folder.join(&name);
        fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        Ok(Self {
            namespace,
            address,
            link: format!("wg{number}"),
            folder,
            program: None,
            pings: AtomicU32::new(0),
        })
    }

    /// Sets the tunnel up, as a configuration for wg-quick says.
    pub async fn connect(&mut self, configuration: &Path, kernel: bool) -> Result<()> {
        let text = text(configuration)?;
        if kernel {
            self.namespace
                .ip(&["link", "add", &self.link, "type", "wireguard"])?;
        } else {
            self.start_program().await?;
        }
        let mtu = value(&text, "MTU").unwrap_or("1420");
        self.namespace.ip(&["link", "set", &self.link, "mtu", mtu])?;
        self.take(&text)
    }

    /// Takes another configuration, as a rotation has written it, in place of the one it has.
    pub fn rotate(&self, configuration: &Path) -> Result<()> {
        let text = text(configuration)?;
        self.namespace.ip(&["addr", "flush", "dev", &self.link])?;
        self.take(&text)
    }

    /// Has the peer, the addresses and the routes of a configuration.
    fn take(&self, text: &str) -> Result<()> {
        self.apply(text)?;
        for address in list(text, "Address") {
            self.namespace.address(&self.link, address)?;
        }
        for range in list(text, "AllowedIPs") {
            self.namespace
                .ip(&["route", "replace", range, "dev", &self.link])?;
        }
        Ok(())
    }

    async fn start_program(&mut self) -> Result<()> {
        let mut command = process::built("CULVERT_WIREGUARD_GO")?;
        command.args(["--foreground", &self.link]);
        let command = self.namespace.wrap(&command);
        self.program = Some(Program::start("wireguard-go", &command, &self.folder)?);
        wait::until("wireguard-go to answer", SOON, || async {
            self.namespace.run(&["wg", "show", &self.link]).map(Some)
        })
        .await
        .map(drop)
    }

    /// Has `wg` read what it understands of the configuration.
    fn apply(&self, text: &str) -> Result<()> {
        let kept: Vec<&str> = text
            .lines()
            .filter(|line| !["Address", "DNS", "MTU"].iter().any(|key| line.starts_with(key)))
            .collect();
        let file = self.folder.join("setconf");
        fs::write(&file, kept.join("\n")).with_context(|| format!("failed to write {}", file.display()))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        let path = file.display().to_string();
        self.namespace
            .run(&["wg", "setconf", &self.link, &path])
            .map(drop)
    }

    /// When its last handshake was, in seconds since the epoch; 0 is none.
    pub fn latest_handshake(&self) -> Result<u64> {
        let text = self
            .namespace
            .run(&["wg", "show", &self.link, "latest-handshakes"])?;
        let time = text.split_whitespace().nth(1).context("no peer")?;
        time.parse().context("no time of a handshake")
    }

    /// Pings through the tunnel until something answers, for so long at most.
    pub async fn reaches(&self, target: &str) -> Result<()> {
        wait::until(
            &format!("{target} to answer through the tunnel"),
            SOON,
            || async {
                self.namespace
                    .run(&["ping", "-q", "-c", "1", "-W", "2", target])
                    .map(Some)
            },
        )
        .await
        .map(drop)
    }

    /// Fails when something answers.
    pub fn reaches_not(&self, target: &str) -> Result<()> {
        let answer = self.namespace.run(&["ping", "-q", "-c", "2", "-W", "1", target]);
        ensure!(answer.is_err(), "{target} answers");
        Ok(())
    }

    /// Pings a hundred times a second until it is told to stop.
    pub fn ping_on(&self, target: &str) -> Result<Pings> {
        self.ping_every(Duration::from_millis(10), target)
    }

    /// Pings in this interval until it is told to stop.
    pub fn ping_every(&self, interval: Duration, target: &str) -> Result<Pings> {
        let name = format!("ping-{}-{}", target, self.pings.fetch_add(1, Ordering::Relaxed));
        Pings::start(&name, &self.namespace, target, interval, &self.folder)
    }
}

fn text(configuration: &Path) -> Result<String> {
    fs::read_to_string(configuration).with_context(|| format!("failed to read {}", configuration.display()))
}

/// The value of a configuration's line.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| Some(line.strip_prefix(key)?.trim_start().strip_prefix('=')?.trim()))
}

/// The values of a configuration's line, separated by commas.
fn list<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    value(text, key).map_or_else(Vec::new, |list| list.split(',').map(str::trim).collect())
}
