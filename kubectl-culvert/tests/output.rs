//! What commands say, beside what they are to say: `tests/snapshots/output__*.snap`. They are run as the program that they
//! are, against an apiserver that says what is written here.
//!
//! `INSTA_UPDATE=always cargo test -p kubectl-culvert` writes them anew; the change is then reviewed as any other.

mod cluster;

use cluster::{Answers, Cluster};
use serde_json::{Value, json};

const PRIVATE: &str = "SGb+ojrRNDuMePufwtIYhXzA//k6wF3R21tEBgKlzlM=";
const PUBLIC: &str = "DD5yKRfzExcV5+kDnTroDgCU15latdMjiQ59j1hEuk8=";
const GATEWAY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

const KEYS: &str = "/apis/culvert.dev/v1alpha1/namespaces/tenant/wireguardkeys";

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1 })
}

fn key(name: &str, public: &str, status: &Value) -> Value {
    json!({
        "apiVersion": "culvert.dev/v1alpha1", "kind": "WireGuardKey",
        "metadata": { "name": name, "namespace": "tenant", "uid": name, "resourceVersion": "7", "generation": 1 },
        "spec": { "publicKey": public, "poolRef": { "name": "default" } },
        "status": status,
    })
}

fn ready(public: &str) -> Value {
    json!({
        "observedGeneration": 1, "publicKey": public, "addressGeneration": 0,
        "addresses": ["10.93.165.221", "fd64:cafe:1:0:9930:c16f:6b43:335f"],
        // Long past, so that it is said in one way on every day.
        "expiresAt": "2026-01-09T03:04:05Z",
        "conditions": [
            condition("Accepted", "True", "Accepted", "the object is valid"),
            condition("Programmed", "True", "Programmed", "every serving gateway has the peer in its kernel"),
            condition("Ready", "True", "Ready", "ready to use"),
        ],
    })
}

fn refused() -> Value {
    let message = "this namespace has as many keys as the pool allows; delete or suspend one, or ask the pool's administrator";
    json!({
        "observedGeneration": 1,
        "conditions": [
            condition("Accepted", "False", "QuotaExceeded", message),
            condition("Ready", "False", "QuotaExceeded", message),
        ],
    })
}

fn node(name: &str, host: &str) -> Value {
    json!({
        "apiVersion": "culvert.dev/v1alpha1", "kind": "GatewayNode",
        "metadata": { "name": format!("default.{name}"), "uid": name, "resourceVersion": "7", "generation": 1 },
        "spec": { "gatewayRef": { "name": "default", "uid": "g" }, "nodeName": name, "endpointHost": host },
        "status": {
            "observedGeneration": 1, "publicKey": GATEWAY, "endpoints": [format!("{host}:51820")],
            "listenPort": 51820, "backend": "Kernel", "session": "s", "appliedResourceVersion": "7", "pools": ["default"],
            "purgedGeneration": 0, "renewTime": "2026-01-02T03:04:05.000000Z",
            "conditions": [
                condition("Programmed", "True", "Programmed", "every serving gateway has the peer in its kernel"),
                condition("Ready", "True", "Ready", "ready to use"),
                condition("EgressReady", "True", "Ready", "ready to use"),
                condition("PrivacyDegraded", "False", "NothingFound", "nothing was found"),
            ],
        },
    })
}

fn list(items: &[Value]) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "9" }, "items": items })
}

fn refusal(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message });
    (code, status)
}

fn answers() -> Answers {
    let pool = json!({
        "apiVersion": "culvert.dev/v1alpha1", "kind": "IPPool", "metadata": { "name": "default" },
        "spec": { "ipv4": { "cidr": "10.64.0.0/11" }, "ipv6": { "cidr": "fd64:cafe:1::/64" } },
    });
    let gateway = json!({
        "apiVersion": "culvert.dev/v1alpha1", "kind": "WireGuardGateway",
        "metadata": { "name": "default", "uid": "g" },
        "spec": { "poolRefs": [{ "name": "default" }], "egress": { "dnsForward": ["9.9.9.9"] } },
    });
    let laptop = key("laptop", PUBLIC, &ready(PUBLIC));
    Answers::from([
        (
            "GET /apis/culvert.dev/v1alpha1/namespaces/tenant/wireguardkeys",
            (200, list(&[laptop.clone(), key("phone", GATEWAY, &refused())])),
        ),
        (
            "GET /apis/culvert.dev/v1alpha1/namespaces/tenant/wireguardkeys/laptop",
            (200, laptop),
        ),
        (
            "GET /apis/culvert.dev/v1alpha1/ippools/default",
            (200, pool.clone()),
        ),
        ("GET /apis/culvert.dev/v1alpha1/ippools", (200, list(&[pool]))),
        (
            "GET /apis/culvert.dev/v1alpha1/wireguardgateways",
            (200, list(&[gateway])),
        ),
        (
            "GET /apis/culvert.dev/v1alpha1/gatewaynodes",
            (
                200,
                list(&[
                    node("gateway-1", "198.51.100.1"),
                    node("gateway-2", "[2001:db8::2]"),
                ]),
            ),
        ),
    ])
}

fn one() -> Cluster {
    let cluster = Cluster::start(answers());
    cluster.keep("laptop", PRIVATE);
    cluster
}

#[test]
fn list_of_keys() {
    let cluster = one();
    for (name, words) in [
        ("list", &["key", "list"][..]),
        ("list-wide", &["key", "list", "-o", "wide"]),
        ("list-name", &["key", "list", "-o", "name"]),
        ("list-yaml", &["key", "list", "-o", "yaml"]),
        ("list-json", &["key", "list", "-o", "json"]),
    ] {
        insta::assert_snapshot!(name, cluster.run(words));
    }
}

#[test]
fn configurations() {
    let cluster = one();
    for (name, words) in [
        (
            "config",
            &["key", "config", "laptop", "--gateway", "gateway-2", "--out", "-"][..],
        ),
        ("config-several", &["key", "config", "laptop", "--out", "-"]),
        ("config-folder", &["key", "config", "laptop", "--out", "tunnels"]),
        ("config-again", &["key", "config", "laptop", "--out", "tunnels"]),
        ("config-unasked", &["key", "config", "laptop"]),
        (
            "config-split",
            &[
                "key",
                "config",
                "laptop",
                "--gateway",
                "gateway-1",
                "--route",
                "10.20.0.0/16",
                "--out",
                "-",
            ],
        ),
        (
            "config-nothing",
            &["key", "config", "laptop", "--split", "--out", "-"],
        ),
        (
            "config-unknown",
            &["key", "config", "laptop", "--gateway", "elsewhere", "--out", "-"],
        ),
        ("config-lost", &["key", "config", "phone", "--out", "-"]),
        ("qr-unasked", &["key", "qr", "laptop"]),
        ("qr", &["key", "qr", "laptop", "--out", "-"]),
        ("qr-file", &["key", "qr", "laptop", "--out", "code.svg"]),
    ] {
        insta::assert_snapshot!(name, cluster.run(words));
    }
    let written = std::fs::read_to_string(cluster.home().join("tunnels/gateway-1.conf")).unwrap();
    assert!(written.contains(PRIVATE));
}

#[test]
fn a_key_that_is_made_or_not() {
    let mut all = answers();
    // A server that takes every key, and has one with the status of the test.
    all.insert(
        "POST /apis/culvert.dev/v1alpha1/namespaces/tenant/wireguardkeys",
        (201, key("new", PUBLIC, &Value::Null)),
    );
    insta::assert_snapshot!(
        "new-no-wait",
        Cluster::start(all).run(&["key", "new", "new", "--wait", "0"])
    );
    for (name, reply) in [
        (
            "new-denied",
            refusal(403, "Forbidden", "wireguardkeys.culvert.dev is forbidden"),
        ),
        (
            "new-policy",
            refusal(
                403,
                "Forbidden",
                "wireguardkeys.culvert.dev \"new\" is forbidden: ValidatingAdmissionPolicy 'x' with binding 'x' denied request: not here",
            ),
        ),
        (
            "new-unauthenticated",
            refusal(401, "Unauthorized", "Unauthorized"),
        ),
        ("new-busy", refusal(429, "TooManyRequests", "later")),
        (
            "new-not-installed",
            refusal(
                404,
                "NotFound",
                "the server could not find the requested resource",
            ),
        ),
    ] {
        let mut all = answers();
        all.insert(
            "POST /apis/culvert.dev/v1alpha1/namespaces/tenant/wireguardkeys",
            reply,
        );
        insta::assert_snapshot!(name, Cluster::start(all).run(&["key", "new", "new"]));
    }
    assert!(answers().keys().any(|path| path.ends_with(KEYS)));
}

#[test]
fn a_rotation_or_revocation_that_cannot_be() {
    let mut all = answers();
    all.insert(
        "GET /apis/culvert.dev/v1alpha1/namespaces/tenant/wireguardkeys/laptop",
        (200, key("laptop", GATEWAY, &ready(GATEWAY))),
    );
    let cluster = Cluster::start(all);
    cluster.keep("laptop", PRIVATE);
    for (name, words) in [
        ("rotate-foreign", &["key", "rotate", "laptop"][..]),
        ("rotate-lost", &["key", "rotate", "phone"]),
        ("rotate-every", &["key", "rotate", "laptop", "--every", "31d"]),
        ("config-foreign", &["key", "config", "laptop", "--out", "-"]),
        ("revoke-unknown", &["key", "revoke", "elsewhere"]),
        ("format-unknown", &["status", "-o", "wide"]),
        ("coloured", &["key", "rotate", "laptop", "--color", "always"]),
        ("no-context", &["key", "list", "--context", "elsewhere"]),
        (
            "no-kubeconfig",
            &["key", "list", "--kubeconfig", "/none/kubeconfig"],
        ),
    ] {
        insta::assert_snapshot!(name, cluster.run(words));
    }
}

#[test]
fn a_revocation() {
    let mut all = answers();
    all.insert(
        "DELETE /apis/culvert.dev/v1alpha1/namespaces/tenant/wireguardkeys/laptop",
        (200, key("laptop", PUBLIC, &ready(PUBLIC))),
    );
    let cluster = Cluster::start(all);
    cluster.keep("laptop", PRIVATE);
    insta::assert_snapshot!("revoke", cluster.run(&["key", "revoke", "laptop"]));
}

fn admin() -> Cluster {
    let mut all = answers();
    all.extend(admin_answers());
    Cluster::start(all)
}

/// What an administrator is told besides.
fn admin_answers() -> Answers {
    let mut all = Answers::new();
    all.insert(
        "GET /version",
        (
            200,
            json!({ "major": "1", "minor": "35", "gitVersion": "v1.35.0", "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": "" }),
        ),
    );
    let laptop = key("laptop", PUBLIC, &ready(PUBLIC));
    all.insert(
        "GET /apis/culvert.dev/v1alpha1/wireguardkeys",
        (200, list(&[laptop, key("phone", GATEWAY, &refused())])),
    );
    let restricted = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "culvert-system", "labels": restricted } });
    all.insert("GET /api/v1/namespaces", (200, list(&[namespace])));
    all.insert(DEFINITIONS, (200, list(&[])));
    all.insert(
        "GET /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
        refusal(403, "Forbidden", "validatingadmissionpolicies is forbidden"),
    );
    all.insert(
        "GET /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
        (200, list(&[])),
    );
    let mut silent = node("gateway-1", "198.51.100.1");
    silent["status"]["renewTime"] = Value::Null;
    let mut drained = node("gateway-2", "[2001:db8::2]");
    drained["spec"]["drain"] = true.into();
    drained["status"]["drained"] = true.into();
    // Heard in a time to come, so that it is heard on every day.
    drained["status"]["renewTime"] = "9999-01-02T03:04:05.000000Z".into();
    all.insert(
        "GET /apis/culvert.dev/v1alpha1/gatewaynodes",
        (200, list(&[silent.clone(), drained.clone()])),
    );
    all.insert(
        "PATCH /apis/culvert.dev/v1alpha1/gatewaynodes/default.gateway-1",
        (200, silent),
    );
    all.insert(
        "PATCH /apis/culvert.dev/v1alpha1/gatewaynodes/default.gateway-2",
        (200, drained),
    );
    all
}

/// How far a time to come is away is another each day.
fn dateless(text: &str) -> String {
    let (before, after) = text.split_once(" of node gateway-2 is ").unwrap_or((text, ""));
    match after.split_once(" ahead") {
        Some((_, after)) => format!("{before} of node gateway-2 is LONG ahead{after}"),
        None => text.to_owned(),
    }
}

/// How long ago a node was heard of is another each second.
fn clockless(text: &str) -> String {
    let line = |line: &str| match line.split_once("heardSecondsAgo") {
        Some((before, after)) if after.contains(|c: char| c.is_ascii_digit()) => {
            let after = after.trim_start_matches(|c: char| !"-0123456789".contains(c));
            let rest = after.trim_start_matches(|c: char| "-0123456789".contains(c));
            format!("{before}heardSecondsAgo LONG{rest}\n")
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn what_an_administrator_asks() {
    let cluster = admin();
    for (name, words) in [
        ("status", &["status"][..]),
        ("status-yaml", &["status", "-o", "yaml"]),
        ("check", &["check"]),
        ("check-json", &["check", "-o", "json"]),
        ("version", &["version"]),
        ("version-client", &["version", "--client"]),
        ("drain", &["gateway", "drain", "gateway-2"]),
        ("drain-unknown", &["gateway", "drain", "elsewhere"]),
        (
            "drain-unanswered",
            &["gateway", "drain", "gateway-1", "--wait", "1s"],
        ),
        ("purge", &["gateway", "purge", "--all", "--wait", "0"]),
        ("completion", &["completion", "fish"]),
    ] {
        insta::assert_snapshot!(name, dateless(&cluster.run(words)));
    }
    for (name, words) in [
        ("report", &["report"][..]),
        ("report-json", &["report", "-o", "json"]),
        ("report-file", &["report", "--out", "report.yaml"]),
        ("report-again", &["report", "--out", "report.yaml"]),
    ] {
        let report = cluster.run(words);
        for word in ["laptop", "gateway-1", "198.51.100", "10.93", PUBLIC, GATEWAY] {
            assert!(!report.contains(word), "{word} is in {report}");
        }
        insta::assert_snapshot!(name, clockless(&report));
    }
    let written = std::fs::read_to_string(cluster.home().join("report.yaml")).unwrap();
    assert!(clockless(&cluster.run(&["report"])).contains(&clockless(&written)));
    let installed = cluster.run(&["install", "generate"]);
    for part in [
        "kind: CustomResourceDefinition",
        "kind: ValidatingAdmissionPolicy",
        "kind: ClusterRole",
    ] {
        assert!(installed.contains(part), "{part}");
    }
}

const DEFINITIONS: &str = "GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// The definitions as a cluster has them, with the versions that objects of the first kind may be stored in.
fn definitions(stored: &[&str]) -> Vec<Value> {
    let mut all: Vec<Value> = culvert_crds::crds()
        .iter()
        .map(|definition| json!(definition))
        .collect();
    for (number, definition) in all.iter_mut().enumerate() {
        let names = definition["spec"]["names"].clone();
        let stored = if number == 0 { stored } else { &["v1alpha1"] };
        definition["status"] = json!({ "storedVersions": stored, "conditions": [], "acceptedNames": names });
    }
    all
}

#[test]
fn a_cluster_of_another_version_is_told() {
    let mut all = admin_answers();
    let mut other = definitions(&["v1alpha1"]);
    other[1]["spec"]["versions"][0]["name"] = "v2".into();
    all.insert(DEFINITIONS, (200, list(&other)));
    insta::assert_snapshot!("version-skew", Cluster::start(all).run(&["version"]));
}

#[test]
fn versions_that_may_go_are_told() {
    let mut all = Answers::new();
    for definition in definitions(&["v1alpha0", "v1alpha1"]) {
        let name = definition["metadata"]["name"].as_str().unwrap();
        let path: &str = Box::leak(format!("{DEFINITIONS}/{name}").into_boxed_str());
        all.insert(path, (200, definition.clone()));
    }
    insta::assert_snapshot!(
        "migrate-dry-run",
        Cluster::start(all).run(&["migrate", "--dry-run"])
    );
    let bare = Cluster::start(Answers::new());
    insta::assert_snapshot!("migrate-bare", bare.run(&["migrate"]));
}

#[test]
fn whoever_has_no_log_is_named() {
    const PODS: &str = "GET /api/v1/namespaces/culvert-system/pods";
    let of = |pods: &[Value]| {
        let mut all = Answers::new();
        all.insert(PODS, (200, list(pods)));
        Cluster::start(all)
    };
    insta::assert_snapshot!("logs-nobody", of(&[]).run(&["logs"]));
    let state = json!({ "waiting": { "reason": "ErrImagePull" } });
    let pulls = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "culvert-agent-x", "namespace": "culvert-system", "uid": "u" },
        "spec": { "nodeName": "gateway-1", "containers": [] },
        "status": { "containerStatuses": [{
            "name": "agent", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state,
        }] },
    });
    let cluster = of(&[pulls]);
    for (name, words) in [
        ("logs-silent", &["logs", "gateway-1"][..]),
        ("logs-previous", &["logs", "gateway-1", "--previous"]),
        ("logs-elsewhere", &["logs", "gateway-9"]),
        ("logs-since", &["logs", "--since", "0s"]),
    ] {
        insta::assert_snapshot!(name, cluster.run(words));
    }
}

#[test]
fn what_comes_before_culvert_is_taken_away() {
    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/culvert-system/leases";
    let lease = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "culvert-operator" } });
    let mut all = answers();
    let marked = |name: &str, drained: bool| {
        let mut node = node(name, "198.51.100.1");
        node["metadata"]["annotations"] = json!({ "culvert.dev/retired": "true" });
        node["spec"]["drain"] = true.into();
        node["status"]["drained"] = drained.into();
        node
    };
    let by_hand = {
        let mut node = marked("gateway-3", true);
        node["metadata"]["annotations"] = json!({});
        node
    };
    let (left, silent) = (marked("gateway-1", true), marked("gateway-2", false));
    all.insert(
        "GET /apis/culvert.dev/v1alpha1/gatewaynodes",
        (200, list(&[left.clone(), silent.clone(), by_hand])),
    );
    all.insert(
        "DELETE /apis/culvert.dev/v1alpha1/gatewaynodes/default.gateway-1",
        (200, left),
    );
    all.insert(
        "DELETE /apis/culvert.dev/v1alpha1/gatewaynodes/default.gateway-2",
        (200, silent),
    );
    let mut pool = all["GET /apis/culvert.dev/v1alpha1/ippools/default"].1.clone();
    all.insert(
        "PATCH /apis/culvert.dev/v1alpha1/ippools/default",
        (200, pool.clone()),
    );
    pool["metadata"]["finalizers"] = json!(["culvert.dev/in-use"]);
    all.insert("GET /apis/culvert.dev/v1alpha1/ippools", (200, list(&[pool])));
    // There is no Lease yet, as where no operator has ever run.
    all.insert(
        "POST /apis/coordination.k8s.io/v1/namespaces/culvert-system/leases",
        (201, lease),
    );
    assert!(all.keys().any(|path| path.ends_with(LEASES)));
    insta::assert_snapshot!(
        "retire",
        Cluster::start(all).run(&["install", "retire", "--wait", "1s"])
    );

    let mut all = answers();
    all.insert(
        "GET /apis/culvert.dev/v1alpha1/gatewaynodes",
        refusal(
            404,
            "NotFound",
            "the server could not find the requested resource",
        ),
    );
    insta::assert_snapshot!("retire-nothing", Cluster::start(all).run(&["install", "retire"]));
}

/// A cluster that answers who is an administrator, and has nothing of Culvert's.
fn bare() -> Answers {
    let no_such_kind = || {
        refusal(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    };
    let version = json!({ "major": "1", "minor": "35", "gitVersion": "v1.35.0", "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": "" });
    Answers::from([
        ("GET /version", (200, version)),
        ("GET /api/v1/namespaces", (200, list(&[]))),
        (
            "GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            (200, list(&[])),
        ),
        (
            "GET /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
            (200, list(&[])),
        ),
        (
            "GET /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
            (200, list(&[])),
        ),
        ("GET /apis/culvert.dev/v1alpha1/ippools", no_such_kind()),
        ("GET /apis/culvert.dev/v1alpha1/wireguardgateways", no_such_kind()),
        ("GET /apis/culvert.dev/v1alpha1/gatewaynodes", no_such_kind()),
        ("GET /apis/culvert.dev/v1alpha1/wireguardkeys", no_such_kind()),
    ])
}

/// The same with what `install generate` makes, and nothing else.
fn defined() -> Answers {
    fn items<T: serde::Serialize>(items: &[T]) -> (u16, Value) {
        let items = items.iter().map(|item| json!(item));
        (200, list(&items.collect::<Vec<_>>()))
    }
    let mut all = bare();
    all.insert(
        "GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        items(&culvert_crds::crds()),
    );
    all.insert(
        "GET /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
        items(&culvert_crds::admission::policies()),
    );
    all.insert(
        "GET /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
        items(&culvert_crds::admission::bindings()),
    );
    for path in [
        "GET /apis/culvert.dev/v1alpha1/ippools",
        "GET /apis/culvert.dev/v1alpha1/wireguardgateways",
        "GET /apis/culvert.dev/v1alpha1/gatewaynodes",
        "GET /apis/culvert.dev/v1alpha1/wireguardkeys",
    ] {
        all.insert(path, (200, list(&[])));
    }
    all
}

#[test]
fn what_is_not_there_is_not_called_well() {
    for (state, answers) in [("bare", bare()), ("defined", defined())] {
        let cluster = Cluster::start(answers);
        for (form, words) in [
            ("", &["check"][..]),
            ("-yaml", &["check", "-o", "yaml"]),
            ("-report", &["report"]),
        ] {
            insta::assert_snapshot!(format!("check-{state}{form}"), cluster.run(words));
        }
        insta::assert_snapshot!(format!("status-{state}"), cluster.run(&["status"]));
    }
}

#[test]
fn what_this_user_may_not_look_at_is_no_success() {
    let mut all = answers();
    all.extend(admin_answers());
    for (path, answer) in defined() {
        if !path.contains("culvert.dev") {
            all.insert(path, answer);
        }
    }
    let mut pool = all["GET /apis/culvert.dev/v1alpha1/ippools/default"].1.clone();
    pool["metadata"]["generation"] = 1.into();
    pool["status"] = json!({ "observedGeneration": 1 });
    all.insert("GET /apis/culvert.dev/v1alpha1/ippools", (200, list(&[pool])));
    let mut node = node("gateway-1", "198.51.100.1");
    // Heard just now.
    node["status"]["renewTime"] = kubectl_culvert::clock::now().wall.to_string().into();
    all.insert(
        "GET /apis/culvert.dev/v1alpha1/gatewaynodes",
        (200, list(&[node])),
    );
    all.insert(
        "GET /api/v1/namespaces",
        refusal(403, "Forbidden", "namespaces is forbidden"),
    );
    insta::assert_snapshot!("check-unread", Cluster::start(all).run(&["check"]));
}

#[test]
fn an_administrators_command_asks_for_the_one_role_that_suffices() {
    let mut all = answers();
    for (path, answer) in admin_answers() {
        // Whoever has no role may ask for the version.
        let is_free = path == "GET /version";
        all.insert(
            path,
            if is_free {
                answer
            } else {
                refusal(403, "Forbidden", "forbidden")
            },
        );
    }
    for path in [
        "GET /apis/culvert.dev/v1alpha1/ippools",
        "GET /apis/culvert.dev/v1alpha1/wireguardgateways",
    ] {
        all.insert(path, refusal(403, "Forbidden", "forbidden"));
    }
    let nobody = Cluster::start(all.clone());
    // Who reads may not do.
    for (path, answer) in answers() {
        if path.starts_with("GET") {
            all.insert(path, answer);
        }
    }
    let reader = Cluster::start(all);
    for words in [
        &["status"][..],
        &["check"],
        &["report"],
        &["version"],
        &["key", "list", "--all-namespaces"],
        &["gateway", "drain", "gateway-1"],
        &["gateway", "drain", "gateway-1", "--undo"],
        &["gateway", "purge", "--all"],
    ] {
        for cluster in [&nobody, &reader] {
            let said = cluster.run(words);
            assert!(said.contains("you may not "), "{said}");
            let next = "next: ask the cluster's administrator for the role `culvert-admin` (examples/roles.yaml): kubectl create clusterrolebinding culvert-admin --clusterrole=culvert-admin --user=USER";
            assert_eq!(said.matches("next: ").count(), 1, "{said}");
            assert!(said.contains(next), "{said}");
        }
    }
}

#[test]
fn a_name_that_no_object_may_have_is_refused_before_a_pair_is_made() {
    // Nobody answers: who asks first is told that.
    let cluster = Cluster::start(Answers::new());
    cluster.answers(false);
    for (snapshot, words) in [
        ("name-new", &["key", "new", "My_Laptop"][..]),
        (
            "name-file",
            &["key", "new", "My_Laptop", "--private-key", "my.key"],
        ),
        (
            "name-connect",
            &[
                "connect",
                "My_Laptop",
                "--backend",
                "userspace",
                "--wireguard-go",
                "/none",
            ],
        ),
        (
            "backend-connect",
            &[
                "connect",
                "laptop",
                "--backend",
                "userspace",
                "--wireguard-go",
                "/none/wireguard-go",
            ],
        ),
    ] {
        insta::assert_snapshot!(snapshot, cluster.run(words));
    }
    for name in [
        "",
        ".laptop",
        "laptop-",
        "lap..top",
        "lap top",
        "a/b",
        &"a".repeat(254),
    ] {
        let said = cluster.run(&["key", "new", name]);
        assert!(
            said.contains("is no name for a key") && said.ends_with("exit code 6\n"),
            "{said}"
        );
    }
    assert_eq!(cluster.files(), [""; 0], "a private key of nothing is left");
    // One that may be is asked for.
    let said = cluster.run(&["key", "new", &"a".repeat(253)]);
    assert!(!said.contains("is no name"), "{said}");
}

#[test]
fn a_private_key_that_is_left_is_told() {
    let mut all = answers();
    let made = key("new", PUBLIC, &Value::Null);
    all.insert(
        "POST /apis/culvert.dev/v1alpha1/namespaces/tenant/wireguardkeys",
        (201, made),
    );
    let cluster = Cluster::start(all);
    cluster.answers(false);
    for (snapshot, words) in [
        ("left-next", &["key", "new", "new", "--wait", "0"][..]),
        ("left-file", &["key", "new", "new", "--private-key", "new.key"]),
        (
            "left-file-again",
            &["key", "new", "new", "--private-key", "new.key"],
        ),
        (
            "left-folder",
            &["key", "new", "new", "--private-key", "none/there/new.key"],
        ),
    ] {
        insta::assert_snapshot!(snapshot, cluster.run(words));
    }
    assert_eq!(cluster.files(), ["culvert/tenant/new.next", "new.key"]);
    cluster.answers(true);
    insta::assert_snapshot!("left-goes-on", cluster.run(&["key", "new", "new", "--wait", "0"]));
    assert_eq!(cluster.files(), ["culvert/tenant/new.key", "new.key"]);
}

#[test]
fn a_private_key_that_an_earlier_run_left_goes_only_when_the_object_is_anothers() {
    let keys = "/apis/culvert.dev/v1alpha1/namespaces/tenant/wireguardkeys";
    for (code, reason, left) in [
        (403, "Forbidden", &["culvert/tenant/new.next"][..]),
        (409, "AlreadyExists", &[]),
    ] {
        let (post, get) = (format!("POST {keys}"), format!("GET {keys}/new"));
        let mut all = answers();
        all.insert(post.leak(), refusal(code, reason, "no"));
        all.insert(get.leak(), (200, key("new", GATEWAY, &Value::Null)));
        let cluster = Cluster::start(all);
        cluster.answers(false);
        cluster.run(&["key", "new", "new"]);
        assert_eq!(cluster.files(), ["culvert/tenant/new.next"]);
        cluster.answers(true);
        let said = cluster.run(&["key", "new", "new"]);
        assert_eq!(cluster.files(), left, "{said}");
        assert_eq!(said.contains("is kept in"), !left.is_empty(), "{said}");
    }
}

#[test]
fn files_of_kubeconfig_that_are_not_there_are_left_out_unless_none_is() {
    let cluster = one();
    let home = cluster.home();
    let with = |list: String| {
        let set = format!("KUBECONFIG={list}");
        cluster.run_by(&["env", &set], &["key", "list"])
    };
    let said = with(format!("/none:{}/kubeconfig", home.display()));
    assert!(
        said.contains("laptop") && said.ends_with("exit code 0\n"),
        "{said}"
    );
    let said = with("/none:/neither".to_owned());
    assert!(said.contains("`/none` cannot be read: "), "{said}");
}

#[test]
fn a_kubeconfig_that_is_none_is_named_and_not_quoted() {
    let cluster = one();
    let file = cluster.home().join("torn");
    std::fs::write(&file, "users: [{ name: me, user: { token: s3cret").unwrap();
    for said in [
        cluster.run_by(
            &["env", &format!("KUBECONFIG={}", file.display())],
            &["key", "list"],
        ),
        cluster.run(&["key", "list", "--kubeconfig", &file.display().to_string()]),
    ] {
        assert!(
            said.contains("/torn` is no kubeconfig") && said.ends_with("exit code 1\n"),
            "{said}"
        );
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_revocation_says_which_file_it_removes() {
    let mut all = answers();
    all.insert(
        "DELETE /apis/culvert.dev/v1alpha1/namespaces/tenant/wireguardkeys/laptop",
        (200, key("laptop", PUBLIC, &ready(PUBLIC))),
    );
    let cluster = Cluster::start(all);
    cluster.keep("laptop", PRIVATE);
    std::fs::write(cluster.home().join("laptop.key"), PRIVATE).unwrap();
    cluster.run(&["key", "revoke", "laptop", "--wait", "0"]);
    assert_eq!(cluster.files(), ["laptop.key"]);
}

#[test]
fn connect_without_the_right_says_so_before_it_asks_anybody() {
    let cluster = Cluster::start(Answers::new());
    cluster.answers(false);
    // Whoever is root is none for a moment.
    let is_root =
        std::fs::metadata("/proc/self").is_ok_and(|of| std::os::unix::fs::MetadataExt::uid(&of) == 0);
    let without: &[&str] = if is_root {
        &["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    } else {
        &[]
    };
    insta::assert_snapshot!("root-connect", cluster.run_by(without, &["connect"]));
    insta::assert_snapshot!(
        "root-connect-down",
        cluster.run_by(without, &["connect", "laptop", "--down"])
    );
}

#[test]
fn a_field_that_is_refused_by_a_pattern_says_what_to_do() {
    let causes = |reason: &str, field: &str, message: &str| {
        let mut status = refusal(422, "Invalid", "invalid").1;
        status["details"] =
            json!({ "name": "new", "causes": [{ "reason": reason, "field": field, "message": message }] });
        (422, status)
    };
    for (snapshot, reply) in [
        (
            "new-pattern",
            causes(
                "FieldValueInvalid",
                "spec.poolRef.name",
                "Invalid value: \"P@\": spec.poolRef.name in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'",
            ),
        ),
        (
            "new-name-rule",
            causes(
                "FieldValueInvalid",
                "metadata.name",
                "Invalid value: \"new\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters (regex used for validation is '[a-z0-9]')",
            ),
        ),
        (
            "new-rule",
            causes(
                "FieldValueInvalid",
                "spec.publicKey",
                "Invalid value: \"x\": publicKey must be the base64 of 32 bytes, as `wg pubkey` prints it",
            ),
        ),
    ] {
        let mut all = answers();
        all.insert(
            "POST /apis/culvert.dev/v1alpha1/namespaces/tenant/wireguardkeys",
            reply,
        );
        insta::assert_snapshot!(
            snapshot,
            Cluster::start(all).run(&["key", "new", "new", "--pool", "P@"])
        );
    }
}
