use super::*;
use clap::Parser;
use culvert_wireguard::PublicKey;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    client: ClientArgs,
}

fn args(words: &[&str]) -> ClientArgs {
    let words = ["test"].iter().chain(words);
    Line::try_parse_from(words).unwrap().client
}

fn gateway() -> Serving {
    Serving {
        name: "default.gateway-1".to_owned(),
        gateway: "default".to_owned(),
        node: "gateway-1".to_owned(),
        public_key: PublicKey::from_bytes([9; 32]),
        endpoint: "198.51.100.1:51820".to_owned(),
        ready: true,
        dns: vec!["10.64.0.1".parse().unwrap(), "fd64:cafe:1::1".parse().unwrap()],
        opens: vec!["10.20.0.0/16".parse().unwrap(), "fd20::/16".parse().unwrap()],
        own: vec!["10.64.0.1".parse().unwrap(), "fd64:cafe:1::1".parse().unwrap()],
        mtu: 1420,
    }
}

fn served(addresses: &[&str]) -> Served {
    Served {
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        expires: None,
    }
}

/// The lines of a configuration that begin with this.
fn value(words: &[&str], addresses: &[&str], name: &str) -> Option<String> {
    let pair = Pair::draw().unwrap();
    let text = args(words).one(&pair, &served(addresses), &gateway()).unwrap();
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} = ")));
    found.map(str::to_owned)
}

const BOTH: [&str; 2] = ["10.64.0.9", "fd64:cafe:1::9"];

#[test]
fn everything_is_routed_in_both_families_even_with_an_address_of_one() {
    for addresses in [&BOTH[..], &BOTH[..1], &BOTH[1..]] {
        assert_eq!(value(&[], addresses, "AllowedIPs").unwrap(), "0.0.0.0/0, ::/0");
    }
}

#[test]
fn a_split_tunnel_has_what_the_gateway_opens_and_itself() {
    let routes = value(&["--split"], &BOTH, "AllowedIPs").unwrap();
    assert_eq!(
        routes,
        "10.20.0.0/16, 10.64.0.1/32, fd20::/16, fd64:cafe:1::1/128"
    );
    // Nothing of a family that the client has no address of.
    let routes = value(&["--split"], &BOTH[..1], "AllowedIPs").unwrap();
    assert_eq!(routes, "10.20.0.0/16, 10.64.0.1/32");
    let routes = value(
        &["--route", "10.9.0.0/16", "--dns", "10.9.0.53"],
        &BOTH[..1],
        "AllowedIPs",
    );
    assert_eq!(routes.unwrap(), "10.9.0.0/16, 10.64.0.1/32");
}

#[test]
fn resolvers_are_the_gateways_unless_others_are_named() {
    assert_eq!(value(&[], &BOTH, "DNS").unwrap(), "10.64.0.1, fd64:cafe:1::1");
    assert_eq!(value(&[], &BOTH[..1], "DNS").unwrap(), "10.64.0.1");
    assert_eq!(
        value(&["--dns", "9.9.9.9,2620:fe::fe"], &BOTH, "DNS").unwrap(),
        "9.9.9.9, 2620:fe::fe"
    );
    assert_eq!(value(&["--dns", "none"], &BOTH, "DNS"), None);
    assert!(Line::try_parse_from(["test", "--dns", "resolver"]).is_err());
}

#[test]
fn a_split_tunnel_with_nothing_in_it_is_an_error() {
    let closed = Serving {
        opens: Vec::new(),
        ..gateway()
    };
    let pair = Pair::draw().unwrap();
    let split = args(&["--split"]).one(&pair, &served(&BOTH), &closed);
    assert_eq!(split.unwrap_err(), ConfError::NothingToRoute);
}

#[test]
fn a_file_name_is_an_interface_name() {
    let name = |node: &str| {
        let gateway = Serving {
            node: node.to_owned(),
            name: format!("default.{node}"),
            ..gateway()
        };
        file_in(Path::new("/x"), &gateway).display().to_string()
    };
    assert_eq!(name("gateway-1"), "/x/gateway-1.conf");
    let long = name("ip-10-0-0-1.eu-central-1.compute.internal");
    let other = name("ip-10-0-0-1.eu-central-2.compute.internal");
    assert_ne!(long, other);
    assert_eq!(long.len(), "/x/".len() + 15 + ".conf".len());
}
