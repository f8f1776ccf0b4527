//! Endpoints leave the gateway when their sessions are dead, and never before.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Bed, Client, Program, Replay, Scratch,
    bed::{DEFAULT, SOON, said},
    netns,
    wait::{self, Stopwatch},
};

use crate::egress::order;
use crate::fixture::{SLACK, WINDOW, blank, connected, forgotten_in_time, make_keys, with_client};

/// How long the second message of a handshake is, in bytes.
const RESPONSE: usize = 92;

#[tokio::test]
async fn purge_forgets_an_idle_client_and_lets_it_come_back() -> Result<()> {
    let (bed, laptop) = with_client("laptop", 77).await?;
    let before = bed.peer(&laptop.public_key)?.context("the peer")?;
    ensure!(before.endpoint == Some(laptop.expected_endpoint()));
    wait::pass(Duration::from_secs(WINDOW - 10)).await;
    ensure!(laptop.endpoint_at(&bed)?.is_some(), "forgotten too early");
    wait::pass(Duration::from_secs(10 + SLACK)).await;
    ensure!(laptop.endpoint_at(&bed)?.is_none(), "remembered too long");
    // Handshake time and counters follow within a minute; the peer and what it may use stay.
    wait::pass(Duration::from_mins(1)).await;
    let after = bed.peer(&laptop.public_key)?.context("the peer is gone")?;
    ensure!(after.is_blank(), "a trace is left");
    ensure!(after.allowed_ips == before.allowed_ips);
    // The first packet makes a new session and is answered within a second.
    laptop.ping(1).context("the client could not come back")?;
    bed.finish().await
}

#[tokio::test]
async fn purge_forgets_a_client_whose_handshake_never_completes() -> Result<()> {
    let bed = Bed::start().await?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    laptop.register(&bed).await?;
    laptop.connect(&bed).await?;
    laptop.deafen()?;
    ensure!(laptop.ping(1).is_err(), "a deaf client heard an answer");
    let peer = bed.peer(&laptop.public_key)?.context("the peer")?;
    ensure!(
        peer.endpoint.is_some() && peer.latest_handshake == 0,
        "no half-made session"
    );
    // It gives up after 90 s of trying; the last attempt counts from there, and nothing else does.
    laptop.namespace.ip(&["link", "set", "wg0", "down"])?;
    wait::pass(Duration::from_secs(WINDOW + SLACK)).await;
    ensure!(laptop.endpoint_at(&bed)?.is_none(), "remembered too long");
    wait::pass(Duration::from_mins(1)).await;
    ensure!(
        bed.peer(&laptop.public_key)?.context("the peer")?.is_blank(),
        "a trace is left"
    );
    bed.finish().await
}

#[tokio::test]
async fn purge_never_touches_a_client_that_talks_for_an_hour_without_a_control_plane() -> Result<()> {
    let (bed, laptop) = with_client("laptop", 77).await?;
    bed.plane.kill_all()?;
    let report = laptop
        .namespace
        .run(&["ping", "-q", "-i", "1", "-c", "3600", "-W", "5", "10.64.0.1"])?;
    ensure!(report.contains("3600 received, 0% packet loss"), "{report}");
    let peer = bed.peer(&laptop.public_key)?.context("the peer")?;
    // Each ping is a packet of at least 128 bytes in the tunnel: a purge would have set the counter back.
    ensure!(
        peer.received > 3_600 * 100,
        "the peer was made anew: {} bytes",
        peer.received
    );
    ensure!(peer.endpoint.is_some());
    // And without any control plane it is still forgotten.
    wait::pass(Duration::from_secs(WINDOW + SLACK)).await;
    ensure!(laptop.endpoint_at(&bed)?.is_none(), "remembered too long");
    laptop.ping(1).context("the client could not come back")?;
    bed.finish().await
}

#[tokio::test]
async fn purge_of_one_client_leaves_the_other_alone() -> Result<()> {
    let bed = Bed::start().await?;
    let (idle, busy) = (
        connected(&bed, "idle", 77).await?,
        connected(&bed, "busy", 78).await?,
    );
    let report = busy
        .namespace
        .run(&["ping", "-q", "-i", "1", "-c", "260", "-W", "5", "10.64.0.1"])?;
    ensure!(report.contains("260 received, 0% packet loss"), "{report}");
    ensure!(idle.endpoint_at(&bed)?.is_none());
    ensure!(busy.endpoint_at(&bed)? == Some(busy.expected_endpoint()));
    ensure!(
        bed.peer(&busy.public_key)?.context("the peer")?.received > 260 * 100,
        "the busy peer was made anew"
    );
    idle.ping(1).context("the idle client could not come back")?;
    bed.finish().await
}

#[tokio::test]
async fn purge_goes_on_while_the_gateway_cannot_be_programmed() -> Result<()> {
    let (bed, laptop) = with_client("laptop", 77).await?;
    for words in [
        &["ip", "link", "add", "wg7", "type", "wireguard"][..],
        &["wg", "set", "wg7", "listen-port", "40000"],
        &["ip", "link", "set", "wg7", "up"],
    ] {
        bed.gateway.run(words)?;
    }
    let patch = r#"{"spec":{"listenPort":40000}}"#;
    bed.kubectl(&["patch", "wireguardgateway/default", "--type=merge", "-p", patch])
        .await?;
    wait::until("the failure to be reported", SOON, || async {
        let programmed = said(&bed.gateway_node(DEFAULT).await?.conditions, "Programmed");
        Ok((programmed == "False Conflict").then_some(()))
    })
    .await?;
    wait::pass(Duration::from_secs(WINDOW + SLACK)).await;
    ensure!(laptop.endpoint_at(&bed)?.is_none(), "remembered too long");
    bed.finish().await
}

#[tokio::test]
async fn purge_goes_on_while_nft_is_slow() -> Result<()> {
    /// Every second another firewall's manager changes something, so there is always something to read.
    const OTHER: &str = "while sleep 1; do nft add table inet other; nft delete table inet other; done";
    let mut bed = Bed::empty().await?;
    let folder = Scratch::new("culvert-nft-")?;
    let (nft, runs) = (folder.path().join("nft"), folder.path().join("runs"));
    // Less than it may take, each time that it is run.
    let slow = format!("echo >>{}; sleep 2.9; exec nft \"$@\"", runs.display());
    order::write(&nft, &slow)?;
    bed.agent_flags(&["--nft", &nft.display().to_string()]);
    bed.serve_examples().await?;
    let mut other = bed.gateway.command("sh");
    other.args(["-c", OTHER]);
    let mut other = Program::start("other", &other, folder.path())?;
    let clients = staggered(&bed, 12).await?;
    let before = fs::read(&runs)?.len();
    let ages = retention(&bed, &clients)?;
    let runs = fs::read(&runs)?.len() - before;
    other.ensure_running()?;
    println!("counted: slow nft: beside {runs} runs of 2.9 s, seconds since the last handshake: {ages:?}");
    ensure!(runs > 30, "nft was run {runs} times: nobody has waited for it");
    ensure!(
        ages.last().is_some_and(|most| *most <= WINDOW + SLACK),
        "remembered too long: {ages:?}"
    );
    bed.finish().await
}

/// Whoever recorded a client's first message can have the gateway remember an address of their own with it, as a peer
/// that is made anew knows no message. For no longer than anybody's.
#[tokio::test]
async fn purge_of_a_replayed_initiation_like_any_other() -> Result<()> {
    let bed = Bed::start().await?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    laptop.register(&bed).await?;
    // A second way to the gateway, through the relay.
    laptop.namespace.ip(&[
        "link", "add", "eth1", "type", "veth", "peer", "name", "relay0", "netns", "1",
    ])?;
    laptop.namespace.address("eth1", "203.0.113.2/24")?;
    for words in [
        &["addr", "add", "203.0.113.1/24", "dev", "relay0"][..],
        &["link", "set", "relay0", "up"],
    ] {
        netns::run(std::process::Command::new("ip").args(words))?;
    }
    let relay = Replay::start("203.0.113.1:4077".parse()?, "192.0.2.2:51820".parse()?).await?;
    let (key, _) = bed.gateway_for_clients().await?;
    laptop.connect_to(&key, "203.0.113.1:4077")?;
    wait::until("a handshake through the relay", SOON, || async {
        let peer = bed.peer(&laptop.public_key)?.context("the peer")?;
        // The relay answers from this very thread, so nobody may wait for it here.
        let _ = laptop.start_pinging("0.2", 1)?;
        Ok((relay.has_recorded() && peer.latest_handshake > 0).then_some(()))
    })
    .await?;
    laptop.namespace.ip(&["link", "set", "wg0", "down"])?;
    blank(&bed, &laptop, Duration::from_secs(WINDOW + SLACK + 60)).await?;

    let elsewhere = relay.elsewhere("192.0.2.1:4078".parse()?).await?;
    let sent = elsewhere.send_again().await?;
    let planted = Stopwatch::start();
    let endpoint = wait::until("the endpoint to be planted", Duration::from_secs(5), || async {
        laptop.endpoint_at(&bed)
    })
    .await?;
    ensure!(endpoint == "192.0.2.1:4078", "the gateway sees `{endpoint}`");
    // Whoever is at an address that somebody else writes into packets gets less than that one sends, and once.
    let mut answers = wait::until("the answer", SOON, || async {
        let answers = elsewhere.answers()?;
        Ok((!answers.is_empty()).then_some(answers))
    })
    .await?;
    for _ in 0..3 {
        elsewhere.send_again().await?;
        wait::pass(Duration::from_secs(1)).await;
    }
    forgotten_in_time(&bed, &laptop, planted.elapsed()).await?;
    blank(&bed, &laptop, Duration::from_mins(1)).await?;
    answers.extend(elsewhere.answers()?);
    ensure!(
        (sent, answers.as_slice()) == (148, &[RESPONSE]),
        "{sent} bytes are answered by {answers:?}"
    );
    println!("counted: replayed initiation: {sent} bytes answered by {RESPONSE}, once");
    bed.finish().await
}

#[tokio::test]
async fn purge_goes_on_while_a_bulk_is_programmed() -> Result<()> {
    const BATCH: u32 = 5;
    let (bed, laptop) = with_client("laptop", 77).await?;
    let silence = Stopwatch::start();
    let mut made = 0;
    let mut forgotten = None;
    // News without a pause, from before the client is due until after.
    while silence.elapsed() < Duration::from_secs(WINDOW + SLACK) {
        make_keys(&bed, made, BATCH).await?;
        made += BATCH;
        wait::pass(Duration::from_secs(1)).await;
        if forgotten.is_none() && laptop.endpoint_at(&bed)?.is_none() {
            forgotten = Some(silence.elapsed());
        }
    }
    let forgotten = forgotten.context("remembered too long")?;
    println!(
        "forgotten after {} s, beside {made} new peers",
        forgotten.as_secs()
    );
    ensure!(
        forgotten >= Duration::from_secs(WINDOW - 2),
        "forgotten after {forgotten:?} already"
    );
    wait::until("every key to be programmed", SOON, || async {
        Ok((bed.peers()?.len() == usize::try_from(made)? + 1).then_some(()))
    })
    .await?;
    laptop.ping(1).context("the client could not come back")?;
    bed.finish().await
}

/// So many clients that have connected and are silent from then on: not all in one tick, and in no step with it.
async fn staggered(bed: &Bed, count: u16) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for n in 0..count {
        clients.push(Client::new(bed, &format!("client{n}"), 50 + n)?);
    }
    Client::register_all(bed, &mut clients).await?;
    let (key, endpoint) = bed.gateway_for_clients().await?;
    for client in &clients {
        client.connect_to(&key, &endpoint)?;
    }
    for client in &clients {
        wait::pass(Duration::from_millis(1_300)).await;
        client.ping(5)?;
    }
    Ok(clients)
}

/// Looks for as long as any endpoint is there, and says how old each got, in seconds and in order.
fn retention(bed: &Bed, clients: &[Client]) -> Result<Vec<u64>> {
    let mut ages = vec![0_u64; clients.len()];
    // Several looks a second, each by `wg` and against the same clock that the kernel stamps handshakes with.
    wait::until_blocking("every endpoint to be forgotten", Duration::from_mins(5), || {
        let now: u64 = bed.gateway.run(&["date", "+%s"])?.trim().parse()?;
        let peers = bed.peers()?;
        ensure!(peers.len() == clients.len(), "a peer is missing");
        let mut known = 0;
        for (client, age) in clients.iter().zip(&mut ages) {
            let peer = peers
                .iter()
                .find(|peer| peer.public_key == client.public_key)
                .context("the peer")?;
            if peer.endpoint.is_some() {
                known += 1;
                *age = now.saturating_sub(peer.latest_handshake);
            }
        }
        Ok((known == 0).then_some(()))
    })?;
    ages.sort_unstable();
    Ok(ages)
}

#[tokio::test]
async fn purge_keeps_no_endpoint_longer_than_190_seconds() -> Result<()> {
    const CLIENTS: u16 = 24;
    let bed = Bed::start().await?;
    let clients = staggered(&bed, CLIENTS).await?;
    let ages = retention(&bed, &clients)?;
    let (least, most) = (
        ages.first().copied().unwrap_or(0),
        ages.last().copied().unwrap_or(0),
    );
    println!("retention over {CLIENTS} peers, seconds since the last handshake: {ages:?}");
    ensure!(least >= WINDOW - 2, "forgotten after {least} s already");
    ensure!(most <= WINDOW + SLACK, "remembered for {most} s");
    bed.finish().await
}

/// Whoever asks for it knows that sessions end: everybody is forgotten, whoever talks as well. Once.
#[tokio::test]
async fn purge_generation_forgets_everybody_now() -> Result<()> {
    let (mut bed, laptop) = with_client("laptop", 77).await?;
    let phone = connected(&bed, "phone", 78).await?;
    let patch = r#"{"spec":{"purgeGeneration":1}}"#;
    let object = format!("gatewaynode/{DEFAULT}");
    bed.kubectl(&["patch", &object, "--type=merge", "-p", patch])
        .await?;
    wait::until(
        "the purge to be done and reported",
        Duration::from_secs(15),
        || async {
            let done = bed.gateway_node(DEFAULT).await?.purged_generation;
            Ok((done == Some(1)).then_some(()))
        },
    )
    .await?;
    for client in [&laptop, &phone] {
        let peer = bed.peer(&client.public_key)?.context("the peer is gone")?;
        ensure!(peer.is_blank(), "a trace of {} is left", client.name);
    }
    // The clients know nothing of it: each notices after 15 s without an answer and makes another session.
    for client in [&laptop, &phone] {
        client.recover()?;
    }
    let (session, _) = bed.session().await?;
    bed.terminate_agent().await?;
    bed.start_agent()?;
    bed.caught_up_after(&session).await?;
    wait::pass(Duration::from_secs(15)).await;
    for client in [&laptop, &phone] {
        ensure!(
            client.endpoint_at(&bed)?.is_some(),
            "another agent did it again to {}",
            client.name
        );
    }
    bed.finish().await
}
