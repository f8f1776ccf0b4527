//! A key's whole life.

use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::{Context, Result, ensure};

use super::{Site, public_half};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_takes_a_key_from_nothing_to_a_configuration() -> Result<()> {
    let site = Site::start().await?;
    let said = site
        .run(&["key", "new", "laptop", "--expires", "30d"])
        .await?
        .well()?;
    let key = site.key("laptop").await?;
    let addresses: Vec<&str> = key["status"]["addresses"]
        .as_array()
        .context("no addresses")?
        .iter()
        .filter_map(|address| address.as_str())
        .collect();
    ensure!(addresses.len() == 2, "{key}");
    ensure!(
        said.starts_with(&format!(
            "key laptop has {} and {}, until ",
            addresses[0], addresses[1]
        )),
        "{said}"
    );
    ensure!(key["spec"]["expireAfter"] == "720h", "{key}");
    let private = site.private_key("laptop.key")?;
    ensure!(key["spec"]["publicKey"] == *public_half(&private)?, "{key}");
    let files = site.files()?;
    ensure!(files.len() == 1, "{files:?}");
    ensure!(fs::metadata(&files[0])?.permissions().mode() & 0o777 == 0o600);

    site.run(&["key", "config", "laptop", "--out", "tunnels"])
        .await?
        .well()?;
    let conf = site.home.path().join("tunnels/gateway-1.conf");
    ensure!(fs::metadata(&conf)?.permissions().mode() & 0o777 == 0o600);
    let conf = fs::read_to_string(conf)?;
    let nodes = site.api.list("gatewaynodes").await?;
    let gateway = nodes[0]["status"]["publicKey"]
        .as_str()
        .context("no public key")?;
    let expected = format!(
        "[Interface]\nPrivateKey = {private}\nAddress = {}/32, {}/128\nMTU = 1380\n\n[Peer]\nPublicKey = {gateway}\nEndpoint = 198.51.100.1:51820\nAllowedIPs = 0.0.0.0/0, ::/0\n",
        addresses[0], addresses[1]
    );
    ensure!(conf == expected, "{conf}");

    let list = site.run(&["key", "list", "-o", "wide"]).await?.well()?;
    for word in ["laptop", addresses[0], addresses[1], "True", "here", "default"] {
        ensure!(list.contains(word), "{word} is not in\n{list}");
    }
    let again = site.run(&["key", "new", "laptop"]).await?;
    ensure!(
        again.code == 6 && again.err.contains("choose another name"),
        "{again:?}"
    );
    ensure!(
        site.private_key("laptop.key")? == private,
        "the private key was written over"
    );

    site.run(&["key", "revoke", "laptop"]).await?.well()?;
    ensure!(site.files()?.is_empty());
    ensure!(site.api.list("wireguardkeys").await?.is_empty());
    site.has_peers(0).await?;
    site.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_rotation_keeps_the_old_peer_until_the_overlap_is_over() -> Result<()> {
    let site = Site::start().await?;
    site.overlap("1h").await?;
    site.run(&["key", "new", "laptop"]).await?.well()?;
    let before = site.key("laptop").await?;
    let private = site.private_key("laptop.key")?;
    site.run(&["key", "rotate", "laptop", "--out", "tunnels"])
        .await?
        .well()?;
    let after = site.key("laptop").await?;
    let next = site.private_key("laptop.key")?;
    ensure!(next != private);
    ensure!(
        after["metadata"]["uid"] == before["metadata"]["uid"],
        "another object"
    );
    ensure!(after["spec"]["publicKey"] == *public_half(&next)?);
    for n in 0..2 {
        ensure!(after["status"]["addresses"][n] != before["status"]["addresses"][n]);
    }
    let conf = fs::read_to_string(site.home.path().join("tunnels/gateway-1.conf"))?;
    let address = after["status"]["addresses"][0].as_str().context("no address")?;
    ensure!(
        conf.contains(address) && conf.contains(&next),
        "the configuration is an old one"
    );
    ensure!(site.files()?.len() == 1, "{:?}", site.files()?);
    // The old one works on, as long as the pool says.
    let peers = site.has_peers(2).await?;
    let keys: Vec<_> = peers.iter().map(|peer| &peer["spec"]["publicKey"]).collect();
    ensure!(keys.contains(&&before["spec"]["publicKey"]) && keys.contains(&&after["spec"]["publicKey"]));
    site.overlap("0s").await?;
    let peers = site.has_peers(1).await?;
    ensure!(peers[0]["spec"]["publicKey"] == after["spec"]["publicKey"]);
    site.stop().await
}
