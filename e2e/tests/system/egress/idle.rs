//! A connection that both ends leave alone for longer than the gateway remembers whom a client talks to.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{Namespace, bed::SOON, client::Client, surroundings::FAR, wait};

use super::stage::Stage;

/// Where nobody else listens.
const PORT: u16 = 4711;

/// Both ends of a connection.
pub(super) struct Ends {
    client: TcpStream,
    server: TcpStream,
}

impl Ends {
    /// Opens one to an address where nobody listens but for it.
    pub fn open(client: &Namespace, server: &Namespace, to: &str) -> Result<Self> {
        let to = SocketAddr::new(to.parse::<IpAddr>()?, PORT);
        let listener = server.within(|| TcpListener::bind(to).context("failed to listen"))?;
        let client = client.within(|| TcpStream::connect_timeout(&to, SOON).context("failed to connect"))?;
        let (server, _) = listener.accept().context("failed to accept")?;
        for end in [&client, &server] {
            end.set_read_timeout(Some(SOON))?;
            end.set_nodelay(true)?;
        }
        Ok(Self { client, server })
    }

    /// One word from the client, and one back.
    pub fn talk(&mut self) -> Result<()> {
        say(&mut self.client, &mut self.server, b"question").context("from the client")?;
        say(&mut self.server, &mut self.client, b"answer").context("to the client")
    }
}

fn say(from: &mut TcpStream, to: &mut TcpStream, word: &[u8]) -> Result<()> {
    from.write_all(word).context("failed to send")?;
    let mut heard = vec![0; word.len()];
    to.read_exact(&mut heard).context("failed to receive")?;
    ensure!(heard == word, "something else arrived");
    Ok(())
}

/// What the gateway's kernel knows of a client's connections.
fn connections(gateway: &Namespace, of: &Client) -> Result<String> {
    let [v4, v6] = of.addresses.as_slice() else {
        anyhow::bail!("{} has no address of each family", of.name);
    };
    let one = |family: &str, address: &IpAddr| {
        gateway.run(&["conntrack", "-L", "-f", family, "-s", &address.to_string()])
    };
    Ok(format!("{}{}", one("ipv4", v4)?, one("ipv6", v6)?))
}

#[tokio::test]
async fn egress_stream_idle_for_an_hour_goes_on_though_the_gateway_has_forgotten_it() -> Result<()> {
    let stage = Stage::start().await?;
    let (laptop, far) = (&stage.laptop, &stage.around.far);
    let mut streams = Vec::new();
    for address in FAR {
        let mut ends = Ends::open(&laptop.namespace, far, address)?;
        ends.talk()?;
        streams.push(ends);
    }
    let known = connections(&stage.bed.gateway, laptop)?;
    ensure!(
        known.matches("dport=4711").count() >= 2,
        "it is not what knows: {known}"
    );
    // Whose hour costs more than all the rest, and who has no part in this.
    stage.bed.plane.kill_all()?;
    wait::pass(Duration::from_hours(1)).await;
    ensure!(
        laptop.endpoint_at(&stage.bed)?.is_none(),
        "the client was not purged"
    );
    let known = connections(&stage.bed.gateway, laptop)?;
    ensure!(known.trim().is_empty(), "it still knows {known}");
    for ends in &mut streams {
        ends.talk().context("the stream is dead")?;
    }
    println!(
        "counted: idle streams: {0} of {0} went on after an hour and a purge",
        streams.len()
    );
    stage.bed.finish().await
}
