//! What the agent's program takes of memory: the one that is shipped, in a process of its own.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use culvert_e2e::{Program, figure::Figures, process, wait};
use culvert_wireguard::netlink;

use crate::{
    objects::{INTERFACE, NODE},
    stage::{LONG, Stage},
};

/// The agent's tick.
const TICK: Duration = Duration::from_secs(5);

/// Starts the agent's program and waits until every peer is in the kernel.
async fn start(stage: &mut Stage) -> Result<Program> {
    let kubeconfig = stage.folder.path().join("kubeconfig");
    fs::write(&kubeconfig, stage.api.kubeconfig()).context("failed to write a kubeconfig")?;
    let mut command = process::built("CULVERT_NODE_AGENT")?;
    command
        .env("KUBECONFIG", kubeconfig)
        .env("NODE_NAME", NODE)
        .env("CULVERT_STATE_DIR", stage.folder.path().join("keys"));
    let mut program = Program::start("agent", &command, stage.folder.path())?;
    let all = usize::try_from(stage.peers)?;
    let deadline = wait::Stopwatch::start();
    loop {
        program.ensure_running()?;
        let found = match stage.socket().await {
            Ok((socket, ifindex)) => netlink::dump(socket, ifindex).map_or(0, |device| device.peers.len()),
            Err(_) => usize::MAX,
        };
        if found == all {
            return Ok(program);
        }
        anyhow::ensure!(
            deadline.elapsed() < LONG,
            "the agent's program does not get there: {}",
            program.tail(5)
        );
        wait::pass(Duration::from_secs(2)).await;
    }
}

/// Resident memory in bytes.
fn resident(program: &Program) -> Result<f64> {
    let status =
        fs::read_to_string(format!("/proc/{}/status", program.pid())).context("the program is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: u32 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("a process without memory")?
        .parse()?;
    Ok(f64::from(kibibytes) * 1024.0)
}

/// Measures it empty, with all peers as soon as they are programmed, and ten ticks later.
pub async fn measure(stage: &mut Stage, peers: u32, figures: &mut Figures) -> Result<()> {
    eprintln!("the agent's program, empty …");
    let program = start(stage).await?;
    wait::pass(2 * TICK).await;
    let empty = resident(&program)?;
    program.terminate(LONG).await?;
    eprintln!("the agent's program with {peers} peers …");
    stage.api.fill(0..peers);
    stage.peers = peers;
    let program = start(stage).await?;
    let at_once = resident(&program)?;
    wait::pass(10 * TICK).await;
    let later = resident(&program)?;
    program.terminate(LONG).await?;
    stage.delete(INTERFACE).await?;
    let each = |bytes: f64| (bytes - empty) / f64::from(peers);
    figures.add("memory of the empty agent", empty / 1e6, "MB", "");
    figures.add(
        &format!("memory a peer at {peers} peers, over the empty agent, as soon as they are programmed"),
        each(at_once),
        "B",
        "",
    );
    figures.add(
        &format!("memory a peer at {peers} peers, over the empty agent, ten ticks later"),
        each(later),
        "B",
        "<= 200",
    );
    Ok(())
}
