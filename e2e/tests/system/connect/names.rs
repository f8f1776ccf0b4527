//! How names are resolved meanwhile, and the apiserver's own.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{bed::SOON, laptop::APISERVER, netns, wait};

use super::stage::{Laptop, identity, keys, resolv_conf, resolvers, start};

/// Longer than a change of what may be read, and not watched, goes unnoticed.
const NOTICED: Duration = Duration::from_mins(3);

/// Where the laptop's resolver is.
const RESOLVER: &str = "203.0.114.1";

/// A name of the apiserver's that its certificate has.
const NAME: &str = "kubernetes.default";

/// Waits until names are resolved like this.
async fn resolved_by(within: Duration, addresses: &[&str]) -> Result<()> {
    let lines = addresses.iter().fold(String::new(), |lines, address| {
        lines + &format!("nameserver {address}\n")
    });
    wait::until("the tunnel's resolvers", within, || async {
        let now = resolv_conf();
        let (header, rest) = now.split_once('\n').unwrap_or_default();
        ensure!(header.contains("culvert") && rest == lines, "{now}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn connect_resolves_names_by_the_gateway_and_as_before_afterwards() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    let two = ["10.64.0.1", "fd64:cafe:1::1"];
    resolvers(&bed, &two).await?;
    let before = resolv_conf();
    laptop.connect().await?;
    resolved_by(SOON, &two).await?;
    let _ = identity(&bed).await?;
    laptop.rotate()?;
    resolved_by(SOON, &two).await?;
    laptop.disconnect().await?;
    ensure!(resolv_conf() == before, "names are resolved otherwise");
    bed.finish().await
}

#[tokio::test]
async fn connect_takes_over_resolvers_that_change_meanwhile() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    let before = resolv_conf();
    laptop.connect().await?;
    let known = identity(&bed).await?;
    ensure!(resolv_conf() == before, "there is nothing to resolve names by");
    for addresses in [&["10.64.0.1"][..], &["10.64.0.1", "fd64:cafe:1::1"], &["9.9.9.9"]] {
        resolvers(&bed, addresses).await?;
        resolved_by(NOTICED, addresses).await?;
    }
    // None any more, while the tunnel stays.
    resolvers(&bed, &[]).await?;
    wait::until("names as before", NOTICED, || async {
        ensure!(resolv_conf() == before, "{}", resolv_conf());
        Ok(Some(()))
    })
    .await?;
    resolvers(&bed, &["10.64.0.1"]).await?;
    resolved_by(NOTICED, &["10.64.0.1"]).await?;
    laptop.ping()?;
    ensure!(identity(&bed).await? == known, "the key is another");
    laptop.disconnect().await?;
    ensure!(resolv_conf() == before, "names are resolved otherwise");
    bed.finish().await
}

/// Answers a question for the apiserver's address, whatever the name, and others with nothing.
fn answer(question: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let name = question.get(12..)?.iter().position(|byte| *byte == 0)?;
    let asked = question.get(12..12 + name + 5)?;
    let is_address = asked.ends_with(&[0, 1, 0, 1]);
    let mut answer = question.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    answer.extend(asked);
    if is_address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// The laptop's own resolver, until it is told to be silent by the machine's end.
fn serve_names(laptop: &Laptop) -> Result<()> {
    let socket = UdpSocket::bind((RESOLVER, 53)).context("failed to bind the resolver's port")?;
    let address: Ipv4Addr = APISERVER.parse()?;
    thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((count, from)) = socket.recv_from(&mut bytes) {
            if let Some(answer) = answer(&bytes[..count], address) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    let file = laptop.folder().join("resolv.conf");
    fs::write(
        &file,
        format!("nameserver {RESOLVER}\noptions timeout:1 attempts:1\n"),
    )?;
    netns::run(
        Command::new("mount")
            .arg("--bind")
            .args([file.as_path(), Path::new("/etc/resolv.conf")]),
    )
    .map(drop)
}

/// Has the laptop know the apiserver by its name.
fn by_name(laptop: &mut Laptop) -> Result<()> {
    let text = fs::read_to_string(laptop.kubeconfig()).context("failed to read the kubeconfig")?;
    let named = text.replace(&format!("https://{APISERVER}:"), &format!("https://{NAME}:"));
    ensure!(named != text, "the kubeconfig names another apiserver");
    let file = laptop.folder().join("named.kubeconfig");
    fs::write(&file, named)?;
    laptop.go_by(file);
    Ok(())
}

#[tokio::test]
async fn connect_finds_the_apiserver_by_its_name_with_a_tunnel_left_that_leads_nowhere() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    serve_names(&laptop)?;
    by_name(&mut laptop)?;
    // From here on names are asked for in the tunnel, where nobody answers.
    resolvers(&bed, &["10.64.0.1"]).await?;
    let before = resolv_conf();
    laptop.connect().await?;
    let known = identity(&bed).await?;
    resolved_by(SOON, &["10.64.0.1"]).await?;
    laptop.kill()?;
    bed.gateway.ip(&["link", "set", "c77", "down"])?;
    laptop.connect().await.context("with the gateway out of reach")?;
    ensure!(identity(&bed).await? == known, "it has begun anew");
    bed.gateway.ip(&["link", "set", "c77", "up"])?;
    wait::until("a rotation", SOON, || async { laptop.rotate().map(Some) }).await?;
    ensure!(identity(&bed).await? != known);
    laptop.ping()?;
    laptop.disconnect().await?;
    laptop.is_clean()?;
    ensure!(resolv_conf() == before, "names are resolved otherwise");
    ensure!(keys(&bed).await?.is_empty(), "the key is left");
    bed.finish().await
}
