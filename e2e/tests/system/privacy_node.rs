//! What the agent says of a node on which others can write down where clients are.

use std::{fs::File, os::fd::OwnedFd, thread};

use anyhow::{Context, Result, ensure};
use culvert_crds::Reason;
use culvert_e2e::{
    Bed, Client, Namespace,
    bed::{DEFAULT, GATEWAY, SOON, outer, said},
    wait,
};
use rustix::{
    net::{AddressFamily, SocketType, eth, socket},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use std::time::Duration;

/// How often the agent looks at its node.
const LOOKS_EVERY: Duration = Duration::from_mins(1);

/// A socket that gets every packet of a namespace, as a capture has one.
fn capture(namespace: &Namespace) -> Result<OwnedFd> {
    let place = File::open(namespace.path()).context("failed to open a namespace")?;
    // A thread that goes there, and is not seen again.
    let opened = thread::spawn(move || {
        use std::os::fd::AsFd as _;
        move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network))?;
        socket(AddressFamily::PACKET, SocketType::RAW, Some(eth::ALL))
    });
    let opened = opened.join().ok().context("the thread has panicked")?;
    opened.context("failed to open a packet socket")
}

/// Waits for the agent's next look, and for what it says then: status and reason, and each of these in the message.
async fn says(bed: &Bed, expected: &str, parts: &[&str]) -> Result<()> {
    wait::pass(LOOKS_EVERY).await;
    wait::until(expected, SOON, || async {
        let conditions = bed.gateway_node(DEFAULT).await?.conditions;
        let word = said(&conditions, "PrivacyDegraded");
        ensure!(word == expected, "it says `{word}`");
        let condition = conditions.iter().find(|one| one.type_ == "PrivacyDegraded");
        let message = condition.map_or("", |condition| &condition.message);
        let lacks = parts.iter().find(|part| !message.contains(**part));
        ensure!(lacks.is_none(), "`{lacks:?}` is not in: {message}");
        Ok(Some(()))
    })
    .await
}

/// `conntrack` in the gateway's namespace, about a client's packets to the gateway.
fn track(bed: &Bed, verb: &str, more: &str) -> Result<()> {
    let (client, gateway) = (outer(77), GATEWAY);
    let words =
        format!("conntrack {verb} -p udp -s {client} -d {gateway} --sport 47077 --dport 51820 {more}");
    let words: Vec<_> = words.split_ascii_whitespace().collect();
    bed.gateway.run(&words).map(drop)
}

#[tokio::test]
async fn privacy_node_with_a_packet_socket_or_tracked_clients_says_so_and_serves_on() -> Result<()> {
    let bed = Bed::start().await?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    laptop.register(&bed).await?;
    says(&bed, "False NothingFound", &[]).await?;

    // Whoever looks at another place sees nothing of ours.
    let elsewhere = capture(&laptop.namespace)?;
    says(&bed, "False NothingFound", &[]).await?;
    let here = capture(&bed.gateway)?;
    says(&bed, "True PacketSockets", &[Reason::PacketSockets.message()]).await?;

    // Somebody tracks although nothing of ours does: each cause is named.
    track(&bed, "-I", "-t 600")?;
    let both = ["PacketSockets: ", "ConnectionTracking: "];
    says(&bed, "True PacketSockets", &both).await?;
    drop((here, elsewhere));
    let tracking = [Reason::ConnectionTracking.message()];
    says(&bed, "True ConnectionTracking", &tracking).await?;

    // What tracks is there to stay, and is said for an hour: that nobody is tracked at the moment tells of clients.
    track(&bed, "-D", "")?;
    says(&bed, "True ConnectionTracking", &tracking).await?;

    bed.serving().await?;
    laptop.connect(&bed).await?;
    laptop.ping(1)?;
    bed.finish().await
}
