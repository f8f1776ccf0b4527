use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};

use super::*;

mod history;

const ALICE: &str = "alice";
const BOB: &str = "bob";

fn candidate(identity: &str) -> Candidate {
    Candidate::new("culvert-operator".to_owned(), identity.to_owned())
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_millis(millis(seconds))
}

/// Whole milliseconds, so that sums come out even.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small and positive"
)]
fn millis(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

fn at(mono: f64) -> Now {
    Now {
        mono: seconds(mono),
        wall: Timestamp::UNIX_EPOCH + Duration::from_secs(1_000_000) + seconds(mono),
    }
}

/// A request of no length.
fn exchange(time: f64) -> Exchange {
    between(time, time)
}

fn between(sent: f64, received: f64) -> Exchange {
    Exchange {
        sent: seconds(sent),
        received: seconds(received),
        pace: 1.0,
    }
}

/// What somebody else has, renewed for the `n`-th time.
fn held_by(identity: &str, n: i64) -> Lease {
    let mut lease = Lease::default();
    lease.metadata.resource_version = Some((100 + n).to_string());
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(10),
        renew_time: Timestamp::from_second(n).ok().map(MicroTime),
        acquire_time: Timestamp::from_second(0).ok().map(MicroTime),
        lease_transitions: Some(3),
        ..LeaseSpec::default()
    });
    lease
}

/// What a write asks for.
fn asked(act: &Act) -> &Lease {
    match act {
        Act::Create(lease) | Act::Replace(lease) => lease,
        other => panic!("{other:?} is no write"),
    }
}

fn spec(act: &Act) -> &LeaseSpec {
    asked(act).spec.as_ref().unwrap()
}

/// The version that a write replaces.
fn replaced(act: &Act) -> Option<&str> {
    asked(act).metadata.resource_version.as_deref()
}

/// What a write asks for, as the apiserver gives it back.
fn stored(act: &Act, version: u64) -> Lease {
    let mut lease = asked(act).clone();
    lease.metadata.resource_version = Some(version.to_string());
    lease
}

/// Alice, who leads since second 0.
fn leader() -> Candidate {
    let mut alice = candidate(ALICE);
    alice.learn(Reply::Absent, exchange(0.0));
    let act = alice.act(at(0.0));
    alice.learn(Reply::Written(stored(&act, 1)), exchange(0.0));
    assert!(alice.leads(seconds(0.0)));
    alice
}

#[test]
fn figures_fit_each_other() {
    assert_eq!(LEASE_DURATION.as_secs(), u64::from(LEASE_SECONDS.unsigned_abs()));
    assert!(RENEW_DEADLINE < LEASE_DURATION);
    assert!(
        RETRY_PERIOD + REQUEST_TIMEOUT < RENEW_DEADLINE,
        "one request without an answer costs the lease"
    );
}

#[test]
fn first_act_is_to_look() {
    assert_eq!(candidate(ALICE).act(at(0.0)), Act::Look);
    assert!(!candidate(ALICE).leads(Duration::ZERO));
}

#[test]
fn absent_lease_is_created() {
    let mut alice = candidate(ALICE);
    alice.learn(Reply::Absent, exchange(0.0));
    let act = alice.act(at(0.0));
    assert!(matches!(act, Act::Create(_)));
    assert_eq!(asked(&act).metadata.name.as_deref(), Some("culvert-operator"));
    let spec = spec(&act);
    assert_eq!(spec.holder_identity.as_deref(), Some(ALICE));
    assert_eq!(spec.lease_duration_seconds, Some(10));
    assert_eq!(spec.lease_transitions, Some(0));
    assert_eq!(spec.acquire_time, Some(MicroTime(at(0.0).wall)));
    assert_eq!(spec.renew_time, spec.acquire_time);
}

#[test]
fn who_creates_second_looks_again_and_stands_by() {
    let mut bob = candidate(BOB);
    bob.learn(Reply::Absent, exchange(0.0));
    assert!(matches!(bob.act(at(0.0)), Act::Create(_)));
    bob.learn(Reply::Outdated, exchange(0.1));
    assert_eq!(bob.act(at(0.1)), Act::Wait(seconds(1.1)));
    assert_eq!(bob.act(at(1.1)), Act::Look);
    bob.learn(Reply::Found(held_by(ALICE, 0)), exchange(1.1));
    assert!(!bob.leads(seconds(1.1)));
    assert_eq!(bob.act(at(1.1)), Act::Wait(seconds(2.1)));
}

#[test]
fn holder_renews_what_it_wrote_and_keeps_its_beginning() {
    let alice = leader();
    assert_eq!(alice.act(at(0.5)), Act::Wait(seconds(2.0)));
    let act = alice.act(at(2.0));
    assert!(matches!(act, Act::Replace(_)));
    assert_eq!(replaced(&act), Some("1"));
    let spec = spec(&act);
    assert_eq!(spec.acquire_time, Some(MicroTime(at(0.0).wall)));
    assert_eq!(spec.renew_time, Some(MicroTime(at(2.0).wall)));
    assert_eq!(spec.lease_transitions, Some(0));
}

#[test]
fn deadline_counts_from_before_the_request() {
    let mut alice = leader();
    alice.learn(Reply::Written(held_by(ALICE, 1)), between(2.0, 4.5));
    assert!(alice.leads(seconds(8.9)));
    assert!(!alice.leads(seconds(9.0)));
    // A slow apiserver delays no renewal.
    assert!(matches!(alice.act(at(4.5)), Act::Replace(_)));
}

#[test]
fn lease_of_another_is_taken_when_it_stood_still_for_its_duration() {
    let mut bob = candidate(BOB);
    for second in 0..10 {
        bob.learn(Reply::Found(held_by(ALICE, 5)), exchange(f64::from(second)));
        assert!(matches!(bob.act(at(f64::from(second))), Act::Wait(_)), "{second}");
    }
    assert_eq!(bob.act(at(10.0)), Act::Look);
    bob.learn(Reply::Found(held_by(ALICE, 5)), exchange(10.0));
    let act = bob.act(at(10.0));
    assert_eq!(replaced(&act), Some("105"));
    assert_eq!(spec(&act).holder_identity.as_deref(), Some(BOB));
    assert_eq!(spec(&act).lease_transitions, Some(4));
    assert_eq!(spec(&act).acquire_time, Some(MicroTime(at(10.0).wall)));
    assert!(!bob.leads(seconds(10.0)), "leads before its write is answered");
}

#[test]
fn standby_looks_when_the_lease_runs_out_and_not_a_pause_later() {
    let mut bob = candidate(BOB);
    bob.learn(Reply::Found(held_by(ALICE, 5)), exchange(0.0));
    bob.learn(Reply::Found(held_by(ALICE, 5)), exchange(9.4));
    assert_eq!(bob.act(at(9.4)), Act::Wait(seconds(10.0)));
}

#[test]
fn renewed_lease_of_another_is_never_taken() {
    let mut bob = candidate(BOB);
    for second in 0..100 {
        let renewed = held_by(ALICE, i64::from(second) / 9);
        bob.learn(Reply::Found(renewed), exchange(f64::from(second)));
        assert!(matches!(bob.act(at(f64::from(second))), Act::Wait(_)), "{second}");
    }
}

#[test]
fn wall_clocks_are_not_compared() {
    // Renewed a year ago by its own time, and a year ahead: only standing still counts.
    for skew in [-31_536_000, 31_536_000] {
        let mut bob = candidate(BOB);
        bob.learn(Reply::Found(held_by(ALICE, skew)), exchange(0.0));
        assert!(matches!(bob.act(at(0.0)), Act::Wait(_)));
        bob.learn(Reply::Found(held_by(ALICE, skew + 2)), exchange(9.9));
        bob.learn(Reply::Found(held_by(ALICE, skew + 2)), exchange(19.8));
        assert!(matches!(bob.act(at(19.8)), Act::Wait(_)));
        bob.learn(Reply::Found(held_by(ALICE, skew + 2)), exchange(19.9));
        assert!(matches!(bob.act(at(19.9)), Act::Replace(_)));
    }
}

#[test]
fn annotation_is_no_sign_of_life() {
    let mut bob = candidate(BOB);
    bob.learn(Reply::Found(held_by(ALICE, 5)), exchange(0.0));
    let mut touched = held_by(ALICE, 5);
    touched.metadata.resource_version = Some("777".to_owned());
    bob.learn(Reply::Found(touched), exchange(10.0));
    assert_eq!(
        replaced(&bob.act(at(10.0))),
        Some("777"),
        "not what was just read"
    );
}

#[test]
fn released_lease_is_taken_at_once() {
    for nobody in [None, Some(String::new())] {
        let mut bob = candidate(BOB);
        bob.learn(Reply::Found(held_by(ALICE, 5)), exchange(0.0));
        let mut lease = held_by(ALICE, 6);
        lease.spec.as_mut().unwrap().holder_identity = nobody;
        bob.learn(Reply::Found(lease), exchange(1.0));
        assert!(matches!(bob.act(at(1.0)), Act::Replace(_)));
    }
}

#[test]
fn recorded_duration_counts_within_bounds() {
    for (recorded, free) in [(1, 10.0), (-5, 10.0), (15, 15.0), (i32::MAX, 60.0)] {
        let mut lease = held_by(ALICE, 5);
        lease.spec.as_mut().unwrap().lease_duration_seconds = Some(recorded);
        let mut bob = candidate(BOB);
        bob.learn(Reply::Found(lease.clone()), exchange(0.0));
        bob.learn(Reply::Found(lease.clone()), exchange(free - 0.1));
        assert!(matches!(bob.act(at(free - 0.1)), Act::Wait(_)), "{recorded}");
        bob.learn(Reply::Found(lease), exchange(free));
        assert!(matches!(bob.act(at(free)), Act::Replace(_)), "{recorded}");
    }
}

#[test]
fn holder_that_cannot_renew_is_out_before_anybody_else_is_in() {
    let mut alice = leader();
    let mut tries = 0;
    let mut time = seconds(2.0);
    let now = |mono| Now { mono, ..at(0.0) };
    while time < seconds(7.0) {
        assert!(alice.leads(time));
        if let Act::Wait(until) = alice.act(now(time)) {
            assert!(until <= seconds(7.0), "sleeps through its deadline");
            time = until;
        } else {
            tries += 1;
            let exchange = Exchange {
                sent: time,
                received: time,
                pace: 1.0,
            };
            alice.learn(Reply::Failed, exchange);
        }
    }
    assert_eq!(tries, 5);
    assert!(!alice.leads(seconds(7.0)));
    assert_eq!(alice.act(at(8.0)), Act::Look, "a write after the deadline");
}

#[test]
fn holder_frozen_past_its_deadline_leads_no_more_and_looks_before_it_writes() {
    let alice = leader();
    let renewal = alice.act(at(2.0));
    assert!(!alice.leads(seconds(7.0)) && !alice.leads(seconds(3600.0)));
    assert_eq!(alice.act(at(3600.0)), Act::Look);
    // Nobody took it meanwhile: it is still its own.
    let mut again = alice.clone();
    again.learn(Reply::Found(stored(&renewal, 1)), exchange(3600.0));
    assert!(!again.leads(seconds(3600.0)));
    let act = again.act(at(3600.0));
    assert_eq!(spec(&act).lease_transitions, Some(0));
    again.learn(Reply::Written(stored(&act, 2)), exchange(3600.0));
    assert!(again.leads(seconds(3600.0)));
    // Somebody did.
    let mut out = alice;
    out.learn(Reply::Found(held_by(BOB, 1)), exchange(3600.0));
    assert!(matches!(out.act(at(3600.0)), Act::Wait(_)));
    assert!(!out.leads(seconds(3600.0)));
}

#[test]
fn reply_that_comes_after_the_deadline_makes_no_leader() {
    let mut alice = leader();
    alice.learn(Reply::Written(held_by(ALICE, 1)), between(2.0, 9.5));
    assert!(!alice.leads(seconds(9.5)));
    assert_eq!(alice.act(at(9.5)), Act::Look);
}

#[test]
fn renewal_whose_reply_was_lost_costs_no_leadership() {
    let mut alice = leader();
    let renewal = alice.act(at(2.0));
    alice.learn(Reply::Unclear, between(2.0, 5.0));
    assert_eq!(
        replaced(&alice.act(at(5.0))),
        Some("1"),
        "the deadline is near: look later"
    );
    alice.learn(Reply::Outdated, exchange(5.0));
    assert_eq!(alice.act(at(5.0)), Act::Look);
    assert!(alice.leads(seconds(5.0)));
    alice.learn(Reply::Found(stored(&renewal, 2)), exchange(5.0));
    let act = alice.act(at(5.0));
    assert_eq!(replaced(&act), Some("2"));
    alice.learn(Reply::Written(stored(&act, 3)), exchange(5.0));
    assert!(alice.leads(seconds(11.9)));
}

#[test]
fn takeover_whose_reply_was_lost_is_found_out() {
    let mut bob = candidate(BOB);
    bob.learn(Reply::Absent, exchange(0.0));
    let act = bob.act(at(0.0));
    bob.learn(Reply::Unclear, between(0.0, 3.0));
    assert!(!bob.leads(seconds(3.0)), "an unanswered write makes no leader");
    assert_eq!(bob.act(at(3.0)), Act::Look);
    bob.learn(Reply::Found(stored(&act, 1)), exchange(3.0));
    let again = bob.act(at(3.0));
    assert!(matches!(again, Act::Replace(_)));
    bob.learn(Reply::Written(stored(&again, 2)), exchange(3.0));
    assert!(bob.leads(seconds(3.0)));
}

#[test]
fn deposed_holder_stops_at_once() {
    let mut alice = leader();
    alice.learn(Reply::Outdated, exchange(2.0));
    assert_eq!(alice.act(at(2.0)), Act::Look);
    alice.learn(Reply::Found(held_by(BOB, 1)), exchange(2.1));
    assert!(!alice.leads(seconds(2.1)));
    assert_eq!(alice.act(at(2.1)), Act::Wait(seconds(3.1)));
}

#[test]
fn deleted_lease_has_no_holder() {
    let mut alice = leader();
    alice.learn(Reply::Outdated, exchange(2.0));
    alice.learn(Reply::Absent, exchange(2.1));
    assert!(!alice.leads(seconds(2.1)), "another may create it at this moment");
    assert!(matches!(alice.act(at(2.1)), Act::Create(_)));
}

#[test]
fn endless_conflict_is_not_answered_without_a_pause() {
    let mut alice = leader();
    let mut requests = 0;
    let mut now = at(2.0);
    while now.mono < seconds(12.0) {
        let act = alice.act(now);
        if let Act::Wait(until) = act {
            now.mono = until;
            continue;
        }
        requests += 1;
        let reply = if act == Act::Look {
            Reply::Found(held_by(ALICE, requests))
        } else {
            Reply::Outdated
        };
        let exchange = Exchange {
            sent: now.mono,
            received: now.mono,
            pace: 1.0,
        };
        alice.learn(reply, exchange);
    }
    assert!(requests <= 24, "{requests} requests in 10 s");
}

#[test]
fn requests_end_at_the_deadline() {
    let alice = leader();
    assert_eq!(alice.patience(seconds(2.0)), REQUEST_TIMEOUT);
    assert_eq!(alice.patience(seconds(5.5)), seconds(1.5));
    assert_eq!(alice.patience(seconds(7.0)), REQUEST_TIMEOUT);
    assert_eq!(candidate(BOB).patience(seconds(0.0)), REQUEST_TIMEOUT);
}

#[test]
fn who_leaves_leads_no_more_and_gives_the_lease_up() {
    let mut alice = leader();
    alice.leave(seconds(1.0));
    assert!(!alice.leads(seconds(1.0)));
    let act = alice.act(at(1.0));
    assert_eq!(replaced(&act), Some("1"));
    let spec = spec(&act);
    assert_eq!(spec.holder_identity.as_deref().unwrap_or_default(), "");
    assert_eq!(spec.lease_duration_seconds, Some(1));
    assert_eq!(spec.lease_transitions, Some(0));
    assert_eq!(spec.renew_time, Some(MicroTime(at(1.0).wall)));
    alice.learn(Reply::Written(stored(&act, 2)), exchange(1.0));
    assert!(!alice.leads(seconds(1.0)));
    assert_eq!(alice.act(at(1.0)), Act::Leave);
}

#[test]
fn who_leaves_without_the_lease_writes_nothing() {
    let mut bob = candidate(BOB);
    bob.learn(Reply::Found(held_by(ALICE, 5)), exchange(0.0));
    bob.leave(seconds(0.5));
    assert_eq!(bob.act(at(0.5)), Act::Leave);
    let mut new = candidate(BOB);
    new.leave(seconds(0.0));
    assert_eq!(new.act(at(0.0)), Act::Leave);
}

#[test]
fn who_leaves_after_an_unanswered_takeover_finds_out_what_it_has() {
    let mut bob = candidate(BOB);
    bob.learn(Reply::Absent, exchange(0.0));
    let taken = bob.act(at(0.0));
    bob.learn(Reply::Unclear, exchange(0.0));
    bob.leave(seconds(0.1));
    assert_eq!(bob.act(at(0.1)), Act::Look);
    bob.learn(Reply::Found(stored(&taken, 1)), exchange(0.1));
    assert_eq!(spec(&bob.act(at(0.1))).lease_duration_seconds, Some(1));
}

#[test]
fn who_leaves_after_an_unanswered_renewal_gives_up_what_it_has() {
    let mut alice = leader();
    let renewed = alice.act(at(2.0));
    alice.learn(Reply::Unclear, exchange(2.0));
    alice.leave(seconds(2.1));
    assert_eq!(spec(&alice.act(at(2.1))).lease_duration_seconds, Some(1));
    alice.learn(Reply::Outdated, exchange(2.1));
    assert_eq!(alice.act(at(2.1)), Act::Look);
    alice.learn(Reply::Found(stored(&renewed, 2)), exchange(2.1));
    let release = alice.act(at(2.1));
    assert_eq!(replaced(&release), Some("2"));
    assert_eq!(spec(&release).lease_duration_seconds, Some(1));
    // That one is not answered either, and somebody has the lease.
    alice.learn(Reply::Unclear, exchange(2.2));
    assert_eq!(alice.act(at(3.2)), Act::Look);
    alice.learn(Reply::Found(held_by(BOB, 1)), exchange(3.2));
    assert_eq!(alice.act(at(3.2)), Act::Leave);
}
