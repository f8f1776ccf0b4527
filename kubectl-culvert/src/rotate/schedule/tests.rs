use super::*;
use proptest::prelude::*;

fn every() -> impl Strategy<Value = Every> {
    (86_400_u64..=2_592_000).prop_map(|seconds| Every::new(Duration::from_secs(seconds)).unwrap())
}

fn time() -> impl Strategy<Value = Duration> {
    (0_u64..4_000_000_000).prop_map(Duration::from_millis)
}

#[test]
fn a_rhythm_is_one_to_thirty_days() {
    for text in ["24h", "1d", "30d", "720h", "36h"] {
        assert!(Every::parse(text).is_ok(), "{text}");
    }
    for text in ["23h59m59s", "30d1s", "0s", "721h"] {
        assert_eq!(Every::parse(text), Err(BadEvery::Range), "{text}");
    }
    assert!(matches!(Every::parse("daily"), Err(BadEvery::Text(_))));
    assert_eq!(Every::DEFAULT.duration(), DAY);
}

#[test]
fn failures_are_tried_again_after_five_minutes_more_each_time() {
    let mut table = Timetable::start(Every::DEFAULT, DAY, None, DAY, 0);
    let mut pauses = Vec::new();
    for _ in 0..14 {
        let now = table.due();
        table.failed(now, 0);
        pauses.push(table.due().abs_diff(now).as_secs() / 60);
    }
    assert_eq!(pauses, [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 60, 60]);
    table.succeeded(table.due(), None, 0);
    assert_eq!(table.failures(), 0);
}

#[test]
fn a_sleep_over_three_rotations_is_followed_by_one() {
    let mut table = Timetable::start(Every::DEFAULT, Duration::ZERO, None, Duration::ZERO, 0);
    let woken = 3 * DAY + DAY / 2;
    assert!(table.due() <= woken);
    table.succeeded(woken, None, 0);
    assert_eq!(table.due(), woken + DAY);
}

proptest! {
    #[test]
    fn a_key_is_replaced_at_nine_tenths_to_all_of_the_time_that_was_asked_for(
        every in every(), now in time(), draw: u64
    ) {
        let mut table = Timetable::start(every, Duration::ZERO, None, Duration::ZERO, draw);
        table.succeeded(now, None, draw);
        prop_assert!(table.due() >= now);
        let pause = table.due().abs_diff(now);
        prop_assert!(pause <= every.duration());
        prop_assert!(pause + every.duration() / 10 >= every.duration());
    }

    #[test]
    fn a_key_is_replaced_before_it_ends(
        every in every(), age in time(), left in time(), now in time(), draw: u64
    ) {
        let table = Timetable::start(every, age, Some(left), now, draw);
        // Where nine tenths of its life are over, at once.
        prop_assert!(table.due() <= now + left);
        prop_assert!(table.due() >= now);
    }

    #[test]
    fn an_old_key_is_replaced_at_once(every in every(), more in time(), now in time(), draw: u64) {
        let table = Timetable::start(every, every.duration() + more, None, now, draw);
        prop_assert_eq!(table.due(), now);
    }

    #[test]
    fn a_pause_after_a_failure_is_five_to_sixty_six_minutes(
        failures in 1_u32..2_000, now in time(), draw: u64
    ) {
        let mut table = Timetable::start(Every::DEFAULT, DAY, None, Duration::ZERO, draw);
        for _ in 0..failures {
            table.failed(now, draw);
        }
        let pause = table.due().abs_diff(now);
        prop_assert!(pause >= 5 * MINUTE && pause <= 66 * MINUTE);
        prop_assert_eq!(table.failures(), failures);
    }

    #[test]
    fn chance_moves_a_rotation(every in every(), one: u64, other: u64) {
        prop_assume!(one.abs_diff(other) > u64::MAX / 1000);
        let of = |draw| Timetable::start(every, Duration::ZERO, None, Duration::ZERO, draw).due();
        prop_assert_ne!(of(one), of(other));
    }
}
