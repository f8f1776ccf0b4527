use super::*;

fn series(metrics: &Metrics) -> Vec<String> {
    let text = metrics.encode().unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    // Those of one name come in no order.
    let mut series: Vec<_> = lines
        .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
        .collect();
    series.sort_unstable();
    series
}

fn value(metrics: &Metrics, series: &str) -> String {
    let text = metrics.encode().unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{series} ")));
    line.unwrap_or_else(|| panic!("no {series} in {text}")).to_owned()
}

#[test]
fn what_depends_on_clients_is_told_in_tens() {
    let metrics = Metrics::new("1.2.3");
    let told = || value(&metrics, "culvert_agent_forgotten_total");
    for (number, total) in [(1, "0"), (8, "0"), (1, "10"), (19, "20"), (1, "30"), (100, "130")] {
        metrics.forgotten(number);
        assert_eq!(told(), total);
    }
    metrics.reinstated(9);
    metrics.met_activity(9);
    assert_eq!(value(&metrics, "culvert_agent_reinstated_total"), "0");
    assert_eq!(
        value(&metrics, "culvert_agent_reinstated_into_activity_total"),
        "0"
    );
}

#[test]
fn few_peers_are_told_as_none() {
    let metrics = Metrics::new("1.2.3");
    for (number, told) in [(0, "0"), (9, "0"), (10, "10"), (100_000, "100000")] {
        metrics.peers(number);
        assert_eq!(value(&metrics, "culvert_agent_peers"), told);
    }
}

#[test]
fn an_endpoint_that_is_kept_no_longer_than_it_may_be_is_not_told() {
    let metrics = Metrics::new("1.2.3");
    for (seconds, told) in [(0, "0"), (10, "0"), (11, "1"), (70, "60"), (3, "0")] {
        metrics.overdue(Duration::from_secs(seconds));
        assert_eq!(value(&metrics, "culvert_agent_overdue_seconds"), told);
    }
}

#[test]
fn the_number_of_series_is_the_same_whatever_happens() {
    let quiet = Metrics::new("1.2.3");
    let busy = Metrics::new("1.2.3");
    for number in 0..1_000 {
        busy.peers(number);
        busy.forgotten(number);
        busy.reinstated(number);
        busy.met_activity(number);
        busy.looked(number % 2 == 0, Duration::from_millis(1));
        busy.acknowledged(Duration::from_micros(300));
        busy.overdue(Duration::from_secs(100));
        Drift::ALL.into_iter().for_each(|drift| busy.repaired(drift));
        Watched::ALL.into_iter().for_each(|kind| busy.watch_failed(kind));
        busy.privacy(Look {
            core_dumps: Some(true),
            ..Look::default()
        });
    }
    assert_eq!(series(&quiet), series(&busy));
}

#[test]
fn drift_is_counted_by_its_kind() {
    let metrics = Metrics::new("1.2.3");
    metrics.repaired(Drift::PeerMissing);
    metrics.repaired(Drift::PeerMissing);
    let of = |kind| {
        value(
            &metrics,
            &format!("culvert_agent_repaired_total{{drift=\"{kind}\"}}"),
        )
    };
    assert_eq!(of("peer_missing"), "2");
    assert_eq!(of("peer_surplus"), "0");
}

#[test]
fn what_degrades_privacy_is_told_by_its_cause() {
    let metrics = Metrics::new("1.2.3");
    let of = |series: &str, cause: Reason| {
        let cause = cause.as_str();
        value(
            &metrics,
            &format!("culvert_agent_privacy_{series}{{cause=\"{cause}\"}}"),
        )
    };
    let told = || {
        Look::default()
            .causes()
            .map(|(_, cause)| (cause, of("degraded", cause), of("unknown", cause)))
    };
    // Before the first look nothing is known, which is not fine.
    assert!(
        told()
            .iter()
            .all(|(_, found, unknown)| found == "0" && unknown == "1")
    );
    let look = Look {
        debug_messages: Some(false),
        core_dumps: Some(true),
        ..Look::default()
    };
    for again in [false, true] {
        metrics.privacy(look);
        for (cause, found, unknown) in told() {
            let expected = match cause {
                Reason::DebugMessages => ("0", "0"),
                Reason::CoreDumps => ("1", "0"),
                _ => ("0", "1"),
            };
            assert_eq!((found.as_str(), unknown.as_str()), expected, "{cause:?} {again}");
        }
    }
    metrics.privacy(Look {
        core_dumps: Some(false),
        ..look
    });
    assert_eq!(of("degraded", Reason::CoreDumps), "0");
}
