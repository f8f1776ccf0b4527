//! Gateway nodes: made by the operator, answered by the agent of that node and no other.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{CREATE, allowed, attempt, forbidden, grant, plane, rule, user};

fn gateway_node(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "GatewayNode",
        "metadata": { "name": name },
        "spec": { "gatewayRef": { "name": "edge", "uid": "u" }, "nodeName": node },
    })
}

async fn stored(object: &Value) -> Result<()> {
    plane()
        .await?
        .kubectl_text(&["apply", "-f", "-"], Some(&object.to_string()))
        .await
        .map(drop)
}

/// A token of an account; `bound` says what to.
async fn token(account: &str, bound: &[&str]) -> Result<PathBuf> {
    let plane = plane().await?;
    let mut arguments = vec!["create", "token", account];
    arguments.extend(bound);
    let token = plane.kubectl_text(&arguments, None).await?;
    let name = format!("{account}{}", bound.concat().replace(['-', '='], ""));
    plane.kubeconfig_with_token(&name, token.trim())
}

/// An account with these rights, and the nodes `<account>-a` and `<account>-b`, each with a gateway node of that name.
async fn account(name: &str, rules: &[Value]) -> Result<()> {
    plane()
        .await?
        .kubectl_text(&["create", "serviceaccount", name], None)
        .await?;
    let subject = json!({ "kind": "ServiceAccount", "name": name, "namespace": "default" });
    grant(name, &subject, rules).await?;
    for node in ["a", "b"] {
        let node = format!("{name}-{node}");
        stored(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node } })).await?;
        stored(&gateway_node(&node, &node)).await?;
    }
    Ok(())
}

fn report(object: &str) -> Vec<&str> {
    vec![
        "patch",
        object,
        "--subresource=status",
        "--type=merge",
        "-p",
        r#"{"status":{"observedGeneration":1,"drained":true}}"#,
    ]
}

fn agents_rules() -> [Value; 2] {
    [
        rule(&["gatewaynodes/status"], &["get", "update", "patch"]),
        rule(&["gatewaynodes"], &["get", "list", "watch", "report"]),
    ]
}

const OWN: &str = "an agent writes the status of its own node alone";

#[tokio::test]
async fn admit_lets_an_agent_report_for_its_own_node_alone() -> Result<()> {
    account("admit-agent", &agents_rules()).await?;
    stored(&json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "admit-agent" },
        "spec": {
            "nodeName": "admit-agent-a",
            "serviceAccountName": "admit-agent",
            "containers": [{ "name": "agent", "image": "agent" }],
        },
    }))
    .await?;
    // As a pod gets it from its kubelet, and as the kubelet's node itself could be named.
    for bound in [
        ["--bound-object-kind=Pod", "--bound-object-name=admit-agent"],
        ["--bound-object-kind=Node", "--bound-object-name=admit-agent-a"],
    ] {
        let agent = token("admit-agent", &bound).await?;
        allowed(&agent, &report("wgn/admit-agent-a"), &Value::Null).await?;
        forbidden(&agent, &report("wgn/admit-agent-b"), &Value::Null, OWN).await?;
    }
    let text = plane()
        .await?
        .kubectl_text(
            &[
                "get",
                "wgn",
                "admit-agent-a",
                "admit-agent-b",
                "-o=jsonpath={.items[*].status.drained}",
            ],
            None,
        )
        .await?;
    ensure!(text == "true false", "{text}");
    Ok(())
}

#[tokio::test]
async fn admit_lets_a_token_of_no_node_report_nothing() -> Result<()> {
    account("admit-loose", &agents_rules()).await?;
    let agent = token("admit-loose", &[]).await?;
    forbidden(&agent, &report("wgn/admit-loose-a"), &Value::Null, OWN).await?;
    // Nor a certificate, which can say no more than a name.
    let person = user("admit-loose-person", &agents_rules()).await?;
    forbidden(&person, &report("wgn/admit-loose-a"), &Value::Null, OWN).await
}

#[tokio::test]
async fn admit_lets_another_account_on_the_node_report_nothing() -> Result<()> {
    // Every right but the verb: any pod of the node has a token that names it.
    let rules = [
        rule(&["gatewaynodes/status"], &["get", "update", "patch"]),
        rule(&["gatewaynodes"], &["get", "list", "watch", "update", "patch"]),
    ];
    account("admit-guest", &rules).await?;
    let bound = ["--bound-object-kind=Node", "--bound-object-name=admit-guest-a"];
    let guest = token("admit-guest", &bound).await?;
    forbidden(
        &guest,
        &report("wgn/admit-guest-a"),
        &Value::Null,
        "needs the verb `report`",
    )
    .await
}

#[tokio::test]
async fn admit_lets_whoever_may_report_any_report_any() -> Result<()> {
    account(
        "admit-any",
        &[
            rule(&["gatewaynodes/status"], &["get", "update", "patch"]),
            rule(&["gatewaynodes"], &["get", "report", "report-any"]),
        ],
    )
    .await?;
    let restorer = token("admit-any", &[]).await?;
    for node in ["wgn/admit-any-a", "wgn/admit-any-b"] {
        allowed(&restorer, &report(node), &Value::Null).await?;
    }
    // An administrator may, too: `*` holds every verb.
    let admin = plane().await?.kubeconfig();
    allowed(&admin, &report("wgn/admit-any-a"), &Value::Null).await
}

const MADE: &str = "GatewayNodes are made by Culvert's operator";

#[tokio::test]
async fn admit_lets_no_tenant_write_gateway_nodes() -> Result<()> {
    let ordinary = [
        "get",
        "list",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
    ];
    let tenant = user("admit-nodes-tenant", &[rule(&["*", "*/status"], &ordinary)]).await?;
    stored(&gateway_node("admit-nodes", "n")).await?;
    forbidden(&tenant, CREATE, &gateway_node("admit-more", "n"), MADE).await?;
    for arguments in [
        &[
            "patch",
            "wgn/admit-nodes",
            "--type=merge",
            "-p",
            r#"{"spec":{"drain":true}}"#,
        ][..],
        &["annotate", "wgn/admit-nodes", "culvert.dev/leaving=true"],
        &["delete", "wgn/admit-nodes"],
        &["delete", "--raw", "/apis/culvert.dev/v1alpha1/gatewaynodes"],
    ] {
        forbidden(&tenant, arguments, &Value::Null, MADE).await?;
    }
    forbidden(
        &tenant,
        &report("wgn/admit-nodes"),
        &Value::Null,
        "the verb `report`",
    )
    .await
}

#[tokio::test]
async fn admit_lets_whoever_may_drain_drain_and_no_more() -> Result<()> {
    let rules = [rule(
        &["gatewaynodes"],
        &["get", "create", "update", "patch", "delete", "drain"],
    )];
    let drainer = user("admit-drainer", &rules).await?;
    stored(&gateway_node("admit-drain", "n")).await?;
    for drain in ["true", "false"] {
        let patch = format!("{{\"spec\":{{\"drain\":{drain}}}}}");
        allowed(
            &drainer,
            &["patch", "wgn/admit-drain", "--type=merge", "-p", &patch],
            &Value::Null,
        )
        .await?;
    }
    for arguments in [
        // The operator's own mark: with it a drain is no longer the administrator's.
        &["annotate", "wgn/admit-drain", "culvert.dev/leaving=true"][..],
        &["label", "wgn/admit-drain", "a=b"],
        &[
            "patch",
            "wgn/admit-drain",
            "--type=merge",
            "-p",
            r#"{"metadata":{"finalizers":["example.com/held"]}}"#,
        ],
        // Clients would go there.
        &[
            "patch",
            "wgn/admit-drain",
            "--type=merge",
            "-p",
            r#"{"spec":{"endpointHost":"203.0.113.66"}}"#,
        ],
        &["delete", "wgn/admit-drain"],
    ] {
        forbidden(&drainer, arguments, &Value::Null, MADE).await?;
    }
    forbidden(&drainer, CREATE, &gateway_node("admit-more", "n"), MADE).await
}

#[tokio::test]
async fn admit_purge_generation_only_grows_and_drainers_may_raise_it() -> Result<()> {
    let patch = |generation: i64| format!("{{\"spec\":{{\"purgeGeneration\":{generation}}}}}");
    let set = ["patch", "wgn/admit-purge", "--type=merge", "-p"];
    stored(&gateway_node("admit-purge", "n")).await?;
    let ordinary = user(
        "admit-purge-tenant",
        &[rule(&["gatewaynodes"], &["get", "patch"])],
    )
    .await?;
    forbidden(&ordinary, &[&set[..], &[&patch(1)]].concat(), &Value::Null, MADE).await?;
    let rules = [rule(&["gatewaynodes"], &["get", "patch", "drain"])];
    let drainer = user("admit-purger", &rules).await?;
    allowed(&drainer, &[&set[..], &[&patch(3)]].concat(), &Value::Null).await?;
    let plane = plane().await?;
    for (generation, because) in [
        (2, "purgeGeneration can only be raised"),
        (-1, "greater than or equal to 0"),
        (2_147_483_648, "less than or equal to 2147483647"),
    ] {
        let patch = patch(generation);
        let arguments = [&set[..], &[&patch]].concat();
        for kubeconfig in [&drainer, &plane.kubeconfig()] {
            let (taken, said) = attempt(plane, kubeconfig, &arguments, &Value::Null).await?;
            ensure!(!taken && said.contains(because), "{generation}: {said}");
        }
    }
    // Nor does it fall by being left out.
    let removed = r#"{"spec":{"purgeGeneration":null}}"#;
    let (taken, said) = attempt(plane, &drainer, &[&set[..], &[removed]].concat(), &Value::Null).await?;
    ensure!(!taken && said.contains("can only be raised"), "{said}");
    let shown = "-o=jsonpath={.spec.purgeGeneration}";
    let now = plane
        .kubectl_text(&["get", "wgn/admit-purge", shown], None)
        .await?;
    ensure!(now == "3", "{now}");
    Ok(())
}

#[tokio::test]
async fn admit_lets_whoever_may_enlist_make_change_and_delete_gateway_nodes() -> Result<()> {
    let rules = [rule(
        &["gatewaynodes"],
        &["get", "create", "update", "patch", "delete", "enlist"],
    )];
    let operator = user("admit-enlister", &rules).await?;
    allowed(
        &operator,
        &["create", "-f", "-"],
        &gateway_node("admit-enlist", "n"),
    )
    .await?;
    for arguments in [
        &["annotate", "wgn/admit-enlist", "culvert.dev/leaving=true"][..],
        &[
            "patch",
            "wgn/admit-enlist",
            "--type=merge",
            "-p",
            r#"{"spec":{"drain":true,"endpointHost":"192.0.2.1"}}"#,
        ],
        &[
            "patch",
            "wgn/admit-enlist",
            "--type=merge",
            "-p",
            r#"{"spec":{"endpointHost":"192.0.2.2"}}"#,
        ],
        &["delete", "wgn/admit-enlist"],
    ] {
        allowed(&operator, arguments, &Value::Null).await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_lets_the_garbage_collector_take_gateway_nodes() -> Result<()> {
    let collector = "--as=system:serviceaccount:kube-system:generic-garbage-collector";
    stored(&gateway_node("admit-garbage", "n")).await?;
    let plane = plane().await?;
    let (taken, said) = attempt(
        plane,
        &plane.kubeconfig(),
        &["create", "--dry-run=server", "-f", "-", collector],
        &gateway_node("admit-more", "n"),
    )
    .await?;
    ensure!(!taken, "a collector made something: {said}");
    let moved = [
        "patch",
        "wgn/admit-garbage",
        "--type=merge",
        "-p",
        r#"{"spec":{"endpointHost":"203.0.113.66"}}"#,
        collector,
    ];
    forbidden(&plane.kubeconfig(), &moved, &Value::Null, MADE).await?;
    for arguments in [
        &[
            "patch",
            "wgn/admit-garbage",
            "--type=merge",
            "-p",
            r#"{"metadata":{"ownerReferences":null}}"#,
            collector,
        ][..],
        &["delete", "wgn/admit-garbage", "--wait=false", collector],
    ] {
        allowed(&plane.kubeconfig(), arguments, &Value::Null).await?;
    }
    Ok(())
}
