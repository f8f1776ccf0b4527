//! MTU, addresses and state of a gateway's link.

use culvert_wireguard::netlink::LinkInfo;
use ipnet::IpNet;

/// One change to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The largest packet, in bytes.
    Mtu(u32),
    /// A further address.
    Add(IpNet),
    /// One address less.
    Remove(IpNet),
    /// IPv4 packets that arrive here are forwarded.
    Forward,
    /// The link is set up.
    Up,
    /// The link is set down: its peers stay, their sessions and the port do not.
    Down,
}

/// The changes that give a link exactly these addresses, this MTU, and set it up.
///
/// New addresses come before old ones go, and both before the link is up, so that it never works half equipped.
pub fn plan(link: &LinkInfo, present: &[IpNet], addresses: &[IpNet], mtu: u32) -> Vec<Shape> {
    let missing = addresses.iter().filter(|address| !present.contains(address));
    let surplus = present.iter().filter(|address| !addresses.contains(address));
    let mtu = (link.mtu != mtu).then_some(Shape::Mtu(mtu));
    let forward = (!link.forwards).then_some(Shape::Forward);
    let up = (!link.up).then_some(Shape::Up);
    mtu.into_iter()
        .chain(missing.copied().map(Shape::Add))
        .chain(surplus.copied().map(Shape::Remove))
        .chain(forward)
        .chain(up)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(mtu: u32, up: bool) -> LinkInfo {
        LinkInfo {
            ifindex: 3,
            name: "cv0".into(),
            kind: Some("wireguard".into()),
            alias: None,
            mtu,
            forwards: true,
            up,
        }
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn a_new_link_is_equipped_before_it_is_up() {
        let addresses = [net("10.64.0.1/11"), net("fd64::1/64")];
        assert_eq!(
            plan(&link(1_420, false), &[], &addresses, 1_380),
            [
                Shape::Mtu(1_380),
                Shape::Add(addresses[0]),
                Shape::Add(addresses[1]),
                Shape::Up
            ]
        );
    }

    #[test]
    fn an_address_is_replaced_by_adding_first() {
        let (old, new) = (net("10.64.0.1/11"), net("10.64.0.1/16"));
        assert_eq!(
            plan(&link(1_420, true), &[old], &[new], 1_420),
            [Shape::Add(new), Shape::Remove(old)]
        );
    }

    #[test]
    fn a_link_that_is_as_it_should_be_is_left_alone() {
        let address = net("10.64.0.1/11");
        assert_eq!(plan(&link(1_420, true), &[address], &[address], 1_420), []);
    }
}
