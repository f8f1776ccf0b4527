//! Something is left of a client in each sink by hand, of another client in each and in every shape that there is a way to
//! leave; and a sink where it is not found would not have told.

mod programs;

use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::OwnedFd,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use culvert_e2e::{
    Sink,
    bed::{INTERFACE, NODE},
    client::PORT,
    leaks::{self, Canary},
    router::UPLINK,
    sinks,
};
use serde_json::json;

use super::story::Story;

/// Too large for the way to a client that is planted.
const NARROW: u16 = 1300;

/// The client that is planted in a sink: every other one is of IPv6, but where that sink, or how it is planted, knows one
/// family only. None begins as the gateway's address does (198.51.100.1): memory has that beside what else was there, and
/// digits that follow by chance make another address of it.
fn decoy(sink: Sink) -> IpAddr {
    let number = u8::try_from(sink as usize).unwrap_or(u8::MAX - 200) + 200;
    let of_ipv4 = matches!(
        sink,
        Sink::ApiserverLog
            | Sink::EtcdLog
            | Sink::AuditLog
            | Sink::AgentMemory
            | Sink::RouteExceptions
            | Sink::TcpMetrics
    );
    if of_ipv4 || number.is_multiple_of(2) {
        Ipv4Addr::new(198, 51, 100, number).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, number.into()).into()
    }
}

fn canary(sink: Sink) -> Canary {
    let place = SocketAddr::new(decoy(sink), PORT);
    Canary::outer(&format!("whoever is planted in {sink:?}"), place)
}

/// All of them: nobody may be found before they are planted.
pub fn decoys() -> Vec<Canary> {
    Sink::ALL.into_iter().map(canary).collect()
}

/// Plants in every sink, and gives those where nothing is found.
pub async fn missed(story: &mut Story, decoys: &[Canary]) -> Result<Vec<Sink>> {
    programs::restart_with_plants(story).await?;
    let (last, first): (Vec<Sink>, Vec<Sink>) = Sink::ALL
        .into_iter()
        .partition(|sink| programs::ANSWERS.contains(sink));
    let mut missed = Vec::new();
    let mut planted = Vec::new();
    for sink in [first, last].concat() {
        if sink == programs::ANSWERS[0] {
            programs::stand_in(story).await?;
        }
        planted.extend(
            plant(story, sink)
                .await
                .with_context(|| format!("failed to plant in {sink:?}"))?,
        );
        let bytes = sinks::read(&story.bed, sink).await?;
        let found = leaks::search(&bytes, decoys);
        let mine = canary(sink);
        println!("planted in {sink:?}: {found:?}");
        if !leaks::names(&found).contains(mine.name()) {
            missed.push(sink);
        }
    }
    Ok(missed)
}

/// Leaves something in one sink. What is given back keeps it there.
async fn plant(story: &Story, sink: Sink) -> Result<Option<OwnedFd>> {
    let bed = &story.bed;
    let address = decoy(sink);
    let text = address.to_string();
    match sink {
        // Those that a program has had since its start, or that somebody says in its place.
        Sink::AgentCommandLine
        | Sink::AgentEnvironment
        | Sink::AgentMemory
        | Sink::OperatorMemory
        | Sink::AgentMetrics
        | Sink::AgentProbes
        | Sink::OperatorMetrics => {}
        Sink::AgentLog => append(bed.logs(), "agent.log", &format!("at {:?}", octets(address)))?,
        Sink::OperatorLog => append(
            bed.logs(),
            "operator.log",
            &format!("at {:x?}", hexadecimal(address, "")),
        )?,
        Sink::AgentFiles => fs::write(bed.agent_home().join("note"), base64(&octets(address)))?,
        Sink::CoreDumps => programs::leave_a_core(story, &text)?,
        Sink::Claims => annotate(story, "wireguardkey/laptop", &base64(text.as_bytes())).await?,
        Sink::Descriptions => annotate(story, "wireguardgateway/default", &text).await?,
        Sink::OtherObjects => annotate(story, &format!("node/{NODE}"), &number(address)).await?,
        Sink::Events => say_event(story, &text).await?,
        // Whoever asks for an object leaves its name there, also when there is none.
        Sink::AuditLog | Sink::ApiserverLog => {
            let named = ["get", "configmap", &text, "--ignore-not-found"];
            bed.kubectl(&named).await?;
        }
        Sink::EtcdLog => {
            bed.kubectl(&["create", "configmap", &text]).await?;
        }
        Sink::EtcdFiles => {
            let data = format!("--from-literal=place={}", hexadecimal(address, ":"));
            bed.kubectl(&["create", "configmap", "planted", &data]).await?;
        }
        Sink::KernelLog => fs::write("/dev/kmsg", format!("peer at {}\n", hexadecimal(address, " ")))?,
        Sink::ProcNet => {
            let socket = socket_to(story, address)?;
            return Ok(Some(socket.into()));
        }
        Sink::Connections => {
            socket_to(story, address)?.send(b"tracked")?;
        }
        Sink::TcpMetrics => converse(story, address)?,
        Sink::RouteExceptions => {
            let far = story.router.place("far", address, Some(NARROW))?;
            // It is told that this is too large, and has no answer. What it has learnt shows when it is needed again.
            for _ in 0..2 {
                let _ = bed.gateway.run(&["ping", "-c1", "-W1", "-Mdo", "-s1400", &text]);
            }
            drop(far);
        }
        _ => by_command(story, sink, &text)?,
    }
    Ok(None)
}

/// What one command in the gateway's namespace leaves.
fn by_command(story: &Story, sink: Sink, text: &str) -> Result<()> {
    let endpoint = SocketAddr::new(text.parse()?, PORT).to_string();
    let set = |family: &str| {
        let name = format!("planted_{family}");
        format!(
            "add table inet {name}; add set inet {name} seen {{ type {family} ; elements = {{ {text} }} ; }}"
        )
    };
    let elements = set(if text.contains(':') {
        "ipv6_addr"
    } else {
        "ipv4_addr"
    });
    let words: &[&str] = match sink {
        Sink::WireGuard => &[
            "wg",
            "set",
            INTERFACE,
            "peer",
            &story.laptop.public_key,
            "endpoint",
            &endpoint,
        ],
        Sink::Links => &["ip", "link", "set", UPLINK, "alias", &endpoint],
        Sink::Nftables | Sink::NftablesJson => &["nft", &elements],
        Sink::Routes => &["ip", "route", "add", text, "dev", "lo", "table", "99"],
        Sink::Neighbours => &[
            "ip",
            "neigh",
            "add",
            text,
            "lladdr",
            "02:00:00:00:00:99",
            "dev",
            UPLINK,
            "nud",
            "stale",
        ],
        other => anyhow::bail!("nobody has said how to plant in {other:?}"),
    };
    story.bed.gateway.run(words).map(drop)
}

fn append(logs: Vec<std::path::PathBuf>, name: &str, line: &str) -> Result<()> {
    let log = logs.into_iter().find(|path| path.ends_with(name));
    let mut log = OpenOptions::new()
        .append(true)
        .open(log.context("there is no such log")?)?;
    writeln!(log, "{line}")?;
    Ok(())
}

async fn annotate(story: &Story, object: &str, text: &str) -> Result<()> {
    let note = format!("planted={text}");
    story.bed.kubectl(&["annotate", object, &note]).await.map(drop)
}

async fn say_event(story: &Story, text: &str) -> Result<()> {
    let event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": "planted", "namespace": "default" },
        "involvedObject": { "kind": "WireGuardKey", "namespace": "default", "name": "laptop" },
        "reason": "Planted",
        "message": format!("somebody came from {text}"),
        "type": "Normal",
    });
    let create = ["create", "-f", "-"];
    story
        .bed
        .kubectl_with(&create, Some(&event.to_string()))
        .await
        .map(drop)
}

/// A socket of the gateway's that knows a client.
fn socket_to(story: &Story, address: IpAddr) -> Result<UdpSocket> {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    story.bed.gateway.within(|| {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((address, PORT))?;
        Ok(socket)
    })
}

/// The gateway speaks TCP to a client, which is more than Culvert ever does.
fn converse(story: &Story, address: IpAddr) -> Result<()> {
    let router = &story.router.namespace;
    router.address("lo", &address.to_string())?;
    let place = SocketAddr::new(address, PORT);
    let listener = router.within(|| Ok(TcpListener::bind(place)?))?;
    let answering = thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.write_all(&[7; 9000])?;
        Ok(())
    });
    let mut stream = story
        .bed
        .gateway
        .within(|| Ok(TcpStream::connect_timeout(&place, Duration::from_secs(10))?))?;
    stream.read_to_end(&mut Vec::new())?;
    answering.join().ok().context("nobody answered")?
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().into(),
        IpAddr::V6(v6) => v6.octets().into(),
    }
}

fn number(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => u32::from(v4).to_string(),
        IpAddr::V6(v6) => u128::from(v6).to_string(),
    }
}

fn hexadecimal(address: IpAddr, between: &str) -> String {
    let bytes: Vec<String> = octets(address).iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(between)
}

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}
