//! Probes and metrics of a running operator.

use anyhow::{Context, Result, ensure};
use culvert_e2e::wait;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::fixture::{Api, SOON, key, public_key, quick_pool};

/// An address that nobody listens on.
pub async fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    Ok(listener.local_addr()?)
}

async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: culvert\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    Ok(reply)
}

/// Waits until the answer holds `text`.
pub async fn says(address: SocketAddr, path: &str, text: &str) -> Result<String> {
    wait::until(&format!("{text:?} at {path}"), SOON, || async {
        let reply = get(address, path).await?;
        Ok(reply.contains(text).then_some(reply))
    })
    .await
}

#[tokio::test]
async fn probes_of_a_standby_are_those_of_a_leader() -> Result<()> {
    let api = Api::start().await?;
    let mut operators = Vec::new();
    for (name, leading) in [("leader", 1), ("standby", 0)] {
        let address = free_address().await?;
        let arguments = [
            "--leader-elect",
            &format!("--listen={address}"),
            "--metrics-plain",
        ];
        let operator = api.operator_with(name, &api.plane.kubeconfig(), &arguments)?;
        says(address, "/livez", "200 OK").await?;
        says(address, "/readyz", "200 OK").await?;
        says(
            address,
            "/metrics",
            &format!("\nculvert_operator_leading {leading}\n"),
        )
        .await?;
        operators.push((operator, address));
    }
    api.apply(&quick_pool()).await?;
    api.apply(&key("laptop", &public_key(1))).await?;
    let key = api.addressed("laptop").await?;
    let address = key["status"]["addresses"][0].as_str().context("no address")?;
    for (_, listening) in &operators {
        let text = get(*listening, "/metrics").await?;
        ensure!(
            text.ends_with("# EOF\n") && !text.contains(address) && !text.contains("laptop"),
            "{text}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn probe_port_in_use_is_said_at_the_start() -> Result<()> {
    let api = Api::start().await?;
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let listen = format!("--listen={}", taken.local_addr()?);
    let mut operator = api.operator_with("operator", &api.plane.kubeconfig(), &[&listen])?;
    ensure!(operator.wait(SOON).await? == 1);
    ensure!(
        operator.output()?.contains("failed to listen on"),
        "{}",
        operator.tail(5)
    );
    Ok(())
}
