//! The root namespace as the router between nodes, clients and the internet.

use std::{fs, net::Ipv4Addr, path::Path};

use anyhow::{Context, Result};

use super::ip;
use crate::Namespace;

/// The router among the nodes: where they reach the apiserver, and everything else.
pub(super) const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Somebody on the internet, who answers pings.
pub const INTERNET: &str = "203.0.113.80";

/// Makes both networks.
pub(super) fn prepare() -> Result<()> {
    // `netns` names namespaces by these files.
    for (bridge, address) in [("nodes0", "192.0.2.1/24"), ("clients0", "198.51.100.1/24")] {
        ip(&["link", "add", bridge, "type", "bridge"])?;
        ip(&["addr", "add", address, "dev", bridge])?;
        ip(&["link", "set", bridge, "up"])?;
    }
    ip(&["addr", "add", &format!("{INTERNET}/32"), "dev", "lo"])?;
    for (name, value) in [
        ("ipv4/ip_forward", "1"),
        // Nodes send to each other's pods by the router: it is not to tell them a shorter way.
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/nodes0/send_redirects", "0"),
    ] {
        let path = Path::new("/proc/sys/net").join(name);
        fs::write(&path, value).with_context(|| format!("failed to set {}", path.display()))?;
    }
    Ok(())
}

/// Connects a namespace to one of the networks, by a link `eth0` with this address.
pub(super) fn connect(
    namespace: &Namespace,
    bridge: &str,
    address: Ipv4Addr,
    router: Ipv4Addr,
) -> Result<()> {
    let far = format!("{}-up", namespace.name());
    namespace.ip(&[
        "link", "add", "eth0", "type", "veth", "peer", "name", &far, "netns", "1",
    ])?;
    ip(&["link", "set", &far, "master", bridge])?;
    ip(&["link", "set", &far, "up"])?;
    namespace.address("eth0", &format!("{address}/24"))?;
    namespace
        .ip(&["route", "add", "default", "via", &router.to_string()])
        .map(drop)
}
