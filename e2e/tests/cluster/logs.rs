//! What Culvert's programs write down, read with the plugin.

use std::{
    io::{self, BufRead as _, BufReader},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    cluster::{SOON, Tools},
    wait,
};
use k8s_openapi::jiff::Timestamp;

use crate::{
    access,
    world::{NAMESPACE, TEAM, World, fact},
};

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
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to follow")?;
    let out = child.stdout.take().context("a child without an output")?;
    let err = child.stderr.take().context("a child without an output")?;
    let (out, err) = (Read::of(out), Read::of(err));
    let done = async {
        replaced(world).await?;
        wait::until("what the next agent writes", SOON, || async {
            let is_there = out.text().contains("interface found and looked through");
            ensure!(is_there, "{}{}", out.text(), err.text());
            Ok(Some(()))
        })
        .await
    }
    .await;
    child.kill().context("failed to end it")?;
    child.wait()?;
    done?;
    let text = out.end()?;
    ensure!(
        text.lines().all(|line| line.starts_with("[agent/gateway-2] ")),
        "{text}"
    );
    let times: Vec<Timestamp> = text.lines().filter_map(time).collect();
    ensure!(
        times.windows(2).all(|pair| pair[0] < pair[1]),
        "a line is there twice, or not in order:\n{text}"
    );
    Ok(format!("{} lines", times.len()))
}

/// What a program writes, read as it comes.
struct Read {
    text: Arc<Mutex<String>>,
    thread: JoinHandle<io::Result<()>>,
}

impl Read {
    fn of(out: impl io::Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&text);
        let thread = thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let line = line?;
                let mut text = shared.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&line);
                text.push('\n');
            }
            Ok(())
        });
        Self { text, thread }
    }

    /// All that has come.
    fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All that came, once nothing more can.
    fn end(self) -> Result<String> {
        self.thread.join().ok().context("the reader panicked")??;
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(text.clone())
    }
}

/// Deletes the pod of a node's agent, and waits for another.
async fn replaced(world: &World) -> Result<()> {
    let old = access::agent_pod(world, "gateway-2").await?;
    world
        .tools()
        .kubectl(&["-n", NAMESPACE, "delete", "pod", &old, "--wait=true"])
        .await?;
    wait::until("another agent", SOON, || async {
        let new = access::agent_pod(world, "gateway-2").await?;
        ensure!(new != old, "it is the old one");
        Ok(Some(()))
    })
    .await
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
