//! What the contract cannot ask of a real kernel: sessions, room for peers, failures.

use std::time::Duration;

use culvert_wireguard::{AllowedIps, DesiredPeer};

use super::*;

const NAME: &str = "cv0";

fn kernel() -> (Fake, Managed) {
    let kernel = Fake::default();
    let mark = Mark {
        gateway: "uid".into(),
        window: Duration::from_secs(180),
    };
    let link = kernel.make(NAME, "wireguard", Some(&mark.alias()));
    (kernel, Managed::of(link).unwrap())
}

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

fn desired(number: u8) -> DesiredPeer {
    DesiredPeer {
        public_key: key(number),
        allowed_ips: AllowedIps::host([10, 64, 0, number].into()),
    }
}

fn set(number: u8) -> PeerChange {
    PeerChange::Set(desired(number))
}

fn somewhere() -> Endpoint {
    Endpoint::new("192.0.2.1:4711".parse().unwrap())
}

fn shake_hands(kernel: &Fake, number: u8) {
    let at = WallTime {
        seconds: 1_000,
        nanoseconds: 0,
    };
    kernel.handshake(NAME, &key(number), somewhere(), at);
}

fn numbers(kernel: &Fake) -> Vec<u8> {
    let peers = kernel.device(NAME).peers;
    peers.iter().map(|peer| peer.public_key.as_bytes()[0]).collect()
}

#[test]
fn a_session_lives_through_forgetting_and_its_data_bring_the_endpoint_back() {
    let (mut kernel, interface) = kernel();
    kernel.change(&interface, &[set(1)]).unwrap();
    shake_hands(&kernel, 1);
    kernel
        .change(&interface, &[PeerChange::Forget(key(1)), set(1)])
        .unwrap();
    assert!(kernel.device(NAME).peers[0].endpoint.unwrap().is_forgotten());
    assert!(kernel.data(NAME, &key(1), somewhere(), 32));
    assert_eq!(kernel.device(NAME).peers[0].endpoint, Some(somewhere()));
}

#[test]
fn a_session_ends_with_its_peer_with_the_link_and_with_the_key() {
    let ends: [fn(&mut Fake, &Managed); 3] = [
        |kernel, interface| {
            let reinstate = PeerChange::Reinstate(desired(1));
            kernel.change(interface, &[reinstate]).unwrap();
        },
        |kernel, _| kernel.set_down(NAME),
        |kernel, interface| {
            let private_key = Some(culvert_wireguard::PrivateKey::from_bytes(&[9; 32]));
            let change = DeviceChange {
                private_key,
                ..DeviceChange::default()
            };
            kernel.configure(interface, &change).unwrap();
        },
    ];
    for end in ends {
        let (mut kernel, interface) = kernel();
        kernel.change(&interface, &[set(1)]).unwrap();
        shake_hands(&kernel, 1);
        assert!(kernel.has_session(NAME, &key(1)));
        end(&mut kernel, &interface);
        assert!(!kernel.data(NAME, &key(1), somewhere(), 32));
    }
}

#[test]
fn more_peers_than_the_most_are_refused_and_those_before_stay() {
    let (mut kernel, interface) = kernel();
    kernel.set_most_peers(2);
    let error = kernel
        .change(&interface, &[set(1), set(2), set(3), set(4)])
        .unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::OutOfMemory));
    assert_eq!(numbers(&kernel), [1, 2]);
    // Neither a known peer nor one that takes another's place is one too many.
    kernel
        .change(&interface, &[set(2), PeerChange::Remove(key(1)), set(3)])
        .unwrap();
    assert_eq!(numbers(&kernel), [2, 3]);
}

#[test]
fn each_failure_does_what_it_says() {
    for failure in FAILURES {
        let (mut kernel, interface) = kernel();
        kernel.fail(0, failure);
        let result = kernel.change(&interface, &[set(1), set(2)]);
        let done = match failure {
            // Nothing is listed, so nothing is interrupted.
            Failure::DumpInterrupted => {
                assert!(result.is_ok());
                2
            }
            Failure::NoDevice => {
                assert_eq!(result.unwrap_err().refusal(), Some(Refusal::NotFound));
                assert_eq!(kernel.links(), []);
                continue;
            }
            Failure::HalfDone => {
                assert!(result.is_err(), "{failure:?}");
                1
            }
            Failure::Enobufs | Failure::Truncated | Failure::Malformed | Failure::LostAck => {
                assert_eq!(result.unwrap_err().refusal(), None, "{failure:?}");
                2
            }
            Failure::Enomem | Failure::Eperm | Failure::Ebusy | Failure::NotDone | Failure::Disconnected => {
                assert!(result.is_err(), "{failure:?}");
                0
            }
        };
        assert_eq!(numbers(&kernel).len(), done, "{failure:?}");
        // It is over with the call.
        kernel.change(&interface, &[set(1), set(2)]).unwrap();
        assert_eq!(numbers(&kernel).len(), 2, "{failure:?}");
    }
}

#[test]
fn a_port_that_the_kernel_chooses_is_free() {
    let (kernel, _) = kernel();
    kernel.make("cv1", "wireguard", None);
    for name in [NAME, "cv1"] {
        kernel.shape_by_hand(name, Shape::Up);
    }
    let ports = [NAME, "cv1"].map(|name| kernel.device(name).settings.listen_port);
    assert!(ports[0] != ports[1] && !ports.contains(&0));
}
