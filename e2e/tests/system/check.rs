//! `kubectl culvert check` beside a real gateway node: each fault is planted there, is named with what to do, is undone, and
//! is found no more. What it says has come from the agent, the operator and the apiserver.

use std::{
    fs,
    net::UdpSocket,
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use culvert_crds::WireGuardGateway;
use culvert_e2e::{
    Bed, Scratch,
    bed::{DEFAULT, INTERFACE, SOON},
    netns, process,
    surroundings::Surroundings,
    wait,
};
use serde_json::{Value, json};

use crate::{
    clock::{HOUR, step},
    egress::stage::surrounded,
};

/// What the exit codes are.
const WELL: i32 = 0;
const DENIED: i32 = 3;
const FAULTY: i32 = 7;

/// A port that is not the example's.
const PORT: u16 = 4_500;

/// How the gateway on its node is called.
const NODE: &str = "gatewaynode/default.gateway-1";

/// Another firewall, which has never heard of the gateway.
const OTHER: &str =
    "table inet other { chain forward { type filter hook forward priority 10; policy drop; }; }";

/// Somebody who looks, with a role and no more.
struct Administrator {
    kubeconfig: PathBuf,
    home: Scratch,
}

impl Administrator {
    /// One with the role `culvert-admin`.
    async fn of(bed: &Bed) -> Result<Self> {
        bed.apply_example("roles.yaml").await?;
        let name = "ada";
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "culvert-admin" },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name }],
        });
        bed.apply(&binding.to_string()).await?;
        Self::named(bed, name)
    }

    fn named(bed: &Bed, name: &str) -> Result<Self> {
        Ok(Self {
            kubeconfig: bed.plane.kubeconfig_for(name, None)?,
            home: Scratch::new("culvert-home-")?,
        })
    }

    fn check(&self, words: &[&str]) -> Result<Output> {
        let mut command = process::built("CULVERT_PLUGIN")?;
        command
            .arg("check")
            .args(words)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.home.path());
        command.output().context("failed to run the plugin")
    }

    /// Waits until nothing is wrong, and everything was looked at.
    async fn content(&self) -> Result<()> {
        wait::until("nothing to be wrong", SOON, || async {
            let (code, text) = said(&self.check(&[])?);
            ensure!(code == WELL && !text.contains("not looked at"), "{code}: {text}");
            Ok(Some(()))
        })
        .await
    }

    /// Waits until this is what is wrong, and nothing else is but what follows from it, with each of its words; gives the line.
    async fn finds(&self, fault: &Fault) -> Result<String> {
        wait::until(fault.check, SOON, || async {
            let (code, text) = said(&self.check(&[])?);
            let mut wrong: Vec<&str> = text.lines().filter(|line| line.starts_with("FAIL")).collect();
            // Where the only node does not serve, nobody does: the operator says so.
            wrong.retain(|line| {
                !line.contains("ippool/default: ") && !line.contains("wireguardgateway/default: ")
            });
            let lines = wrong
                .iter()
                .filter(|line| line[4..].trim_start().starts_with(fault.check));
            ensure!(
                code == FAULTY && wrong.len() == 1 && lines.count() == 1,
                "{code}: {text}"
            );
            let lacks = fault.words.iter().find(|words| !wrong[0].contains(**words));
            ensure!(lacks.is_none(), "{lacks:?} is not in {}", wrong[0]);
            Ok(Some(wrong[0].to_owned()))
        })
        .await
    }
}

/// What is to be found: its name, about what, and what to do.
struct Fault {
    check: &'static str,
    words: &'static [&'static str],
}

fn said(output: &Output) -> (i32, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.code().unwrap_or(-1), text)
}

/// A gateway that serves, with an uplink, and an administrator who finds nothing wrong with it.
async fn well() -> Result<(Bed, Surroundings, Administrator)> {
    let (bed, around) = surrounded().await?;
    let administrator = Administrator::of(&bed).await?;
    label(&bed, "privileged").await?;
    administrator.content().await?;
    Ok((bed, around, administrator))
}

/// Has the namespace of the agents this level of Pod Security.
async fn label(bed: &Bed, level: &str) -> Result<()> {
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": "culvert-system",
            "labels": { "pod-security.kubernetes.io/enforce": level },
        },
    });
    bed.apply(&namespace.to_string()).await
}

/// A pod that has what an agent's needs.
fn agent_pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "agent", "namespace": "culvert-system" },
        "spec": {
            "hostNetwork": true,
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "agent",
                "image": "agent",
                "securityContext": { "capabilities": { "drop": ["ALL"], "add": ["NET_ADMIN"] } },
            }],
        },
    })
}

#[tokio::test]
async fn check_finds_what_the_node_does_to_forwarded_packets() -> Result<()> {
    let (bed, _around, administrator) = well().await?;
    let set = |setting: &str, value: u8| format!("echo {value} >/proc/sys/net/{setting}");
    let forwarding = Fault {
        check: "forwarding",
        words: &[NODE, "net.ipv4.ip_forward", "docs/reasons/ForwardingDisabled.md"],
    };
    let other = Fault {
        check: "other firewall",
        words: &[NODE, "let it accept", "docs/reasons/OtherFirewall.md"],
    };
    let [ipv4, ipv6] = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];
    for (fault, harm, mend) in [
        (&forwarding, set(ipv4, 0), set(ipv4, 1)),
        (&forwarding, set(ipv6, 0), set(ipv6, 1)),
        (
            &other,
            format!("nft '{OTHER}'"),
            "nft delete table inet other".to_owned(),
        ),
    ] {
        bed.gateway.run(&["sh", "-c", &harm])?;
        administrator.finds(fault).await.context(harm)?;
        bed.gateway.run(&["sh", "-c", &mend])?;
        administrator.content().await.context(mend)?;
    }
    bed.finish().await
}

#[tokio::test]
async fn check_finds_a_link_that_is_too_narrow_for_the_tunnel() -> Result<()> {
    let (bed, _around, administrator) = well().await?;
    let narrow = Fault {
        check: "mtu",
        words: &[NODE, "takes 1400", "spec.mtu of the gateway to 1340"],
    };
    let mtu = |bytes: &str| bed.gateway.ip(&["link", "set", "up0", "mtu", bytes]).map(drop);
    mtu("1400")?;
    administrator.finds(&narrow).await?;
    mtu("1500")?;
    administrator.content().await?;
    // The other way out is what it says to do.
    mtu("1400")?;
    administrator.finds(&narrow).await?;
    let patch = json!({ "spec": { "mtu": 1_340 } });
    bed.patch::<WireGuardGateway>("default", &patch).await?;
    administrator.content().await?;
    let link = bed.gateway.ip(&["link", "show", "dev", INTERFACE])?;
    ensure!(link.contains("mtu 1340"), "{link}");
    bed.finish().await
}

#[tokio::test]
async fn check_finds_who_has_the_gateways_port_or_name() -> Result<()> {
    let (mut bed, _around, administrator) = well().await?;
    let port = Fault {
        check: "port",
        words: &[NODE, "remove the other user", "docs/reasons/Conflict.md"],
    };
    let holder = bed.gateway.within(|| Ok(UdpSocket::bind(("0.0.0.0", PORT))?))?;
    let patch = json!({ "spec": { "listenPort": PORT } });
    bed.patch::<WireGuardGateway>("default", &patch).await?;
    administrator.finds(&port).await?;
    drop(holder);
    administrator.content().await?;
    let listens = bed.gateway.run(&["wg", "show", INTERFACE, "listen-port"])?;
    ensure!(listens.trim() == PORT.to_string(), "it listens at {listens}");

    let name = Fault {
        check: "interface",
        words: &[
            "choose another spec.interface",
            "docs/reasons/InterfaceConflict.md",
        ],
    };
    bed.terminate_agent().await?;
    bed.gateway.ip(&["link", "del", INTERFACE])?;
    bed.gateway.ip(&["link", "add", INTERFACE, "type", "dummy"])?;
    bed.start_agent()?;
    administrator.finds(&name).await?;
    bed.gateway.ip(&["link", "del", INTERFACE])?;
    administrator.content().await?;
    bed.finish().await
}

#[tokio::test]
async fn check_finds_that_nft_is_missing() -> Result<()> {
    let (mut bed, _around, administrator) = well().await?;
    let missing = Fault {
        check: "nftables",
        words: &["the program `nft` is missing", "docs/reasons/FirewallError.md"],
    };
    // A gateway that is up and keeps its table, and one that stays down for want of it.
    for up in [true, false] {
        bed.terminate_agent().await?;
        if !up {
            bed.gateway.run(&["nft", "flush", "ruleset"])?;
            bed.gateway.ip(&["link", "del", INTERFACE])?;
        }
        bed.agent_flags(&["--nft", "nft-of-nowhere"]);
        bed.start_agent()?;
        administrator.finds(&missing).await?;
        bed.terminate_agent().await?;
        bed.agent_flags(&[]);
        bed.start_agent()?;
        administrator.content().await?;
    }
    bed.finish().await
}

#[tokio::test]
async fn check_without_wireguard_in_the_kernel_says_what_to_load() -> Result<()> {
    let mut bed = Bed::empty().await?;
    let made = bed.gateway.ip(&["link", "add", "wg7", "type", "wireguard"]);
    ensure!(made.is_err(), "this machine's kernel has WireGuard");
    let _around = Surroundings::around(&bed.gateway)?;
    let administrator = Administrator::of(&bed).await?;
    label(&bed, "privileged").await?;
    for file in ["pool.yaml", "gateway.yaml"] {
        bed.apply_example(file).await?;
    }
    bed.start_operator()?;
    let unsupported = Fault {
        check: "kernel module",
        words: &[
            "load the kernel's module `wireguard`",
            "docs/reasons/Unsupported.md",
        ],
    };
    // As the chart has it: the kernel or nothing.
    bed.agent_flags(&["--backend", "kernel"]);
    bed.start_agent()?;
    administrator.finds(&unsupported).await?;
    bed.terminate_agent().await?;

    // As services of their machines have it, with a program that is put there later.
    let folder = Scratch::new("culvert-programs-")?;
    let program = folder.path().join("wireguard-go");
    let path = program.to_str().context("a path that is no text")?.to_owned();
    bed.agent_flags(&["--wireguard-go", &path]);
    bed.start_agent()?;
    administrator.finds(&unsupported).await?;
    symlink(process::built("CULVERT_WIREGUARD_GO")?.get_program(), &program)?;
    administrator.content().await?;
    bed.serving().await?;
    bed.finish().await
}

#[tokio::test]
async fn check_clock_of_a_node_that_is_ahead_is_told_from_the_apiservers() -> Result<()> {
    let (bed, _around, administrator) = well().await?;
    let ahead = Fault {
        check: "clock",
        words: &[
            "the clock of node gateway-1 is",
            "ahead of the apiserver's",
            "needs NTP",
        ],
    };
    // One machine has one clock: the agent has said something while it was wrong, and says nothing since it is right.
    step(HOUR)?;
    let now = wait::wall();
    wait::until("the agent to have the wrong time", SOON, || async {
        let renewed = bed.gateway_node(DEFAULT).await?.renew_time;
        Ok(renewed.is_some_and(|time| time.0 >= now).then_some(()))
    })
    .await?;
    let agent = bed.agent_pid()?.to_string();
    netns::run(Command::new("kill").args(["-STOP", &agent]))?;
    step(-HOUR)?;
    administrator.finds(&ahead).await?;
    netns::run(Command::new("kill").args(["-CONT", &agent]))?;
    administrator.content().await?;
    bed.finish().await
}

#[tokio::test]
async fn check_finds_a_namespace_that_lets_no_agent_in() -> Result<()> {
    let (bed, _around, administrator) = well().await?;
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": "default", "namespace": "culvert-system" },
    });
    bed.apply(&account.to_string()).await?;
    for level in ["restricted", "baseline"] {
        label(&bed, level).await?;
        // It is true.
        let refused = bed.apply(&agent_pod().to_string()).await;
        let why = refused
            .err()
            .map_or_else(String::new, |error| format!("{error:#}"));
        ensure!(why.contains("PodSecurity"), "{level} lets it in: {why}");
        let line = administrator
            .finds(&Fault {
                check: "pod security",
                words: &["namespace/culvert-system", "keeps the agents from"],
            })
            .await?;
        // What it says to do is what helps.
        let (_, command) = line.split_once("; kubectl ").context("it says nothing to do")?;
        let words: Vec<&str> = command.split_whitespace().collect();
        bed.kubectl(&words).await?;
        administrator.content().await?;
    }
    bed.apply(&agent_pod().to_string()).await?;
    bed.finish().await
}

#[tokio::test]
async fn check_of_somebody_without_the_rights_names_them() -> Result<()> {
    let (bed, _around, administrator) = well().await?;
    let nobody = Administrator::named(&bed, "eve")?;
    let (code, text) = said(&nobody.check(&[])?);
    ensure!(code == DENIED && text.contains("list ippools"), "{code}: {text}");

    // Who may look at Culvert and not at the cluster is told what was left out.
    let role = json!([{ "op": "test", "path": "/rules/3/resources/0", "value": "namespaces" },
        { "op": "remove", "path": "/rules/3" }]);
    bed.kubectl(&[
        "patch",
        "clusterrole/culvert-admin",
        "--type=json",
        "-p",
        &role.to_string(),
    ])
    .await?;
    wait::until("the namespaces to be left out", SOON, || async {
        let (code, text) = said(&administrator.check(&[])?);
        let line = text.lines().find(|line| line.contains("pod security"));
        let is_told = line.is_some_and(|line| line.contains("not looked at"));
        ensure!(
            code == DENIED && is_told && text.contains("list namespaces"),
            "{code}: {text}"
        );
        Ok(Some(()))
    })
    .await?;
    ensure!(
        fs::read_dir(nobody.home.path())?.next().is_none(),
        "it wrote something"
    );
    bed.finish().await
}
