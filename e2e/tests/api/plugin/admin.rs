//! What an administrator asks, with the role `culvert-admin` and no more.

use anyhow::{Result, ensure};
use culvert_e2e::{
    ControlPlane, Scratch,
    leaks::{Canary, search},
    process::{self, Signal},
    wait,
};
use serde_json::Value;

use super::{NODE, Said, Site};
use crate::fixture::{Api, SOON, examples};

/// A site whose user is its administrator.
async fn administered() -> Result<Site> {
    let mut site = Site::start().await?;
    let grant = [
        "create",
        "clusterrolebinding",
        "admin",
        "--clusterrole=culvert-admin",
        "--user=root",
    ];
    site.api.kubectl(&grant, None).await?;
    site.run(&["key", "new", "laptop"]).await?.well()?;
    site.user = site.api.plane.kubeconfig_for("root", None)?;
    Ok(site)
}

async fn findings(site: &Site) -> Result<Vec<Value>> {
    let said = site.run(&["check", "-o", "json"]).await?;
    let whole: Value = serde_json::from_str(&said.out)?;
    ensure!(
        whole["unread"] == serde_json::json!([]),
        "the role lets not look at {whole}"
    );
    Ok(whole["findings"].as_array().cloned().unwrap_or_default())
}

/// Waits until `check` finds this fault, and nothing else that is bad.
async fn found(site: &Site, check: &str, about: &str) -> Result<()> {
    wait::until(&format!("{check} to be found"), SOON * 2, || async {
        let mut bad = findings(site).await?;
        bad.retain(|finding| finding["weight"] == "bad");
        ensure!(
            bad.len() == 1 && bad[0]["check"] == check && bad[0]["about"] == about,
            "{bad:?}"
        );
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_check_names_what_is_wrong_with_a_real_cluster() -> Result<()> {
    let mut site = administered().await?;
    wait::until("nothing to be wrong", SOON, || async {
        let said = site.run(&["check"]).await?;
        ensure!(said.code == 0 && !said.out.contains("not looked at"), "{said:?}");
        Ok(Some(()))
    })
    .await?;
    let said = site.run(&["status"]).await?.well()?;
    for words in [
        "1/1 nodes serve",
        "keys      Ready                1",
        "nothing is wrong",
    ] {
        ensure!(said.contains(words), "{words} is not in\n{said}");
    }
    let said = site.run(&["version"]).await?.well()?;
    ensure!(said.contains("as this program knows them"), "{said}");

    let label = |value: &'static str| ["label", "namespace", "culvert-system", "--overwrite", value];
    site.api
        .kubectl(&label("pod-security.kubernetes.io/enforce=restricted"), None)
        .await?;
    found(&site, "pod-security", "namespace/culvert-system").await?;
    site.api
        .kubectl(&label("pod-security.kubernetes.io/enforce=privileged"), None)
        .await?;

    site.api
        .kubectl(
            &[
                "delete",
                "validatingadmissionpolicybinding",
                "wireguardpeers.culvert.dev",
            ],
            None,
        )
        .await?;
    found(
        &site,
        "policies",
        "validatingadmissionpolicy/wireguardpeers.culvert.dev",
    )
    .await?;
    // What it says to do is what helps.
    let install = site.run(&["install", "generate"]).await?.well()?;
    site.api.kubectl(&["apply", "-f", "-"], Some(&install)).await?;

    let operator = site.operator.take();
    if let Some(operator) = &operator {
        operator.signal(Signal::STOP)?;
    }
    site.overlap("1h").await?;
    found(&site, "operator", "ippool/default").await?;
    if let Some(operator) = &operator {
        operator.signal(Signal::CONT)?;
    }
    wait::until("nothing to be wrong again", SOON, || async {
        ensure!(
            findings(&site)
                .await?
                .iter()
                .all(|finding| finding["weight"] != "bad")
        );
        Ok(Some(()))
    })
    .await?;
    site.stop().await
}

/// The names of what `check` calls well, of what is wrong, and of what was not looked at.
fn told(said: &Said) -> [Vec<&str>; 3] {
    ["ok", "FAIL", "-"].map(|sign| {
        let lines = said
            .out
            .lines()
            .filter(|line| line.split(' ').next() == Some(sign));
        let mut names: Vec<&str> = lines.filter_map(|line| Some(line.get(7..22)?.trim())).collect();
        names.dedup();
        names
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_check_calls_nothing_well_that_is_not_there() -> Result<()> {
    let api = Api::of(ControlPlane::start().await?).await?;
    let home = Scratch::new("culvert-home-")?;
    let run = |words: &'static [&str]| {
        let command = process::built("CULVERT_PLUGIN").map(|mut command| {
            command
                .args(words)
                .env("KUBECONFIG", api.plane.kubeconfig())
                .env("HOME", home.path());
            command
        });
        async { super::run(command?).await }
    };
    let said = run(&["check"]).await?;
    let [well, wrong, unseen] = told(&said);
    ensure!(
        said.code == 7 && well.is_empty() && wrong == ["definitions", "policies"] && unseen.len() == 17,
        "{said:?}"
    );

    // What it says to do, one thing after the other.
    let install = run(&["install", "generate"]).await?.well()?;
    api.kubectl(&["apply", "-f", "-"], Some(&install)).await?;
    wait::until("the kinds to be served", SOON, || async {
        let said = run(&["check"]).await?;
        let [well, wrong, unseen] = told(&said);
        ensure!(
            said.code == 7
                && well == ["definitions", "policies", "pod security"]
                && wrong == ["pools", "gateways"]
                && unseen.len() == 14,
            "{said:?}"
        );
        Ok(Some(()))
    })
    .await?;
    for file in ["pool.yaml", "gateway.yaml"] {
        api.kubectl(&["apply", "-f", &format!("{}/{file}", examples())], None)
            .await?;
    }
    let said = run(&["check"]).await?;
    let [well, wrong, unseen] = told(&said);
    ensure!(
        said.code == 7
            && well == ["definitions", "policies", "pools", "pod security", "mtu"]
            && wrong == ["operator", "gateways"]
            && unseen.len() == 12,
        "{said:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_drains_and_purges_and_waits_for_the_node() -> Result<()> {
    let site = administered().await?;
    let node = || async { anyhow::Ok(site.api.list("gatewaynodes").await?.remove(0)) };
    site.run(&["gateway", "purge", NODE]).await?.well()?;
    let purged = node().await?;
    ensure!(
        purged["spec"]["purgeGeneration"] == 1 && purged["status"]["purgedGeneration"] == 1,
        "{purged}"
    );
    site.run(&["gateway", "purge", "--all"]).await?.well()?;
    ensure!(node().await?["status"]["purgedGeneration"] == 2);
    let said = site.run(&["gateway", "drain", NODE]).await?.well()?;
    ensure!(said.contains("default.gateway-1 is drained"), "{said}");
    let drained = node().await?;
    ensure!(
        drained["spec"]["drain"] == true && drained["status"]["drained"] == true,
        "{drained}"
    );
    site.run(&["gateway", "drain", NODE, "--undo"]).await?.well()?;
    site.api
        .says("gatewaynodes", "default.gateway-1", "Ready", "Ready")
        .await?;
    // An agent that is not there does not answer.
    site.agent.stop().await?;
    let mut command = process::built("CULVERT_PLUGIN")?;
    command
        .args(["gateway", "drain", NODE, "--wait", "2s"])
        .env("KUBECONFIG", &site.user)
        .env("HOME", site.home.path());
    let said = super::run(command).await?;
    ensure!(
        said.code == 5 && said.err.contains("has not answered"),
        "{said:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_report_has_nothing_of_anybody_in_it() -> Result<()> {
    let site = administered().await?;
    let key = site.key("laptop").await?;
    let node = site.api.list("gatewaynodes").await?.remove(0);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut canaries = vec![
        Canary::private_key("the private key", &site.private_key("laptop.key")?)?,
        Canary::public_key("the public key", &text(&key["spec"]["publicKey"]))?,
        Canary::public_key("the gateway's public key", &text(&node["status"]["publicKey"]))?,
        Canary::tunnel("the gateway's address", "198.51.100.1".parse()?),
        Canary::answer("the key's name", "laptop"),
        Canary::answer("the namespace", "tenant"),
        Canary::answer("the node", NODE),
    ];
    for address in key["status"]["addresses"].as_array().into_iter().flatten() {
        canaries.push(Canary::tunnel("a tunnel address", text(address).parse()?));
    }
    let report = site.run(&["report"]).await?.well()?;
    let found = search(report.as_bytes(), &canaries);
    ensure!(found.is_empty(), "{found:?} in\n{report}");
    ensure!(report.contains("Ready: 1"), "{report}");
    // The search finds what is there.
    let all = site
        .api
        .kubectl(&["get", "wgk,wgn", "-A", "-o", "yaml"], None)
        .await?;
    ensure!(search(all.as_bytes(), &canaries[1..]).len() >= canaries.len() - 1);
    site.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_completes_live_names_through_kubectl() -> Result<()> {
    let site = Site::start().await?;
    site.run(&["key", "new", "laptop"]).await?.well()?;
    let plugin = process::built("CULVERT_PLUGIN")?;
    let folder = site.home.path().join("bin");
    std::fs::create_dir(&folder)?;
    for name in ["kubectl-culvert", "kubectl_complete-culvert"] {
        std::os::unix::fs::symlink(plugin.get_program(), folder.join(name))?;
    }
    let mut kubectl = std::process::Command::new(culvert_e2e::programs::Tool::Kubectl.find()?);
    kubectl
        .args(["__complete", "culvert", "-n", super::TENANT, "key", "rotate", ""])
        .env(
            "PATH",
            format!(
                "{}:{}",
                folder.display(),
                std::env::var("PATH").unwrap_or_default()
            ),
        )
        .env("KUBECONFIG", &site.user)
        .env("HOME", site.home.path());
    let said = super::run(kubectl).await?;
    ensure!(said.out == "laptop\n:4\n", "{said:?}");
    site.stop().await
}
