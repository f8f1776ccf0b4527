//! Keys get addresses, and lose them.

use anyhow::{Result, ensure};
use culvert_e2e::wait;
use serde_json::json;
use std::{collections::HashSet, net::Ipv6Addr};

use crate::fixture::{Api, SOON, key, public_key, quick_pool};

fn texts(value: &serde_json::Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect()
}

#[tokio::test]
async fn claim_of_each_key_is_its_own_and_goes_with_it() -> Result<()> {
    let api = Api::start().await?;
    let operator = api.operator(&api.plane.kubeconfig())?;
    api.apply(&quick_pool()).await?;
    for n in 0..20 {
        api.apply(&key(&format!("key{n}"), &public_key(n))).await?;
    }
    let mut addresses = HashSet::new();
    for n in 0..20 {
        let key = api.addressed(&format!("key{n}")).await?;
        let status = &key["status"];
        let own = texts(&status["addresses"]);
        ensure!(own.len() == 2, "{status}");
        ensure!(
            status["publicKey"] == public_key(n) && status["observedGeneration"] == 1,
            "{status}"
        );
        let condition = |kind: &str| {
            let all = status["conditions"].as_array().cloned().unwrap_or_default();
            all.into_iter()
                .find(|c| c["type"] == kind)
                .map(|c| format!("{} {}", c["status"], c["reason"]))
        };
        ensure!(
            condition("Accepted").as_deref() == Some("\"True\" \"Accepted\""),
            "{status}"
        );
        ensure!(
            condition("Ready").as_deref() == Some("\"False\" \"NoGateway\""),
            "{status}"
        );
        addresses.extend(own);
    }
    ensure!(addresses.len() == 40, "an address was given twice");
    let peers = api.list("wireguardpeers").await?;
    ensure!(peers.len() == 20);
    for peer in &peers {
        ensure!(peer["metadata"]["labels"].is_null() && peer["metadata"]["annotations"].is_null());
        let name = peer["metadata"]["name"].as_str().unwrap_or_default();
        ensure!(peer["spec"]["addresses"][0] == name, "{peer}");
    }
    // The IPv6 host bits follow from nothing: their upper halves all differ, and none is empty. A counter, or the IPv4
    // address, would leave them alike.
    let mut halves = HashSet::new();
    for peer in &peers {
        let address: Ipv6Addr = peer["spec"]["addresses"][1]
            .as_str()
            .unwrap_or_default()
            .parse()?;
        let [.., high, low, _, _] = address.segments();
        ensure!((high, low) != (0, 0), "{address}");
        halves.insert((high, low));
    }
    ensure!(halves.len() == 20, "{halves:?}");
    api.kubectl(&["delete", "wireguardkeys", "--all"], None).await?;
    api.no_peers().await?;
    operator.terminate(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn claim_of_a_key_deleted_while_the_operator_was_away_is_released() -> Result<()> {
    let api = Api::start().await?;
    api.apply(&quick_pool()).await?;
    api.apply(&key("laptop", &public_key(1))).await?;
    let operator = api.operator(&api.plane.kubeconfig())?;
    api.addressed("laptop").await?;
    operator.kill()?;
    api.kubectl(&["delete", "wireguardkey/laptop"], None).await?;
    let _operator = api.operator(&api.plane.kubeconfig())?;
    api.no_peers().await
}

#[tokio::test]
async fn claim_of_a_squatted_public_key_stays_with_who_had_it() -> Result<()> {
    let api = Api::start().await?;
    let _operator = api.operator(&api.plane.kubeconfig())?;
    api.apply(&quick_pool()).await?;
    api.apply(&key("owner", &public_key(1))).await?;
    let owner = api.addressed("owner").await?;
    api.apply(&key("squatter", &public_key(1))).await?;
    api.says("wgk", "squatter", "Accepted", "DuplicateKey").await?;
    let said = api
        .kubectl(&["get", "wireguardkey/squatter", "-o=json"], None)
        .await?;
    ensure!(!said.contains("owner"), "the refusal names the owner");
    ensure!(api.addressed("owner").await?["status"]["addresses"] == owner["status"]["addresses"]);
    api.kubectl(&["delete", "wireguardkey/owner"], None).await?;
    api.addressed("squatter").await?;
    Ok(())
}

#[tokio::test]
async fn claim_holds_a_pool_until_it_is_gone() -> Result<()> {
    let api = Api::start().await?;
    let _operator = api.operator(&api.plane.kubeconfig())?;
    api.apply(&quick_pool()).await?;
    api.apply(&key("laptop", &public_key(1))).await?;
    api.addressed("laptop").await?;
    api.kubectl(&["delete", "ippool/default", "--wait=false"], None)
        .await?;
    // What is new gets nothing from a pool on its way out, and what there is stays.
    api.apply(&key("phone", &public_key(2))).await?;
    api.says("wgk", "phone", "Accepted", "PoolNotFound").await?;
    ensure!(api.list("ippools").await?.len() == 1);
    api.kubectl(&["delete", "wireguardkeys", "--all"], None).await?;
    wait::until("the pool to go", SOON, || async {
        Ok(api.list("ippools").await?.is_empty().then_some(()))
    })
    .await
}

#[tokio::test]
async fn claim_is_not_written_into_a_users_spec() -> Result<()> {
    let api = Api::start().await?;
    let _operator = api.operator(&api.plane.kubeconfig())?;
    api.apply(&quick_pool()).await?;
    api.apply(&key("laptop", &public_key(1))).await?;
    let key = api.addressed("laptop").await?;
    ensure!(
        key["metadata"]["generation"] == 1 && key["metadata"]["finalizers"].is_null(),
        "{key}"
    );
    let wanted = json!({ "publicKey": public_key(1), "poolRef": { "name": "default" }, "suspend": false, "addressGeneration": 0 });
    ensure!(key["spec"] == wanted, "{}", key["spec"]);
    Ok(())
}
