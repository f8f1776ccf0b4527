//! Shows what Culvert does, live: `cargo xtask demo` runs this in a machine with a kernel WireGuard.

use std::{env, io::IsTerminal, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Bed, Client,
    bed::{GATEWAY, INTERFACE, example},
    wait::{self, Stopwatch},
};

/// Prints the story.
struct Stage {
    colour: bool,
    chapter: usize,
}

impl Stage {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn chapter(&mut self, title: &str) {
        self.chapter += 1;
        println!("\n{}", self.paint("1", &format!("{}. {title}", self.chapter)));
    }

    fn command(&self, place: &str, command: &str) {
        println!(
            "   {} {}",
            self.paint("36", &format!("{place}$")),
            self.paint("1", command)
        );
    }

    fn output(&self, text: &str) {
        for line in text.trim_end().lines() {
            println!("     {}", self.paint("2", line.trim_end()));
        }
    }

    fn done(&self, text: &str) {
        println!("   {} {text}", self.paint("32", "✓"));
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let colour =
        env::var("CULVERT_COLOUR").map_or_else(|_| std::io::stdout().is_terminal(), |value| value == "1");
    let mut stage = Stage { colour, chapter: 0 };
    match show(&mut stage).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\n   {} {error:#}", stage.paint("31", "✗"));
            ExitCode::FAILURE
        }
    }
}

async fn show(stage: &mut Stage) -> Result<()> {
    stage.chapter("A control plane, and what the administrator applies");
    let watch = Stopwatch::start();
    let mut bed = Bed::empty().await?;
    stage.done(&format!(
        "etcd and kube-apiserver run; the five kinds of culvert.dev are defined ({})",
        took(watch)
    ));
    for file in ["pool.yaml", "gateway.yaml"] {
        stage.command("admin", &format!("kubectl apply -f examples/{file}"));
        stage.output(&bed.kubectl(&["apply", "-f", &example(file)]).await?);
    }

    stage.chapter("The operator, and an agent on the gateway node");
    bed.start_operator()?;
    bed.start_agent()?;
    bed.serving().await?;
    stage.command("admin", "kubectl get gatewaynodes");
    stage.output(&bed.kubectl(&["get", "gatewaynodes"]).await?);
    stage.done(&format!(
        "interface {INTERFACE} is up in the node's kernel; its private key was made there and stays there"
    ));

    stage.chapter("A client makes a key pair and hands over the public half");
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    stage.command("laptop", "wg genkey | tee private | wg pubkey");
    stage.output(&laptop.public_key);
    stage.command("user", "kubectl apply -f key.yaml");
    stage.output(
        &bed.kubectl_with(&["apply", "-f", "-"], Some(&laptop.manifest()))
            .await?,
    );
    bed.key_ready("laptop").await?;
    laptop.read_addresses(&bed).await?;
    stage.command("user", "kubectl get wgk");
    stage.output(&bed.kubectl(&["get", "wgk"]).await?);
    stage.done("two random addresses, and the peer is in the kernel of every gateway");

    stage.chapter("The tunnel opens");
    laptop.connect(&bed).await?;
    stage.command("laptop", "ping -c3 10.64.0.1");
    stage.output(
        &laptop
            .namespace
            .run(&["ping", "-c3", "-i0.2", "-W5", "10.64.0.1"])?,
    );
    let seen = show_peer(stage, &bed)?;
    ensure!(
        seen.contains(&laptop.expected_endpoint()),
        "the gateway does not see the client"
    );
    stage.done(&format!(
        "the gateway at {GATEWAY} knows where the client is, as WireGuard must while it talks"
    ));

    stage.chapter("Silence: four minutes later");
    wait::pass(Duration::from_mins(4)).await;
    let seen = show_peer(stage, &bed)?;
    ensure!(
        !seen.contains("endpoint") && seen.contains("allowed ips"),
        "the client was not forgotten"
    );
    stage.done("the endpoint and the time of the handshake are gone; the peer and its addresses are not");

    stage.chapter("The client comes back as if nothing had been");
    stage.command("laptop", "ping -c1 -W1 10.64.0.1");
    stage.output(&laptop.namespace.run(&["ping", "-c1", "-W1", "10.64.0.1"])?);
    stage.done("answered at once");

    stage.chapter("The key is deleted");
    stage.command("user", "kubectl delete wgk laptop");
    stage.output(&bed.kubectl(&["delete", "wgk", "laptop"]).await?);
    wait::until("the peer to go", Duration::from_secs(5), || async {
        Ok(bed.peer(&laptop.public_key)?.is_none().then_some(()))
    })
    .await?;
    show_peer(stage, &bed)?;
    stage.done("the peer is gone from the kernel; its addresses cool down before anybody else can draw them");

    bed.finish()
        .await
        .context("the logs, searched for the client's address and for private keys")?;
    println!();
    stage.done("both programs logged at `trace`: no client address and no private key is in what they wrote");
    Ok(())
}

/// Shows the gateway's peers as `wg` does, without the gateway's own part.
fn show_peer(stage: &Stage, bed: &Bed) -> Result<String> {
    stage.command("gateway", &format!("wg show {INTERFACE}"));
    let text = bed.gateway.run(&["wg", "show", INTERFACE])?;
    let peers = text
        .split_once("\n\n")
        .map_or("(no peers)", |(_, peers)| peers)
        .to_owned();
    stage.output(&peers);
    Ok(peers)
}

fn took(watch: Stopwatch) -> String {
    format!("{:.1} s", watch.elapsed().as_secs_f32())
}
