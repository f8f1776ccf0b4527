//! What the kernel tells over netlink: which interfaces are the gateways', which addresses are the node's, and whether its
//! connection tracking knows clients.

use std::collections::HashSet;
use std::net::IpAddr;

use culvert_wireguard::Error;
use culvert_wireguard::netlink::Rtnl;
use tokio::task::block_in_place;

use crate::conntrack::Conntrack;
use crate::interface::Managed;

/// The node's interfaces, as far as they matter here.
pub struct Links {
    /// Numbers of those that are gateways'.
    pub own: HashSet<u32>,
    /// Addresses of all of them.
    local: HashSet<IpAddr>,
}

/// Asks for them; `None` when the kernel does not say.
pub async fn links() -> Option<Links> {
    let read = async {
        let rtnl = Rtnl::open()?;
        let links = rtnl.links().await?;
        let own = links.into_iter().filter_map(Managed::of);
        Ok::<_, Error>(Links {
            own: own.map(|managed| managed.link.ifindex).collect(),
            local: rtnl.own_addresses().await?.into_iter().collect(),
        })
    };
    read.await.ok()
}

impl Links {
    /// Whether the kernel tracks packets of these UDP ports of the node's. Blocks for as long as it takes to read the table.
    pub fn are_tracked(&self, ports: &HashSet<u16>) -> Option<bool> {
        let count = block_in_place(|| Conntrack::open()?.outer_flows(ports, &self.local));
        count.ok().map(|count| count > 0)
    }
}
