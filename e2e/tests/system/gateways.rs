//! Several gateways on one node.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Bed, Client,
    bed::{INTERFACE, SOON},
    client::SECOND_POOL,
    tunnel::Peer,
    wait,
};
use serde_json::json;

use crate::fixture::{ONE_TICK, private_key, with_client};

/// The second gateway's object on the node, and its interface.
const SECOND: &str = "second.gateway-1";
const SECOND_INTERFACE: &str = "cv1";

fn second_gateway() -> String {
    json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "WireGuardGateway",
        "metadata": { "name": "second" },
        "spec": {
            "nodeSelector": { "culvert.dev/gateway": "true" },
            "poolRefs": [{ "name": SECOND_POOL.name }],
            "interface": SECOND_INTERFACE,
            "listenPort": 51_821,
        },
    })
    .to_string()
}

/// A client of the second gateway, connected.
async fn guest(bed: &Bed) -> Result<Client> {
    let mut guest = Client::new(bed, "guest", 78)?;
    guest.pool = &SECOND_POOL;
    guest.register(bed).await?;
    let (key, endpoint) = bed.gateway_of(SECOND).await?;
    guest.connect_to(&key, &endpoint)?;
    guest.ping(5)?;
    Ok(guest)
}

#[tokio::test]
async fn gateways_two_on_one_node_do_not_disturb_each_other() -> Result<()> {
    let (bed, laptop) = with_client("laptop", 77).await?;
    let key = private_key(&bed, INTERFACE)?;
    let pinging = laptop.start_pinging("0.5", 1_000)?;
    for object in [SECOND_POOL.manifest(), second_gateway()] {
        bed.kubectl_with(&["apply", "-f", "-"], Some(&object)).await?;
    }
    bed.node_ready(SECOND).await?;
    let guest = guest(&bed).await?;
    let at_second = |public_key: &str| -> Result<Option<Peer>> {
        let peers = Peer::all(&bed.gateway, SECOND_INTERFACE)?;
        Ok(peers.into_iter().find(|peer| peer.public_key == public_key))
    };
    ensure!(
        bed.peers()?.len() == 1 && bed.peer(&laptop.public_key)?.is_some(),
        "the first gateway has other peers than its own"
    );
    ensure!(at_second(&guest.public_key)?.is_some() && at_second(&laptop.public_key)?.is_none());
    ensure!(
        private_key(&bed, SECOND_INTERFACE)? != key,
        "the gateways share a key"
    );
    ensure!(bed.key_files()?.len() == 2, "each gateway has a file of its own");

    // One is repaired, and the other does not notice.
    bed.gateway.ip(&["link", "del", SECOND_INTERFACE])?;
    wait::until("the second interface", ONE_TICK, || async {
        Ok(at_second(&guest.public_key)?.map(drop))
    })
    .await?;
    guest.recover()?;

    // The guest is forgotten, whoever talks to the other gateway is not.
    wait::pass(Duration::from_secs(190)).await;
    let peer = at_second(&guest.public_key)?.context("the guest's peer")?;
    ensure!(peer.endpoint.is_none(), "the guest is remembered too long");
    ensure!(laptop.endpoint_at(&bed)? == Some(laptop.expected_endpoint()));

    // One leaves, the other stays.
    bed.kubectl(&["delete", "wireguardgateway/second"]).await?;
    wait::until("the second interface to go", SOON, || async {
        let gone = bed.gateway.ip(&["link", "show", SECOND_INTERFACE]).is_err();
        Ok(gone.then_some(()))
    })
    .await?;
    pinging.lost_none().await?;
    ensure!(
        private_key(&bed, INTERFACE)? == key,
        "the first gateway has another key"
    );
    ensure!(
        bed.peer(&laptop.public_key)?.context("the peer")?.received > 1_000 * 100,
        "the peer was made anew"
    );
    bed.finish().await
}
