//! What Culvert's programs write down, read with the plugin.

use std::{io::Read as _, process::Stdio};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{cluster::Tools, wait};
use k8s_openapi::jiff::Timestamp;

use crate::world::{NAMESPACE, PODS, TEAM, World, fact, items};

/// Who reads logs, and nothing else.
const READER: &str = "log-reader";

/// With the role for it alone, somebody reads all logs in the order in which they were written, and follows an agent over
/// its replacement.
pub async fn logs_are_read_by_whoever_has_the_role(world: &World) -> Result<()> {
    let reader = reader(world).await?;
    fact("whoever may read no logs is told the role", async {
        let said = reader.plugin_output(&["logs"]).await?;
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        ensure!(
            said.status.code() == Some(3)
                && text.contains("--clusterrole=culvert-logs")
                && text.contains(&format!("-n {NAMESPACE}")),
            "{said:?}"
        );
        Ok(String::new())
    })
    .await?;
    let (role, subject) = (
        "--clusterrole=culvert-logs",
        format!("--serviceaccount={TEAM}:{READER}"),
    );
    world
        .tools()
        .kubectl(&["-n", NAMESPACE, "create", "rolebinding", READER, role, &subject])
        .await?;
    fact("all logs come in the order in which they were written", async {
        let all = reader.plugin(&["logs", "--timestamps"]).await?;
        for label in [
            "[operator/culvert-operator-",
            "[agent/gateway-1] ",
            "[agent/gateway-2] ",
        ] {
            ensure!(all.contains(label), "nothing of {label}");
        }
        let times: Vec<Timestamp> = all.lines().filter_map(time).collect();
        ensure!(times.len() == all.lines().count(), "a line has no time:\n{all}");
        ensure!(times.is_sorted(), "they do not come in order:\n{all}");
        Ok(format!("{} lines", times.len()))
    })
    .await?;
    fact(
        "one node's are its agent's alone, as many as are asked for",
        async {
            let one = reader.plugin(&["logs", "gateway-2", "--tail", "1"]).await?;
            ensure!(
                one.lines().count() == 1 && one.starts_with("[agent/gateway-2] "),
                "{one}"
            );
            let operator = reader.plugin(&["logs", "--operator"]).await?;
            ensure!(
                operator.lines().all(|line| line.starts_with("[operator/")),
                "{operator}"
            );
            let said = reader.plugin_output(&["logs", "gateway-9"]).await?;
            let text = String::from_utf8_lossy(&said.stderr).into_owned();
            ensure!(
                said.status.code() == Some(4) && text.contains("gateway-1") && text.contains("gateway-2"),
                "{said:?}"
            );
            Ok(String::new())
        },
    )
    .await?;
    fact(
        "an agent is followed over its replacement",
        followed(world, &reader),
    )
    .await
}

/// Follows the agent of a node, has its pod deleted, and waits for what the next one writes.
async fn followed(world: &World, reader: &Tools) -> Result<String> {
    let words = ["logs", "gateway-2", "--follow", "--tail", "0", "--timestamps"];
    let mut command = reader.plugin_command(&words)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("failed to follow")?;
    let out = child.stdout.take().context("a child without an output")?;
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        let mut out = out;
        out.read_to_string(&mut text).map(|_| text)
    });
    let replaced = replaced(world).await;
    child.kill().context("failed to end it")?;
    child.wait()?;
    let text = reading.join().ok().context("the reader panicked")??;
    replaced?;
    ensure!(
        text.lines().all(|line| line.starts_with("[agent/gateway-2] ")),
        "{text}"
    );
    let times: Vec<Timestamp> = text.lines().filter_map(time).collect();
    ensure!(
        times.windows(2).all(|pair| pair[0] < pair[1]),
        "a line is there twice, or not in order:\n{text}"
    );
    let first = "interface found and looked through";
    ensure!(text.contains(first), "nothing of the next agent:\n{text}");
    Ok(format!("{} lines", times.len()))
}

/// Deletes the pod of a node's agent, and waits until another is ready and its lines can have been read.
async fn replaced(world: &World) -> Result<()> {
    let old = agent(world, "gateway-2").await?.context("no agent")?;
    world
        .tools()
        .kubectl(&["-n", NAMESPACE, "delete", "pod", &old, "--wait=true"])
        .await?;
    wait::until("another agent", culvert_e2e::cluster::SOON, || async {
        let new = agent(world, "gateway-2").await?.context("no agent")?;
        ensure!(new != old, "it is the old one");
        Ok(Some(()))
    })
    .await?;
    let rollout = ["rollout", "status", "daemonset/culvert-agent", "--timeout=3m"];
    world
        .tools()
        .kubectl(&[&["-n", NAMESPACE], &rollout[..]].concat())
        .await?;
    // The plugin looks for pods every 2 s.
    wait::pass(std::time::Duration::from_secs(10)).await;
    Ok(())
}

/// The pod of a node's agent.
async fn agent(world: &World, node: &str) -> Result<Option<String>> {
    let pods = items(world.tools().get(PODS).await?);
    let mut agents = pods.iter().filter(|pod| {
        pod["metadata"]["labels"]["app.kubernetes.io/component"] == "agent" && pod["spec"]["nodeName"] == node
    });
    Ok(agents
        .next()
        .and_then(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)))
}

/// An account without any role.
async fn reader(world: &World) -> Result<Tools> {
    let tools = world.tools();
    tools
        .kubectl(&["-n", TEAM, "create", "serviceaccount", READER])
        .await?;
    let token = tools.kubectl(&["-n", TEAM, "create", "token", READER]).await?;
    tools.with_token(token.trim(), &world.folder.join(READER)).await
}

/// The time at which a line was noted, behind the mark.
fn time(line: &str) -> Option<Timestamp> {
    line.split_once("] ")?.1.split(' ').next()?.parse().ok()
}
