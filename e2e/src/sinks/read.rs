//! How each sink is read: as root of the machine, by programs and files that are none of ours.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::Sink;
use crate::{Bed, memory, netns, scratch::files_below};

/// Where the programs are asked: the agent by way of its node's address, from outside.
pub const PROBES: [(&str, &str); 2] = [("agent", "192.0.2.2:8099"), ("operator", "192.0.2.1:8098")];

/// Kinds whose objects are a client's.
const CLAIMS: &str = "wireguardkeys.culvert.dev,wireguardpeers.culvert.dev";

/// Culvert's kinds.
const KINDS: &str = "wireguardkeys,wireguardpeers,ippools,wireguardgateways,gatewaynodes";

/// How long a program may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything that is there now.
pub async fn read(bed: &Bed, sink: Sink) -> Result<Vec<u8>> {
    let read = match sink {
        Sink::AgentMetrics => asked("agent", &["/metrics"]),
        Sink::AgentProbes => asked(
            "agent",
            &["/livez", "/readyz", "/healthz", "/", "/metrics/../peers"],
        ),
        Sink::OperatorMetrics => asked("operator", &["/metrics", "/livez", "/readyz"]),
        Sink::AgentCommandLine => file(Path::new(&format!("/proc/{}/cmdline", bed.agent_pid()?))),
        Sink::AgentEnvironment => file(Path::new(&format!("/proc/{}/environ", bed.agent_pid()?))),
        Sink::AgentFiles => agent_files(bed, false),
        Sink::CoreDumps => agent_files(bed, true),
        Sink::AgentMemory => memory::of(bed.agent_pid()?),
        Sink::OperatorMemory => memory::of(bed.operator_pid()?),
        Sink::AgentLog => log(&bed.logs(), "agent.log"),
        Sink::OperatorLog => log(&bed.logs(), "operator.log"),
        Sink::ApiserverLog => file(&bed.plane.folder().join("kube-apiserver.log")),
        Sink::EtcdLog => file(&bed.plane.folder().join("etcd.log")),
        Sink::AuditLog => file(&bed.plane.audit_log()),
        Sink::EtcdFiles => files(&files_below(&bed.plane.etcd_data())?),
        Sink::Claims => listed(bed, CLAIMS).await,
        Sink::OtherObjects => listed(bed, &other_kinds(bed).await?).await,
        Sink::Events => listed(bed, "events,events.events.k8s.io").await,
        Sink::Descriptions => bed
            .kubectl(&["describe", "-A", KINDS])
            .await
            .map(String::into_bytes),
        Sink::KernelLog => netns::run(&mut Command::new("dmesg")).map(String::into_bytes),
        _ => of_kernel(bed, sink),
    };
    read.with_context(|| format!("failed to read {sink:?}"))
}

/// What the gateway's kernel tells programs, one after the other.
fn of_kernel(bed: &Bed, sink: Sink) -> Result<Vec<u8>> {
    let scripts: &[&str] = match sink {
        Sink::WireGuard => &["wg show all dump"],
        Sink::Links => &["ip -d link show"],
        // The file is there where its kernel was built with it.
        Sink::Connections => &[
            "conntrack -L",
            "conntrack -L -f ipv6",
            "conntrack -L expect",
            "cat /proc/net/nf_conntrack || true",
        ],
        Sink::Nftables => &["nft -a list ruleset"],
        Sink::NftablesJson => &["nft -j list ruleset"],
        Sink::Routes => &[
            "ip route show table all",
            "ip -6 route show table all",
            "ip rule",
            "ip -6 rule",
        ],
        Sink::RouteExceptions => &["ip route show cache", "ip -6 route show cache"],
        Sink::Neighbours => &["ip neigh show", "ip neigh show proxy"],
        Sink::TcpMetrics => &["ip tcp_metrics show"],
        // Some cannot be read by anybody.
        Sink::ProcNet => &["find /proc/net/ -type f ! -name nf_conntrack -exec cat {} + 2>/dev/null || true"],
        other => anyhow::bail!("{other:?} is not the kernel's"),
    };
    let mut all = Vec::new();
    for script in scripts {
        all.extend(bed.gateway.run(&["sh", "-c", script])?.into_bytes());
    }
    Ok(all)
}

fn log(logs: &[PathBuf], name: &str) -> Result<Vec<u8>> {
    let log = logs.iter().find(|path| path.ends_with(name));
    file(log.context("there is no such log")?)
}

/// A file that is never empty.
fn file(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    ensure!(!bytes.is_empty(), "{} is empty", path.display());
    Ok(bytes)
}

fn files(paths: &[PathBuf]) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for path in paths {
        // Their names count as well.
        all.extend(path.as_os_str().as_encoded_bytes());
        all.push(b'\n');
        all.extend(fs::read(path).with_context(|| format!("failed to read {}", path.display()))?);
    }
    Ok(all)
}

/// What the agent has written where it can write: cores, or everything else.
fn agent_files(bed: &Bed, cores: bool) -> Result<Vec<u8>> {
    let mut paths = files_below(&bed.agent_home())?;
    if bed.keys().exists() {
        paths.extend(files_below(&bed.keys())?);
    }
    let is_core = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"core"))
    };
    paths.retain(|path| is_core(path) == cores);
    files(&paths)
}

async fn listed(bed: &Bed, kinds: &str) -> Result<Vec<u8>> {
    let words = ["get", "-A", "-o=yaml", "--show-managed-fields", kinds];
    Ok(bed.kubectl(&words).await?.into_bytes())
}

/// Every kind but those that have a sink of their own.
async fn other_kinds(bed: &Bed) -> Result<String> {
    let all = bed.kubectl(&["api-resources", "--verbs=list", "-o=name"]).await?;
    let others: Vec<&str> = all
        .lines()
        .filter(|kind| !kind.starts_with("events") && !CLAIMS.split(',').any(|claim| claim == *kind))
        .collect();
    ensure!(
        others.contains(&"gatewaynodes.culvert.dev"),
        "not every kind is listed"
    );
    Ok(others.join(","))
}

/// What a program answers, whole.
fn asked(program: &str, paths: &[&str]) -> Result<Vec<u8>> {
    let place = PROBES.iter().find(|(name, _)| *name == program);
    let address: SocketAddr = place.context("nobody is asked there")?.1.parse()?;
    let mut all = Vec::new();
    for path in paths {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("failed to reach the {program}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // In one piece: whoever answers in a program's place reads once.
        let request = format!("GET {path} HTTP/1.1\r\nHost: culvert\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let before = all.len();
        stream
            .read_to_end(&mut all)
            .with_context(|| format!("the {program} does not answer for {path}"))?;
        ensure!(all.len() > before, "the {program} says nothing for {path}");
    }
    Ok(all)
}
