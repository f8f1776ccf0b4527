//! Routes of the namespace, as far as a gateway must know them: a pool whose traffic another route takes is not served.
//!
//! The connected route of an address is the kernel's work; [`Rtnl::replace_route`] is for ranges beyond it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteScope, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::link::{CREATE, REPLACE, numbered};
use super::rtnl::Rtnl;
use crate::Error;

/// The routing table that is asked for every packet, and has the routes of addresses.
pub const MAIN_TABLE: u32 = 254;

/// A route that leads traffic for a range somewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteInfo {
    /// The range; length 0 is a default route.
    pub destination: IpNet,

    /// The interface it leads to; none for several.
    pub ifindex: Option<u32>,

    /// The routing table's number, such as [`MAIN_TABLE`].
    pub table: u32,
}

impl Rtnl {
    /// Every unicast route of both families in every table, without cached exceptions. Those that refuse (blackhole,
    /// unreachable, prohibit) are left out: they lead nowhere.
    pub async fn routes(&self) -> Result<Vec<RouteInfo>, Error> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            for message in self
                .list("routes", RouteNetlinkMessage::GetRoute(request))
                .await?
            {
                if let RouteNetlinkMessage::NewRoute(message) = message {
                    routes.extend(route_info(&message));
                }
            }
        }
        routes.sort_unstable();
        Ok(routes)
    }

    /// Routes a range to the interface, in the main table, in place of another route to exactly that range.
    pub async fn replace_route(&self, ifindex: u32, destination: IpNet) -> Result<(), Error> {
        let message = RouteNetlinkMessage::NewRoute(route_message(ifindex, destination));
        self.change("add a route to", &numbered(ifindex), message, CREATE | REPLACE)
            .await
    }

    /// Takes the route away. Fails with a refusal `NotFound` when there is none.
    pub async fn remove_route(&self, ifindex: u32, destination: IpNet) -> Result<(), Error> {
        let message = RouteNetlinkMessage::DelRoute(route_message(ifindex, destination));
        self.change("remove a route from", &numbered(ifindex), message, 0)
            .await
    }
}

fn route_message(ifindex: u32, destination: IpNet) -> RouteMessage {
    match destination.trunc() {
        IpNet::V4(net) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(net.addr(), net.prefix_len())
            .output_interface(ifindex)
            .scope(RouteScope::Link)
            .build(),
        IpNet::V6(net) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(net.addr(), net.prefix_len())
            .output_interface(ifindex)
            .build(),
    }
}

fn route_info(message: &RouteMessage) -> Option<RouteInfo> {
    let header = &message.header;
    if header.kind != RouteType::Unicast || header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    // A default route has no destination attribute.
    let mut destination: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let (mut ifindex, mut table) = (None, u32::from(header.table));
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = (*address).into(),
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => destination = (*address).into(),
            RouteAttribute::Oif(found) => ifindex = Some(*found),
            RouteAttribute::Table(found) => table = *found,
            _ => {}
        }
    }
    let destination = IpNet::new(destination, header.destination_prefix_length)
        .ok()?
        .trunc();
    Some(RouteInfo {
        destination,
        ifindex,
        table,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_reads_as_it_was_written() {
        for text in ["10.64.0.0/11", "fd00::/64", "0.0.0.0/0", "::/0"] {
            let destination: IpNet = text.parse().unwrap();
            let expected = RouteInfo {
                destination,
                ifindex: Some(3),
                table: 254,
            };
            assert_eq!(route_info(&route_message(3, destination)), Some(expected));
        }
    }

    #[test]
    fn routes_that_lead_nowhere_else_are_left_out() {
        for kind in [RouteType::Local, RouteType::Broadcast, RouteType::BlackHole] {
            let mut message = route_message(3, "10.64.0.1/32".parse().unwrap());
            message.header.kind = kind;
            assert_eq!(route_info(&message), None);
        }
    }
}
