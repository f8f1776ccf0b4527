//! What an administrator may open, and what stays closed all the same.

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    client::GATEWAY_INSIDE,
    packet::Read,
    probe::{Kind, Probe, send},
    surroundings::{DNS_SERVICE, FAR, NEAR, NODE, OTHER_POD, POD, PRIVATE},
    wait,
    wire::Wire,
};
use serde_json::json;

use super::stage::{ANY, Count, Stage, allowed, cluster, each, metadata, node, private};

/// The resolver's ports.
const DNS: [Kind; 2] = [Kind::Udp(53), Kind::Tcp(53)];

/// Those probes but the ones to these addresses.
fn without(probes: Vec<Probe>, addresses: &[&str]) -> Vec<Probe> {
    let is_one = |probe: &Probe| addresses.iter().any(|address| probe.to.to_string() == *address);
    probes.into_iter().filter(|probe| !is_one(probe)).collect()
}

#[tokio::test]
async fn egress_allow_opens_what_it_names_and_never_metadata_or_the_node() -> Result<()> {
    let stage = Stage::start().await?;
    let mut count = Count::default();

    // Two hosts of private ranges, and nothing else.
    let named = [PRIVATE[0].1, PRIVATE[4].1];
    stage
        .egress(&json!({ "allow": ["192.168.7.0/24", "fd12:3456:789a::/48"] }))
        .await?;
    stage.passes(&each("allowed", &named, &ANY)?).await?;
    let closed = [
        without(private()?, &named),
        metadata()?,
        cluster()?,
        node()?,
        stage.neighbours(),
    ]
    .concat();
    count.refused += stage.ensure_refused(&closed).await?;
    count.passed += 2 * ANY.len();

    // Everything: the cluster is not meant by it, nor what no range of addresses is for any more.
    stage.egress(&json!({ "allow": ["0.0.0.0/0", "::/0"] })).await?;
    let site = each("site-local host", &[PRIVATE[5].1], &ANY)?;
    let open = without(private()?, &[PRIVATE[5].1]);
    stage.passes(&open).await?;
    let closed = [metadata()?, cluster()?, node()?, stage.neighbours(), site].concat();
    count.refused += stage.ensure_refused(&closed).await?;
    count.passed += open.len();

    // A pod and a service by name.
    stage
        .egress(&json!({ "allow": ["10.244.2.7/32", "fd00:10:244:2::/64", "10.96.0.10/32"] }))
        .await?;
    stage.passes(&each("allowed pod", &OTHER_POD, &ANY)?).await?;
    stage
        .passes(&each("allowed service", &DNS_SERVICE[..1], &DNS)?)
        .await?;
    let opened = [OTHER_POD[0], OTHER_POD[1], DNS_SERVICE[0]];
    let closed = [
        private()?,
        metadata()?,
        without(cluster()?, &opened),
        node()?,
        stage.neighbours(),
    ]
    .concat();
    count.refused += stage.ensure_refused(&closed).await?;
    count.passed += 2 * ANY.len() + DNS.len();

    // What may never be: metadata services, the node, other clients.
    let mut all: Vec<String> = metadata()?.iter().map(|probe| probe.to.to_string()).collect();
    all.extend(NODE.map(str::to_owned));
    all.extend(stage.phone.addresses.iter().map(ToString::to_string));
    all.extend(GATEWAY_INSIDE.map(str::to_owned));
    all.sort_unstable();
    all.dedup();
    let ranges: Vec<String> = all
        .iter()
        .map(|address| format!("{address}/{}", if address.contains(':') { 128 } else { 32 }))
        .chain(["192.168.7.9/32".to_owned()])
        .collect();
    stage.egress(&json!({ "allow": ranges })).await?;
    stage.passes(&each("allowed", &["192.168.7.9"], &ANY)?).await?;
    let closed = [metadata()?, node()?, stage.neighbours()].concat();
    count.refused += stage.ensure_refused(&closed).await?;
    count.passed += ANY.len();
    count.tell("egress.allow");
    stage.bed.finish().await
}

#[tokio::test]
async fn egress_deny_closes_what_it_names_whatever_is_allowed() -> Result<()> {
    let stage = Stage::start().await?;
    let mut count = Count::default();
    let ranges = ["203.0.113.128/25", "2001:db8:f00d:129::/64", "192.168.7.9/32"];
    stage
        .egress(&json!({ "allow": ["192.168.7.0/24", "203.0.113.0/24", "172.16.0.0/12"], "deny": ranges }))
        .await?;
    stage.passes(&each("allowed", &["172.16.7.9"], &ANY)?).await?;
    let denied = [
        each("denied", &FAR, &ANY)?,
        each("denied", &["192.168.7.9"], &ANY)?,
    ]
    .concat();
    let open = without(allowed()?, &FAR);
    stage.around.answered(&stage.laptop.namespace, &open).await?;
    let reached = stage.around.reached(&stage.laptop.namespace, &denied).await?;
    ensure!(reached.is_empty(), "denied and reached:\n{}", reached.join("\n"));
    stage.around.answered(&stage.laptop.namespace, &open).await?;
    count.refused += denied.len();
    count.passed += 2 * open.len();
    count.tell("egress.deny");
    stage.bed.finish().await
}

#[tokio::test]
async fn egress_forwards_questions_of_clients_and_nothing_else() -> Result<()> {
    let stage = Stage::start().await?;
    let mut count = Count::default();
    let questions = each("resolver", &GATEWAY_INSIDE, &DNS)?;
    // One on the internet, one in the cluster that clients cannot reach otherwise.
    for resolvers in [NEAR, POD] {
        stage.egress(&json!({ "dnsForward": resolvers })).await?;
        stage.passes(&questions).await?;
        let is_question = |probe: &Probe| {
            questions
                .iter()
                .any(|question| (question.to, question.kind) == (probe.to, probe.kind))
        };
        let closed = [stage.forbidden()?, stage.neighbours()].concat();
        let closed: Vec<_> = closed.into_iter().filter(|probe| !is_question(probe)).collect();
        count.refused += stage.ensure_refused(&closed).await?;
        stage.passes(&questions).await?;
        count.passed += 2 * questions.len();
    }
    // Who asks it is answered by the resolver, and not by the node's own.
    let wire = Wire::tap(&stage.around.cluster)?;
    send(
        &stage.laptop.namespace,
        &questions,
        culvert_e2e::surroundings::PATIENCE,
    )?;
    ensure!(
        wire.packets()?.len() >= questions.len(),
        "the resolver was not asked"
    );
    stage.egress(&json!({})).await?;
    wait::until("the resolver to be closed", culvert_e2e::bed::SOON, || async {
        let reached = stage.around.reached(&stage.laptop.namespace, &questions).await?;
        Ok(reached.is_empty().then_some(()))
    })
    .await?;
    count.refused += questions.len();
    count.tell("egress.dnsForward");
    stage.bed.finish().await
}

#[tokio::test]
async fn egress_leaves_under_the_address_that_the_spec_names() -> Result<()> {
    let stage = Stage::start().await?;
    let gateway = &stage.bed.gateway;
    // The second of the list is the first that the node has.
    for address in ["203.0.113.7/28", "2001:db8:f00d::7/64"] {
        gateway.address("up0", address)?;
    }
    let sources = [
        "203.0.113.9",
        "203.0.113.7",
        "2001:db8:f00d::9",
        "2001:db8:f00d::7",
    ];
    stage.egress(&json!({ "sourceAddresses": sources })).await?;
    let probes = each("host behind a router", &FAR, &ANY)?;
    wait::until("the other address", culvert_e2e::bed::SOON, || async {
        let seen = from(&stage, &probes).await?;
        ensure!(
            seen == ["203.0.113.7", "2001:db8:f00d::7"],
            "it leaves under {seen:?}"
        );
        Ok(Some(()))
    })
    .await?;

    // A pool's own range, which the router knows the way to.
    stage
        .around
        .internet
        .ip(&["route", "add", "fd64:cafe:1::/64", "via", "2001:db8:f00d::2"])?;
    stage
        .around
        .far
        .ip(&["route", "add", "fd64:cafe:1::/64", "via", "2001:db8:f00d:129::1"])?;
    stage.egress(&json!({ "ipv6": "Routed" })).await?;
    let own = stage.laptop.addresses[1].to_string();
    wait::until("the client's own address", culvert_e2e::bed::SOON, || async {
        let seen = from(&stage, &probes).await?;
        ensure!(
            seen == ["203.0.113.2".to_owned(), own.clone()],
            "it leaves under {seen:?}"
        );
        Ok(Some(()))
    })
    .await?;
    stage.passes(&allowed()?).await?;
    // The way back is no way in.
    let reached = send(
        &stage.around.far,
        &stage.neighbours(),
        culvert_e2e::surroundings::PATIENCE,
    )?;
    ensure!(
        reached
            .iter()
            .all(|sent| sent.answer == culvert_e2e::probe::Answer::Nothing),
        "a client was reached"
    );
    stage.ensure_refused(&stage.forbidden()?).await?;
    stage.bed.finish().await
}

/// Under which addresses probes arrive at hosts behind the router, one of each family.
async fn from(stage: &Stage, probes: &[Probe]) -> Result<Vec<String>> {
    let wire = Wire::tap(&stage.around.far)?;
    stage.around.answered(&stage.laptop.namespace, probes).await?;
    let hosts = [FAR[0].parse::<std::net::IpAddr>()?, FAR[1].parse()?];
    let mut seen = Vec::new();
    for packet in wire.packets()? {
        let read = Read::packet(&packet).context("a packet")?;
        let address = read.from.to_string();
        if hosts.contains(&read.to) && !seen.contains(&address) {
            seen.push(address);
        }
    }
    seen.sort_by_key(|address| address.contains(':'));
    Ok(seen)
}

#[tokio::test]
async fn egress_one_client_cannot_use_up_the_others_connections() -> Result<()> {
    let stage = Stage::start().await?;
    stage.egress(&json!({ "connectionsPerClient": 16 })).await?;
    let many: Vec<Probe> = (1..=64_u16)
        .flat_map(|_| {
            each(
                "host of the internet",
                &NEAR[..1],
                &[Kind::Tcp(80), Kind::Udp(80)],
            )
            .unwrap_or_default()
        })
        .collect();
    wait::until("the bound to hold", culvert_e2e::bed::SOON, || async {
        // What was open before counts until it is forgotten.
        wait::pass(std::time::Duration::from_mins(5)).await;
        let sent = send(
            &stage.laptop.namespace,
            &many,
            culvert_e2e::surroundings::PATIENCE,
        )?;
        let open = sent
            .iter()
            .filter(|sent| sent.answer == culvert_e2e::probe::Answer::Yes)
            .count();
        ensure!((1..=16).contains(&open), "{open} connections of one client");
        Ok(Some(()))
    })
    .await?;
    // Somebody else does not notice.
    stage
        .around
        .answered(
            &stage.phone.namespace,
            &each("host of the internet", &NEAR, &ANY)?,
        )
        .await?;
    stage.bed.finish().await
}
