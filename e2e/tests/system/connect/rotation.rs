//! Rotations that nobody notices.

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Bed, Namespace,
    client::{GATEWAY_INSIDE, Pinging},
    surroundings::{NEAR, Surroundings},
    wait,
};

use super::stage::{self, Laptop, OVERLAP, gone, identity, keys, start};

/// How long a rotation has before the next one begins.
const BETWEEN: Duration = Duration::from_secs(30);

/// Rotates so often under a ping ten times a second in each family.
async fn rotate_under_pings(bed: &Bed, laptop: &mut Laptop, rotations: u32) -> Result<()> {
    laptop.connect().await?;
    let pings = 10 * u32::try_from(BETWEEN.as_secs())? * (rotations + 1);
    let mut pinging = Vec::new();
    for target in GATEWAY_INSIDE {
        pinging.push(Pinging::start(&laptop.namespace, target, "0.1", pings)?);
    }
    let mut known = identity(bed).await?;
    let mut seen: HashSet<String> = known.addresses.iter().cloned().collect();
    seen.insert(known.public_key.clone());
    for round in 0..rotations {
        laptop.rotate()?;
        let next = identity(bed).await?;
        for word in next.addresses.iter().chain([&next.public_key]) {
            ensure!(
                seen.insert(word.clone()),
                "round {round}: something of an earlier key is used again"
            );
        }
        ensure!(
            bed.peer(&known.public_key)?.is_some(),
            "the old peer has no overlap"
        );
        wait::pass(BETWEEN).await;
        gone(bed, &known.public_key).await?;
        ensure!(bed.peer(&next.public_key)?.context("the peer")?.latest_handshake > 0);
        known = next;
    }
    for one in &mut pinging {
        one.ensure_running()?;
    }
    for one in pinging {
        one.lost_none().await?;
    }
    println!(
        "counted: connect: {rotations} rotations under {} pings, none lost",
        2 * pings
    );
    ensure!(
        laptop.tunnels()?.len() == 1,
        "tunnels are left: {:?}",
        laptop.tunnels()?
    );
    laptop.disconnect().await?;
    laptop.is_clean()?;
    ensure!(keys(bed).await?.is_empty(), "a key is left");
    Ok(())
}

#[tokio::test]
async fn connect_rotated_thirty_times_loses_no_ping() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    rotate_under_pings(&bed, &mut laptop, 30).await?;
    bed.finish().await
}

#[tokio::test]
async fn connect_by_wireguard_go_rotated_thirty_times_loses_no_ping() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    laptop.flags = super::userspace()?;
    rotate_under_pings(&bed, &mut laptop, 30).await?;
    bed.finish().await
}

/// Answers everything that it gets, each connection by itself.
fn echo(place: &Namespace, address: SocketAddr) -> Result<()> {
    let listener = place.within(|| TcpListener::bind(address).context("failed to listen"))?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut bytes = [0; 64];
                while let Ok(count @ 1..) = stream.read(&mut bytes)
                    && stream.write_all(&bytes[..count]).is_ok()
                {}
            });
        }
    });
    Ok(())
}

/// Says something and hears it back.
fn talk(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"there?").context("failed to send")?;
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).context("no answer")?;
    ensure!(&answer == b"there?");
    Ok(())
}

fn stream(laptop: &Laptop, to: SocketAddr) -> Result<TcpStream> {
    laptop.namespace.within(|| {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(10)).context("failed to connect")?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}

async fn stream_begun_before_a_rotation_lives_until_the_overlap_ends(flags: Vec<String>) -> Result<()> {
    let mut bed = Bed::empty().await?;
    let around = Surroundings::around(&bed.gateway)?;
    bed.serve_examples().await?;
    stage::short_overlap(&bed).await?;
    let mut laptop = Laptop::new(&bed).await?;
    laptop.flags = flags;
    laptop.connect().await?;
    for target in NEAR {
        let place = SocketAddr::new(target.parse()?, 7777);
        echo(&around.internet, place)?;
        let known = identity(&bed).await?;
        let mut old = stream(&laptop, place)?;
        talk(&mut old)?;
        let ours = old.local_addr()?.ip().to_string();
        ensure!(
            known.addresses.contains(&ours),
            "it does not go through the tunnel"
        );
        laptop.rotate()?;
        talk(&mut old).context("right after the rotation")?;
        let mut new = stream(&laptop, place)?;
        talk(&mut new).context("what is new")?;
        let next = identity(&bed).await?;
        let ours = new.local_addr()?.ip().to_string();
        ensure!(next.addresses.contains(&ours), "what is new has an old address");
        wait::pass(OVERLAP.saturating_sub(Duration::from_secs(5))).await;
        talk(&mut old).context("near the end of the overlap")?;
        gone(&bed, &known.public_key).await?;
        ensure!(talk(&mut old).is_err(), "the old address still works");
        talk(&mut new)?;
    }
    laptop.disconnect().await?;
    laptop.is_clean()?;
    bed.finish().await
}

#[tokio::test]
async fn connect_stream_begun_before_a_rotation_lives_until_the_overlap_ends() -> Result<()> {
    stream_begun_before_a_rotation_lives_until_the_overlap_ends(Vec::new()).await
}

#[tokio::test]
async fn connect_by_wireguard_go_stream_begun_before_a_rotation_lives_until_the_overlap_ends() -> Result<()> {
    stream_begun_before_a_rotation_lives_until_the_overlap_ends(super::userspace()?).await
}
