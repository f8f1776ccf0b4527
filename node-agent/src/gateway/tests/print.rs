//! Whatever the agent holds may be printed by mistake: where a client is, when it spoke and how much, public keys and
//! tunnel addresses are not in it.

use std::fmt::Write as _;

use super::*;

/// When the client shakes hands: seconds on the wall clock, of which the first digits are found in any unit.
const SHAKEN: i64 = 1_764_021_377;

#[tokio::test]
async fn what_a_gateway_holds_of_clients_does_not_print() {
    let mut bed = Bed::new(1);
    bed.ahead = SHAKEN - 7_654_320;
    // It is between two ticks, whose own times may print.
    bed.boot = 7_654_301;
    let mut printed = String::new();
    for _ in 0..20 {
        if (7_654_322..7_654_325).contains(&bed.boot) {
            let endpoint = Endpoint::new("192.0.2.1:4711".parse().unwrap());
            let handshake = WallTime {
                seconds: SHAKEN,
                nanoseconds: 0,
            };
            bed.kernel.handshake(NAME, &key(1), endpoint, handshake);
        }
        bed.begin(3).await;
        // What there is in the middle of a look, too.
        for _ in 0..4 {
            bed.calls_of_step().await;
            write!(printed, "{:?} {:?}", bed.gateway, bed.desired.lock()).unwrap();
        }
        bed.until_idle().await;
        write!(printed, "{:#?} {:#?}", bed.gateway, bed.desired.lock()).unwrap();
    }
    assert!(printed.contains("Track(…)"), "nobody was there");
    for canary in ["192.0.2.1", "4711", "192, 0, 2", "3221225985"] {
        assert!(!printed.contains(canary), "{canary}: where a client is");
    }
    for canary in ["1764021377", "7654320"] {
        assert!(!printed.contains(canary), "{canary}: when it spoke");
    }
    let key = key(1).to_base64();
    for canary in [
        "10.64.0.2",
        "10, 64, 0, 2",
        "171966466",
        &key[..8],
        "1, 1, 1, 1, 1, 1, 1, 1",
    ] {
        assert!(!printed.contains(canary), "{canary}: who it is");
    }
}

#[test]
fn what_is_seen_and_asked_of_a_client_does_not_print() {
    use crate::ages::Age;
    use crate::observed::{Seen, Trace};

    let trace = Trace {
        located: true,
        handshake: Some(WallTime {
            seconds: SHAKEN,
            nanoseconds: 0,
        }),
        rx_bytes: 987_654_321,
    };
    let seen = Seen {
        public_key: &key(1),
        prefixes: &["10.64.0.2/32".parse().unwrap()],
        keeps_alive: false,
        has_preshared_key: false,
        trace: Some(trace),
    };
    let printed = format!(
        "{trace:?} {seen:?} {:?} {:?}",
        Age::Since(Duration::from_secs(179)),
        peer(1)
    );
    for canary in [
        "1764021377",
        "987654321",
        "true",
        "10.64.0.2",
        "179",
        &key(1).to_base64()[..8],
    ] {
        assert!(!printed.contains(canary), "{canary} in {printed}");
    }
}
