//! Floods of handshakes from addresses that nobody has: whoever has a session keeps it, and whoever is silent is forgotten in
//! time. Where processor work costs no time this would prove nothing, so the machine's clock does not travel here.

use std::{
    net::{Ipv4Addr, SocketAddr},
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
    packet::{Read, datagram},
    wait::{self, Stopwatch},
    wire::Wire,
};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with};

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

/// Somebody who floods a gateway until dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Flood {
    /// Begins with one large burst.
    fn start(from: &Namespace, initiations: Vec<Vec<u8>>, to: SocketAddr) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let place = from.path();
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            netns::enter(&place)?;
            // Packets with their own headers, and so with any source.
            let raw = Some(ipproto::RAW);
            let socket = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, raw)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let clock = Stopwatch::start();
            let mut number = 0;
            loop {
                let due = LARGE + usize::try_from(clock.elapsed().as_secs())? * RATE;
                while number < due {
                    let initiation = &initiations[number % initiations.len()];
                    let packet = datagram(source(number), to, initiation);
                    sendto(&socket, &packet, SendFlags::empty(), &to).context("failed to send")?;
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
fn source(number: usize) -> SocketAddr {
    let number = u32::try_from(number).unwrap_or_default();
    let address = u32::from(Ipv4Addr::new(45, 0, 0, 0)) + number.wrapping_mul(2_654_435_761) % (1 << 24);
    SocketAddr::from((Ipv4Addr::from(address), 1024 + (number % 60_000) as u16))
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

#[tokio::test]
async fn flood_of_handshakes_costs_no_session_and_no_tick() -> Result<()> {
    let bed = Bed::start().await?;
    let idle = connected(&bed, "idle", 78).await?;
    let shaken = Stopwatch::start();
    let busy = connected(&bed, "busy", 77).await?;
    let flooder = Namespace::new("flooder")?;
    netns::wire((&flooder, "eth0"), (&bed.gateway, "flood0"))?;
    bed.gateway.ip(&["link", "set", "flood0", "master", "br0"])?;
    flooder.address("eth0", &format!("{FLOODER}/{OUTSIDE}"))?;
    bed.gateway
        .ip(&["route", "add", "default", "via", &FLOODER.to_string()])?;
    let (key, endpoint) = bed.gateway_for_clients().await?;
    let endpoint: SocketAddr = endpoint.parse()?;
    let initiations = initiations(&key)?;

    // It is under way when the idle client has to be forgotten.
    let early = Duration::from_secs(WINDOW - 30);
    wait::pass(early.saturating_sub(shaken.elapsed())).await;
    ensure!(idle.endpoint_at(&bed)?.is_some(), "it is forgotten too early");
    let wire = Wire::tap(&flooder)?;
    let flood = Flood::start(&flooder, initiations, endpoint);
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
    // The gateway answers so only what is made for its key, and only when there is too much of it.
    let is_cookie =
        |read: &Read| (read.payload.get(8), read.payload.len()) == (Some(&COOKIE.0), 8 + COOKIE.1);
    let packets = wire.packets()?;
    let cookies = packets
        .iter()
        .filter_map(|packet| Read::packet(packet))
        .filter(is_cookie)
        .count();
    ensure!(cookies > 0, "the gateway was never under load: it was no flood");
    println!(
        "counted: flood: {sent} handshakes from as many addresses, {cookies} cookies, pings answered {answered} of {pings}"
    );
    bed.finish().await
}
