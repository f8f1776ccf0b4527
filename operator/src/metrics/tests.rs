use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use culvert_crds::Reason;

use super::*;
use crate::execute::retry::Failure;

/// What the operator would tell when it holds `keys` keys in `pools`.
fn told(metrics: &Metrics, keys: usize, pools: &[&str]) {
    for n in 0..keys {
        metrics.count_step(StepKind::CreateClaim, StepResult::Ok);
        metrics.count_step(StepKind::PublishKey, StepResult::from(&Failure::Conflict));
        metrics.observe_allocation(Duration::from_millis(u64::try_from(n).unwrap()));
    }
    metrics.count_watch_failure(Kind::Claim);
    metrics.set_queue(keys, 1);
    metrics.set_leading(true);
    metrics.set_ranges_left_out(keys);
    metrics.set_oldest_unapplied(Duration::from_millis(1500));
    metrics.set_keys(&BTreeMap::from([(Reason::Ready, keys)]));
    metrics.set_keys_expiring(&BTreeMap::from([(Expires::Never, keys)]));
    let figures = |name: &&str| {
        let figures = PoolFigures {
            allocated: keys.try_into().unwrap(),
            free: 1 << 50,
            serving: 1,
            expected: 2,
        };
        ((*name).to_owned(), figures)
    };
    metrics.set_pools(&pools.iter().map(figures).collect());
}

/// Names and labels of all series.
fn series(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
        .collect()
}

/// How many series each metric has.
fn counts(text: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for series in series(text) {
        let name = series.split('{').next().unwrap().to_owned();
        *counts.entry(name).or_default() += 1;
    }
    counts
}

#[test]
fn number_of_series_does_not_depend_on_the_number_of_keys() {
    let one = Metrics::new("1.2.3");
    told(&one, 1, &["default"]);
    let thousand = Metrics::new("1.2.3");
    told(&thousand, 1000, &["default"]);
    let text = one.encode().unwrap();
    assert_eq!(series(&text), series(&thousand.encode().unwrap()));
    let expected = [
        ("culvert_build_info", 1),
        ("culvert_keys", 17),
        ("culvert_keys_expiring", 6),
        ("culvert_operator_allocation_seconds_bucket", 14),
        ("culvert_operator_allocation_seconds_count", 1),
        ("culvert_operator_allocation_seconds_sum", 1),
        ("culvert_operator_cluster_ranges_left_out", 1),
        ("culvert_operator_leading", 1),
        ("culvert_operator_oldest_unapplied_seconds", 1),
        ("culvert_operator_queue_depth", 1),
        ("culvert_operator_steps_total", 13 * 7),
        ("culvert_operator_steps_under_way", 1),
        ("culvert_operator_watch_failures_total", 8),
        ("culvert_pool_addresses", 2),
        ("culvert_pool_gateways", 2),
    ];
    assert_eq!(
        counts(&text),
        expected.map(|(name, number)| (name.to_owned(), number)).into()
    );
}

#[test]
fn series_that_count_are_there_before_anything_happens() {
    let text = Metrics::new("1.2.3").encode().unwrap();
    for line in [
        r#"culvert_build_info{version="1.2.3"} 1"#,
        r#"culvert_operator_steps_total{step="prove_gone",result="not_found"} 0"#,
        r#"culvert_operator_watch_failures_total{kind="gateway_node"} 0"#,
        r#"culvert_keys{state="PoolExhausted"} 0"#,
        r#"culvert_keys_expiring{within="7d"} 0"#,
        "culvert_operator_leading 0",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
    assert!(!text.contains("pool="));
}

#[test]
fn values_are_those_that_were_set() {
    let metrics = Metrics::new("1.2.3");
    told(&metrics, 3, &["default"]);
    let text = metrics.encode().unwrap();
    for line in [
        r#"culvert_operator_steps_total{step="create_claim",result="ok"} 3"#,
        r#"culvert_operator_steps_total{step="publish_key",result="conflict"} 3"#,
        r#"culvert_operator_watch_failures_total{kind="claim"} 1"#,
        r#"culvert_keys{state="Ready"} 3"#,
        r#"culvert_keys_expiring{within="never"} 3"#,
        r#"culvert_pool_addresses{pool="default",state="allocated"} 3.0"#,
        r#"culvert_pool_addresses{pool="default",state="free"} 1125899906842624.0"#,
        r#"culvert_pool_gateways{pool="default",state="serving"} 1"#,
        r#"culvert_pool_gateways{pool="default",state="expected"} 2"#,
        "culvert_operator_queue_depth 3",
        "culvert_operator_steps_under_way 1",
        "culvert_operator_leading 1",
        "culvert_operator_cluster_ranges_left_out 3",
        "culvert_operator_oldest_unapplied_seconds 1.5",
        "culvert_operator_allocation_seconds_count 3",
        r#"culvert_operator_allocation_seconds_bucket{le="0.005"} 3"#,
        r#"culvert_operator_allocation_seconds_bucket{le="60.0"} 3"#,
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn pool_that_is_gone_has_no_series() {
    let metrics = Metrics::new("1.2.3");
    told(&metrics, 1, &["first", "second"]);
    assert_eq!(counts(&metrics.encode().unwrap())["culvert_pool_addresses"], 4);
    told(&metrics, 1, &["second", "third"]);
    let text = metrics.encode().unwrap();
    let has = |pool: &str| text.contains(&format!("pool=\"{pool}\""));
    assert!(!has("first") && has("second") && has("third"), "{text}");
    told(&metrics, 1, &[]);
    assert!(!metrics.encode().unwrap().contains("pool="));
}

#[test]
fn keys_that_change_their_state_leave_the_old_one() {
    let metrics = Metrics::new("1.2.3");
    metrics.set_keys(&BTreeMap::from([(Reason::Pending, 5), (Reason::Draining, 1)]));
    assert!(
        metrics
            .encode()
            .unwrap()
            .contains(r#"culvert_keys{state="Draining"} 1"#)
    );
    metrics.set_keys(&BTreeMap::from([(Reason::Ready, 5)]));
    let text = metrics.encode().unwrap();
    assert!(text.contains(r#"culvert_keys{state="Pending"} 0"#), "{text}");
    assert!(!text.contains("Draining"), "{text}");
    assert!(text.contains(r#"culvert_keys{state="Ready"} 5"#), "{text}");
}

#[test]
fn key_counts_where_its_time_is_left() {
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
    for (left, expected) in [
        (Some(Duration::ZERO), Expires::WithinHour),
        (hours(1), Expires::WithinHour),
        (hours(2), Expires::Within6Hours),
        (hours(24), Expires::WithinDay),
        (hours(25), Expires::WithinWeek),
        (hours(169), Expires::Later),
        (None, Expires::Never),
    ] {
        assert_eq!(Expires::of(left), expected, "{left:?}");
    }
}
