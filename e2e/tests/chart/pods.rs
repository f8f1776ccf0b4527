//! What pods may do: the operator's, the hook's and the test's pass the Pod Security level `restricted`; the agent's has
//! what it needs and no more.

use anyhow::{Context, Result, ensure};
use culvert_e2e::chart::NAMESPACE;
use serde_json::{Value, json};

use crate::{object, objects, pod};

/// Paths of the node that a pod sees.
fn paths(pod: &Value) -> Vec<&str> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes
        .filter_map(|volume| volume["hostPath"]["path"].as_str())
        .collect()
}

fn container(pod: &Value) -> Result<&Value> {
    let containers = pod["spec"]["containers"].as_array().context("no containers")?;
    ensure!(containers.len() == 1, "{} containers", containers.len());
    ensure!(pod["spec"]["initContainers"].is_null());
    Ok(&containers[0])
}

/// The rules of `restricted`, as far as a pod of ours could break them, and a read-only root.
fn is_restricted(pod: &Value) -> Result<()> {
    let spec = &pod["spec"];
    for field in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"] {
        ensure!(spec[field].is_null(), "{field}");
    }
    ensure!(paths(pod).is_empty(), "{:?}", paths(pod));
    let of_pod = &spec["securityContext"];
    ensure!(
        of_pod["runAsNonRoot"] == true && of_pod["runAsUser"] == 65532,
        "{of_pod}"
    );
    ensure!(
        of_pod["seccompProfile"] == json!({ "type": "RuntimeDefault" }),
        "{of_pod}"
    );
    let container = container(pod)?;
    let meant = json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"] },
    });
    ensure!(container["securityContext"] == meant, "{container}");
    let ports = container["ports"].as_array().into_iter().flatten();
    ensure!(ports.into_iter().all(|port| port["hostPort"].is_null()));
    Ok(())
}

#[test]
fn all_but_the_agent_is_restricted() -> Result<()> {
    let objects = objects(&["--set", "metrics.tlsSecret=tls"])?;
    let mut looked = Vec::new();
    for object in &objects {
        if let Some(pod) = pod(object)
            && object["kind"] != "DaemonSet"
        {
            is_restricted(pod).with_context(|| object["metadata"].to_string())?;
            ensure!(object["metadata"]["namespace"] == NAMESPACE);
            looked.push(object["kind"].as_str().unwrap_or_default());
        }
    }
    looked.sort_unstable();
    ensure!(looked == ["Deployment", "Job", "Pod"], "{looked:?}");
    Ok(())
}

#[test]
fn the_agent_has_one_capability_and_one_folder() -> Result<()> {
    let objects = objects(&[])?;
    let pod = &object(&objects, "DaemonSet", "culvert-agent")?["spec"]["template"];
    ensure!(pod["spec"]["hostNetwork"] == true);
    ensure!(pod["spec"]["hostPID"].is_null() && pod["spec"]["hostIPC"].is_null());
    ensure!(pod["spec"]["securityContext"] == json!({ "seccompProfile": { "type": "RuntimeDefault" } }));
    let context = &container(pod)?["securityContext"];
    let meant = json!({
        "runAsUser": 0,
        "runAsGroup": 0,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"], "add": ["NET_ADMIN"] },
    });
    ensure!(*context == meant, "{context}");
    ensure!(paths(pod) == ["/var/lib/culvert"], "{:?}", paths(pod));
    Ok(())
}

#[test]
fn only_the_userspace_backend_sees_the_tunnel_device() -> Result<()> {
    for (flags, meant) in [
        (
            ["--set", "agent.backend=userspace"],
            &["/var/lib/culvert", "/dev/net/tun"][..],
        ),
        (
            ["--set", "agent.backend=auto"],
            &["/var/lib/culvert", "/dev/net/tun"],
        ),
        (["--set", "agent.stateDir="], &[]),
    ] {
        let objects = objects(&flags)?;
        let pod = &object(&objects, "DaemonSet", "culvert-agent")?["spec"]["template"];
        ensure!(paths(pod) == meant, "{flags:?}: {:?}", paths(pod));
        let volumes = pod["spec"]["volumes"].as_array().context("no volumes")?;
        let mounts = container(pod)?["volumeMounts"].as_array().context("no mounts")?;
        ensure!(volumes.len() == mounts.len(), "{volumes:?} {mounts:?}");
    }
    Ok(())
}

#[test]
fn probes_ask_nothing_that_depends_on_the_apiserver_but_whether_it_is_ready() -> Result<()> {
    let objects = objects(&[])?;
    for (kind, name) in [("Deployment", "culvert-operator"), ("DaemonSet", "culvert-agent")] {
        let container = container(&object(&objects, kind, name)?["spec"]["template"])?;
        for (probe, path) in [
            ("startupProbe", "/livez"),
            ("livenessProbe", "/livez"),
            ("readinessProbe", "/readyz"),
        ] {
            ensure!(container[probe]["httpGet"]["path"] == path, "{name} {probe}");
        }
        // Five minutes at least for a hundred thousand keys.
        let start = &container["startupProbe"];
        let seconds = start["periodSeconds"]
            .as_u64()
            .zip(start["failureThreshold"].as_u64());
        ensure!(
            seconds.is_some_and(|(period, times)| period * times >= 300),
            "{start}"
        );
    }
    Ok(())
}

#[test]
fn the_agents_can_have_a_namespace_of_their_own() -> Result<()> {
    let objects = objects(&["--set", "agent.namespace=agents,agent.createNamespace=true"])?;
    let namespace = object(&objects, "Namespace", "agents")?;
    ensure!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged");
    for (kind, name) in [
        ("DaemonSet", "culvert-agent"),
        ("ServiceAccount", "culvert-node-agent"),
        ("Service", "culvert-agent-metrics"),
    ] {
        ensure!(
            object(&objects, kind, name)?["metadata"]["namespace"] == "agents",
            "{kind}"
        );
    }
    for name in ["culvert-node-agent", "culvert-metrics"] {
        let subjects = &object(&objects, "ClusterRoleBinding", name)?["subjects"];
        let account =
            json!({ "kind": "ServiceAccount", "name": "culvert-node-agent", "namespace": "agents" });
        ensure!(
            subjects.as_array().is_some_and(|all| all.contains(&account)),
            "{subjects}"
        );
    }
    let check = &object(&objects, "Pod", "culvert-check")?["spec"]["containers"][0]["args"];
    ensure!(*check == json!(["check", "--system-namespace=agents"]), "{check}");
    Ok(())
}

#[test]
fn one_replica_has_no_budget_that_would_keep_its_node() -> Result<()> {
    let budgets = |objects: &[Value]| crate::names(objects, "PodDisruptionBudget").len();
    ensure!(budgets(&objects(&[])?) == 1);
    ensure!(budgets(&objects(&["--set", "operator.replicas=1"])?) == 0);
    Ok(())
}

#[test]
fn addresses_are_written_as_their_family_has_them() -> Result<()> {
    for (family, operator, agent) in [
        (
            "IPv4",
            "--listen=0.0.0.0:8080",
            "--metrics-listen=$(HOST_IP):9821",
        ),
        ("IPv6", "--listen=[::]:8080", "--metrics-listen=[$(HOST_IP)]:9821"),
    ] {
        let objects = objects(&["--set", &format!("ipFamily={family}")])?;
        for (kind, name, flag) in [
            ("Deployment", "culvert-operator", operator),
            ("DaemonSet", "culvert-agent", agent),
        ] {
            let args = &container(&object(&objects, kind, name)?["spec"]["template"])?["args"];
            ensure!(
                args.as_array().is_some_and(|all| all.contains(&json!(flag))),
                "{args}"
            );
        }
    }
    Ok(())
}
