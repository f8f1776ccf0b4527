//! Two interfaces of one namespace in a real session over loopback.

use std::thread;
use std::time::Duration;

use culvert_wireguard::{DeviceChange, Endpoint, ObservedPeer, PeerChange, PrivateKey, PublicKey};

use crate::harness::{Interface, Links, desired, output};

/// A gateway and a client that has just shaken hands with it.
struct Session {
    gateway: Interface,
    client: Interface,
    client_key: PublicKey,
}

impl Session {
    fn begin(gateway_port: u16) -> Self {
        let (mut gateway, mut client) = (Interface::create(), Interface::create());
        let links = Links::open();
        let mut keys = Vec::new();
        for (interface, port) in [(&mut gateway, gateway_port), (&mut client, gateway_port + 1)] {
            let private_key = PrivateKey::generate().unwrap();
            keys.push(private_key.public_key());
            interface.change(&DeviceChange {
                private_key: Some(private_key),
                listen_port: Some(port),
                ..DeviceChange::default()
            });
            links.run(links.rtnl.set_up(interface.ifindex)).unwrap();
        }
        let mut session = Self {
            gateway,
            client,
            client_key: keys[1],
        };
        session.gateway.change_peers([PeerChange::Set(session.desired())]);
        // A keepalive on the client's side sends its first packet at once.
        let endpoint = format!("127.0.0.1:{gateway_port}");
        let gateway_key = keys[0].to_base64();
        let peer = [
            "peer",
            &gateway_key,
            "endpoint",
            &endpoint,
            "persistent-keepalive",
            "1",
        ];
        output("wg", &[&["set", &session.client.name][..], &peer].concat());
        session.until(|peer| peer.last_handshake.is_some() && peer.rx_bytes > 148);
        session
    }

    fn desired(&self) -> culvert_wireguard::DesiredPeer {
        culvert_wireguard::DesiredPeer {
            public_key: self.client_key,
            ..desired(1)
        }
    }

    fn peer(&mut self) -> ObservedPeer {
        self.gateway
            .dump()
            .peers
            .into_iter()
            .find(|peer| peer.public_key == self.client_key)
            .unwrap()
    }

    fn until(&mut self, done: impl Fn(&ObservedPeer) -> bool) -> ObservedPeer {
        let seen = (0..3_000).find_map(|_| {
            wait_a_little();
            Some(self.peer()).filter(&done)
        });
        seen.unwrap()
    }

    fn silence_client(&mut self) {
        let links = Links::open();
        links.run(links.rtnl.set_down(self.client.ifindex)).unwrap();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "time-travel kernels move their clock only while all sleep"
)]
fn wait_a_little() {
    thread::sleep(Duration::from_millis(10));
}

#[test]
fn a_handshake_shows_in_the_dump_as_in_wg() {
    let mut session = Session::begin(51_900);
    session.silence_client();
    let peer = session.peer();
    assert!(peer.endpoint == Some(Endpoint::new("127.0.0.1:51901".parse().unwrap())));
    let printed = output("wg", &["show", &session.gateway.name, "dump"]);
    let fields: Vec<_> = printed.lines().nth(1).unwrap().split('\t').collect();
    assert_eq!(fields[2], "127.0.0.1:51901");
    assert_eq!(fields[4], peer.last_handshake.unwrap().seconds.to_string());
    assert_eq!(fields[5], peer.rx_bytes.to_string());
    assert_eq!(fields[6], peer.tx_bytes.to_string());
}

#[test]
fn forgetting_the_endpoint_of_a_live_session_loses_nothing() {
    let mut session = Session::begin(51_910);
    let before = session.peer();
    session
        .gateway
        .change_peers([PeerChange::Forget(session.client_key)]);
    // The client's next keepalive is authenticated by the same session and brings the endpoint back.
    let after = session.until(|peer| peer.rx_bytes > before.rx_bytes);
    assert!(after.last_handshake == before.last_handshake);
    assert!(after.endpoint == before.endpoint);
}

#[test]
fn reinstating_a_silent_peer_takes_endpoint_handshake_and_counters() {
    let mut session = Session::begin(51_920);
    session.silence_client();
    let desired = session.desired();
    session
        .gateway
        .change_peers([PeerChange::Reinstate(desired.clone())]);
    let peer = session.peer();
    assert!(peer.matches(&desired));
    assert!(peer.endpoint.is_none() && peer.last_handshake.is_none());
    assert_eq!((peer.rx_bytes, peer.tx_bytes), (0, 0));
}
