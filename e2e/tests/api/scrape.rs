//! Metrics by TLS, for whoever the apiserver knows and lets see them.

use anyhow::{Context, Result, ensure};
use culvert_e2e::wait;
use http::{Request, StatusCode};
use kube::{Client, Config};
use serde_json::json;
use std::net::SocketAddr;

use crate::{
    fixture::{Api, SOON, key, public_key, quick_pool},
    probe::free_address,
    roles::{account, audited},
};

/// What is answered to a request with this token.
async fn scrape(address: SocketAddr, token: Option<&str>) -> Result<(StatusCode, String)> {
    // The library's own client speaks TLS to whatever certificate was made.
    let mut config = Config::new(format!("https://{address}").parse()?);
    config.accept_invalid_certs = true;
    config.auth_info.token = token.map(|token| token.to_owned().into());
    let client = Client::try_from(config)?;
    let request = Request::get("/metrics").body(kube::client::Body::empty())?;
    let (head, body) = client.send(request).await?.into_parts();
    let body = body.collect_bytes().await?;
    Ok((head.status, String::from_utf8(body.to_vec())?))
}

/// A token of an account in the namespace `default`.
async fn token(api: &Api, name: &str) -> Result<String> {
    api.kubectl(&["create", "serviceaccount", name], None).await?;
    let token = api.kubectl(&["create", "token", name], None).await?;
    Ok(token.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scrape_wants_tls_and_a_token_with_the_right() -> Result<()> {
    let api = audited().await?;
    let own = account(&api.plane, &["culvert-operator"])?;
    let address = free_address().await?;
    let listen = format!("--metrics-listen={address}");
    let operator = api.operator_with("operator", &own, &[&listen])?;
    api.apply(&quick_pool()).await?;
    api.apply(&key("laptop", &public_key(1))).await?;
    let key = api.addressed("laptop").await?;
    let client_address = key["status"]["addresses"][0].as_str().context("no address")?;

    let (status, _) = scrape(address, None).await.with_context(|| operator.tail(20))?;
    ensure!(status == StatusCode::UNAUTHORIZED, "without a token: {status}");
    let (status, _) = scrape(address, Some("eyJhbGciOiJub25lIn0.e30.")).await?;
    ensure!(status == StatusCode::UNAUTHORIZED, "with a forged one: {status}");

    let token = token(&api, "prometheus").await?;
    let (status, why) = scrape(address, Some(&token)).await?;
    ensure!(status == StatusCode::FORBIDDEN, "without the right: {status}");
    ensure!(why.contains("culvert-metrics-reader"), "{why}");

    let bind = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": "prometheus" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "culvert-metrics-reader" },
        "subjects": [{ "kind": "ServiceAccount", "name": "prometheus", "namespace": "default" }],
    });
    api.apply(&bind).await?;
    // The apiserver takes a moment to know of it.
    let metrics = wait::until("the metrics", SOON, || async {
        let (status, text) = scrape(address, Some(&token)).await?;
        Ok((status == StatusCode::OK).then_some(text))
    })
    .await?;
    ensure!(metrics.ends_with("# EOF\n"), "{metrics}");
    for secret in ["laptop", client_address, public_key(1).as_str(), token.as_str()] {
        ensure!(!metrics.contains(secret), "{secret} is in the metrics");
    }
    // A right that was seen is good for a while: a scrape does not need the apiserver each time.
    let (status, _) = scrape(address, Some(&token)).await?;
    ensure!(status == StatusCode::OK);
    ensure!(!operator.output()?.contains(&token), "the token is in the log");
    Ok(())
}
