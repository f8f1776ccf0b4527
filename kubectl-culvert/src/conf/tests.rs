use super::*;

const PRIVATE: &str = "SGb+ojrRNDuMePufwtIYhXzA//k6wF3R21tEBgKlzlM=";
const PUBLIC: &str = "DD5yKRfzExcV5+kDnTroDgCU15latdMjiQ59j1hEuk8=";

fn addresses() -> Vec<IpAddr> {
    vec!["10.64.0.9".parse().unwrap(), "fd64:cafe:1::9".parse().unwrap()]
}

fn conf<'a>(private: &'a PrivateKey, addresses: &'a [IpAddr], routes: &'a Routes) -> ClientConf<'a> {
    ClientConf {
        private: Some(private),
        addresses,
        dns: &[],
        mtu: 1420,
        gateway: PublicKey::from_base64(PUBLIC).unwrap(),
        endpoint: "[2001:db8::1]:51820",
        routes,
        keepalive: None,
    }
}

#[test]
fn everything_goes_through_the_tunnel_unless_ranges_are_named() {
    let private = PrivateKey::from_base64(PRIVATE).unwrap();
    let addresses = addresses();
    let dns = ["10.64.0.1".parse().unwrap()];
    let full = ClientConf {
        dns: &dns,
        ..conf(&private, &addresses, &Routes::Full)
    };
    assert_eq!(
        *text(&full).unwrap(),
        "[Interface]
PrivateKey = SGb+ojrRNDuMePufwtIYhXzA//k6wF3R21tEBgKlzlM=
Address = 10.64.0.9/32, fd64:cafe:1::9/128
DNS = 10.64.0.1
MTU = 1420

[Peer]
PublicKey = DD5yKRfzExcV5+kDnTroDgCU15latdMjiQ59j1hEuk8=
Endpoint = [2001:db8::1]:51820
AllowedIPs = 0.0.0.0/0, ::/0
"
    );
    let routes = Routes::Split(vec!["10.20.0.0/16".parse().unwrap()]);
    let split = ClientConf {
        keepalive: Some(25),
        ..conf(&private, &addresses, &routes)
    };
    let split = text(&split).unwrap();
    assert!(
        split.ends_with("AllowedIPs = 10.20.0.0/16\nPersistentKeepalive = 25\n"),
        "{:?}",
        &split[60..]
    );
}

#[test]
fn a_configuration_that_would_not_work_is_none() {
    let private = PrivateKey::from_base64(PRIVATE).unwrap();
    let addresses = addresses();
    let nothing = Routes::Split(Vec::new());
    assert_eq!(
        text(&conf(&private, &[], &Routes::Full)).unwrap_err(),
        ConfError::NoAddress
    );
    assert_eq!(
        text(&conf(&private, &addresses, &nothing)).unwrap_err(),
        ConfError::NothingToRoute
    );
    for endpoint in [
        "gateway",
        "gateway:1\nPostUp = true",
        "gate way:1",
        "gateway:1 # x",
    ] {
        let bad = ClientConf {
            endpoint,
            ..conf(&private, &addresses, &Routes::Full)
        };
        assert_eq!(text(&bad).unwrap_err(), ConfError::Endpoint, "{endpoint}");
    }
}

#[test]
fn the_text_never_grows_out_of_its_room() {
    let private = PrivateKey::from_base64(PRIVATE).unwrap();
    let addresses = addresses();
    // The longest that the API lets through: 64 ranges of 49 characters, four resolvers, a host of 253.
    let ranges = vec!["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128".parse().unwrap(); 128];
    let routes = Routes::Split(ranges);
    let endpoint = format!("{}:65535", "a".repeat(253));
    let long = ClientConf {
        endpoint: &endpoint,
        ..conf(&private, &addresses, &routes)
    };
    assert!(text(&long).unwrap().len() < ROOM);
}
