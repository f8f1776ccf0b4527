//! What the agent says at its start of what it lacks: by itself a kernel refuses late and one thing at a time.

use std::process::Command;

use anyhow::{Result, ensure};
use culvert_e2e::{Bed, Program, bed::SOON, wait};

const NO_RIGHT: &str = "the agent lacks CAP_NET_ADMIN";
const NO_PROGRAM: &str = "the program that takes its place is missing";

/// What an agent says until it has started.
async fn said(bed: &Bed, name: &str, command: &Command) -> Result<String> {
    let logs = bed.logs();
    let folder = logs[0].parent().unwrap_or(&logs[0]);
    let agent = Program::start(name, &bed.gateway.wrap(command), folder)?;
    wait::until("the agent to start", SOON, || async {
        let said = agent.output()?;
        Ok(said.contains("culvert-node-agent starts").then_some(said))
    })
    .await
}

#[tokio::test]
async fn start_says_what_the_agent_lacks() -> Result<()> {
    let mut bed = Bed::empty().await?;
    let ordinary = said(&bed, "ordinary", &bed.agent_command()?).await?;
    ensure!(
        !ordinary.contains(NO_RIGHT) && !ordinary.contains(NO_PROGRAM),
        "{ordinary}"
    );

    let agent = bed.agent_command()?;
    let mut stripped = Command::new("setpriv");
    stripped.arg("--bounding-set=-net_admin").arg(agent.get_program());
    for (name, value) in agent.get_envs() {
        if let Some(value) = value {
            stripped.env(name, value);
        }
    }
    let stripped = said(&bed, "stripped", &stripped).await?;
    ensure!(
        stripped.contains(NO_RIGHT) && !stripped.contains(NO_PROGRAM),
        "{stripped}"
    );

    // Neither a path nor a name that leads anywhere; and a program that nobody needs is not missed.
    for (name, backend, program, missed) in [
        ("path", "userspace", "/nowhere/wireguard-go", true),
        ("name", "userspace", "no-such-wireguard-go", true),
        ("there", "userspace", "sh", false),
        ("needless", "kernel", "no-such-wireguard-go", false),
    ] {
        bed.agent_flags(&["--backend", backend, "--wireguard-go", program]);
        let said = said(&bed, name, &bed.agent_command()?).await?;
        ensure!(said.contains(NO_PROGRAM) == missed, "{backend} {program}: {said}");
        ensure!(!said.contains(NO_RIGHT), "{said}");
    }
    Ok(())
}
