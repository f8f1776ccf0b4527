use proptest::prelude::*;

use super::*;
use crate::{ObservedDevice, Progress, look};

const PRIVATE: &str = "e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a";
const ONE: &str = "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33";
const TWO: &str = "58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376";

/// A whole answer as one device.
fn device(text: &str) -> Result<ObservedDevice, LineError> {
    let (said, errno) = status(text.as_bytes())?;
    assert_eq!(errno, 0);
    let read = look::whole(|each| {
        let mut lines = Lines::default();
        for line in said.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            lines.line(line, each)?;
        }
        let settings = lines.finish(each);
        Ok(Progress::Done {
            settings,
            coherent: true,
        })
    });
    read.map(Option::unwrap)
}

fn written(text: &str) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    bytes("it", text.as_bytes(), &mut key).unwrap();
    key
}

#[test]
fn an_answer_becomes_settings_and_peers() {
    let none = "0".repeat(64);
    let device = device(&format!(
        "private_key={PRIVATE}\nlisten_port=12912\nfwmark=32\n\
         public_key={ONE}\npreshared_key={TWO}\nprotocol_version=1\nendpoint=[abcd:23::33%eth2]:51820\n\
         last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\ntx_bytes=38333\nrx_bytes=2224\n\
         persistent_keepalive_interval=111\nallowed_ip=192.168.4.4/32\n\
         public_key={TWO}\npreshared_key={none}\nlast_handshake_time_sec=0\nlast_handshake_time_nsec=0\n\
         tx_bytes=0\nrx_bytes=0\npersistent_keepalive_interval=0\nallowed_ip=fd00::/64\nallowed_ip=10.0.0.1/32\n\
         errno=0\n\n"
    ))
    .unwrap();
    let private = PrivateKey::from_bytes(&written(PRIVATE));
    assert_eq!(device.settings.public_key, Some(private.public_key()));
    assert_eq!(device.settings.private_key, Some(private));
    assert_eq!(
        (device.settings.listen_port, device.settings.fwmark),
        (12_912, 32)
    );
    let [one, two] = device.peers.as_slice() else {
        unreachable!("two peers were written");
    };
    assert_eq!(one.public_key.as_bytes(), &written(ONE));
    assert!(one.has_preshared_key && one.persistent_keepalive == 111);
    assert_eq!((one.rx_bytes, one.tx_bytes), (2_224, 38_333));
    let endpoint = one.endpoint.unwrap().socket_addr();
    assert_eq!(endpoint, "[abcd:23::33]:51820".parse().unwrap());
    assert_eq!(one.last_handshake.unwrap().seconds, 1_700_000_000);
    assert_eq!(one.last_handshake.unwrap().nanoseconds, 5);
    assert!(!two.has_preshared_key && two.endpoint.is_none() && two.last_handshake.is_none());
    assert_eq!(two.allowed_ips.len(), 2);
}

#[test]
fn an_interface_without_anything_is_an_empty_answer() {
    let device = device("errno=0\n\n").unwrap();
    assert_eq!(device.settings, Settings::default());
    assert!(device.peers.is_empty());
}

#[test]
fn a_peer_of_many_prefixes_comes_in_parts() {
    let mut lines = Lines::default();
    let mut parts = Vec::new();
    let mut each = |part: PeerPart<'_>| parts.push((part.begins, part.allowed_ips.len()));
    lines
        .line(format!("public_key={ONE}").as_bytes(), &mut each)
        .unwrap();
    for number in 0..=2 * PREFIXES {
        let address = std::net::Ipv4Addr::from(u32::try_from(number).unwrap());
        let line = format!("allowed_ip={address}/32");
        lines.line(line.as_bytes(), &mut each).unwrap();
    }
    lines.finish(&mut each);
    assert_eq!(parts, [(true, PREFIXES), (false, PREFIXES), (false, 1)]);
}

#[test]
fn a_status_is_an_error_number_of_either_sign() {
    assert_eq!(status(b"errno=-98\n\n").unwrap(), (&b""[..], 98));
    assert_eq!(status(b"fwmark=1\nerrno=0\n\n").unwrap(), (&b"fwmark=1\n"[..], 0));
}

#[test]
fn an_answer_that_breaks_off_is_unfinished() {
    for text in ["", "\n\n", "errno=0", "errno=0\n", "fwmark=1\n", "fwmark=1\n\n"] {
        assert_eq!(status(text.as_bytes()), Err(LineError::Unfinished), "{text:?}");
    }
    assert_eq!(status(b"errno=x\n\n"), Err(LineError::Value("errno")));
}

#[test]
fn an_error_repeats_nothing_of_the_text() {
    for (line, expected) in [
        ("nonsense", "a line has no key"),
        ("endpoint=192.0.2.1:5", "`endpoint` belongs to no peer"),
        ("private_key=abcd", "the value of `private_key` cannot be read"),
        ("listen_port=65536", "the value of `listen_port` cannot be read"),
    ] {
        let error = Lines::default().line(line.as_bytes(), &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

/// Bytes that are often nearly right.
fn any_text() -> impl Strategy<Value = Vec<u8>> {
    let keys = prop::sample::select(vec![
        "private_key=",
        "listen_port=",
        "fwmark=",
        "public_key=",
        "preshared_key=",
        "endpoint=",
        "last_handshake_time_sec=",
        "last_handshake_time_nsec=",
        "rx_bytes=",
        "persistent_keepalive_interval=",
        "allowed_ip=",
        "errno=",
        "",
    ]);
    let values = prop_oneof![
        Just(ONE.as_bytes().to_vec()),
        Just(b"[fe80::1%]:]:7".to_vec()),
        Just(b"10.0.0.0/8".to_vec()),
        any::<u64>().prop_map(|number| number.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..70),
    ];
    prop::collection::vec((keys, values), 0..12).prop_map(|lines| {
        lines
            .into_iter()
            .flat_map(|(key, value)| [key.as_bytes(), &value, b"\n"].concat())
            .collect()
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(text in any_text()) {
        let _ = status(&text);
        let mut lines = Lines::default();
        for line in text.split(|byte| *byte == b'\n') {
            let _ = lines.line(line, &mut |_| {});
        }
        lines.finish(&mut |_| {});
    }
}
