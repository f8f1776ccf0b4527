use culvert_crds::gateway_node::Refused;
use tokio::time::Instant;

use super::*;
use crate::apiserver::{Apiserver, NODES};
use crate::privacy::Look;

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
            egress: None,
            uplink_mtu: None,
        },
        nodes: 1,
        news,
    }
}

fn status_of(report: &Report, privacy: Finding) -> GatewayNodeStatus {
    status(report, privacy, &[], Timestamp::UNIX_EPOCH)
}

/// A node that swaps, and does what else this says.
fn swapping(also: Look) -> Finding {
    let look = Look {
        plain_swap: Some(true),
        ..also
    };
    look.finding()
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
    let alone = status_of(&report, swapping(Look::default()));
    assert_eq!(degraded(&alone), Some(("True", "PlainSwap")));
    let ready = alone.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(ready.status, "True");
    let both = Look {
        packet_sockets: Some(true),
        ..Look::default()
    };
    let both = status_of(&report, swapping(both));
    assert_eq!(degraded(&both), Some(("True", "PlainSwap")));
    let message = &both.conditions.last().unwrap().message;
    assert!(
        message.contains("PlainSwap: ") && message.contains("PacketSockets: "),
        "{message}"
    );
    assert_eq!(
        degraded(&status_of(&report, Finding::Nothing)),
        Some(("False", "NothingFound"))
    );
    assert_eq!(degraded(&status_of(&report, Finding::Unknown)), None);
}

#[test]
fn whoever_is_refused_is_said() {
    let mut report = report(Some(9), 5);
    let refused = Refused {
        uids: vec!["a".into()],
        count: 70,
    };
    report.state.refused = Some(refused.clone());
    assert_eq!(status_of(&report, Finding::Unknown).refused, Some(refused));
}

/// A gateway's node that is reported on, by a clock that stands still.
struct Desk {
    api: Apiserver,
    reports: watch::Sender<Option<Report>>,
    privacy: watch::Sender<Finding>,
}

impl Desk {
    /// Begins with a report, which is written at once.
    async fn open(first: Report) -> Self {
        let api = Apiserver::default();
        let gateway = json!({ "name": "gw", "uid": "one" });
        api.put(
            NODES,
            json!({
                "apiVersion": "culvert.dev/v1alpha1",
                "kind": "GatewayNode",
                "metadata": { "name": "gw.a", "uid": "two" },
                "spec": { "gatewayRef": gateway, "nodeName": "a" },
            }),
        );
        let (reports, receiver) = watch::channel(Some(first));
        let (privacy, findings) = watch::channel(Finding::Nothing);
        tokio::spawn(run(api.client(), "gw.a".into(), receiver, findings));
        let desk = Self {
            api,
            reports,
            privacy,
        };
        desk.pass(AT_ONCE).await;
        assert_eq!(desk.written().len(), 1);
        desk
    }

    async fn pass(&self, time: Duration) {
        sleep(time).await;
    }

    fn hand_in(&self, report: Report) {
        self.reports.send_replace(Some(report));
    }

    /// When each report was written.
    fn written(&self) -> Vec<Instant> {
        let asked = self.api.asked();
        let written = asked.iter().filter(|asked| asked.method == http::Method::PUT);
        written.map(|asked| asked.at).collect()
    }

    /// The times between two reports.
    fn gaps(&self) -> Vec<Duration> {
        self.written()
            .windows(2)
            .map(|two| two[1].duration_since(two[0]))
            .collect()
    }
}

/// More than timers are wrong by, and less than any pause.
const AT_ONCE: Duration = Duration::from_millis(20);

#[tokio::test(start_paused = true)]
async fn news_is_written_at_once_where_nothing_was_before() {
    let desk = Desk::open(report(Some(8), 5)).await;
    for seconds in [1, 10, 20] {
        desk.pass(Duration::from_secs(seconds)).await;
        let before = desk.written().len();
        desk.hand_in(report(Some(9), 5 + seconds));
        desk.pass(AT_ONCE).await;
        assert_eq!(desk.written().len(), before + 1, "{seconds}");
    }
    desk.pass(Duration::from_secs(1)).await;
    let before = desk.written().len();
    desk.privacy.send_replace(swapping(Look::default()));
    desk.pass(AT_ONCE).await;
    assert_eq!(desk.written().len(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn news_after_news_waits_for_the_pause() {
    for (nodes, pause) in [(1, 200), (200, 1_000)] {
        let with = |news| Report {
            nodes,
            ..report(Some(8), news)
        };
        let desk = Desk::open(with(5)).await;
        for news in 6..1_000 {
            desk.hand_in(with(news));
            desk.pass(Duration::from_millis(10)).await;
        }
        let pause = Duration::from_millis(pause);
        let gaps = desk.gaps();
        assert!(gaps.len() > 8);
        for gap in gaps {
            assert!((pause..pause + AT_ONCE).contains(&gap), "{gap:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_without_news_is_renewed_within_33_seconds_each_time_after_another_time() {
    for nodes in [1, 200] {
        let with = |applied| Report {
            nodes,
            ..report(Some(applied), 5)
        };
        let desk = Desk::open(with(8)).await;
        // The watermark moves all the time, and nobody waits for it.
        for second in 0..3_000 {
            desk.hand_in(with(8 + second));
            desk.pass(Duration::from_secs(1)).await;
        }
        let gaps = desk.gaps();
        let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
        assert!(*least >= Duration::from_secs(27), "{least:?}");
        assert!(*most <= Duration::from_secs(33) + AT_ONCE, "{most:?}");
        // Nodes that began together do not stay together.
        assert!(
            most.abs_diff(*least) > Duration::from_secs(3),
            "{least:?} to {most:?}"
        );
    }
}
