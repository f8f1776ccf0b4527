//! A program moves the packets where the kernel has no WireGuard.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use culvert_crds::gateway_node::Backend;
use culvert_e2e::{
    Bed, Client,
    bed::{DEFAULT, INTERFACE},
    process,
    tunnel::Peer,
    wait::{self, Stopwatch},
};

use crate::fixture::{ONE_TICK, SLACK, WINDOW, connected};

/// Prints who runs it: no other tool is needed for it.
const PROGRAMS: &str = "grep -lsx wireguard-go /proc/[0-9]*/comm | cut -d/ -f3";

/// The peer of a client, by way of the program's socket. The interface's alias names it.
fn peer(bed: &Bed, client: &Client) -> Result<Peer> {
    let link = bed.gateway.ip(&["-d", "link", "show", "dev", INTERFACE])?;
    let alias = link.lines().find_map(|line| line.trim().strip_prefix("alias "));
    let alias = alias.context("the interface has no alias")?;
    let socket = alias
        .split('/')
        .nth(3)
        .with_context(|| format!("no socket in `{alias}`"))?;
    let peers = Peer::all(&bed.gateway, socket)?;
    let peer = peers
        .into_iter()
        .find(|peer| peer.public_key == client.public_key);
    peer.context("the client is no peer of the program's")
}

/// A gateway that stands on a program, with one client.
async fn with_client() -> Result<(Bed, Client)> {
    let program = process::built("CULVERT_WIREGUARD_GO")?;
    let program = program
        .get_program()
        .to_str()
        .context("a path that is no text")?
        .to_owned();
    let mut bed = Bed::empty().await?;
    bed.agent_flags(&["--backend=userspace", "--wireguard-go", &program]);
    bed.serve_examples().await?;
    ensure!(bed.gateway_node(DEFAULT).await?.backend == Some(Backend::Userspace));
    ensure!(
        bed.gateway
            .run(&["ip", "-o", "link", "show", "type", "wireguard"])?
            .is_empty(),
        "the kernel moves the packets after all"
    );
    let laptop = connected(&bed, "laptop", 77).await?;
    Ok((bed, laptop))
}

/// Processes of that program.
fn programs(bed: &Bed) -> Result<Vec<String>> {
    let text = bed.gateway.run(&["sh", "-c", PROGRAMS])?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

#[tokio::test]
async fn backend_userspace_carries_traffic_and_forgets() -> Result<()> {
    let (mut bed, laptop) = with_client().await?;
    let since = Stopwatch::start();
    let before = peer(&bed, &laptop)?;
    ensure!(
        before.endpoint == Some(laptop.expected_endpoint()),
        "the gateway does not see the client"
    );

    wait::pass(Duration::from_secs(WINDOW - 5).saturating_sub(since.elapsed())).await;
    ensure!(peer(&bed, &laptop)?.endpoint.is_some(), "forgotten too early");
    wait::pass(Duration::from_secs(5 + SLACK)).await;
    ensure!(peer(&bed, &laptop)?.endpoint.is_none(), "remembered too long");
    wait::until("every trace to go", Duration::from_mins(1), || async {
        Ok(peer(&bed, &laptop)?.is_blank().then_some(()))
    })
    .await?;
    laptop.ping(1).context("the client could not come back")?;

    // The program outlives the agent, and the agent finds it again.
    let pinging = laptop.start_pinging("0.5", 60)?;
    let (session, _) = bed.session().await?;
    bed.kill_agent()?;
    bed.start_agent()?;
    bed.caught_up_after(&session).await?;
    pinging.lost_none().await?;
    bed.finish().await
}

#[tokio::test]
async fn backend_userspace_program_that_is_killed_is_replaced_with_every_peer() -> Result<()> {
    let (bed, laptop) = with_client().await?;
    let key = laptop.public_key.clone();
    let (session, _) = bed.session().await?;
    let gateway = bed.gateway_for_clients().await?;
    let before = programs(&bed)?;
    let [program] = before.as_slice() else {
        bail!("there are {} programs", before.len());
    };
    bed.gateway.run(&["kill", "-KILL", program])?;
    wait::until("another program with the client", ONE_TICK, || async {
        ensure!(!programs(&bed)?.contains(program), "it lives still");
        Ok((peer(&bed, &laptop)?.public_key == key).then_some(()))
    })
    .await?;
    bed.caught_up_after(&session).await?;
    ensure!(
        bed.gateway_for_clients().await? == gateway,
        "clients would not find the gateway"
    );
    // The new one knows no session: the client notices and makes another.
    laptop.recover()?;
    bed.finish().await
}
