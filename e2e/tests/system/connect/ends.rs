//! Asked to end, whenever that is: nothing of it is left on the machine, and no key.

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Bed, Fault, FaultProxy, Program, Scratch, bed::SOON, laptop::APISERVER, netns, process::Signal, wait,
};

use super::stage::{Laptop, NAME, gone, identity, keys, resolv_conf, resolvers, start, told};

/// What asks it to end.
const SIGNALS: [Signal; 2] = [Signal::TERM, Signal::INT];

/// Asks it to end, and looks for what is left.
async fn ends(bed: &Bed, laptop: &mut Laptop, signal: Signal, resolvers: &str) -> Result<()> {
    let said = laptop.output();
    let status = laptop.end_by(signal).await?;
    ensure!(status == 0, "it ended with status {status}:\n{said}");
    clean(laptop, resolvers)?;
    ensure!(keys(bed).await?.is_empty(), "a key is left");
    wait::until("the peers to go", SOON, || async {
        let peers = bed.peers()?.len();
        ensure!(peers == 0, "{peers} peers are left");
        Ok(Some(()))
    })
    .await
}

fn clean(laptop: &Laptop, resolvers: &str) -> Result<()> {
    laptop.is_clean()?;
    Laptop::left_no_file()?;
    ensure!(resolv_conf() == resolvers, "names are resolved otherwise");
    Ok(())
}

/// The keys, as soon as an apiserver that has just started says: it refuses lists until it knows its storage.
async fn keys_again(bed: &Bed) -> Result<Vec<String>> {
    wait::until("the apiserver to list keys", SOON, || async {
        keys(bed).await.map(Some)
    })
    .await
}

/// Waits until the key has another public key than this one.
async fn published(bed: &Bed, before: Option<&str>) -> Result<()> {
    wait::until("the key to be told", SOON, || async {
        let told = told(bed).await?;
        Ok((told.is_some() && told.as_deref() != before).then_some(()))
    })
    .await
}

/// Waits until a tunnel has a gateway that has not answered.
async fn unanswered(laptop: &Laptop, tunnel: &str) -> Result<()> {
    wait::until("a gateway to be asked", SOON, || async {
        let asked = laptop
            .namespace
            .run(&["wg", "show", tunnel, "latest-handshakes"])?;
        Ok(asked.trim_end().ends_with("\t0").then_some(()))
    })
    .await
}

#[tokio::test]
async fn connect_asked_to_end_by_either_signal_takes_everything_back() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    resolvers(&bed, &["10.64.0.1"]).await?;
    laptop.flags = vec!["--kill-switch".to_owned()];
    let before = resolv_conf();
    for signal in SIGNALS {
        laptop.connect().await?;
        let known = identity(&bed).await?;
        wait::until("the tunnel's resolvers", SOON, || async {
            Ok((resolv_conf() != before).then_some(()))
        })
        .await?;
        ends(&bed, &mut laptop, signal, &before).await?;
        gone(&bed, &known.public_key).await?;
    }
    bed.finish().await
}

#[tokio::test]
async fn connect_asked_to_end_before_it_is_connected_leaves_nothing() -> Result<()> {
    let (mut bed, mut laptop) = start().await?;
    laptop.flags = vec!["--kill-switch".to_owned()];
    let before = resolv_conf();
    for signal in SIGNALS {
        // It has told its key, and waits for addresses.
        bed.terminate_operator().await?;
        laptop.start()?;
        published(&bed, None).await?;
        ends(&bed, &mut laptop, signal, &before).await?;
        bed.start_operator()?;
        // It waits for a gateway's answer.
        bed.gateway.ip(&["link", "set", "c77", "down"])?;
        laptop.start()?;
        unanswered(&laptop, "cvc0").await?;
        ends(&bed, &mut laptop, signal, &before).await?;
        bed.gateway.ip(&["link", "set", "c77", "up"])?;
        // It waits for the apiserver, which will not have heard of it.
        bed.plane.kill_apiserver()?;
        laptop.start()?;
        wait::until("an interface", SOON, || async {
            Ok((laptop.tunnels()? == ["cvc0"]).then_some(()))
        })
        .await?;
        let status = laptop.end_by(signal).await?;
        ensure!(
            status == 1,
            "with nobody to say that there is no key it ended with {status}"
        );
        clean(&laptop, &before)?;
        bed.plane.start_apiserver().await?;
        ensure!(keys_again(&bed).await?.is_empty(), "a key is left");
    }
    laptop.connect().await?;
    let _ = identity(&bed).await?;
    ends(&bed, &mut laptop, Signal::INT, &before).await?;
    bed.finish().await
}

#[tokio::test]
async fn connect_asked_to_end_in_a_rotation_leaves_nothing() -> Result<()> {
    let (mut bed, mut laptop) = start().await?;
    laptop.flags = vec!["--kill-switch".to_owned()];
    let before = resolv_conf();
    let folder = Scratch::new("culvert-rotate-")?;
    for signal in SIGNALS {
        for waits_for in ["addresses", "an answer", "nothing"] {
            laptop.connect().await?;
            let known = identity(&bed).await?;
            let command = laptop.plugin(&["key", "rotate", NAME, "--wait", "10m"])?;
            match waits_for {
                "addresses" => bed.terminate_operator().await?,
                "an answer" => drop(bed.gateway.ip(&["link", "set", "c77", "down"])?),
                _ => {}
            }
            let mut rotating = Program::start("rotate", &command, folder.path())?;
            published(&bed, Some(&known.public_key)).await?;
            match waits_for {
                "an answer" => unanswered(&laptop, "cvc1").await?,
                "nothing" => ensure!(rotating.wait(SOON).await? == 0, "{}", rotating.tail(5)),
                _ => {}
            }
            if waits_for == "addresses" {
                // Its end is not to wait for the operator.
                let status = laptop.end_by(signal).await?;
                ensure!(status == 0, "it ended with status {status}");
                clean(&laptop, &before)?;
                ensure!(keys(&bed).await?.is_empty(), "a key is left");
                bed.start_operator()?;
            } else {
                ends(&bed, &mut laptop, signal, &before)
                    .await
                    .with_context(|| format!("while it waits for {waits_for}"))?;
                bed.gateway.ip(&["link", "set", "c77", "up"])?;
            }
            if waits_for != "nothing" {
                let status = rotating.wait(SOON).await?;
                ensure!(
                    status != 0 && rotating.output()?.contains("it is ending"),
                    "who asked for a rotation is told nothing: {status} {}",
                    rotating.tail(5)
                );
            }
        }
    }
    bed.finish().await
}

/// The laptop behind a proxy, and connecting so far that its key's making is held there.
async fn held(bed: &Bed, laptop: &mut Laptop, fault: Fault) -> Result<FaultProxy> {
    let client = bed.plane.client_for("alice", None).await?;
    let proxy = FaultProxy::start_on(APISERVER.parse()?, client, &[]).await?;
    laptop.go_by(proxy.kubeconfig());
    let struck = proxy.arm(fault);
    laptop.start()?;
    let call = struck.wait(SOON).await?;
    ensure!(call.kind == "wireguardkeys", "{call}");
    Ok(proxy)
}

#[tokio::test]
async fn connect_asked_to_end_while_its_key_is_made_leaves_none() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    let before = resolv_conf();
    let own = laptop.kubeconfig().to_owned();
    for fault in [Fault::HoldBefore(1), Fault::HoldAfter(1)] {
        let proxy = held(&bed, &mut laptop, fault).await?;
        laptop.signal(Signal::TERM)?;
        proxy.arm(Fault::None);
        ends(&bed, &mut laptop, Signal::TERM, &before)
            .await
            .with_context(|| format!("{fault:?}"))?;
    }
    laptop.go_by(own);
    laptop.connect().await?;
    let _ = identity(&bed).await?;
    ends(&bed, &mut laptop, Signal::INT, &before).await?;
    bed.finish().await
}

#[tokio::test]
async fn connect_says_that_a_key_may_be_left_that_nobody_has_answered_for() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    let before = resolv_conf();
    let own = laptop.kubeconfig().to_owned();
    let proxy = held(&bed, &mut laptop, Fault::HoldAfter(1)).await?;
    proxy.black_hole();
    laptop.signal(Signal::TERM)?;
    let log = laptop.log()?;
    let status = laptop.end_by(Signal::TERM).await?;
    let text = std::fs::read_to_string(log)?;
    ensure!(
        status == 1 && text.contains("could not be revoked") && text.contains("key revoke laptop"),
        "{status}: {text}"
    );
    clean(&laptop, &before)?;
    ensure!(keys(&bed).await? == [NAME], "the key was not made");
    // What it says to do is what helps.
    laptop.go_by(own);
    netns::run(&mut laptop.plugin(&["key", "revoke", NAME])?)?;
    ensure!(keys(&bed).await?.is_empty());
    laptop.connect().await?;
    let _ = identity(&bed).await?;
    ends(&bed, &mut laptop, Signal::TERM, &before).await?;
    bed.finish().await
}

#[tokio::test]
async fn connect_down_without_the_apiserver_cleans_the_machine_and_revokes_when_it_is_back() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    laptop.flags = vec!["--kill-switch".to_owned()];
    resolvers(&bed, &["10.64.0.1"]).await?;
    let before = resolv_conf();
    laptop.connect().await?;
    let known = identity(&bed).await?;
    laptop.kill()?;
    bed.plane.kill_apiserver()?;
    let down = ["connect", NAME, "--down"];
    let output = laptop.plugin(&down)?.output().context("failed to run it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1) && said.contains("could not be revoked"),
        "{output:?}"
    );
    clean(&laptop, &before)?;
    bed.plane.start_apiserver().await?;
    ensure!(keys_again(&bed).await? == [NAME]);
    netns::run(&mut laptop.plugin(&down)?)?;
    ensure!(keys(&bed).await?.is_empty(), "the key is left");
    gone(&bed, &known.public_key).await?;
    bed.finish().await
}

#[tokio::test]
async fn connect_leaves_the_tunnel_of_another_name_alone() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    laptop.connect().await?;
    let _ = identity(&bed).await?;
    for words in [&["connect", "other"][..], &["connect", "other", "--down"]] {
        let output = laptop.plugin(words)?.output().context("failed to run it")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(6)
                && said.contains("a tunnel of key `default/laptop` is on this machine"),
            "{output:?}"
        );
        laptop.ping()?;
    }
    ensure!(keys(&bed).await? == [NAME]);
    laptop.disconnect().await?;
    bed.finish().await
}
