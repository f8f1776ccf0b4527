//! What several tests need: a gateway with one client, a second fleet, many keys, the bounds of the promises.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use culvert_crds::{NameRef, WireGuardKey, WireGuardKeySpec};
use culvert_e2e::{
    Bed, Client,
    wait::{self, Stopwatch},
};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{Api, api::PostParams};

/// WireGuard's own bound on a session, in seconds.
pub const WINDOW: u64 = 180;

/// What a gateway may take beyond it.
pub const SLACK: u64 = 10;

/// The agent's tick.
const TICK: Duration = Duration::from_secs(5);

/// How long a repair may take: the agent's tick of 5 s, and a moment for the test to see it.
pub const ONE_TICK: Duration = Duration::from_millis(5_500);

/// A gateway with one connected client, of which both know.
pub async fn with_client(name: &str, n: u16) -> Result<(Bed, Client)> {
    let bed = Bed::start().await?;
    let client = connected(&bed, name, n).await?;
    Ok((bed, client))
}

/// A further client, connected.
pub async fn connected(bed: &Bed, name: &str, n: u16) -> Result<Client> {
    let mut client = Client::new(bed, name, n)?;
    client.register(bed).await?;
    client.connect(bed).await?;
    client.ping(5)?;
    Ok(client)
}

/// The private key of an interface.
pub fn private_key(bed: &Bed, interface: &str) -> Result<String> {
    bed.gateway.run(&["wg", "show", interface, "private-key"])
}

/// Fails unless the endpoint of a client goes between these many seconds after its handshake, of which `age` says how
/// old it is by now.
pub async fn forgotten_in_time(bed: &Bed, client: &Client, age: Duration) -> Result<()> {
    let early = Duration::from_secs(WINDOW - 5);
    wait::pass(early.saturating_sub(age)).await;
    ensure!(
        client.endpoint_at(bed)?.is_some(),
        "{} is forgotten too early",
        client.name
    );
    wait::pass(Duration::from_secs(5 + SLACK)).await;
    ensure!(
        client.endpoint_at(bed)?.is_none(),
        "{} is remembered too long",
        client.name
    );
    Ok(())
}

/// As [`forgotten_in_time`] where a clock has jumped meanwhile: who is in doubt is forgotten, so it may be early.
pub async fn forgotten_by_then(bed: &Bed, client: &Client, age: Duration) -> Result<()> {
    wait::pass(Duration::from_secs(WINDOW + SLACK).saturating_sub(age)).await;
    ensure!(
        client.endpoint_at(bed)?.is_none(),
        "{} is remembered too long",
        client.name
    );
    Ok(())
}

/// Waits until nothing tells that a client was ever there. It looks once a tick: what takes minutes of a clock that travels
/// is to take seconds.
pub async fn blank(bed: &Bed, client: &Client, within: Duration) -> Result<()> {
    let clock = Stopwatch::start();
    while !bed.peer(&client.public_key)?.context("the peer")?.is_blank() {
        ensure!(
            clock.elapsed() < within,
            "a trace of {} is left after {} s",
            client.name,
            within.as_secs()
        );
        wait::pass(TICK).await;
    }
    Ok(())
}

/// Applies keys that nobody connects with, numbered from `first` on.
pub async fn make_keys(bed: &Bed, first: u32, count: u32) -> Result<()> {
    let keys: Api<WireGuardKey> = Api::default_namespaced(bed.plane.client().await?);
    stream::iter(first..first + count)
        .map(Ok)
        .try_for_each_concurrent(16, |number| {
            let keys = keys.clone();
            async move {
                let spec = WireGuardKeySpec {
                    public_key: public_key(number),
                    pool_ref: NameRef::from("default"),
                    suspend: false,
                    expire_after: None,
                    address_generation: 0,
                };
                let key = WireGuardKey::new(&format!("silent-{number}"), spec);
                keys.create(&PostParams::default(), &key)
                    .await
                    .context("failed to create a key")
                    .map(drop)
            }
        })
        .await
}

/// A public key that no client has.
fn public_key(number: u32) -> String {
    let mut bytes = [0x21; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    STANDARD.encode(bytes)
}
