//! Whether a gateway still answers (pure).
//!
//! WireGuard answers everything within 10 s, be it with an empty packet, so who has sent data and hears nothing is not
//! heard: after 15 s it asks for a new handshake by itself, every 5 s. A gateway that has not answered for [`DEAF`] has
//! missed the first of those as well. Who sends nothing is told nothing, and need not be: nobody waits.
//!
//! What we send on our own is no question: the empty packet that says that something has arrived has 32 bytes.

use std::time::Duration;

/// After so long without an answer a gateway is given up: WireGuard's own 15 s, and one handshake's time.
pub const DEAF: Duration = Duration::from_secs(20);

/// Bytes of an empty packet, which nobody answers.
const EMPTY: u64 = 32;

/// What was heard of one gateway over one tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ear {
    received: u64,
    /// What had been sent when something was last heard.
    sent_then: u64,
    /// Since when a question is open.
    asked: Option<Duration>,
}

impl Ear {
    /// Takes in the counters of a look, and says whether the gateway is silent.
    pub fn listen(&mut self, now: Duration, received: u64, sent: u64) -> bool {
        if received != self.received || sent < self.sent_then {
            *self = Self {
                received,
                sent_then: sent,
                asked: None,
            };
            return false;
        }
        if sent - self.sent_then <= EMPTY {
            return false;
        }
        let asked = *self.asked.get_or_insert(now);
        now.saturating_sub(asked) >= DEAF
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_question_without_an_answer_makes_a_gateway_silent() {
        let mut ear = Ear::default();
        assert!(!ear.listen(at(0), 92, 148));
        assert!(!ear.listen(at(5), 92, 148 + 128));
        assert!(!ear.listen(at(24), 92, 148 + 500));
        assert!(ear.listen(at(25), 92, 148 + 500));
        // An answer settles it.
        assert!(!ear.listen(at(26), 92 + 32, 148 + 500));
        assert!(!ear.listen(at(90), 92 + 32, 148 + 500));
    }

    #[test]
    fn an_empty_packet_is_no_question() {
        let mut ear = Ear::default();
        ear.listen(at(0), 1_000, 500);
        ear.listen(at(10), 1_000, 500 + EMPTY);
        assert!(!ear.listen(at(1_000), 1_000, 500 + EMPTY));
    }

    #[test]
    fn a_peer_that_was_made_anew_begins_anew() {
        let mut ear = Ear::default();
        ear.listen(at(0), 0, 148);
        ear.listen(at(1), 0, 600);
        assert!(!ear.listen(at(60), 0, 0));
    }

    proptest! {
        #[test]
        fn who_is_heard_within_the_time_is_never_silent(gaps in proptest::collection::vec(1_u64..20, 1..50)) {
            let (mut ear, mut now, mut received, mut sent) = (Ear::default(), 0, 0, 0);
            for gap in gaps {
                sent += 100;
                prop_assert!(!ear.listen(at(now), received, sent));
                now += gap;
                received += 32;
                prop_assert!(!ear.listen(at(now), received, sent));
            }
        }
    }
}
