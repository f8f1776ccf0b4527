//! Floods of handshakes from addresses that nobody has: whoever has a session keeps it, and whoever is silent is forgotten in
//! time. Where processor work costs no time this would prove nothing, so the machine's clock does not travel here.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use boringtun::{
    noise::{Tunn, TunnResult},
    x25519,
};
use culvert_e2e::{
    Bed, Client, Namespace,
    bed::{OUTSIDE, SOON},
    netns,
    packet::{Read, datagram, protocol},
    wait::{self, Stopwatch},
    wire::Wire,
};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with};
use serde_json::Value;

use crate::fixture::{SLACK, WINDOW, connected};

/// Handshakes a second, in bursts.
const RATE: usize = 1_000;

/// Between two bursts.
const BURSTS: Duration = Duration::from_millis(20);

/// More at once than the kernel queues before it says that it is under load.
const LARGE: usize = 2_000;

/// How many different ones there are; who sends them is different each time.
const INITIATIONS: u8 = 32;

/// A cookie reply: its type, and its length.
const COOKIE: (u8, usize) = (3, 64);

/// Where the flood comes from, which is the way back to everywhere.
const FLOODER: Ipv4Addr = Ipv4Addr::new(198, 51, 200, 1);

/// The same by IPv6, where the gateway has an address among them.
const FLOODER_V6: &str = "2001:db8:51::2";
const GATEWAY_V6: &str = "2001:db8:51::1";

/// Where the sum stands in an initiation that only who knows the gateway's key can make.
const MAC: std::ops::Range<usize> = 116..132;

/// What it is a flood of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// First messages that are made for the gateway's key.
    Initiations,
    /// The same by IPv6.
    InitiationsV6,
    /// Messages like them, made by somebody who does not know the key: half by IPv4, half by IPv6.
    Noise,
}

/// Somebody who floods a gateway until dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Flood {
    /// Begins with one large burst, to these by turns.
    fn start(from: &Namespace, initiations: Vec<Vec<u8>>, to: Vec<SocketAddr>) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let place = from.path();
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            netns::enter(&place)?;
            // Packets with their own headers, and so with any source.
            let raw = |family| socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW));
            let (v4, v6) = (raw(AddressFamily::INET)?, raw(AddressFamily::INET6)?);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let clock = Stopwatch::start();
            let mut number = 0;
            loop {
                let due = LARGE + usize::try_from(clock.elapsed().as_secs())? * RATE;
                while number < due {
                    let initiation = &initiations[number % initiations.len()];
                    let to = to[number % to.len()];
                    let packet = datagram(source(number, to.is_ipv6()), to, initiation);
                    let socket = if to.is_ipv6() { &v6 } else { &v4 };
                    // A raw socket's port would be a protocol.
                    let host = SocketAddr::new(to.ip(), 0);
                    sendto(socket, &packet, SendFlags::empty(), &host).context("failed to send")?;
                    number += 1;
                }
                counted.store(number, Ordering::Relaxed);
                if stopped.load(Ordering::Relaxed) {
                    return Ok(());
                }
                runtime.block_on(wait::pass(BURSTS));
            }
        });
        Self {
            stop,
            sent,
            thread: Some(thread),
        }
    }

    /// Ends it, and says how many were sent.
    fn end(mut self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("a flood has a thread")?;
        thread.join().map_err(|_| anyhow!("the flood panicked"))??;
        Ok(self.sent.load(Ordering::Relaxed))
    }
}

/// The address that number so-and-so claims to come from: another one each time.
fn source(number: usize, is_ipv6: bool) -> SocketAddr {
    let number = u32::try_from(number).unwrap_or_default();
    let scattered = number.wrapping_mul(2_654_435_761) % (1 << 24);
    let address: IpAddr = if is_ipv6 {
        let first = u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0x45, 0, 0, 0, 0, 0));
        // What is counted together is a network of 64 bits.
        Ipv6Addr::from(first + (u128::from(scattered) << 64) + 1).into()
    } else {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(45, 0, 0, 0)) + scattered).into()
    };
    SocketAddr::new(address, 1024 + (number % 60_000) as u16)
}

/// First messages of clients that the gateway does not know, which it must read to find that out.
fn initiations(gateway_key: &str) -> Result<Vec<Vec<u8>>> {
    let key: [u8; 32] = STANDARD
        .decode(gateway_key)?
        .try_into()
        .map_err(|_| anyhow!("a key has 32 bytes"))?;
    (1..=INITIATIONS)
        .map(|number| {
            let secret = x25519::StaticSecret::from([number; 32]);
            let mut client = Tunn::new(secret, key.into(), None, None, 1, None);
            let mut buffer = [0; 256];
            match client.format_handshake_initiation(&mut buffer, false) {
                TunnResult::WriteToNetwork(initiation) => Ok(initiation.to_vec()),
                other => bail!("no initiation was made: {other:?}"),
            }
        })
        .collect()
}

/// How many packets a link has taken in.
fn taken(namespace: &Namespace, link: &str) -> Result<usize> {
    let text = namespace.run(&["ip", "-s", "-j", "link", "show", link])?;
    let shown: Value = serde_json::from_str(&text).context("ip prints no JSON")?;
    let count = shown[0]["stats64"]["rx"]["packets"].as_u64();
    Ok(usize::try_from(count.context("ip shows no count")?)?)
}

/// Connects an idle and a busy client, floods the gateway while the one is to be forgotten and the other is answered, has
/// a third one get in meanwhile, and tells what came of it.
async fn withstood(of: Of, name: &str) -> Result<()> {
    let bed = Bed::start().await?;
    let idle = connected(&bed, "idle", 78).await?;
    let shaken = Stopwatch::start();
    let busy = connected(&bed, "busy", 77).await?;
    let flooder = Namespace::new("flooder")?;
    netns::wire((&flooder, "eth0"), (&bed.gateway, "flood0"))?;
    bed.gateway.ip(&["link", "set", "flood0", "master", "br0"])?;
    flooder.address("eth0", &format!("{FLOODER}/{OUTSIDE}"))?;
    flooder.address("eth0", &format!("{FLOODER_V6}/64"))?;
    bed.gateway.address("br0", &format!("{GATEWAY_V6}/64"))?;
    for flooder in [FLOODER.to_string().as_str(), FLOODER_V6] {
        bed.gateway.ip(&["route", "add", "default", "via", flooder])?;
    }
    let (key, endpoint) = bed.gateway_for_clients().await?;
    let v4: SocketAddr = endpoint.parse()?;
    let v6 = SocketAddr::new(GATEWAY_V6.parse()?, v4.port());
    let mut messages = initiations(&key)?;
    let to = match of {
        Of::Initiations => vec![v4],
        Of::InitiationsV6 => vec![v6],
        Of::Noise => vec![v4, v6],
    };
    if of == Of::Noise {
        messages
            .iter_mut()
            .flat_map(|message| &mut message[MAC])
            .for_each(|byte| *byte ^= 0x55);
    }

    // It is under way when the idle client has to be forgotten.
    let early = Duration::from_secs(WINDOW - 30);
    wait::pass(early.saturating_sub(shaken.elapsed())).await;
    ensure!(idle.endpoint_at(&bed)?.is_some(), "it is forgotten too early");
    let before = taken(&bed.gateway, "flood0")?;
    let wire = Wire::tap(&flooder)?;
    let flood = Flood::start(&flooder, messages, to);
    let pings: u32 = 300;
    let pinging = busy.start_pinging("0.1", pings)?;
    let mut late = Client::new(&bed, "late", 79)?;
    late.register(&bed).await?;
    late.connect(&bed).await?;
    // The first message is answered with a cookie, with which the second comes five seconds later.
    wait::until("somebody to get in during a flood", SOON, || async {
        Ok(late.ping(1).ok())
    })
    .await?;
    wait::pass(Duration::from_secs(WINDOW + SLACK).saturating_sub(shaken.elapsed())).await;
    let forgotten = idle.endpoint_at(&bed)?.is_none();
    let answered = pinging.answered().await?;
    late.ping(5)?;
    let sent = flood.end()?;
    ensure!(forgotten, "a client is remembered too long during a flood");
    ensure!(
        answered * 100 >= pings * 95,
        "{answered} of {pings} pings were answered"
    );
    let arrived = taken(&bed.gateway, "flood0")? - before;
    ensure!(
        arrived * 2 >= sent,
        "{arrived} of {sent} have arrived: it was no flood"
    );
    let packets = wire.packets()?;
    let answers: Vec<Read> = packets
        .iter()
        .filter_map(|packet| Read::packet(packet))
        .filter(|read| [v4.ip(), v6.ip()].contains(&read.from) && read.protocol == protocol::UDP)
        .collect();
    let is_cookie =
        |read: &&Read| (read.payload.get(8), read.payload.len()) == (Some(&COOKIE.0), 8 + COOKIE.1);
    let cookies = answers.iter().filter(is_cookie).count();
    ensure!(
        cookies == answers.len(),
        "{} of {} answers are no cookies",
        answers.len() - cookies,
        answers.len()
    );
    // The gateway answers so only what is made for its key, and only when there is too much of it.
    if of == Of::Noise {
        ensure!(cookies == 0, "{cookies} answers to who does not know its key");
    } else {
        ensure!(cookies > 0, "the gateway was never under load: it was no flood");
    }
    println!(
        "counted: flood of {name}: {sent} from as many addresses, {cookies} cookies, pings answered {answered} of {pings}"
    );
    bed.finish().await
}

#[tokio::test]
async fn flood_of_handshakes_costs_no_session_and_no_tick() -> Result<()> {
    withstood(Of::Initiations, "handshakes").await
}

#[tokio::test]
async fn flood_of_handshakes_by_ipv6_costs_no_session_and_no_tick() -> Result<()> {
    withstood(Of::InitiationsV6, "handshakes by IPv6").await
}

#[tokio::test]
async fn flood_of_noise_costs_no_session_and_no_tick_and_is_not_answered() -> Result<()> {
    withstood(Of::Noise, "noise").await
}
