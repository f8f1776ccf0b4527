//! The chart before a real apiserver: that it takes every object, strictly and twice, that Pod Security has nothing to say, and
//! what the accounts may do in the end. What Helm renders is looked at in tests/chart.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    ControlPlane,
    chart::{NAMESPACE, render},
    documents,
};
use serde_json::{Value, json};

/// Who applies, as Helm does.
const MANAGER: [&str; 2] = ["--server-side", "--field-manager=helm"];

const AGENTS: &str = "culvert-agents";

/// Objects as one text for kubectl.
pub fn list(objects: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string()
}

async fn cluster() -> Result<ControlPlane> {
    let plane = ControlPlane::start().await?;
    plane
        .kubectl_text(&["create", "namespace", NAMESPACE], None)
        .await?;
    Ok(plane)
}

/// Applies; what was said beside it.
async fn apply(plane: &ControlPlane, objects: &str) -> Result<String> {
    let words = [&["apply"], &MANAGER[..], &["-f", "-"]].concat();
    let output = plane.kubectl(&words, Some(objects)).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{said}");
    Ok(said)
}

#[tokio::test]
async fn chart_is_applied_twice_and_nothing_differs() -> Result<()> {
    let plane = cluster().await?;
    let first = render(&["--no-hooks"])?;
    apply(&plane, &first).await?;
    // With other values, as an upgrade, and back: nobody else has come to own a field.
    let second = render(&[
        "--no-hooks",
        "--set",
        "operator.replicas=3,agent.maxUnavailable=20%,logs.level=debug",
    ])?;
    apply(&plane, &second).await?;
    apply(&plane, &first).await?;
    let words = [&["diff"], &MANAGER[..], &["-f", "-"]].concat();
    let output = plane.kubectl(&words, Some(&first)).await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success() && said.is_empty(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // It can tell.
    let output = plane.kubectl(&words, Some(&second)).await?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    Ok(())
}

#[tokio::test]
async fn chart_with_everything_in_it_is_valid() -> Result<()> {
    let plane = cluster().await?;
    let values = [
        "--set",
        "agent.namespace=culvert-agents,agent.createNamespace=true,agent.backend=auto,agent.seLinuxOptions.type=spc_t",
        "--set",
        "metrics.tlsSecret=tls,roles.aggregate=true,ipFamily=IPv6,agent.stateDir=",
        "--set",
        "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.a=b,networkPolicy.egress[0].ports[0].port=6443",
        "--set",
        "operator.extraVolumes[0].name=a,operator.extraVolumes[0].emptyDir.sizeLimit=1Mi,operator.extraVolumeMounts[0].name=a,operator.extraVolumeMounts[0].mountPath=/a",
        "--set",
        "agent.extraEnv[0].name=A,agent.extraEnv[0].value=b,agent.podLabels.a=b,operator.podAnnotations.a=b,imagePullSecrets[0].name=a",
    ];
    // Its hooks and its test as well.
    apply(&plane, &render(&values)?).await.map(drop)
}

/// The pods that the chart's objects make, in `namespace`.
fn pods(objects: &[Value], namespace: &str) -> Vec<Value> {
    objects
        .iter()
        .filter(|object| object["metadata"]["namespace"] == namespace)
        .filter_map(|object| {
            let template = match object["kind"].as_str()? {
                "Pod" => object,
                "Deployment" | "DaemonSet" | "Job" => &object["spec"]["template"],
                _ => return None,
            };
            Some(json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": { "generateName": "like-", "namespace": namespace },
                "spec": template["spec"],
            }))
        })
        .collect()
}

#[tokio::test]
async fn chart_passes_pod_security() -> Result<()> {
    let plane = cluster().await?;
    let text = render(&[
        "--set",
        "agent.namespace=culvert-agents,agent.createNamespace=true",
    ])?;
    let objects = documents::objects(&text)?;
    let mode = |mode: &str| format!("pod-security.kubernetes.io/{mode}=restricted");
    let label = ["label", "namespace", NAMESPACE, &mode("warn"), &mode("enforce")];
    plane.kubectl_text(&label, None).await?;
    // Whoever applies a workload that breaks a rule is told.
    let said = apply(&plane, &text).await?;
    ensure!(!said.contains("PodSecurity"), "{said}");
    let create = ["create", "--dry-run=server", "-f", "-"];
    let (ours, agents) = (pods(&objects, NAMESPACE), pods(&objects, AGENTS));
    ensure!(
        ours.len() == 3 && agents.len() == 1,
        "{} {}",
        ours.len(),
        agents.len()
    );
    plane.kubectl_text(&create, Some(&list(&ours))).await?;
    plane.kubectl_text(&create, Some(&list(&agents))).await?;
    // The agent's pod would be refused there.
    let mut stray = agents.into_iter().next().context("no agent")?;
    stray["metadata"]["namespace"] = json!(NAMESPACE);
    stray["spec"]["serviceAccountName"] = json!("culvert-operator");
    let output = plane.kubectl(&create, Some(&stray.to_string())).await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && said.contains("violates PodSecurity"),
        "{said}"
    );
    Ok(())
}

/// What an account may do in a namespace, a line a right.
async fn rights(plane: &ControlPlane, account: &str, namespace: &str) -> Result<BTreeSet<String>> {
    let user = format!("--as=system:serviceaccount:{NAMESPACE}:{account}");
    let words = ["auth", "can-i", "--list", "--no-headers", "-n", namespace, &user];
    let text = plane.kubectl_text(&words, None).await?;
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    Ok(lines.collect())
}

#[tokio::test]
async fn chart_gives_each_account_these_rights() -> Result<()> {
    let plane = cluster().await?;
    apply(&plane, &render(&[])?).await?;
    let mut told = Vec::new();
    for namespace in [NAMESPACE, "default", "kube-system"] {
        // What everybody may, by Kubernetes' own roles.
        let common = rights(&plane, "nobody", namespace).await?;
        for account in [
            "culvert-operator",
            "culvert-node-agent",
            "culvert-uninstall",
            "culvert-check",
        ] {
            let own = rights(&plane, account, namespace).await?;
            let lines: Vec<&str> = own.difference(&common).map(String::as_str).collect();
            ensure!(!lines.is_empty(), "{account} may nothing");
            told.push(format!("# {account} in {namespace}\n{}\n", lines.join("\n")));
        }
    }
    insta::assert_snapshot!(told.join("\n"));
    Ok(())
}
