//! `kubectl culvert connect`, on a laptop of its own.

mod closed;
mod ends;
mod faults;
mod golden;
mod guard;
mod names;
mod namespace;
mod one_family;
mod rotation;
mod stage;

use std::fs;

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Bed,
    leaks::{self, Canary},
    netns, process,
};

use stage::{NAME, gone, identity, keys, resolv_conf, start};

#[tokio::test]
async fn connect_opens_a_tunnel_and_takes_everything_back() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    let before = resolv_conf();
    laptop.connect().await?;
    laptop.ping()?;
    let known = identity(&bed).await?;
    let peer = bed.peer(&known.public_key)?.context("the peer")?;
    ensure!(peer.latest_handshake > 0);
    // Everything else goes into the tunnel, and what is near does not.
    let far = laptop.namespace.ip(&["route", "get", "203.0.113.80"])?;
    ensure!(
        far.contains("dev cvc0") && far.contains(&known.addresses[0]),
        "{far}"
    );
    let far = laptop.namespace.ip(&["route", "get", "2001:db8:f00d:80::80"])?;
    ensure!(
        far.contains("dev cvc0") && far.contains(&known.addresses[1]),
        "{far}"
    );
    let near = laptop.namespace.ip(&["route", "get", "198.51.100.1"])?;
    ensure!(near.contains("dev eth0"), "{near}");
    laptop.disconnect().await?;
    laptop.is_clean()?;
    ensure!(resolv_conf() == before, "names are resolved otherwise");
    ensure!(keys(&bed).await?.is_empty(), "the key is left");
    gone(&bed, &known.public_key).await?;
    bed.finish().await
}

#[tokio::test]
async fn connect_by_wireguard_go_opens_a_tunnel_and_takes_everything_back() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    laptop.flags = userspace()?;
    laptop.connect().await?;
    laptop.ping()?;
    let _ = identity(&bed).await?;
    let kernels = laptop
        .namespace
        .ip(&["-o", "link", "show", "type", "wireguard"])?;
    ensure!(kernels.is_empty(), "the kernel moves the packets after all");
    laptop.disconnect().await?;
    laptop.is_clean()?;
    stage::no_wireguard_go().await?;
    bed.finish().await
}

/// The flags that have wireguard-go move the packets.
pub fn userspace() -> Result<Vec<String>> {
    let program = process::built("CULVERT_WIREGUARD_GO")?;
    let program = program.get_program().to_str().context("a path that is no text")?;
    Ok([
        "--backend=userspace".to_owned(),
        format!("--wireguard-go={program}"),
    ]
    .to_vec())
}

/// Everything that is written down of a request.
const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
  - level: RequestResponse
    resources:
      - group: culvert.dev
";

#[tokio::test]
async fn connect_tells_nobody_its_private_key() -> Result<()> {
    let mut bed = Bed::audited(Some(POLICY)).await?;
    bed.serve_examples().await?;
    stage::short_overlap(&bed).await?;
    let mut laptop = stage::Laptop::new(&bed).await?;
    laptop.connect().await?;
    laptop.rotate()?;
    let _ = identity(&bed).await?;
    let mut secrets = Vec::new();
    for tunnel in laptop.tunnels()? {
        let private = laptop.namespace.run(&["wg", "show", &tunnel, "private-key"])?;
        secrets.push(Canary::private_key(
            &format!("the private key of {tunnel}"),
            private.trim(),
        )?);
    }
    ensure!(secrets.len() == 2, "both keys are to be looked for");
    secrets.iter().for_each(|secret| bed.secret(secret.clone()));
    let processes = netns::run(std::process::Command::new("sh").args([
        "-c",
        "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null || true",
    ]))?;
    ensure!(processes.contains("KUBECONFIG"), "no process was looked at");
    let found = leaks::search(processes.as_bytes(), &secrets);
    ensure!(found.is_empty(), "in /proc: {found:?}");
    let said = laptop.output();
    laptop.disconnect().await?;
    let audit = fs::read(bed.plane.audit_log()).context("failed to read the audit log")?;
    let text = String::from_utf8_lossy(&audit);
    ensure!(
        text.contains("\"verb\":\"create\"") && text.contains("\"verb\":\"patch\"") && text.contains(NAME),
        "the audit log does not have what was asked"
    );
    let found = leaks::search(&audit, &secrets);
    ensure!(found.is_empty(), "in the audit log: {found:?}");
    let found = leaks::search(said.as_bytes(), &bed.secrets());
    ensure!(found.is_empty(), "it says: {found:?}");
    bed.finish().await
}
