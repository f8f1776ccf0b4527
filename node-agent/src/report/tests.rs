use super::*;

fn report(applied: Option<u64>, news: u64) -> Report {
    Report {
        name: "gw.a".into(),
        generation: 1,
        endpoint: Some("[2001:db8::1]:51820".into()),
        listen_port: Some(51820),
        backend: Backend::Userspace,
        state: State {
            session: "s".into(),
            public_key: None,
            applied,
            pools: Vec::new(),
            refused: None,
            drained: false,
            purged: 2,
            failure: None,
        },
        nodes: 1,
        news,
    }
}

fn status_of(report: &Report, privacy: Finding) -> GatewayNodeStatus {
    status(report, privacy, &[], Timestamp::UNIX_EPOCH)
}

fn degraded(status: &GatewayNodeStatus) -> Option<(&str, &str)> {
    let kind = ConditionType::PrivacyDegraded.as_str();
    let found = status.conditions.iter().find(|c| c.type_ == kind);
    found.map(|c| (c.status.as_str(), c.reason.as_str()))
}

#[test]
fn a_watermark_that_moves_without_news_is_not_reported_at_once() {
    assert!(!report(Some(9), 5).is_news(&report(Some(8), 5)));
    assert!(report(Some(9), 9).is_news(&report(Some(8), 5)));
    assert!(report(Some(9), 5).is_news(&report(None, 5)));
}

#[test]
fn what_is_asked_for_and_done_is_reported_at_once() {
    let mut purged = report(Some(8), 5);
    purged.state.purged = 3;
    assert!(purged.is_news(&report(Some(8), 5)));
    let mut grown = report(Some(8), 5);
    grown.nodes = 40;
    assert!(
        !grown.is_news(&report(Some(8), 5)),
        "another node is nobody's news"
    );
}

#[test]
fn the_pause_grows_with_the_nodes() {
    let pause = |nodes| {
        Report {
            nodes,
            ..report(None, 0)
        }
        .pause()
    };
    for (nodes, milliseconds) in [(0, 200), (1, 200), (40, 200), (41, 205), (200, 1_000)] {
        assert_eq!(pause(nodes), Duration::from_millis(milliseconds), "{nodes}");
    }
}

#[test]
fn a_gateway_that_has_not_caught_up_is_not_ready() {
    let status = status_of(&report(None, 0), Finding::Unknown);
    assert_eq!(status.applied_resource_version, None);
    assert_eq!(status.backend, Some(Backend::Userspace));
    assert_eq!(status.purged_generation, Some(2));
    assert_eq!(status.conditions.len(), 2);
    assert!(
        status
            .conditions
            .iter()
            .all(|c| c.status == "False" && c.reason == "Pending")
    );
}

#[test]
fn a_gateway_without_room_says_so_and_keeps_its_watermark() {
    let mut full = report(Some(9), 5);
    full.state.failure = Some(Reason::TooManyPeers);
    let status = status_of(&full, Finding::Nothing);
    assert_eq!(status.applied_resource_version.as_deref(), Some("9"));
    let of = |kind: ConditionType| status.conditions.iter().find(|c| c.type_ == kind.as_str());
    for kind in [ConditionType::Programmed, ConditionType::Ready] {
        let condition = of(kind).unwrap();
        assert_eq!(
            (condition.status.as_str(), condition.reason.as_str()),
            ("False", "TooManyPeers")
        );
    }
}

#[test]
fn what_the_node_writes_down_is_said_and_turns_nobody_away() {
    let report = report(Some(9), 5);
    let swapping = status_of(&report, Finding::Degraded(Reason::PlainSwap));
    assert_eq!(degraded(&swapping), Some(("True", "PlainSwap")));
    let ready = swapping.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(ready.status, "True");
    assert_eq!(
        degraded(&status_of(&report, Finding::Nothing)),
        Some(("False", "NothingFound"))
    );
    assert_eq!(degraded(&status_of(&report, Finding::Unknown)), None);
}
