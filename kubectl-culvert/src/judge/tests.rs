//! One test a planted fault: a cluster that is well, and one thing changed.

use super::*;
use culvert_crds::conditions::condition;
use culvert_crds::{
    GatewayNodeSpec, GatewayNodeStatus, GatewayRef, IPPool, IPPoolSpec, NameRef, WireGuardGatewaySpec,
    admission, crds,
};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, MicroTime, Time};
use serde_json::json;

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn said(kind: ConditionType, status: bool, reason: Reason) -> Condition {
    condition(kind, status, reason, 1, &Time(now()), &[])
}

fn pool() -> IPPool {
    let spec: IPPoolSpec = serde_json::from_value(json!({ "ipv4": { "cidr": "10.64.0.0/11" } })).unwrap();
    let mut pool = IPPool::new("default", spec);
    pool.metadata.generation = Some(1);
    pool.status = serde_json::from_value(json!({ "observedGeneration": 1 })).unwrap();
    pool
}

fn gateway() -> WireGuardGateway {
    let spec: WireGuardGatewaySpec = serde_json::from_value(
        json!({ "poolRefs": [{ "name": "default" }], "nodeSelector": { "edge": "true" } }),
    )
    .unwrap();
    let mut gateway = WireGuardGateway::new("default", spec);
    gateway.metadata.uid = Some("g".to_owned());
    gateway
}

fn on_node() -> GatewayNode {
    let spec = GatewayNodeSpec {
        gateway_ref: GatewayRef {
            name: "default".to_owned(),
            uid: "g".to_owned(),
        },
        node_name: "edge-1".to_owned(),
        endpoint_host: None,
        drain: false,
        purge_generation: 0,
    };
    let mut node = GatewayNode::new("default.edge-1", spec);
    node.status = Some(GatewayNodeStatus {
        renew_time: Some(MicroTime(now())),
        conditions: vec![
            said(ConditionType::Ready, true, Reason::Ready),
            said(ConditionType::EgressReady, true, Reason::Ready),
            said(ConditionType::PrivacyDegraded, false, Reason::NothingFound),
        ],
        ..GatewayNodeStatus::default()
    });
    node
}

fn well() -> (Culvert, Ground, Server) {
    let culvert = Culvert {
        is_defined: true,
        pools: vec![pool()],
        gateways: vec![gateway()],
        nodes: vec![on_node()],
        keys: Vec::new(),
    };
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("culvert-system".to_owned());
    namespace.labels_mut().insert(
        "pod-security.kubernetes.io/enforce".to_owned(),
        "privileged".to_owned(),
    );
    let ground = Ground {
        definitions: Some(crds()),
        policies: Some(admission::policies()),
        bindings: Some(admission::bindings()),
        namespaces: Some(vec![namespace]),
    };
    let server = Server {
        version: "v1.35.0".to_owned(),
        there: now(),
        here: now(),
    };
    (culvert, ground, server)
}

/// The only finding when this is planted.
fn planted(plant: impl FnOnce(&mut Culvert, &mut Ground, &mut Server)) -> Finding {
    let (mut culvert, mut ground, mut server) = well();
    plant(&mut culvert, &mut ground, &mut server);
    let mut found = all(&culvert, &ground, &server, "culvert-system");
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

/// What is found when the node's agent says this.
fn agent_says(kind: ConditionType, status: bool, reason: Reason) -> Finding {
    planted(|culvert, _, _| {
        let status_of = culvert.nodes[0].status.as_mut().unwrap();
        status_of
            .conditions
            .retain(|condition| condition.type_ != kind.as_str());
        status_of.conditions.push(said(kind, status, reason));
    })
}

#[test]
fn nothing_is_wrong_with_a_cluster_that_is_well() {
    let (culvert, ground, server) = well();
    assert_eq!(all(&culvert, &ground, &server, "culvert-system"), []);
}

#[test]
fn what_an_agent_says_is_found_in_its_place() {
    for (kind, reason, check) in [
        (ConditionType::Ready, Reason::Unsupported, Check::KernelModule),
        (ConditionType::Ready, Reason::Conflict, Check::Port),
        (ConditionType::Ready, Reason::InterfaceConflict, Check::Interface),
        (ConditionType::Ready, Reason::KernelError, Check::Kernel),
        (ConditionType::Ready, Reason::TooManyPeers, Check::Kernel),
        (ConditionType::Ready, Reason::FirewallError, Check::Nftables),
        (
            ConditionType::EgressReady,
            Reason::ForwardingDisabled,
            Check::Forwarding,
        ),
        (
            ConditionType::EgressReady,
            Reason::RouterAdvertisements,
            Check::Forwarding,
        ),
        (
            ConditionType::EgressReady,
            Reason::OtherFirewall,
            Check::OtherFirewall,
        ),
        (
            ConditionType::EgressReady,
            Reason::SourceAddressMissing,
            Check::SourceAddress,
        ),
    ] {
        let found = agent_says(kind, false, reason);
        assert_eq!((found.check, found.weight), (check, Weight::Bad), "{reason:?}");
        assert_eq!(found.about, "gatewaynode/default.edge-1");
        // The reason's own message says what to do.
        assert_eq!(
            (found.reason, &*found.what),
            (Some(reason.as_str()), reason.message())
        );
    }
}

#[test]
fn what_could_write_down_where_clients_are_is_found_and_breaks_nothing() {
    for reason in [
        Reason::DebugMessages,
        Reason::CoreDumps,
        Reason::PlainSwap,
        Reason::PacketSockets,
        Reason::ConnectionTracking,
    ] {
        let found = agent_says(ConditionType::PrivacyDegraded, true, reason);
        assert_eq!(
            (found.check, found.weight),
            (Check::Privacy, Weight::Odd),
            "{reason:?}"
        );
    }
}

#[test]
fn a_missing_or_other_definition_is_found() {
    let found = planted(|_, ground, _| {
        ground.definitions.as_mut().unwrap().remove(2);
    });
    assert_eq!((found.check, found.weight), (Check::Definitions, Weight::Bad));
    assert!(found.what.contains("install generate"));
    let found = planted(|_, ground, _| {
        let versions = &mut ground.definitions.as_mut().unwrap()[1].spec.versions;
        versions[0].additional_printer_columns = None;
    });
    assert_eq!((found.check, found.weight), (Check::Definitions, Weight::Odd));
    // One that serves another version serves none of these.
    let (mut culvert, mut ground, server) = well();
    culvert.is_defined = false;
    ground.definitions.as_mut().unwrap()[1].spec.versions[0].name = "v2".to_owned();
    let found = all(&culvert, &ground, &server, "culvert-system");
    assert!(found.iter().any(|one| one.weight == Weight::Bad), "{found:#?}");
}

#[test]
fn what_the_apiserver_adds_to_a_definition_is_no_difference() {
    let (culvert, mut ground, server) = well();
    for definition in ground.definitions.iter_mut().flatten() {
        definition.spec.names.list_kind = Some("Added".to_owned());
        definition.spec.versions[0].deprecated = Some(false);
    }
    assert_eq!(all(&culvert, &ground, &server, "culvert-system"), []);
}

#[test]
fn a_missing_policy_or_binding_is_found() {
    for binding in [true, false] {
        let found = planted(|_, ground, _| {
            if binding {
                ground.bindings.as_mut().unwrap().remove(0);
            } else {
                ground.policies.as_mut().unwrap().remove(0);
            }
        });
        assert_eq!((found.check, found.weight), (Check::Policies, Weight::Bad));
    }
}

#[test]
fn an_operator_that_does_not_answer_is_found() {
    let found = planted(|culvert, _, _| culvert.pools[0].metadata.generation = Some(2));
    assert_eq!((found.check, found.weight), (Check::Operator, Weight::Bad));
}

#[test]
fn pools_and_gateways_that_are_missing_are_found() {
    let found = planted(|culvert, _, _| {
        culvert.pools.clear();
        culvert.gateways[0].spec.pool_refs.clear();
    });
    assert_eq!(found.check, Check::Pools);
    let found = planted(|culvert, _, _| {
        culvert.gateways.clear();
        culvert.nodes.clear();
    });
    assert_eq!(found.check, Check::Gateways);
    let found = planted(|culvert, _, _| culvert.gateways[0].spec.pool_refs.push(NameRef::from("other")));
    assert_eq!(found.check, Check::Gateways);
    assert!(found.what.contains("pool other"));
}

#[test]
fn a_gateway_without_a_node_says_which_label_to_set() {
    let found = planted(|culvert, _, _| culvert.nodes.clear());
    assert_eq!(found.check, Check::Gateways);
    assert!(
        found.what.ends_with("kubectl label node NAME edge=true"),
        "{}",
        found.what
    );
}

#[test]
fn an_agent_that_is_silent_or_was_never_heard_is_found() {
    let found = planted(|culvert, _, _| culvert.nodes[0].status = None);
    assert_eq!((found.check, found.weight), (Check::Agents, Weight::Bad));
    let found = planted(|culvert, _, server| {
        culvert.nodes[0].status.as_mut().unwrap().renew_time =
            Some(MicroTime(now() - jiff::SignedDuration::from_secs(61)));
        server.here = now();
    });
    assert_eq!(found.check, Check::Agents);
    assert!(found.what.contains("1m1s ago"), "{}", found.what);
}

#[test]
fn a_namespace_that_keeps_agents_from_working_is_found() {
    let found = planted(|_, ground, _| {
        let labels = ground.namespaces.as_mut().unwrap()[0].labels_mut();
        labels.insert(
            "pod-security.kubernetes.io/enforce".to_owned(),
            "restricted".to_owned(),
        );
    });
    assert_eq!((found.check, found.weight), (Check::PodSecurity, Weight::Bad));
    assert!(
        found.what.contains("enforce=privileged --overwrite"),
        "{}",
        found.what
    );
}

#[test]
fn an_mtu_that_few_paths_bear_is_found() {
    let found = planted(|culvert, _, _| culvert.gateways[0].spec.mtu = 8920);
    assert_eq!((found.check, found.weight), (Check::Mtu, Weight::Odd));
    assert!(found.what.contains("9000"), "{}", found.what);
}

#[test]
fn an_mtu_that_the_node_itself_does_not_bear_is_found() {
    let of = |uplink: u32| {
        let (mut culvert, ground, server) = well();
        culvert.nodes[0].status.as_mut().unwrap().uplink_mtu = Some(uplink);
        all(&culvert, &ground, &server, "culvert-system")
    };
    assert_eq!(of(1_460), []);
    let found = of(1_459).remove(0);
    assert_eq!((found.check, found.weight), (Check::Mtu, Weight::Bad));
    assert!(
        found.what.ends_with("spec.mtu of the gateway to 1379"),
        "{}",
        found.what
    );
    // Over IPv4 alone it is less.
    let over = |endpoints: &[&str], uplink| {
        let (mut culvert, ground, server) = well();
        let status = culvert.nodes[0].status.as_mut().unwrap();
        status.endpoints = endpoints.iter().map(ToString::to_string).collect();
        status.uplink_mtu = Some(uplink);
        all(&culvert, &ground, &server, "culvert-system").len()
    };
    let (ipv4, ipv6) = ("198.51.100.1:51820", "[2001:db8::1]:51820");
    assert_eq!([over(&[ipv4], 1_440), over(&[ipv4], 1_439)], [0, 1]);
    for others in [&[ipv4, ipv6][..], &["vpn.example.org:51820"]] {
        assert_eq!([over(others, 1_460), over(others, 1_459)], [0, 1]);
    }
    // A gateway may not have less than 1280.
    let found = of(1_359).remove(0);
    assert!(
        found.what.ends_with("give the link an MTU of 1460"),
        "{}",
        found.what
    );
}

#[test]
fn a_node_that_is_leaving_is_not_judged_by_its_link() {
    let found = planted(|culvert, _, _| {
        culvert.nodes[0].spec.drain = true;
        culvert.nodes[0].status.as_mut().unwrap().uplink_mtu = Some(1_300);
    });
    assert_eq!((found.check, found.weight), (Check::Drain, Weight::Odd));
}

#[test]
fn clocks_that_are_apart_are_found() {
    let found = planted(|_, _, server| server.here = now() + jiff::SignedDuration::from_secs(90));
    assert_eq!((found.check, &*found.about), (Check::Clock, "this machine"));
    let found = planted(|culvert, _, _| {
        culvert.nodes[0].status.as_mut().unwrap().renew_time =
            Some(MicroTime(now() + jiff::SignedDuration::from_secs(11)));
    });
    assert_eq!((found.check, found.weight), (Check::Clock, Weight::Bad));
}

#[test]
fn a_node_whose_clock_is_wrong_is_neither_silent_nor_well() {
    let seconds = jiff::SignedDuration::from_secs;
    // What the agent says, what the apiserver has noted, and what is found; each so many seconds from now.
    for (said, noted, found) in [
        (-3_605, Some(-5), Some("edge-1 is 1h behind the apiserver's")),
        (3_595, Some(-5), Some("edge-1 is 1h ahead of the apiserver's")),
        (-9, Some(-1), None),
        // The apiserver's own was wrong while it was told.
        (3_600, Some(3_600), Some("edge-1 is 1h ahead of the apiserver's")),
        (9, None, None),
    ] {
        let (mut culvert, ground, server) = well();
        let node = &mut culvert.nodes[0];
        node.status.as_mut().unwrap().renew_time = Some(MicroTime(now() + seconds(said)));
        let entry = |seconds_from_now, fields| ManagedFieldsEntry {
            time: Some(Time(now() + seconds(seconds_from_now))),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        };
        node.metadata.managed_fields = noted.map(|noted| {
            vec![
                entry(noted, json!({ "f:status": { "f:renewTime": {} } })),
                // Somebody else's.
                entry(0, json!({ "f:spec": { "f:drain": {} } })),
            ]
        });
        let findings = all(&culvert, &ground, &server, "culvert-system");
        assert_eq!(findings.len(), usize::from(found.is_some()), "{findings:#?}");
        for (finding, words) in findings.iter().zip(found) {
            assert_eq!((finding.check, finding.weight), (Check::Clock, Weight::Bad));
            assert!(finding.what.contains(words), "{}", finding.what);
        }
        assert!(is_heard(&culvert.nodes[0], server.there));
    }
}

#[test]
fn an_agent_is_silent_since_the_apiserver_was_last_told() {
    let found = planted(|culvert, _, _| {
        let node = &mut culvert.nodes[0];
        let then = now() - jiff::SignedDuration::from_secs(61);
        node.status.as_mut().unwrap().renew_time = Some(MicroTime(then));
        node.metadata.managed_fields = Some(vec![ManagedFieldsEntry {
            time: Some(Time(then)),
            fields_v1: Some(FieldsV1(json!({ "f:status": { "f:renewTime": {} } }))),
            ..ManagedFieldsEntry::default()
        }]);
    });
    assert_eq!((found.check, found.weight), (Check::Agents, Weight::Bad));
}

#[test]
fn a_gateway_that_leaves_is_worth_a_look() {
    let found = planted(|culvert, _, _| culvert.nodes[0].spec.drain = true);
    assert_eq!((found.check, found.weight), (Check::Drain, Weight::Odd));
}

#[test]
fn what_could_not_be_read_is_no_fault_of_the_cluster() {
    let (culvert, _, server) = well();
    assert_eq!(all(&culvert, &Ground::default(), &server, "culvert-system"), []);
}

/// What was not looked at when this is planted, and what was found.
fn not_looked_at(plant: impl FnOnce(&mut Culvert, &mut Ground)) -> (Vec<Check>, Vec<Check>) {
    let (mut culvert, mut ground, server) = well();
    plant(&mut culvert, &mut ground);
    let found = all(&culvert, &ground, &server, "culvert-system");
    let unseen = unseen(&found, &culvert, &ground, &server, "culvert-system");
    let unseen = unseen.into_iter().map(|one| one.check).collect();
    (unseen, found.into_iter().map(|one| one.check).collect())
}

/// Checks of which only a node's agent can tell.
fn of_nodes() -> Vec<Check> {
    Check::ALL
        .into_iter()
        .filter(|check| check.is_of_nodes())
        .collect()
}

#[test]
fn all_of_a_cluster_that_is_well_is_looked_at() {
    assert_eq!(not_looked_at(|_, _| ()), (vec![], vec![]));
}

#[test]
fn what_could_not_be_read_was_not_looked_at() {
    let (unseen, _) = not_looked_at(|_, ground| *ground = Ground::default());
    assert_eq!(unseen, [Check::Definitions, Check::Policies, Check::PodSecurity]);
    let (unseen, _) = not_looked_at(|_, ground| ground.bindings = None);
    assert_eq!(unseen, [Check::Policies]);
}

#[test]
fn without_the_kinds_nothing_of_them_was_looked_at_and_that_is_found() {
    for may_list in [true, false] {
        let (unseen, found) = not_looked_at(|culvert, ground| {
            *culvert = Culvert::default();
            ground.definitions = may_list.then(Vec::new);
        });
        let is_ground =
            |check: &Check| matches!(check, Check::Definitions | Check::Policies | Check::PodSecurity);
        let others = Check::ALL.into_iter().filter(|check| !is_ground(check));
        assert_eq!(unseen, others.collect::<Vec<_>>());
        assert!(
            found.iter().all(|check| *check == Check::Definitions) && !found.is_empty(),
            "{found:?}"
        );
    }
}

#[test]
fn who_is_not_there_was_not_looked_at() {
    let (unseen, found) = not_looked_at(|culvert, _| {
        culvert.pools.clear();
        culvert.gateways[0].spec.pool_refs.clear();
    });
    assert_eq!((unseen, found), (vec![Check::Operator], vec![Check::Pools]));

    let (unseen, found) = not_looked_at(|culvert, _| culvert.nodes.clear());
    let mut without_nodes = [vec![Check::Agents, Check::Clock, Check::Drain], of_nodes()].concat();
    without_nodes.sort();
    assert_eq!((&unseen, found), (&without_nodes, vec![Check::Gateways]));

    let (unseen, _) = not_looked_at(|culvert, _| {
        culvert.gateways.clear();
        culvert.nodes.clear();
    });
    without_nodes.push(Check::Mtu);
    without_nodes.sort();
    assert_eq!(unseen, without_nodes);

    // An agent that was never heard is one that is not well; what its node is like nobody knows.
    let (mut unseen, found) = not_looked_at(|culvert, _| culvert.nodes[0].status = None);
    unseen.retain(|check| *check != Check::Clock);
    assert_eq!((unseen, found), (of_nodes(), vec![Check::Agents]));

    // Nor of one that is leaving, or of one whose agent has not got so far.
    let (unseen, found) = not_looked_at(|culvert, _| culvert.nodes[0].spec.drain = true);
    assert_eq!((unseen, found), (of_nodes(), vec![Check::Drain]));
    let without = |what: ConditionType| {
        let (unseen, found) = not_looked_at(|culvert, _| {
            culvert.nodes.push(on_node());
            let conditions = &mut culvert.nodes[1].status.as_mut().unwrap().conditions;
            conditions.retain(|condition| condition.type_ != what.as_str());
        });
        assert_eq!(found, []);
        unseen
    };
    let but_privacy = of_nodes().into_iter().filter(|check| *check != Check::Privacy);
    assert_eq!(
        without(ConditionType::EgressReady),
        but_privacy.collect::<Vec<_>>()
    );
    assert_eq!(without(ConditionType::PrivacyDegraded), [Check::Privacy]);

    let (unseen, found) = not_looked_at(|_, ground| ground.namespaces = Some(Vec::new()));
    assert_eq!((unseen, found), (vec![Check::PodSecurity], vec![]));
}

#[test]
fn objects_alone_tell_that_there_is_no_gateway() {
    let (mut culvert, _, server) = well();
    culvert.gateways.clear();
    culvert.nodes.clear();
    let found = objects(&culvert, server.there);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].check, Check::Gateways);
}
