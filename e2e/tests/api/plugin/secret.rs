//! A private key goes where the user says, and nowhere else.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use culvert_e2e::{
    Program,
    leaks::{Canary, search},
    process::Signal,
    wait,
};

use super::{Site, public_half};
use crate::fixture::SOON;

/// What anybody on the machine may read of a process.
fn visible(pid: u32) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for file in ["cmdline", "environ", "status", "comm"] {
        all.extend(fs::read(Path::new("/proc").join(pid.to_string()).join(file))?);
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_tells_no_one_a_private_key() -> Result<()> {
    let mut site = Site::start().await?;
    // Held while it waits for an operator that is not there.
    let operator = site.operator.take();
    if let Some(operator) = &operator {
        operator.signal(Signal::STOP)?;
    }
    let command = site.command(&["key", "new", "laptop"])?;
    let mut making = Program::start("making", &command, site.home.path())?;
    wait::until("the object", SOON, || async {
        site.key("laptop").await.map(Some)
    })
    .await?;
    wait::until("the private key", SOON, || async {
        site.private_key("laptop.key").map(Some)
    })
    .await?;
    let mut seen = visible(making.pid())?;
    if let Some(operator) = &operator {
        operator.signal(Signal::CONT)?;
    }
    ensure!(making.wait(SOON).await? == 0, "{}", making.output()?);
    let mut keys = vec![site.private_key("laptop.key")?];

    let mut said = making.output()?.into_bytes();
    for words in [
        &["key", "config", "laptop", "--out", "tunnels"][..],
        &["key", "qr", "laptop", "--out", "code.png"],
        &["key", "qr", "laptop", "--out", "code.svg"],
        &["key", "list", "-o", "yaml"],
        &["key", "rotate", "laptop", "--out", "tunnels"],
    ] {
        let one = site.run(words).await?;
        ensure!(one.code == 0, "{one:?}");
        said.extend(one.out.bytes().chain(one.err.bytes()));
    }
    keys.push(site.private_key("laptop.key")?);

    // One that goes on for ever, while it sleeps.
    let command = site.command(&["key", "rotate", "laptop", "--every", "1d"])?;
    let rotating = Program::start("rotating", &command, site.home.path())?;
    let asks = "/namespaces/tenant/wireguardkeys/laptop";
    wait::until("it to have looked", SOON, || async {
        let log = fs::read_to_string(site.api.plane.audit_log())?;
        let looked = log
            .lines()
            .filter(|line| line.contains(asks) && line.contains("\"verb\":\"get\""))
            .count();
        Ok((looked >= 4).then_some(()))
    })
    .await?;
    seen.extend(visible(rotating.pid())?);
    rotating.terminate(SOON).await?;
    site.run(&["key", "revoke", "laptop"]).await?.well()?;

    let canaries: Vec<Canary> = keys
        .iter()
        .map(|key| Canary::private_key("the private key", key))
        .collect::<Result<_>>()?;
    let log = fs::read(site.api.plane.audit_log())?;
    for (place, bytes) in [("/proc", &seen), ("the output", &said), ("the audit log", &log)] {
        let found = search(bytes, &canaries);
        ensure!(found.is_empty(), "{place} has {found:?}");
    }
    // What was searched is what was said.
    for key in &keys {
        let public = [Canary::public_key("the public key", &public_half(key)?)?];
        ensure!(
            !search(&log, &public).is_empty(),
            "the audit log has nothing of the requests"
        );
    }
    let conf = fs::read(site.home.path().join("tunnels/gateway-1.conf"))?;
    ensure!(
        !search(&conf, &canaries[1..]).is_empty(),
        "the search finds nothing"
    );
    site.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_prints_no_secret_into_a_pipe_unasked() -> Result<()> {
    let site = Site::start().await?;
    site.run(&["key", "new", "laptop"]).await?.well()?;
    let private = site.private_key("laptop.key")?;
    for words in [&["key", "config", "laptop"][..], &["key", "qr", "laptop"]] {
        let said = site.run(words).await?;
        ensure!(said.code == 8 && said.out.is_empty(), "{said:?}");
        ensure!(said.err.contains("--out"), "{said:?}");
    }
    let conf = site
        .run(&["key", "config", "laptop", "--out", "-"])
        .await?
        .well()?;
    ensure!(conf.contains(&private));
    // Handed on: to standard output and nowhere else.
    let out = site
        .run(&["key", "new", "phone", "--private-key", "-"])
        .await?
        .well()?;
    let key = site.key("phone").await?;
    ensure!(key["spec"]["publicKey"] == *public_half(out.trim())?, "{out}");
    ensure!(site.files()?.len() == 1, "{:?}", site.files()?);
    site.stop().await
}
