//! An operator killed at every write it makes, before and after the write took effect.

use anyhow::{Context, Result, ensure};
use culvert_e2e::{Fault, FaultProxy, wait};
use std::{cell::Cell, pin::pin, time::Duration};

use crate::fixture::{Api, key, public_key, quick_pool};

/// How long a write may be in coming before the scenario counts as having no more of them.
const QUIET: Duration = Duration::from_secs(12);

/// What a crash left behind, after a restart.
struct Row {
    crash: String,
    at: String,
    peers: usize,
    same: bool,
}

/// Creates a key and, once it has addresses, deletes it, while the operator is killed at its `n`-th write. Returns
/// `None` when it makes fewer.
async fn crash_at(api: &Api, fault: Fault, name: &str, n: u8) -> Result<Option<Row>> {
    let proxy = FaultProxy::start(api.plane.client().await?, &[]).await?;
    let struck = proxy.arm(fault);
    let operator = api.operator(&proxy.kubeconfig())?;
    api.apply(&key(name, &public_key(n))).await?;
    let mut strike = pin!(struck.wait(QUIET));
    let is_begun = Cell::new(false);
    let mut deletion = pin!(async {
        api.addressed(name).await?;
        is_begun.set(true);
        api.kubectl(&["delete", "wireguardkey", name], None).await
    });
    let mut is_deleted = false;
    let call = tokio::select! {
        call = &mut strike => call.ok(),
        result = &mut deletion => {
            result?;
            is_deleted = true;
            // A crash may have to wait for the release and the deletion of the claim.
            strike.await.ok()
        }
    };
    // One that has begun as the write was struck must not come later.
    if is_begun.get() && !is_deleted {
        deletion.await?;
    }
    operator.kill()?;
    drop(proxy);
    let Some(call) = call else {
        return Ok(None);
    };
    let before = api.list("wireguardpeers").await?;
    let successor = api.operator(&api.plane.kubeconfig())?;
    let alive = api
        .list("wireguardkeys")
        .await?
        .iter()
        .any(|key| key["metadata"]["name"] == name);
    let mut row = Row {
        crash: format!("{fault:?}"),
        at: format!("{} {}", call.method, call.kind),
        peers: 0,
        same: true,
    };
    if alive {
        let key = api.addressed(name).await?;
        let peers = api.list("wireguardpeers").await?;
        row.peers = peers.len();
        ensure!(
            peers.len() == 1,
            "{} peers for one key after {} at {}",
            peers.len(),
            row.crash,
            row.at
        );
        ensure!(
            peers[0]["spec"]["keyRef"]["uid"] == key["metadata"]["uid"],
            "a peer of somebody else"
        );
        ensure!(
            peers[0]["spec"]["addresses"] == key["status"]["addresses"],
            "the status shows other addresses"
        );
        row.same = before
            .first()
            .is_none_or(|peer| peer["metadata"]["uid"] == peers[0]["metadata"]["uid"]);
        ensure!(row.same, "a second address after {} at {}", row.crash, row.at);
        api.kubectl(&["delete", "wireguardkey", name], None).await?;
    }
    api.no_peers()
        .await
        .with_context(|| format!("an orphan after {} at {}", row.crash, row.at))?;
    successor.kill()?;
    Ok(Some(row))
}

#[tokio::test]
async fn crash_at_any_write_gives_no_second_address_and_leaves_no_orphan() -> Result<()> {
    let api = Api::start().await?;
    api.apply(&quick_pool()).await?;
    // The pool's own writes come first and once; they are not what is counted here.
    let operator = api.operator(&api.plane.kubeconfig())?;
    wait::until("the pool's status", Duration::from_secs(30), || async {
        Ok((api.list("ippools").await?[0]["status"]["observedGeneration"] == 1).then_some(()))
    })
    .await?;
    operator.kill()?;
    let mut rows = Vec::new();
    for write in 1_u8.. {
        let mut more = false;
        for (offset, fault) in [
            (0, Fault::HoldBefore(write.into())),
            (1, Fault::HoldAfter(write.into())),
        ] {
            let n = write * 2 + offset;
            if let Some(row) = crash_at(&api, fault, &format!("key{n}"), n).await? {
                rows.push(row);
                more = true;
            } else {
                api.kubectl(&["delete", "wireguardkeys", "--all"], None).await?;
                let operator = api.operator(&api.plane.kubeconfig())?;
                api.no_peers().await?;
                operator.kill()?;
            }
        }
        if !more {
            break;
        }
    }
    println!("{:<16} {:<28} {:>5}  same address", "crash", "at", "peers");
    for row in &rows {
        println!("{:<16} {:<28} {:>5}  {}", row.crash, row.at, row.peers, row.same);
    }
    ensure!(
        rows.len() >= 8,
        "only {} crashes: creating, publishing, releasing and deleting make at least 4 writes",
        rows.len()
    );
    Ok(())
}
