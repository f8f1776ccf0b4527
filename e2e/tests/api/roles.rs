//! Both programs under the roles of `examples/roles.yaml`, as whoever `examples/kubeconfig.sh` makes a kubeconfig for. The
//! audit log says what they asked: nothing that a role does not grant, and all that it grants.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    ControlPlane, Fault, FaultProxy,
    bed::{definitions, example},
    control_plane::Options,
    kubeconfig,
    programs::Tool,
    wait,
};
use serde_json::{Value, json};

use crate::{
    agent::{Agent, Site},
    fixture::{Api, SOON, examples, key, public_key, quick_pool},
};

/// Where the accounts are.
const NAMESPACE: &str = "culvert-system";

/// The node of the agent's tests.
const NODE: &str = "gateway-1";

/// Verbs that nothing is requested with: admission policies ask for them.
const OWN_VERBS: [&str; 6] = ["claim", "publish", "enlist", "drain", "report", "report-any"];

/// Who asked what, of each request, and nothing of what was said.
const AUDIT: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
";

/// API group, resource with subresource, verb.
type Right = (String, String, String);

/// A control plane that writes down what is asked, with definitions, roles and accounts.
pub async fn audited() -> Result<Api> {
    let options = Options {
        audit_policy: Some(AUDIT.to_owned()),
        ..Options::default()
    };
    let plane = ControlPlane::start_with(options).await?;
    plane.define(&definitions()).await?;
    plane
        .kubectl_text(&["apply", "-f", &example("roles.yaml")], None)
        .await?;
    Api::of(plane).await
}

/// The kubeconfig of an account, made by the example's script.
pub fn account(plane: &ControlPlane, words: &[&str]) -> Result<PathBuf> {
    let kubectl = Tool::Kubectl.find()?;
    let folder = kubectl.parent().context("kubectl has no folder")?;
    let others = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(Path::new(&examples()).join("kubeconfig.sh"));
    command
        .args(words)
        .env("PATH", format!("{}:{others}", folder.display()))
        .env("KUBECONFIG", plane.kubeconfig())
        .env("HOME", plane.folder());
    let output = command.output().context("failed to run kubeconfig.sh")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    ensure!(
        !text.contains("client-certificate") && !text.contains("client-key"),
        "it gives the administrator's rights away: {text}"
    );
    let path = plane.folder().join(format!("{}.kubeconfig", words.concat()));
    fs::write(&path, text)?;
    Ok(path)
}

/// What an account has asked so far, and was granted.
fn asked(plane: &ControlPlane, account: &str) -> Result<BTreeSet<Right>> {
    let log = fs::read_to_string(plane.audit_log()).context("failed to read the audit log")?;
    let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
    let mut asked = BTreeSet::new();
    for line in log.lines() {
        // The last one may be half written.
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        if event["user"]["username"] != user {
            continue;
        }
        let code = event["responseStatus"]["code"].as_u64().unwrap_or(0);
        ensure!(code != 401 && code != 403, "{account} was refused: {line}");
        let of = &event["objectRef"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let resource = match text(&of["subresource"]).as_str() {
            "" => text(&of["resource"]),
            subresource => format!("{}/{subresource}", text(&of["resource"])),
        };
        ensure!(!resource.is_empty(), "{account} asked for no resource: {line}");
        asked.insert((text(&of["apiGroup"]), resource, text(&event["verb"])));
    }
    Ok(asked)
}

/// What the roles of an account grant.
async fn granted(api: &Api, account: &str) -> Result<BTreeSet<Right>> {
    let mut granted = BTreeSet::new();
    for kind in ["clusterroles", "roles"] {
        let roles = api.list(kind).await?;
        let own = roles.iter().filter(|role| role["metadata"]["name"] == account);
        for rule in own.flat_map(|role| role["rules"].as_array().into_iter().flatten()) {
            let texts = |field: &str| -> Vec<String> {
                let all = rule[field].as_array().into_iter().flatten();
                all.filter_map(|text| text.as_str().map(str::to_owned)).collect()
            };
            for group in texts("apiGroups") {
                for resource in texts("resources") {
                    for verb in texts("verbs") {
                        granted.insert((group.clone(), resource.clone(), verb));
                    }
                }
            }
        }
    }
    Ok(granted)
}

/// Waits until an account has asked for everything that its roles grant, and ensures that there was nothing else.
async fn uses_all(api: &Api, account: &str) -> Result<()> {
    let mut granted = granted(api, account).await?;
    granted.retain(|(_, _, verb)| !OWN_VERBS.contains(&verb.as_str()));
    ensure!(!granted.is_empty(), "{account} has no role");
    let asked = wait::until("all rights to be used", SOON, || async {
        let asked = asked(&api.plane, account)?;
        let unused: Vec<_> = granted.difference(&asked).collect();
        ensure!(unused.is_empty(), "{account} has no use for {unused:?}");
        Ok(Some(asked))
    })
    .await?;
    println!("{account}: {} rights, each of them used", granted.len());
    ensure!(asked == granted, "{:?}", asked.difference(&granted));
    Ok(())
}

async fn patch(api: &Api, object: &str, patch: &Value) -> Result<()> {
    let patch = patch.to_string();
    let words = ["patch", object, "--type=merge", "-p", &patch];
    api.kubectl(&words, None).await.map(drop)
}

/// A key that has no pool, twice, with one in between: the second Event is the first again.
async fn events(api: &Api) -> Result<()> {
    let pool = |name: &str| json!({ "spec": { "poolRef": { "name": name } } });
    api.apply(&key("astray", &public_key(3))).await?;
    for name in ["nowhere", "default", "nowhere"] {
        patch(api, "wgk/astray", &pool(name)).await?;
        let expected = if name == "default" {
            "NoGateway"
        } else {
            "PoolNotFound"
        };
        api.says("wgk", "astray", "Ready", expected).await?;
    }
    api.kubectl(&["delete", "wgk/astray"], None).await.map(drop)
}

/// A gateway comes to a node, follows its address, and leaves it.
async fn fleet(api: &Api) -> Result<()> {
    api.apply(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE, "labels": { "edge": "yes" } } }))
        .await?;
    api.apply(&json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "WireGuardGateway",
        "metadata": { "name": "edge" },
        "spec": { "nodeSelector": { "edge": "yes" }, "poolRefs": [{ "name": "default" }] },
    }))
    .await?;
    let nodes = |count: usize| async move {
        wait::until("gateway nodes", SOON, || async {
            Ok((api.list("wgn").await?.len() == count).then_some(()))
        })
        .await
    };
    nodes(1).await?;
    let address = json!({ "status": { "addresses": [{ "type": "InternalIP", "address": "192.0.2.1" }] } });
    let words = [
        "patch",
        "node",
        NODE,
        "--subresource=status",
        "--type=merge",
        "-p",
    ];
    api.kubectl(&[&words[..], &[&address.to_string()]].concat(), None)
        .await?;
    wait::until("the node's address", SOON, || async {
        Ok((api.list("wgn").await?[0]["spec"]["endpointHost"] == "192.0.2.1").then_some(()))
    })
    .await?;
    api.kubectl(&["label", "node", NODE, "edge-"], None).await?;
    nodes(0).await
}

/// A claim whose reply was lost, while the watch says nothing of it: it is asked for by its name.
async fn lost_reply(api: &Api, proxy: &FaultProxy) -> Result<()> {
    proxy.stall_watches_of("wireguardpeers");
    for n in 10_u8.. {
        let struck = proxy.arm(Fault::CutAfter(1));
        api.apply(&key(&format!("lost-{n}"), &public_key(n))).await?;
        let call = struck.wait(SOON).await?;
        if call.kind == "wireguardpeers" {
            break;
        }
        ensure!(n < 20, "no claim's reply could be lost");
    }
    let looked = (
        "culvert.dev".to_owned(),
        "wireguardpeers".to_owned(),
        "get".to_owned(),
    );
    wait::until("the claim to be looked for", SOON, || async {
        Ok(asked(&api.plane, "culvert-operator")?
            .contains(&looked)
            .then_some(()))
    })
    .await?;
    proxy.cut_watches();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_of_the_operator_grant_what_it_does_and_no_more() -> Result<()> {
    let api = audited().await?;
    let own = account(&api.plane, &["culvert-operator"])?;
    let proxy = FaultProxy::start(kubeconfig::client(&own).await?, &["leases", "events"]).await?;
    let arguments = ["--leader-elect", "--lease-namespace", NAMESPACE];
    let operator = api.operator_with("operator", &proxy.kubeconfig(), &arguments)?;
    api.apply(&quick_pool()).await?;
    api.apply(&key("laptop", &public_key(1))).await?;
    api.addressed("laptop").await.with_context(|| operator.tail(20))?;
    events(&api).await?;
    fleet(&api).await?;
    lost_reply(&api, &proxy).await?;
    api.kubectl(&["delete", "ippool/default", "--wait=false"], None)
        .await?;
    api.kubectl(&["delete", "wireguardkeys", "--all"], None).await?;
    wait::until("the pool to go", SOON * 2, || async {
        Ok(api.list("ippools").await?.is_empty().then_some(()))
    })
    .await
    .with_context(|| operator.tail(20))?;
    // As the replica does that goes.
    operator.terminate(SOON).await?;
    uses_all(&api, "culvert-operator").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_of_an_agent_grant_what_it_does_and_no_more() -> Result<()> {
    const PEERS: u32 = 3;
    let api = audited().await?;
    api.apply(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE } }))
        .await?;
    let own = account(&api.plane, &["culvert-node-agent", NODE])?;
    let site = Site::at(api, PEERS).await?;
    let agent = Agent::start_as(kubeconfig::client(&own).await?, PEERS).await?;
    site.add(PEERS).await?;
    agent.serves(0..=PEERS).await?;
    let last = site.version_of_peer(PEERS).await?;
    wait::until("the last peer to be reported", SOON, || async {
        let status = site.report().await?.status;
        let applied = status.and_then(|status| status.applied_resource_version);
        Ok((applied.unwrap_or_default().parse::<u64>()? >= last).then_some(()))
    })
    .await?;
    uses_all(&site.api, "culvert-node-agent").await?;
    agent.stop().await
}

#[tokio::test]
async fn roles_of_an_agent_show_it_nothing_of_the_cluster() -> Result<()> {
    let api = audited().await?;
    let agent = format!("--as=system:serviceaccount:{NAMESPACE}:culvert-node-agent");
    let can = |verb: &'static str, resource: &'static str| {
        let (api, agent) = (&api, agent.as_str());
        async move {
            let (of, part) = resource.split_once('/').unwrap_or((resource, ""));
            let part = format!("--subresource={part}");
            let words = ["auth", "can-i", verb, of, &part, "--all-namespaces", agent];
            let output = api.plane.kubectl(&words, None).await?;
            let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            ensure!(
                ["yes", "no"].contains(&said.as_str()),
                "{verb} {resource}: {output:?}"
            );
            anyhow::Ok(said == "yes")
        }
    };
    // The question is answered with yes where it has to be.
    for (verb, resource) in [
        ("list", "wireguardpeers.culvert.dev"),
        ("report", "gatewaynodes.culvert.dev"),
        ("update", "gatewaynodes.culvert.dev/status"),
    ] {
        ensure!(can(verb, resource).await?, "{verb} {resource}");
    }
    for resource in [
        "wireguardkeys.culvert.dev",
        "secrets",
        "configmaps",
        "namespaces",
        "nodes",
        "pods",
        "serviceaccounts",
        "events",
    ] {
        for verb in ["get", "list", "watch"] {
            ensure!(!can(verb, resource).await?, "{verb} {resource}");
        }
    }
    for (verb, resource) in [
        ("get", "wireguardpeers.culvert.dev"),
        ("create", "wireguardpeers.culvert.dev"),
        ("update", "wireguardpeers.culvert.dev"),
        ("delete", "wireguardpeers.culvert.dev"),
        ("claim", "wireguardpeers.culvert.dev"),
        ("update", "gatewaynodes.culvert.dev"),
        ("patch", "gatewaynodes.culvert.dev"),
        ("drain", "gatewaynodes.culvert.dev"),
        ("enlist", "gatewaynodes.culvert.dev"),
        ("report-any", "gatewaynodes.culvert.dev"),
        ("publish", "wireguardkeys.culvert.dev"),
        // With which it would make itself a token of another node.
        ("create", "serviceaccounts/token"),
    ] {
        ensure!(!can(verb, resource).await?, "{verb} {resource}");
    }
    Ok(())
}
