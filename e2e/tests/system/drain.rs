//! A gateway leaves its node for good.

use std::time::Duration;

use anyhow::{Result, ensure};
use culvert_e2e::{
    Bed,
    bed::{DEFAULT, INTERFACE, SOON, said},
    wait,
};

use crate::{
    fixture::{make_keys, with_client},
    scale::scale,
};

/// How long leaving may take, however many peers there are.
const QUICK: Duration = Duration::from_secs(5);

async fn drain(bed: &Bed, wanted: bool) -> Result<()> {
    let patch = format!(r#"{{"spec":{{"drain":{wanted}}}}}"#);
    let object = format!("gatewaynode/{DEFAULT}");
    bed.kubectl(&["patch", &object, "--type=merge", "-p", &patch])
        .await
        .map(drop)
}

fn is_gone(bed: &Bed) -> bool {
    bed.gateway.ip(&["link", "show", INTERFACE]).is_err()
}

async fn is_drained(bed: &Bed) -> Result<bool> {
    Ok(bed.gateway_node(DEFAULT).await?.drained)
}

#[tokio::test]
async fn drain_of_many_peers_is_quick_and_reported() -> Result<()> {
    let many = scale().many;
    let (bed, laptop) = with_client("laptop", 77).await?;
    make_keys(&bed, 0, many).await?;
    wait::until("every peer", Duration::from_mins(10), || async {
        Ok((bed.peers()?.len() == usize::try_from(many)? + 1).then_some(()))
    })
    .await?;
    drain(&bed, true).await?;
    wait::until("the drain to be done and reported", QUICK, || async {
        Ok((is_gone(&bed) && is_drained(&bed).await?).then_some(()))
    })
    .await?;
    ensure!(laptop.ping(1).is_err(), "a gateway that has left carries traffic");
    let ready = said(&bed.gateway_node(DEFAULT).await?.conditions, "Ready");
    ensure!(ready == "False Draining", "Ready says `{ready}`");
    println!("{} mode: {many} peers drained", scale().mode);
    bed.finish().await
}

#[tokio::test]
async fn drain_by_an_administrator_stays() -> Result<()> {
    let (mut bed, laptop) = with_client("laptop", 77).await?;
    drain(&bed, true).await?;
    wait::until("the drain", SOON, || async {
        Ok((is_gone(&bed) && is_drained(&bed).await?).then_some(()))
    })
    .await?;
    // Neither the operator nor another agent takes it back.
    wait::pass(Duration::from_mins(2)).await;
    bed.terminate_agent().await?;
    bed.start_agent()?;
    wait::pass(Duration::from_mins(2)).await;
    ensure!(is_gone(&bed), "the interface is back");
    ensure!(is_drained(&bed).await?, "the drain is reported no more");
    let object = format!("gatewaynode/{DEFAULT}");
    let asked = bed
        .kubectl(&["get", &object, "-o=jsonpath={.spec.drain}"])
        .await?;
    ensure!(asked == "true", "somebody took the drain back");
    let (session, _) = bed.session().await?;
    drain(&bed, false).await?;
    bed.caught_up_after(&session).await?;
    bed.serving().await?;
    laptop.recover()?;
    bed.finish().await
}
