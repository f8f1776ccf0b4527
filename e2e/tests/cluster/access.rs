//! Who may do what on a cluster on which Culvert was installed, and who may not.

use std::{
    net::{IpAddr, SocketAddr},
    process::Output,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use culvert_e2e::{
    cluster::Tools,
    leaks::{self, Canary},
    netns, wait,
};
use serde_json::{Value, json};

use crate::world::{KEYS, NAMESPACE, PODS, RELEASE, TEAM, World, fact, items};

/// What `kubectl auth can-i --list` says of the programs' accounts.
const RIGHTS: [(&str, &str); 2] = [
    ("culvert-node-agent", include_str!("rights/agent.txt")),
    ("culvert-operator", include_str!("rights/operator.txt")),
];

/// A team that has nothing to do with the other one.
const OTHER: &str = "team-b";

/// An account with the role of a user in [`TEAM`].
const USER: &str = "alice";

/// Every account has the rights that are written down, and no other.
pub async fn programs_have_the_rights_that_are_written_down(world: &World) -> Result<()> {
    for (account, expected) in RIGHTS {
        fact(&format!("{account} may do what is written down"), async {
            let user = format!("--as=system:serviceaccount:{NAMESPACE}:{account}");
            let listed = world
                .tools()
                .kubectl(&["auth", "can-i", "--list", "--no-headers", &user, "-n", NAMESPACE])
                .await?;
            let listed = sorted(&listed);
            ensure!(
                listed == sorted(expected),
                "{account} may do something else; it is written to rights/ as\n{}",
                listed.join("\n")
            );
            Ok(format!("{} lines", listed.len()))
        })
        .await?;
    }
    Ok(())
}

/// Lines in order, with one blank between words: kubectl's columns are as wide as what stands in them.
fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort_unstable();
    lines
}

/// An agent's token is good for its own node alone.
pub async fn an_agent_writes_for_its_own_node_alone(world: &World) -> Result<()> {
    fact(
        "the token of one node's agent writes nothing of another's",
        async {
            let agent = agent_of(world, "gateway-1").await?;
            let mine = report(&agent, "default.gateway-1").await?;
            ensure!(
                mine.is_none(),
                "its own was refused: {}",
                mine.unwrap_or_default()
            );
            let other = report(&agent, "default.gateway-2").await?;
            let said = other.context("it has written another node's object")?;
            let reason = "an agent writes the status of its own node alone";
            ensure!(said.contains(reason), "it was refused for another reason: {said}");
            Ok(String::new())
        },
    )
    .await
}

/// The pod of the agent on a node.
pub async fn agent_pod(world: &World, node: &str) -> Result<String> {
    let pods = items(world.tools().get(PODS).await?);
    let pod = pods
        .iter()
        .filter(|pod| pod["spec"]["nodeName"] == node)
        .filter_map(|pod| pod["metadata"]["name"].as_str())
        .find(|name| name.starts_with("culvert-agent"));
    pod.map(str::to_owned)
        .with_context(|| format!("there is no agent on {node}"))
}

/// Somebody with the token of the agent's pod on a node.
async fn agent_of(world: &World, node: &str) -> Result<Tools> {
    let pod = &agent_pod(world, node).await?;
    let words = [
        "-n",
        NAMESPACE,
        "create",
        "token",
        "culvert-node-agent",
        "--bound-object-kind=Pod",
    ];
    let bound = format!("--bound-object-name={pod}");
    let token = world.tools().kubectl(&[&words[..], &[&bound]].concat()).await?;
    world
        .tools()
        .with_token(token.trim(), &world.folder.join(pod))
        .await
}

/// Tries to write a node's status, without doing it; gives why it may not.
async fn report(agent: &Tools, name: &str) -> Result<Option<String>> {
    let path = format!("/apis/culvert.dev/v1alpha1/gatewaynodes/{name}");
    let mut node = agent.get(&path).await?;
    node["status"]["drained"] = json!(true);
    let words = ["replace", "--subresource=status", "--dry-run=server", "-f", "-"];
    let output = agent.kubectl_output(&words, Some(&node.to_string())).await?;
    Ok(refusal(&output))
}

/// Runs kubectl, and gives what it says when it is refused.
async fn refused(tools: &Tools, words: &[&str]) -> Result<Option<String>> {
    Ok(refusal(&tools.kubectl_output(words, None).await?))
}

/// What a program that was refused says.
fn refusal(output: &Output) -> Option<String> {
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A user has the keys of his namespace and sees no other's.
pub async fn a_user_sees_no_other_teams_keys(world: &World) -> Result<()> {
    fact("a user has his team's keys and sees no other's", async {
        let tools = world.tools();
        tools.kubectl(&["create", "namespace", OTHER]).await?;
        tools
            .kubectl(&["-n", TEAM, "create", "serviceaccount", USER])
            .await?;
        let subject = format!("--serviceaccount={TEAM}:{USER}");
        let role = [
            "create",
            "rolebinding",
            USER,
            "--clusterrole=culvert-user",
            &subject,
        ];
        tools.kubectl(&[&role[..], &["-n", TEAM]].concat()).await?;
        let role = [
            "create",
            "clusterrolebinding",
            USER,
            "--clusterrole=culvert-reader",
            &subject,
        ];
        tools.kubectl(&role).await?;
        let token = tools.kubectl(&["-n", TEAM, "create", "token", USER]).await?;
        let user = tools.with_token(token.trim(), &world.folder.join(USER)).await?;
        user.plugin(&["-n", TEAM, "key", "new", "hers", "--wait", "2m"])
            .await?;
        user.plugin(&["-n", TEAM, "key", "revoke", "hers"]).await?;
        for words in [
            &["-n", OTHER, "get", "wgk"][..],
            &["get", "wgk", "-A"],
            &["get", "wgp"],
            &["-n", NAMESPACE, "get", "secrets"],
        ] {
            let said = refused(&user, words).await?;
            let said = said.with_context(|| format!("she may `kubectl {}`", words.join(" ")))?;
            ensure!(
                said.contains("Forbidden"),
                "it was no right that she lacks: {said}"
            );
        }
        Ok(String::new())
    })
    .await
}

/// Rules hold while nobody runs, and nothing of ours is asked for them.
pub async fn rules_hold_without_an_operator(world: &World) -> Result<()> {
    fact("without an operator a bad key is refused, by no webhook", async {
        let tools = world.tools();
        let hooks = "validatingwebhookconfigurations,mutatingwebhookconfigurations";
        let hooks = tools.kubectl(&["get", hooks, "-o", "name"]).await?;
        ensure!(!hooks.contains("culvert"), "there are webhooks: {hooks}");
        let scale = |replicas: &'static str| {
            let words = ["-n", NAMESPACE, "scale", "deployment/culvert-operator", replicas];
            async move { tools.kubectl(&words).await }
        };
        scale("--replicas=0").await?;
        let gone = ["-n", NAMESPACE, "wait", "--for=delete", "pod", "--timeout=2m"];
        let labels = ["-l", "app.kubernetes.io/component=operator"];
        tools.kubectl(&[&gone[..], &labels].concat()).await?;
        let bad = json!({
            "apiVersion": "culvert.dev/v1alpha1",
            "kind": "WireGuardKey",
            "metadata": { "name": "bad", "namespace": TEAM },
            "spec": { "publicKey": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" },
        });
        let output = tools
            .kubectl_output(&["apply", "-f", "-"], Some(&bad.to_string()))
            .await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        scale("--replicas=2").await?;
        let back = [
            "-n",
            NAMESPACE,
            "rollout",
            "status",
            "deployment/culvert-operator",
            "--timeout=5m",
        ];
        tools.kubectl(&back).await?;
        ensure!(!output.status.success(), "it was accepted");
        ensure!(
            said.contains("publicKey is a low-order or non-canonical point"),
            "it was refused for another reason: {said}"
        );
        Ok(String::new())
    })
    .await
}

/// Numbers are for those who may have them, and tell of nobody.
pub async fn metrics_ask_who_it_is_and_tell_of_nobody(world: &World) -> Result<()> {
    let pods = items(world.tools().get(PODS).await?);
    for component in ["operator", "agent"] {
        let pod = pods
            .iter()
            .find(|pod| pod["metadata"]["labels"]["app.kubernetes.io/component"] == component)
            .with_context(|| format!("there is no {component}"))?;
        fact(
            &format!("the {component}'s metrics ask who it is, and tell of nobody"),
            async {
                let url = metrics_of(pod)?;
                ensure!(scrape(&url, None)?.0 == "401", "nobody is asked who it is");
                let tools = world.tools();
                let token = |account: &'static str| async move {
                    tools.kubectl(&["-n", TEAM, "create", "token", account]).await
                };
                for account in ["scraper", "stranger"] {
                    let exists = refused(tools, &["-n", TEAM, "get", "serviceaccount", account]).await?;
                    if exists.is_some() {
                        tools
                            .kubectl(&["-n", TEAM, "create", "serviceaccount", account])
                            .await?;
                    }
                }
                let subject = format!("--serviceaccount={TEAM}:scraper");
                let words = [
                    "create",
                    "clusterrolebinding",
                    "scraper",
                    "--clusterrole=culvert-metrics-reader",
                ];
                // The second component finds it there.
                refused(tools, &[&words[..], &[&subject]].concat()).await?;
                let (status, _) = scrape(&url, Some(token("stranger").await?.trim()))?;
                ensure!(status == "403", "a stranger is answered with {status}");
                let scraper = token("scraper").await?;
                let text = wait::until("a scrape", culvert_e2e::cluster::SOON, || async {
                    let (status, text) = scrape(&url, Some(scraper.trim()))?;
                    ensure!(status == "200", "the answer is {status}");
                    Ok(Some(text))
                })
                .await?;
                ensure!(text.contains("culvert_"), "there are no numbers");
                let found = leaks::search(text.as_bytes(), &canaries(world).await?);
                ensure!(found.is_empty(), "{}", found.join("\n"));
                let telling: Vec<&str> = text.split(['"', ' ', '\n']).filter(|word| tells(word)).collect();
                ensure!(telling.is_empty(), "{telling:?}");
                Ok(format!("{} lines", text.lines().count()))
            },
        )
        .await?;
    }
    Ok(())
}

/// Whether a word is a key or an address, whoever's it is. In numbers there is none at all.
fn tells(word: &str) -> bool {
    let is_key = word.len() == 44 && STANDARD.decode(word).is_ok_and(|bytes| bytes.len() == 32);
    is_key || word.parse::<IpAddr>().is_ok() || word.parse::<SocketAddr>().is_ok()
}

#[test]
fn what_tells_of_somebody_is_known() {
    for word in [
        "10.64.0.1",
        "fd64:cafe:1::2",
        "198.51.100.7:51820",
        "[2001:db8::1]:51820",
        "6jG1ZjoOftJzIDZmiQjPvQB7149cTNaGIoIvzDG+CHg=",
    ] {
        assert!(tells(word), "{word}");
    }
    for word in ["0.5", "1.25e3", "culvert_agent_peers{gateway=", "default", "+Inf"] {
        assert!(!tells(word), "{word}");
    }
}

/// Where a pod's numbers are.
fn metrics_of(pod: &Value) -> Result<String> {
    let ports = pod["spec"]["containers"][0]["ports"].as_array();
    let port = ports
        .and_then(|ports| ports.iter().find(|port| port["name"] == "metrics"))
        .and_then(|port| port["containerPort"].as_u64())
        .context("a pod has no port for metrics")?;
    let address = pod["status"]["podIP"].as_str().context("a pod has no address")?;
    Ok(format!("https://{address}:{port}/metrics"))
}

/// Status and text of an answer.
fn scrape(url: &str, token: Option<&str>) -> Result<(String, String)> {
    let mut curl = std::process::Command::new("curl");
    curl.args(["--silent", "--show-error", "--insecure", "--max-time", "10"]);
    curl.args(["--write-out", "\n%{http_code}", url]);
    if let Some(token) = token {
        curl.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    let printed = netns::run(&mut curl)?;
    let (text, status) = printed.rsplit_once('\n').context("curl says no status")?;
    Ok((status.to_owned(), text.to_owned()))
}

/// Everything about the members that numbers may not tell.
async fn canaries(world: &World) -> Result<Vec<Canary>> {
    let mut all = Vec::new();
    for key in items(world.tools().get(KEYS).await?) {
        let public = key["spec"]["publicKey"].as_str().context("a key has one")?;
        all.push(Canary::public_key("a public key", public)?);
        let addresses = key["status"]["addresses"].as_array();
        for address in addresses.into_iter().flatten() {
            let address: IpAddr = address.as_str().unwrap_or_default().parse()?;
            all.push(Canary::tunnel("a tunnel address", address));
        }
    }
    for member in &world.members {
        all.push(Canary::outer("an outer address", (member.address, 0).into()));
    }
    ensure!(!all.is_empty(), "there is nothing to look for");
    Ok(all)
}

/// `helm test` says that all is well.
pub async fn helm_test_passes(world: &World) -> Result<()> {
    fact("helm test passes", async {
        let words = [
            "test",
            RELEASE,
            "--namespace",
            NAMESPACE,
            "--timeout",
            "5m",
            "--logs",
        ];
        match world.tools().helm(&words).await {
            Ok(_) => Ok(String::new()),
            Err(error) => Err(error.context(world.pods().await)),
        }
    })
    .await
}
