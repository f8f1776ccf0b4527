//! A key becomes a peer of the kernel, and stops being one.

use anyhow::{Result, ensure};
use culvert_e2e::{
    Bed, Client,
    bed::{DEFAULT, SOON, example, said},
    client::GATEWAY_INSIDE,
    wait,
};
use std::time::Duration;

#[tokio::test]
async fn peer_of_an_applied_key_carries_traffic_of_both_families() -> Result<()> {
    let bed = Bed::start().await?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    laptop.register(&bed).await?;
    ensure!(laptop.addresses[0].is_ipv4() && laptop.addresses[1].is_ipv6());
    laptop.connect(&bed).await?;
    laptop.ping(5)?;
    let peer = bed.peer(&laptop.public_key)?.expect("the peer");
    ensure!(
        peer.endpoint == Some(laptop.expected_endpoint()),
        "the gateway does not see the client"
    );
    let mut allowed = peer.allowed_ips;
    allowed.sort_unstable();
    ensure!(
        allowed
            == [
                format!("{}/32", laptop.addresses[0]),
                format!("{}/128", laptop.addresses[1])
            ]
    );
    bed.finish().await
}

#[tokio::test]
async fn peer_of_a_deleted_key_is_gone_at_once() -> Result<()> {
    let bed = Bed::start().await?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    laptop.register(&bed).await?;
    laptop.connect(&bed).await?;
    laptop.ping(5)?;
    bed.kubectl(&["delete", "wireguardkey/laptop"]).await?;
    wait::until("the peer to go", Duration::from_secs(5), || async {
        Ok(bed.peer(&laptop.public_key)?.is_none().then_some(()))
    })
    .await?;
    ensure!(laptop.ping(1).is_err(), "a deleted key still carries traffic");
    // The claim stays through the cooldown, so that nobody else gets the address yet.
    let released = bed
        .kubectl(&["get", "wireguardpeers", "-o=jsonpath={.items[*].spec.released}"])
        .await?;
    ensure!(released == "true", "the claim is not released: `{released}`");
    wait::pass(Duration::from_mins(11)).await;
    wait::until("the claim to go", SOON, || async {
        let left = bed.kubectl(&["get", "wireguardpeers", "-o=name"]).await?;
        Ok(left.is_empty().then_some(()))
    })
    .await?;
    bed.finish().await
}

#[tokio::test]
async fn peer_keys_that_are_a_gateways_own_are_refused() -> Result<()> {
    let bed = Bed::start().await?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    laptop.public_key = bed.gateway_for_clients().await?.0;
    bed.kubectl_with(&["apply", "-f", "-"], Some(&laptop.manifest()))
        .await?;
    wait::until("the refusal", SOON, || async {
        let accepted = said(&bed.key("laptop").await?.conditions, "Accepted");
        Ok((accepted == "False GatewayKey").then_some(()))
    })
    .await?;
    ensure!(bed.peers()?.is_empty());
    bed.finish().await
}

#[tokio::test]
async fn peer_interfaces_of_others_are_left_alone() -> Result<()> {
    let bed = Bed::empty().await?;
    bed.gateway.ip(&["link", "add", "cv0", "type", "wireguard"])?;
    bed.gateway.ip(&["link", "add", "wg7", "type", "wireguard"])?;
    let mut bed = bed;
    let _client = Client::new(&bed, "laptop", 77)?;
    bed.kubectl(&[
        "apply",
        "-f",
        &example("pool.yaml"),
        "-f",
        &example("gateway.yaml"),
    ])
    .await?;
    bed.start_operator()?;
    bed.start_agent()?;
    wait::until("the conflict to be reported", SOON, || async {
        let programmed = said(&bed.gateway_node(DEFAULT).await?.conditions, "Programmed");
        Ok((programmed == "False InterfaceConflict").then_some(()))
    })
    .await?;
    for link in ["cv0", "wg7"] {
        ensure!(
            bed.gateway.run(&["wg", "show", link, "public-key"])?.trim() == "(none)",
            "{link} was changed"
        );
    }
    bed.gateway.ip(&["link", "del", "cv0"])?;
    bed.serving().await?;
    ensure!(
        bed.gateway.run(&["wg", "show", "wg7", "public-key"])?.trim() == "(none)",
        "wg7 was changed"
    );
    bed.finish().await
}

#[tokio::test]
async fn peer_gateway_that_leaves_takes_its_interface_along() -> Result<()> {
    let bed = Bed::start().await?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    laptop.register(&bed).await?;
    bed.kubectl(&["label", "node", "gateway-1", "culvert.dev/gateway-"])
        .await?;
    wait::until("the interface to go", SOON, || async {
        Ok(bed.gateway.ip(&["link", "show", "cv0"]).is_err().then_some(()))
    })
    .await?;
    wait::until("the gateway node to go", SOON, || async {
        Ok(bed
            .kubectl(&["get", "gatewaynodes", "-o=name"])
            .await?
            .is_empty()
            .then_some(()))
    })
    .await?;
    let left = bed.key_files()?;
    ensure!(left.is_empty(), "a private key stays: {left:?}");
    bed.kubectl(&["label", "node", "gateway-1", "culvert.dev/gateway=true"])
        .await?;
    bed.serving().await?;
    laptop.connect(&bed).await?;
    laptop.namespace.run(&["ping", "-c1", "-W5", GATEWAY_INSIDE[0]])?;
    bed.finish().await
}

#[tokio::test]
async fn peer_gateway_made_again_under_its_name_serves_again() -> Result<()> {
    let bed = Bed::start().await?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    laptop.register(&bed).await?;
    bed.kubectl(&["delete", "wireguardgateway/default"]).await?;
    bed.kubectl(&["apply", "-f", &example("gateway.yaml")]).await?;
    let (before, _) = bed.session().await?;
    bed.caught_up_after(&before).await?;
    bed.serving().await?;
    laptop.connect(&bed).await?;
    laptop.ping(5)?;
    // And without another it takes everything along, the object included.
    bed.kubectl(&["delete", "wireguardgateway/default"]).await?;
    wait::until("everything to go", SOON, || async {
        let nodes = bed.kubectl(&["get", "gatewaynodes", "-o=name"]).await?;
        let gone = nodes.is_empty() && bed.gateway.ip(&["link", "show", "cv0"]).is_err();
        Ok(gone.then_some(()))
    })
    .await?;
    bed.finish().await
}
