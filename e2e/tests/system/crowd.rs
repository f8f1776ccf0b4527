//! Many clients at once, with bad networks: they roam, lose packets, fall silent and come back.
//!
//! `wg` looks each second, and times are the test's own: what a look shows for the first time has happened since the look
//! before. So an age is never shown smaller than it is, whatever the machine's clock does meanwhile.

mod watch;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Bed, Client,
    client::Pinging,
    wait::{self, Stopwatch},
};

use crate::{
    clock::{self, HOUR, TEN_YEARS},
    fixture::{SLACK, WINDOW},
    scale::scale,
};
use watch::Watch;

/// Every client has another address after so many seconds.
const ROAMS_EVERY: u64 = 300;

/// Two of three clients talk for a while, then are silent for longer than they are remembered.
const TALKS: u64 = 150;
const ROUND: u64 = 420;

/// One packet in a hundred is lost, each way.
const LOSS: u8 = 1;

/// Numbers of the first client's address and of the first address that somebody roams to.
const FIRST: u16 = 20;
const ELSEWHERE: u16 = 512;

/// One of the crowd.
struct Member {
    client: Client,
    /// Talks all the time; the others have pauses.
    steady: bool,
    talk: Option<Pinging>,
}

/// What happened to the crowd, but for what became of its endpoints.
#[derive(Default)]
struct Events {
    roamed: u16,
    returned: u32,
    steps: usize,
}

async fn gather(bed: &Bed, count: u16) -> Result<Vec<Member>> {
    let mut clients = Vec::new();
    for n in 0..count {
        clients.push(Client::new(bed, &format!("client{n}"), FIRST + n)?);
    }
    Client::register_all(bed, &mut clients).await?;
    let (key, endpoint) = bed.gateway_for_clients().await?;
    let mut members = Vec::new();
    for (n, client) in (0..count).zip(clients) {
        client.connect_to(&key, &endpoint)?;
        client.lose_packets(LOSS)?;
        // And on the way in.
        let port = format!("c{}", FIRST + n);
        let loss = format!("{LOSS}%");
        bed.gateway
            .run(&["tc", "qdisc", "add", "dev", &port, "root", "netem", "loss", &loss])?;
        members.push(Member {
            client,
            steady: n % 3 == 0,
            talk: None,
        });
    }
    Ok(members)
}

/// What one client does in this second of the test.
fn act(bed: &Bed, member: &mut Member, n: u64, second: u64, all: u64, events: &mut Events) -> Result<()> {
    let pings = if member.steady { all } else { TALKS } / 5;
    let phase = (second + n * 17) % ROUND;
    if (member.steady && second == n % 5) || (!member.steady && phase == 0) {
        member.talk = Some(member.client.start_pinging("5", u32::try_from(pings)?)?);
        events.returned += 1;
    }
    if second > 0 && (second + n * 13).is_multiple_of(ROAMS_EVERY) {
        member.client.roam(bed, ELSEWHERE + events.roamed)?;
        events.roamed += 1;
    }
    Ok(())
}

/// Lets a crowd live for its time, with these steps of the clock at even distances.
async fn crowd(steps: &[i64]) -> Result<()> {
    let scale = scale();
    let bed = Bed::start().await?;
    let mut members = gather(&bed, scale.crowd).await?;
    let mut events = Events::default();
    let mut watch = Watch::default();
    let all = scale.crowd_time.as_secs();
    let between = all / (u64::try_from(steps.len())? + 1);
    let clock = Stopwatch::start();
    for second in 0..all {
        if second.is_multiple_of(ROAMS_EVERY) {
            println!("{second} s of {all}; {watch}");
        }
        for (n, member) in (0..).zip(&mut members) {
            act(&bed, member, n, second, all, &mut events)?;
        }
        if second > 0
            && second % between == 0
            && let Some(by) = steps.get(events.steps)
        {
            clock::step(*by)?;
            events.steps += 1;
        }
        watch.look(bed.peers()?, clock.elapsed());
        let next = Duration::from_secs(second + 1);
        wait::pass(next.saturating_sub(clock.elapsed())).await;
    }
    // And everybody is silent.
    for member in &mut members {
        member.talk = None;
    }
    wait::until_blocking("everybody to be forgotten", Duration::from_mins(10), || {
        watch.look(bed.peers()?, clock.elapsed());
        Ok(watch.knows_nobody().then_some(()))
    })?;
    println!(
        "{} mode: {} clients, {all} s, {} % loss each way; {} roamed, {} began to talk, {} steps of the clock",
        scale.mode, scale.crowd, LOSS, events.roamed, events.returned, events.steps
    );
    println!("{watch}");
    ensure!(events.steps == steps.len(), "the clock was not stepped each time");
    ensure!(
        events.roamed >= scale.crowd && watch.moved() >= usize::from(scale.crowd) / 3,
        "too few were seen to roam"
    );
    ensure!(
        watch.forgotten() >= members.len() && watch.handshakes() > 2 * members.len(),
        "too little happened to prove anything"
    );
    ensure!(watch.cut() == 0, "{} live sessions were cut", watch.cut());
    ensure!(
        watch.early() == 0 || !steps.is_empty(),
        "{} endpoints were forgotten of live sessions",
        watch.early()
    );
    let longest = watch.longest().context("nobody was forgotten")?;
    ensure!(
        longest <= Duration::from_secs(WINDOW + SLACK),
        "somebody was remembered for {} s",
        longest.as_secs()
    );
    bed.finish().await
}

#[tokio::test]
async fn crowd_roams_and_loses_packets_and_nobody_is_cut() -> Result<()> {
    crowd(&[]).await
}

#[tokio::test]
async fn crowd_with_clock_steps() -> Result<()> {
    crowd(&[HOUR, -HOUR, TEN_YEARS, -TEN_YEARS]).await
}
