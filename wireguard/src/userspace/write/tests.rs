use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;

use super::super::line::Lines;
use super::*;
use crate::{AllowedIps, ObservedDevice, PrivateKey, Progress, look};

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

fn desired(number: u8) -> DesiredPeer {
    DesiredPeer {
        public_key: key(number),
        allowed_ips: AllowedIps::hosts(["10.64.0.9".parse().unwrap(), "fd00::9".parse().unwrap()]),
    }
}

fn written(change: &DeviceChange) -> Vec<String> {
    device(change)
        .map(|text| String::from_utf8(text.to_vec()).unwrap())
        .collect()
}

#[test]
fn a_clients_gateways_have_an_endpoint_and_what_the_client_says_of_them() {
    let gateway = |number, prefixes: &[&str], keepalive| GatewayPeer {
        public_key: key(number),
        endpoint: crate::Endpoint::new("[2001:db8::1]:51820".parse().unwrap()),
        allowed_ips: prefixes
            .iter()
            .map(|prefix| prefix.parse::<IpNet>().unwrap())
            .collect(),
        keepalive,
    };
    let set = [gateway(1, &["0.0.0.0/0", "::/0"], 0), gateway(2, &[], 5)];
    let text = gateways(&set, &[key(3)]);
    let (one, two, three) = ("01".repeat(32), "02".repeat(32), "03".repeat(32));
    let expected = format!(
        "set=1\npublic_key={one}\nendpoint=[2001:db8::1]:51820\nreplace_allowed_ips=true\nallowed_ip=0.0.0.0/0\n\
         allowed_ip=::/0\npersistent_keepalive_interval=0\npublic_key={two}\nendpoint=[2001:db8::1]:51820\n\
         replace_allowed_ips=true\npersistent_keepalive_interval=5\npublic_key={three}\nremove=true\n\n"
    );
    assert_eq!(String::from_utf8(text.to_vec()).unwrap(), expected);
}

#[test]
fn each_change_is_what_the_protocol_says() {
    let one = "01".repeat(32);
    let none = "0".repeat(64);
    let set = format!(
        "public_key={one}\npreshared_key={none}\npersistent_keepalive_interval=0\nreplace_allowed_ips=true\n\
         allowed_ip=10.64.0.9/32\nallowed_ip=fd00::9/128\n"
    );
    let remove = format!("public_key={one}\nremove=true\n");
    let forget = format!("public_key={one}\nupdate_only=true\nendpoint=[::]:0\n");
    for (change, expected) in [
        (PeerChange::Set(desired(1)), set.clone()),
        (PeerChange::Remove(key(1)), remove.clone()),
        (PeerChange::Forget(key(1)), forget),
        (PeerChange::Reinstate(desired(1)), format!("{remove}{set}")),
    ] {
        assert_eq!(
            written(&DeviceChange::of_peers([change])),
            [format!("set=1\n{expected}\n")]
        );
    }
}

#[test]
fn settings_come_before_peers() {
    let change = DeviceChange {
        private_key: Some(PrivateKey::from_bytes(&[0x48; 32])),
        listen_port: Some(51_820),
        fwmark: Some(32),
        replace_peers: true,
        peers: vec![PeerChange::Remove(key(2))],
    };
    let (private, two) = ("48".repeat(32), "02".repeat(32));
    assert_eq!(
        written(&change),
        [format!(
            "set=1\nprivate_key={private}\nlisten_port=51820\nfwmark=32\nreplace_peers=true\n\
             public_key={two}\nremove=true\n\n"
        )]
    );
}

#[test]
fn nothing_to_do_is_no_set() {
    assert!(written(&DeviceChange::default()).is_empty());
    assert_eq!(written(&DeviceChange::flush()), ["set=1\nreplace_peers=true\n\n"]);
}

#[test]
fn the_longest_lines_fit_into_the_room_for_them() {
    let prefix: IpNet = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128".parse().unwrap();
    let peer = DesiredPeer {
        allowed_ips: [prefix].into_iter().collect(),
        ..desired(1)
    };
    let change = DeviceChange {
        private_key: Some(PrivateKey::from_bytes(&[1; 32])),
        listen_port: Some(u16::MAX),
        fwmark: Some(u32::MAX),
        replace_peers: true,
        peers: vec![PeerChange::Reinstate(peer); 50],
    };
    // The writer asserts that the text has not moved.
    assert_eq!(device(&change).count(), 1);
}

fn any_desired() -> impl Strategy<Value = DesiredPeer> {
    let prefix = prop_oneof![
        (any::<u32>(), 0_u8..=32)
            .prop_map(|(bits, len)| IpNet::from(Ipv4Net::new(bits.into(), len).unwrap())),
        (any::<u128>(), 0_u8..=128)
            .prop_map(|(bits, len)| IpNet::from(Ipv6Net::new(bits.into(), len).unwrap())),
    ];
    (any::<[u8; 32]>(), prop::collection::vec(prefix, 0..5)).prop_map(|(bytes, prefixes)| DesiredPeer {
        public_key: PublicKey::from_bytes(bytes),
        allowed_ips: prefixes.into_iter().collect(),
    })
}

fn any_change() -> impl Strategy<Value = PeerChange> {
    any_desired().prop_flat_map(|peer| {
        prop_oneof![
            Just(PeerChange::Remove(peer.public_key)),
            Just(PeerChange::Forget(peer.public_key)),
            Just(PeerChange::Set(peer.clone())),
            Just(PeerChange::Reinstate(peer)),
        ]
    })
}

/// What the lines of a text say, taken for an answer.
fn read(text: &[u8]) -> ObservedDevice {
    let device = look::whole(|each| {
        let mut lines = Lines::default();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            lines.line(line, each)?;
        }
        let settings = lines.finish(each);
        Ok::<_, super::super::line::LineError>(Progress::Done {
            settings,
            coherent: true,
        })
    });
    device.unwrap().unwrap()
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        private: [u8; 32],
        port: u16,
        mark: u32,
        wanted in prop::collection::vec(any_desired(), 0..120),
    ) {
        let change = DeviceChange {
            private_key: Some(PrivateKey::from_bytes(&private)),
            listen_port: Some(port),
            fwmark: Some(mark),
            ..DeviceChange::of_peers(wanted.iter().cloned().map(PeerChange::Set))
        };
        let devices: Vec<_> = device(&change).map(|text| read(&text)).collect();
        let settings = &devices[0].settings;
        prop_assert_eq!(settings.private_key.as_ref(), Some(&PrivateKey::from_bytes(&private)));
        prop_assert_eq!((settings.listen_port, settings.fwmark), (port, mark));
        let found: Vec<_> = devices.iter().flat_map(|device| &device.peers).collect();
        prop_assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(&wanted) {
            prop_assert!(found.matches(wanted));
        }
    }

    #[test]
    fn no_set_is_about_too_many_peers(changes in prop::collection::vec(any_change(), 0..350)) {
        let whole: Vec<_> = peers(&changes).collect();
        let sections = |text: &[u8]| text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"public_key=")).count();
        prop_assert!(whole.iter().all(|text| (1..=PEERS).contains(&sections(text))));
        let pairs = changes.iter().filter(|change| matches!(change, PeerChange::Reinstate(_))).count();
        prop_assert_eq!(whole.iter().map(|text| sections(text)).sum::<usize>(), changes.len() + pairs);
        for text in &whole {
            let text = String::from_utf8(text.to_vec()).unwrap();
            prop_assert!(text.starts_with("set=1\n") && text.ends_with("\n\n"));
        }
    }
}
