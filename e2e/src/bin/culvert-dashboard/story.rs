//! A quarter of an hour of a small gateway's life.

use std::{fmt::Write, time::Duration};

use anyhow::{Context, Result};
use culvert_e2e::{
    Bed, Client,
    bed::{GATEWAY, INTERFACE},
    netns, wait,
};
use serde_json::json;

/// Clients that connect, fall silent and are forgotten: more than ten, as fewer are not told of.
const CLIENTS: u16 = 14;

/// Keys that come and go.
const KEYS: usize = 60;

pub async fn play(bed: &Bed) -> Result<()> {
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        clients.push(Client::new(bed, &format!("client-{n}"), 20 + n)?);
    }
    Client::register_all(bed, &mut clients).await?;
    let (key, endpoint) = bed.gateway_for_clients().await?;
    for client in &clients {
        client.connect_to(&key, &endpoint)?;
    }
    // Five minutes in which clients talk and keys arrive, some of which cannot be served.
    for minute in 0..5 {
        apply(bed, minute * KEYS / 5..(minute + 1) * KEYS / 5).await?;
        for client in &clients {
            client.ping(5)?;
        }
        if minute == 2 {
            // Somebody on the node changes the interface.
            bed.gateway.ip(&["link", "set", INTERFACE, "mtu", "1400"])?;
        }
        wait::pass(Duration::from_mins(1)).await;
    }
    // Five of silence: the clients are forgotten. Some keys go, some are suspended.
    for n in (0..KEYS / 4).map(|n| n * 4) {
        bed.kubectl(&["delete", "wgk", &format!("key-{n}"), "--wait=false"])
            .await?;
    }
    let suspend = json!({ "spec": { "suspend": true } }).to_string();
    for n in [1, 5, 9] {
        bed.kubectl(&[
            "patch",
            "wgk",
            &format!("key-{n}"),
            "--type=merge",
            "-p",
            &suspend,
        ])
        .await?;
    }
    wait::pass(Duration::from_mins(5)).await;
    // They come back.
    for client in &clients {
        client.ping(5)?;
    }
    wait::pass(Duration::from_mins(3)).await;
    println!("played at {GATEWAY}");
    Ok(())
}

/// Keys of several lifetimes. Every tenth has the public key of another, every fifteenth a pool that is not there.
async fn apply(bed: &Bed, numbers: std::ops::Range<usize>) -> Result<()> {
    let mut manifests = String::new();
    let mut last = None;
    for n in numbers {
        let public_key = match last.take_if(|_| n % 10 == 3) {
            Some(taken) => taken,
            None => fresh()?,
        };
        let mut spec = json!({ "publicKey": public_key });
        match n % 6 {
            0 => spec["expireAfter"] = json!("45m"),
            1 => spec["expireAfter"] = json!("5h"),
            2 => spec["expireAfter"] = json!("20h"),
            3 => spec["expireAfter"] = json!("100h"),
            _ => {}
        }
        if n % 15 == 7 {
            spec["poolRef"] = json!({ "name": "elsewhere" });
        }
        last = Some(public_key);
        let key = json!({
            "apiVersion": "culvert.dev/v1alpha1",
            "kind": "WireGuardKey",
            "metadata": { "name": format!("key-{n}") },
            "spec": spec,
        });
        writeln!(manifests, "---\n{key}")?;
    }
    bed.kubectl_with(&["apply", "-f", "-"], Some(&manifests)).await?;
    Ok(())
}

/// Somebody's public key.
fn fresh() -> Result<String> {
    let mut wg = std::process::Command::new("sh");
    wg.args(["-c", "wg genkey | wg pubkey"]);
    let text = netns::run(&mut wg).context("failed to make a key pair")?;
    Ok(text.trim().to_owned())
}
