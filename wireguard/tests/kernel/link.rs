//! Interfaces, their mark, addresses and routes.

use culvert_wireguard::Refusal;
use culvert_wireguard::netlink::RouteInfo;
use ipnet::IpNet;

use crate::harness::{Interface, Links, output, unique_name};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn a_created_interface_is_marked_down_and_wireguard() {
    let interface = Interface::create();
    let links = Links::open();
    let link = links.run(links.rtnl.link(&interface.name)).unwrap().unwrap();
    assert_eq!(
        (link.ifindex, link.name.as_str()),
        (interface.ifindex, interface.name.as_str())
    );
    assert!(link.is_wireguard() && !link.up);
    assert_eq!(link.alias.as_deref(), Some("culvert.dev/test"));
    let printed = output("ip", &["-details", "link", "show", &interface.name]);
    assert!(printed.contains("alias culvert.dev/test") && printed.contains("wireguard"));
}

#[test]
fn a_name_that_is_taken_gives_already_exists_whatever_the_kind() {
    let interface = Interface::create();
    let dummy = unique_name();
    output("ip", &["link", "add", &dummy, "type", "dummy"]);
    let links = Links::open();
    for name in [&interface.name, &dummy] {
        let error = links
            .run(links.rtnl.create_wireguard(name, "culvert.dev/other"))
            .unwrap_err();
        assert_eq!(error.refusal(), Some(Refusal::AlreadyExists), "{error}");
    }
    let untouched = links.run(links.rtnl.link(&dummy)).unwrap().unwrap();
    assert_eq!(
        (untouched.kind.as_deref(), untouched.alias),
        (Some("dummy"), None)
    );
    links.run(links.rtnl.delete_link(untouched.ifindex)).unwrap();
}

#[test]
fn the_list_holds_wireguard_interfaces_only() {
    let interface = Interface::create();
    let links = Links::open();
    let list = links.run(links.rtnl.wireguard_links()).unwrap();
    let found: Vec<_> = list
        .iter()
        .filter(|link| link.ifindex == interface.ifindex)
        .collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].alias.as_deref(), Some("culvert.dev/test"));
    assert!(list.iter().all(|link| link.is_wireguard() && link.name != "lo"));
}

#[test]
fn alias_mtu_and_state_can_be_changed() {
    let interface = Interface::create();
    let links = Links::open();
    links
        .run(links.rtnl.set_alias(interface.ifindex, "culvert.dev/uid/180"))
        .unwrap();
    links.run(links.rtnl.set_mtu(interface.ifindex, 1_380)).unwrap();
    links.run(links.rtnl.set_up(interface.ifindex)).unwrap();
    let link = links.run(links.rtnl.link(&interface.name)).unwrap().unwrap();
    assert_eq!(
        (link.alias.as_deref(), link.mtu, link.up),
        (Some("culvert.dev/uid/180"), 1_380, true)
    );
    links.run(links.rtnl.set_down(interface.ifindex)).unwrap();
    links.run(links.rtnl.set_alias(interface.ifindex, "")).unwrap();
    let link = links.run(links.rtnl.link(&interface.name)).unwrap().unwrap();
    assert_eq!((link.alias, link.up), (None, false));
}

#[test]
fn addresses_bring_their_route_and_are_usable_at_once() {
    let interface = Interface::create();
    let (links, ifindex) = (Links::open(), interface.ifindex);
    links.run(links.rtnl.set_up(ifindex)).unwrap();
    let addresses = [net("10.96.0.1/11"), net("fd00:77::1/64")];
    for address in addresses {
        links.run(links.rtnl.add_address(ifindex, address)).unwrap();
        let again = links.run(links.rtnl.add_address(ifindex, address)).unwrap_err();
        assert_eq!(again.refusal(), Some(Refusal::AlreadyExists));
    }
    assert_eq!(links.run(links.rtnl.addresses(ifindex)).unwrap(), addresses);
    let printed = output("ip", &["address", "show", "dev", &interface.name]);
    assert!(printed.contains("nodad") && !printed.contains("tentative") && !printed.contains("brd"));
    let routes = links.run(links.rtnl.routes()).unwrap();
    for address in addresses {
        let route = RouteInfo {
            destination: address.trunc(),
            ifindex: Some(ifindex),
            table: 254,
        };
        assert!(routes.contains(&route), "{routes:?}");
    }
    for address in addresses {
        links.run(links.rtnl.remove_address(ifindex, address)).unwrap();
        let again = links
            .run(links.rtnl.remove_address(ifindex, address))
            .unwrap_err();
        assert_eq!(again.refusal(), Some(Refusal::NotFound));
    }
    assert_eq!(links.run(links.rtnl.addresses(ifindex)).unwrap(), []);
}

#[test]
fn routes_can_be_replaced_and_removed() {
    let interface = Interface::create();
    let (links, ifindex) = (Links::open(), interface.ifindex);
    links.run(links.rtnl.set_up(ifindex)).unwrap();
    for destination in [net("10.200.0.0/16"), net("fd00:78::/64")] {
        links.run(links.rtnl.replace_route(ifindex, destination)).unwrap();
        links.run(links.rtnl.replace_route(ifindex, destination)).unwrap();
        let route = RouteInfo {
            destination,
            ifindex: Some(ifindex),
            table: 254,
        };
        let count = |routes: Vec<RouteInfo>| routes.into_iter().filter(|found| *found == route).count();
        assert_eq!(count(links.run(links.rtnl.routes()).unwrap()), 1);
        links.run(links.rtnl.remove_route(ifindex, destination)).unwrap();
        assert_eq!(count(links.run(links.rtnl.routes()).unwrap()), 0);
        let again = links
            .run(links.rtnl.remove_route(ifindex, destination))
            .unwrap_err();
        assert_eq!(again.refusal(), Some(Refusal::NotFound));
    }
}

#[test]
fn what_is_not_there_is_none_or_not_found() {
    let links = Links::open();
    let name = unique_name();
    assert_eq!(links.run(links.rtnl.link(&name)).unwrap(), None);
    let ifindex = links
        .run(links.rtnl.create_wireguard(&name, "culvert.dev/test"))
        .unwrap();
    links.run(links.rtnl.delete_link(ifindex)).unwrap();
    assert_eq!(links.run(links.rtnl.link(&name)).unwrap(), None);
    for refused in [
        links.run(links.rtnl.delete_link(ifindex)),
        links.run(links.rtnl.set_up(ifindex)),
        links.run(links.rtnl.add_address(ifindex, net("10.96.0.1/32"))),
    ] {
        assert_eq!(refused.unwrap_err().refusal(), Some(Refusal::NotFound));
    }
}
