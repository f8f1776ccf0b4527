//! What a client asks of a kernel: gateways with endpoints, rules, and a default route that is replaced.

use culvert_wireguard::netlink::{Family, Rule};
use culvert_wireguard::{AllowedIps, Endpoint, GatewayPeer, Refusal};
use ipnet::IpNet;

use super::harness::{Interface, Links, key, output};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn gateway(number: u32, prefixes: &[&str], keepalive: u16) -> GatewayPeer {
    GatewayPeer {
        public_key: key(number),
        endpoint: Endpoint::new(format!("192.0.2.{number}:51820").parse().unwrap()),
        allowed_ips: prefixes.iter().map(|prefix| net(prefix)).collect(),
        keepalive,
    }
}

/// What another program says of the peers: key, endpoint, prefixes, keepalive.
fn shown(interface: &Interface) -> Vec<[String; 4]> {
    let text = output("wg", &["show", &interface.name, "dump"]);
    let lines = text.lines().skip(1);
    let mut shown: Vec<_> = lines
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            [fields[0], fields[2], fields[3], fields[7]].map(str::to_owned)
        })
        .collect();
    shown.sort_unstable_by(|one, other| one[1].cmp(&other[1]));
    shown
}

#[test]
fn gateways_are_met_and_one_of_them_carries() {
    let mut interface = Interface::create();
    let ifindex = interface.ifindex;
    let met = [gateway(1, &[], 5), gateway(2, &[], 5)];
    interface.socket.set_gateways(ifindex, &met, &[]).unwrap();
    let expected = |number: u32, prefixes: &str, keepalive: &str| {
        let endpoint = format!("192.0.2.{number}:51820");
        [
            key(number).to_base64(),
            endpoint,
            prefixes.to_owned(),
            keepalive.to_owned(),
        ]
    };
    assert_eq!(
        shown(&interface),
        [expected(1, "(none)", "5"), expected(2, "(none)", "5")]
    );

    let all = ["0.0.0.0/0", "::/0"];
    interface
        .socket
        .set_gateways(ifindex, &[gateway(1, &all, 0)], &[key(2)])
        .unwrap();
    assert_eq!(shown(&interface), [expected(1, "0.0.0.0/0,::/0", "off")]);

    // Another one takes over, prefixes and all, before the first is removed.
    interface
        .socket
        .set_gateways(ifindex, &[gateway(3, &all, 0)], &[])
        .unwrap();
    assert_eq!(
        shown(&interface),
        [expected(1, "(none)", "off"), expected(3, "0.0.0.0/0,::/0", "off")]
    );
    assert!(interface.peer(3).unwrap().allowed_ips == all.iter().map(|p| net(p)).collect::<AllowedIps>());
}

/// A table that nobody else has.
const TABLE: u32 = 0x6376_ff01;

#[test]
fn rules_are_added_once_and_removed() {
    let links = Links::open();
    let any = Rule {
        family: Family::V4,
        priority: 29_000,
        from: None,
        unless_mark: Some(0x6376),
        without_default: false,
        table: TABLE,
    };
    let source = Rule {
        family: Family::V6,
        from: Some("fd64::9".parse().unwrap()),
        unless_mark: None,
        ..any
    };
    let local = Rule {
        unless_mark: None,
        without_default: true,
        table: 254,
        ..any
    };
    for rule in [any, source, local] {
        links.run(links.rtnl.add_rule(&rule)).unwrap();
        let again = links.run(links.rtnl.add_rule(&rule)).unwrap_err();
        assert_eq!(again.refusal(), Some(Refusal::AlreadyExists), "{rule:?}");
        assert!(links.run(links.rtnl.rules()).unwrap().contains(&rule), "{rule:?}");
        links.run(links.rtnl.remove_rule(&rule)).unwrap();
        let again = links.run(links.rtnl.remove_rule(&rule)).unwrap_err();
        assert_eq!(again.refusal(), Some(Refusal::NotFound), "{rule:?}");
        assert!(
            !links.run(links.rtnl.rules()).unwrap().contains(&rule),
            "{rule:?}"
        );
    }
}

#[test]
fn a_default_route_is_replaced_and_never_doubled() {
    let links = Links::open();
    let [one, other] = [Interface::create(), Interface::create()];
    for (interface, addresses) in [
        (&one, ["10.201.0.1/32", "fd00:79::1/128"]),
        (&other, ["10.201.0.2/32", "fd00:79::2/128"]),
        (&one, ["10.201.0.1/32", "fd00:79::1/128"]),
    ] {
        links.run(links.rtnl.set_up(interface.ifindex)).unwrap();
        for address in addresses {
            // The third time it is there.
            let _ = links.run(links.rtnl.add_address(interface.ifindex, net(address)));
            let source = net(address).addr();
            links
                .run(links.rtnl.lead(TABLE, interface.ifindex, source))
                .unwrap();
        }
        let routes = links.run(links.rtnl.routes()).unwrap();
        let leading: Vec<_> = routes.iter().filter(|route| route.table == TABLE).collect();
        assert_eq!(leading.len(), 2, "{leading:?}");
        assert!(
            leading
                .iter()
                .all(|route| route.ifindex == Some(interface.ifindex))
        );
    }
    for family in Family::ALL {
        links.run(links.rtnl.refuse(TABLE, family)).unwrap();
        links.run(links.rtnl.unrefuse(TABLE, family)).unwrap();
        let again = links.run(links.rtnl.unrefuse(TABLE, family)).unwrap_err();
        assert_eq!(again.refusal(), Some(Refusal::NotFound));
    }
}
