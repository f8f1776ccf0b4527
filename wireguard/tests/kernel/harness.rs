//! Interfaces that delete themselves, peers by number, and other programs' opinions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use culvert_wireguard::netlink::{self, Limits, Rtnl, Socket};
use culvert_wireguard::{
    AllowedIps, DesiredPeer, DeviceChange, ObservedDevice, ObservedPeer, PeerChange, PublicKey,
};
use tokio::runtime::{Builder, Runtime};

/// A WireGuard interface of this test's own, with a socket to it.
pub struct Interface {
    pub name: String,
    pub ifindex: u32,
    pub socket: Socket,
}

impl Interface {
    pub fn create() -> Self {
        let name = unique_name();
        let links = Links::open();
        let ifindex = links
            .run(links.rtnl.create_wireguard(&name, "culvert.dev/test"))
            .unwrap();
        Self {
            name,
            ifindex,
            socket: Socket::open().unwrap(),
        }
    }

    pub fn change(&mut self, change: &DeviceChange) {
        self.socket
            .set_device(self.ifindex, change, Limits::default())
            .unwrap();
    }

    pub fn change_peers(&mut self, changes: impl IntoIterator<Item = PeerChange>) {
        self.change(&DeviceChange::of_peers(changes));
    }

    pub fn dump(&mut self) -> ObservedDevice {
        netlink::dump(&mut self.socket, self.ifindex).unwrap()
    }

    /// The peer as a fresh dump shows it.
    pub fn peer(&mut self, number: u32) -> Option<ObservedPeer> {
        self.dump()
            .peers
            .into_iter()
            .find(|peer| peer.public_key == key(number))
    }

    /// `wg set` of a peer.
    pub fn wg_set_peer(&self, number: u32, arguments: &[&str]) {
        let key = key(number).to_base64();
        output("wg", &[&["set", &self.name, "peer", &key], arguments].concat());
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        // Deleting an interface with its peers takes 18 ms for each of them.
        let flushed = self
            .socket
            .set_device(self.ifindex, &DeviceChange::flush(), Limits::default());
        let links = Links::open();
        let deleted = links.run(links.rtnl.delete_link(self.ifindex));
        if !std::thread::panicking() {
            flushed.unwrap();
            deleted.unwrap();
        }
    }
}

/// The rtnetlink connection and what drives it.
pub struct Links {
    runtime: Runtime,
    pub rtnl: Rtnl,
}

impl Links {
    pub fn open() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let rtnl = runtime.block_on(async { Rtnl::open() }).unwrap();
        Self { runtime, rtnl }
    }

    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

/// An interface name that no other test has.
pub fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("cvt{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A public key; any 32 bytes are one to the kernel.
pub fn key(number: u32) -> PublicKey {
    let mut bytes = [0x21; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    PublicKey::from_bytes(bytes)
}

pub fn ipv4(number: u32) -> IpAddr {
    Ipv4Addr::from(0x0a40_0000 + number).into()
}

pub fn ipv6(number: u32) -> IpAddr {
    Ipv6Addr::from((0xfd_u128 << 120) + u128::from(number)).into()
}

/// A peer with an address of either family.
pub fn desired(number: u32) -> DesiredPeer {
    DesiredPeer {
        public_key: key(number),
        allowed_ips: AllowedIps::hosts([ipv4(number), ipv6(number)]),
    }
}

pub fn set(number: u32) -> PeerChange {
    PeerChange::Set(desired(number))
}

/// What another program prints; it must succeed.
pub fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}
