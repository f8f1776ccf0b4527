//! What the plugin writes is what WireGuard's own tools take, and it carries traffic.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Bed, Namespace, Program, Scratch,
    bed::{OUTSIDE, SOON, outer},
    client::GATEWAY_INSIDE,
    leaks::Canary,
    netns,
    process::built,
    wait,
};

/// The pool of the examples, and nothing else.
const POOL: [&str; 6] = [
    "--route",
    "10.64.0.0/11",
    "--route",
    "fd64:cafe:1::/64",
    "--out",
    "tunnels",
];

/// Somebody with `wg-quick` and the plugin.
struct Laptop {
    place: Namespace,
    home: Scratch,
    kubeconfig: PathBuf,
}

impl Laptop {
    fn new(bed: &Bed, n: u16) -> Result<Self> {
        let place = Namespace::new("laptop")?;
        let far = format!("c{n}");
        netns::wire((&place, "eth0"), (&bed.gateway, &far))?;
        bed.gateway.ip(&["link", "set", &far, "master", "br0"])?;
        place.address("eth0", &format!("{}/{OUTSIDE}", outer(n)))?;
        Ok(Self {
            place,
            home: Scratch::new("culvert-home-")?,
            kubeconfig: bed.plane.kubeconfig(),
        })
    }

    /// Runs the plugin where the apiserver is.
    fn plugin(&self, words: &[&str]) -> Result<String> {
        let mut command = built("CULVERT_PLUGIN")?;
        netns::run(
            command
                .args(words)
                .env("KUBECONFIG", &self.kubeconfig)
                .env("XDG_DATA_HOME", self.home.path())
                .current_dir(self.home.path()),
        )
    }

    /// The gateway's configuration, and what there is of it.
    fn conf(&self) -> Result<(String, String)> {
        let path = self.home.path().join("tunnels/gateway-1.conf");
        let text = fs::read_to_string(&path).context("no configuration was written")?;
        Ok((path.display().to_string(), text))
    }

    /// Has the logs searched for the private key.
    fn is_secret(&self, bed: &Bed, name: &str) -> Result<()> {
        let (_, text) = self.conf()?;
        let key = text.lines().find_map(|line| line.strip_prefix("PrivateKey = "));
        bed.secret(Canary::private_key(name, key.context("no private key")?)?);
        Ok(())
    }

    fn ping(&self) -> Result<()> {
        for target in GATEWAY_INSIDE {
            self.place.run(&["ping", "-c1", "-W5", target])?;
        }
        Ok(())
    }
}

/// Of a configuration `wg` takes what is left when `wg-quick` has taken its own.
fn taken_by_wg(laptop: &Laptop) -> Result<()> {
    let (path, _) = laptop.conf()?;
    let stripped = laptop.place.run(&["wg-quick", "strip", &path])?;
    ensure!(
        !stripped.contains("Address") && stripped.contains("PublicKey"),
        "{stripped}"
    );
    let file = laptop.home.path().join("stripped");
    fs::write(&file, &stripped)?;
    laptop.place.ip(&["link", "add", "wg7", "type", "wireguard"])?;
    laptop
        .place
        .run(&["wg", "setconf", "wg7", &file.display().to_string()])?;
    let shown = laptop.place.run(&["wg", "showconf", "wg7"])?;
    for line in stripped.lines().filter(|line| line.contains(" = ")) {
        ensure!(
            shown.contains(line),
            "`{}` was not taken",
            line.split(' ').next().unwrap_or_default()
        );
    }
    laptop.place.ip(&["link", "del", "wg7"])?;
    Ok(())
}

#[tokio::test]
async fn plugin_configuration_carries_traffic_before_and_after_a_rotation() -> Result<()> {
    let bed = Bed::start().await?;
    let laptop = Laptop::new(&bed, 77)?;
    laptop.plugin(&["key", "new", "laptop"])?;
    laptop.plugin(&["key", "config", "laptop", "--out", "tunnels"])?;
    laptop.is_secret(&bed, "the first private key")?;
    taken_by_wg(&laptop)?;
    // For `0.0.0.0/0` wg-quick asks nftables for more than the machine's kernel has.
    laptop.plugin(&[&["key", "config", "laptop", "--overwrite"], &POOL[..]].concat())?;
    let (path, text) = laptop.conf()?;
    laptop.place.run(&["wg-quick", "up", &path])?;
    laptop.ping()?;
    // The old configuration works on; the new one is another throughout.
    laptop.plugin(&[&["key", "rotate", "laptop"], &POOL[..]].concat())?;
    laptop.is_secret(&bed, "the second private key")?;
    let (_, next) = laptop.conf()?;
    let value = |text: &str, name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name));
        found.map(str::to_owned)
    };
    for name in ["PrivateKey", "Address"] {
        ensure!(value(&text, name) != value(&next, name), "{name} is as it was");
    }
    laptop.ping()?;
    // `wg-quick` reads it again as it goes down: the interface's address does not matter to it.
    laptop.place.run(&["wg-quick", "down", &path])?;
    laptop.place.run(&["wg-quick", "up", &path])?;
    laptop.ping()?;
    laptop.plugin(&["key", "revoke", "laptop"])?;
    wait::until("the peers to go", SOON, || async {
        Ok(bed.peers()?.is_empty().then_some(()))
    })
    .await?;
    bed.finish().await
}

#[tokio::test]
async fn plugin_rotation_waits_out_an_apiserver_that_is_away() -> Result<()> {
    let bed = Bed::start().await?;
    let laptop = Laptop::new(&bed, 77)?;
    laptop.plugin(&["key", "new", "laptop"])?;
    laptop.plugin(&["key", "config", "laptop", "--out", "tunnels"])?;
    laptop.is_secret(&bed, "the first private key")?;
    let before = bed.key("laptop").await?.public_key;
    // Two days old: a rotation is due.
    netns::run(Command::new("find").arg(laptop.home.path()).args([
        "-name",
        "laptop.key",
        "-exec",
        "touch",
        "-d",
        "2 days ago",
        "{}",
        ";",
    ]))?;
    bed.plane.kill_apiserver()?;
    let mut command = built("CULVERT_PLUGIN")?;
    command
        .args(["key", "rotate", "laptop", "--every", "24h", "--out", "tunnels"])
        .env("KUBECONFIG", &laptop.kubeconfig)
        .env("XDG_DATA_HOME", laptop.home.path())
        .current_dir(laptop.home.path());
    let mut program = Program::start("rotating", &command, laptop.home.path())?;
    wait::until("the failure to be told", SOON, || async {
        Ok(program
            .output()?
            .contains("the old key works as before; tried again in 5m")
            .then_some(()))
    })
    .await?;
    bed.plane.start_apiserver().await?;
    bed.serving().await?;
    ensure!(bed.key("laptop").await?.public_key == before, "it did not wait");
    wait::pass(Duration::from_mins(6)).await;
    wait::until("the rotation", SOON, || async {
        let key = bed.key("laptop").await?;
        Ok((key.public_key.is_some() && key.public_key != before).then_some(()))
    })
    .await?;
    wait::until("the new configuration", SOON, || async {
        Ok(program.output()?.contains("key laptop has").then_some(()))
    })
    .await?;
    laptop.is_secret(&bed, "the second private key")?;
    // The next one is due in a day.
    let after = bed.key("laptop").await?.public_key;
    wait::pass(Duration::from_mins(6)).await;
    program.ensure_running()?;
    ensure!(
        bed.key("laptop").await?.public_key == after,
        "it rotates again and again"
    );
    ensure!(bed.peers()?.len() == 1, "the old peer is there after the overlap");
    bed.finish().await
}

#[tokio::test]
async fn plugin_split_configuration_routes_what_the_gateway_opens() -> Result<()> {
    let bed = Bed::start().await?;
    let laptop = Laptop::new(&bed, 77)?;
    bed.kubectl(&[
        "patch",
        "wireguardgateway/default",
        "--type=merge",
        "-p",
        r#"{"spec":{"egress":{"allow":["10.20.0.0/16"]}}}"#,
    ])
    .await?;
    laptop.plugin(&["key", "new", "laptop"])?;
    laptop.plugin(&["key", "config", "laptop", "--split", "--out", "tunnels"])?;
    laptop.is_secret(&bed, "the private key")?;
    let (path, _) = laptop.conf()?;
    laptop.place.run(&["wg-quick", "up", &path])?;
    let route = laptop.place.ip(&["route", "get", "10.20.0.9"])?;
    ensure!(route.contains("dev gateway-1"), "{route}");
    ensure!(
        laptop.place.ip(&["route", "get", "10.30.0.9"]).is_err(),
        "more is routed"
    );
    laptop.ping()?;
    bed.finish().await
}
