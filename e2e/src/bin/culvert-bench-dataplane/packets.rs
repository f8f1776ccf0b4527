//! How many packets go through: small ones of many clients, on a gateway with many peers.
//!
//! One thread sends a batch and takes it in at the other end before it sends the next, so nothing is lost and nobody
//! waits for anybody but the packets.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use culvert_e2e::{
    figure::{Figures, number},
    netns,
    wait::Stopwatch,
};

use crate::stage::{INTERFACE, SERVER, Stage};

/// Peers of the gateway.
const PEERS: u32 = 10_000;

/// Clients that send.
const CLIENTS: u32 = 1_000;

/// Bytes of a datagram.
const PAYLOAD: [u8; 64] = [7; 64];

/// Packets on their way at a time.
const BATCH: usize = 64;

/// How many packets one measurement sends.
const PACKETS: usize = 20_000;

/// How many connections one measurement opens.
const FLOWS: usize = 5_000;

/// Longer than any packet is on its way.
const LONG: Duration = Duration::from_secs(5);

/// Measures packets of known connections, and new ones.
pub async fn measure(stage: &mut Stage, figures: &mut Figures) -> Result<()> {
    eprintln!("adding {PEERS} peers …");
    add_peers(stage)?;
    let server = stage.server.within(|| {
        let server = UdpSocket::bind((SERVER, 7)).context("failed to bind")?;
        server.set_read_timeout(Some(LONG))?;
        Ok(server)
    })?;
    let clients = sockets(stage)?;
    let known = |_: &Stage| {
        // Each connection is known afterwards.
        through(&clients, &server, clients.len())?;
        through(&clients, &server, PACKETS)
    };
    let rest = format!(" of {CLIENTS} clients among {PEERS} peers");
    let compared = stage.in_turns("packets", known).await?;
    compared.tell(figures, &format!("packets{rest}"), "1/s");
    drop(clients);

    let fresh = |stage: &Stage| {
        let watch = Stopwatch::start();
        let mut opened = 0;
        while opened < FLOWS {
            let clients = sockets(stage)?;
            through(&clients, &server, clients.len())?;
            opened += clients.len();
        }
        Ok(number(opened) / watch.elapsed().as_secs_f64())
    };
    let compared = stage.in_turns("connections", fresh).await?;
    compared.tell(figures, &format!("new connections{rest}"), "1/s");
    Ok(())
}

/// One socket for each client, with a port that it has not had.
fn sockets(stage: &Stage) -> Result<Vec<UdpSocket>> {
    stage.client.within(|| {
        let one = |client: u32| {
            let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 65, 1, 0)) + client);
            let socket = UdpSocket::bind((address, 0)).context("failed to bind")?;
            let server: SocketAddr = format!("{SERVER}:7").parse()?;
            socket.connect(server).context("failed to connect")?;
            Ok(socket)
        };
        (0..CLIENTS).map(one).collect()
    })
}

/// Packets a second.
fn through(clients: &[UdpSocket], server: &UdpSocket, packets: usize) -> Result<f64> {
    let mut buffer = [0; 2048];
    let mut turn = clients.iter().cycle();
    let watch = Stopwatch::start();
    let mut sent = 0;
    while sent < packets {
        let batch = BATCH.min(packets - sent);
        for client in turn.by_ref().take(batch) {
            client.send(&PAYLOAD).context("failed to send")?;
        }
        for _ in 0..batch {
            server.recv(&mut buffer).context("a packet was lost")?;
        }
        sent += batch;
    }
    Ok(number(sent) / watch.elapsed().as_secs_f64())
}

/// Gives the gateway peers that are silent.
fn add_peers(stage: &Stage) -> Result<()> {
    let mut text = String::new();
    for peer in 0..PEERS {
        let mut key = [0x21; 32];
        key[..4].copy_from_slice(&peer.to_be_bytes());
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 66, 0, 2)) + peer);
        let key = STANDARD.encode(key);
        let _ = writeln!(text, "[Peer]\nPublicKey = {key}\nAllowedIPs = {address}/32");
    }
    let file = stage.folder.path().join("peers");
    fs::write(&file, text).context("failed to write a file")?;
    netns::run(Command::new("wg").args(["addconf", INTERFACE]).arg(file)).map(drop)
}
