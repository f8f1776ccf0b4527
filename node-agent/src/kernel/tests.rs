//! Whole looks, on the fake.

use std::time::Duration;

use culvert_wireguard::{AllowedIps, DesiredPeer, PublicKey};

use super::fake::{Call, Failure, Fake};
use super::*;

fn interface(kernel: &mut Fake) -> Managed {
    let mark = Mark {
        gateway: "uid".into(),
        window: Duration::from_secs(180),
    };
    let link = kernel.make("cv0", "wireguard", Some(&mark.alias()));
    Managed::of(link).unwrap()
}

fn set(number: u8) -> PeerChange {
    PeerChange::Set(DesiredPeer {
        public_key: PublicKey::from_bytes([number; 32]),
        allowed_ips: AllowedIps::host([10, 64, 0, number].into()),
    })
}

#[test]
fn a_look_that_is_interrupted_is_begun_again() {
    let mut kernel = Fake::default();
    let interface = interface(&mut kernel);
    kernel.change(&interface, &[set(1), set(2)]).unwrap();
    kernel.fail(1, Failure::DumpInterrupted);
    assert_eq!(whole(&mut kernel, &interface).unwrap().peers.len(), 2);
    let look = [Call::Begin, Call::Next];
    assert_eq!(kernel.calls()[1..], [look.clone(), look].concat());
}

#[test]
fn a_look_that_is_always_interrupted_is_an_error() {
    let mut kernel = Fake::default();
    let interface = interface(&mut kernel);
    (0..100).for_each(|call| kernel.fail(call, Failure::DumpInterrupted));
    let error = whole(&mut kernel, &interface).unwrap_err();
    assert!(matches!(error, Error::DumpInterrupted { .. }));
}

#[test]
fn a_look_that_is_refused_is_not_begun_again() {
    let mut kernel = Fake::default();
    let interface = interface(&mut kernel);
    kernel.fail(1, Failure::Eperm);
    let error = whole(&mut kernel, &interface).unwrap_err();
    assert_eq!(error.refusal(), Some(culvert_wireguard::Refusal::Permission));
    assert_eq!(kernel.calls(), [Call::Begin, Call::Next]);
}
