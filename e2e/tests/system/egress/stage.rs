//! A gateway with everything around it, two clients that send all they have into the tunnel, and the probes.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use culvert_crds::WireGuardGateway;
use culvert_e2e::{
    Bed, Client, Namespace,
    bed::SOON,
    client::GATEWAY_INSIDE,
    listen::Listeners,
    probe::{Kind, Probe},
    surroundings::{
        API_SERVICE, DAEMONS, DNS_SERVICE, FAR, METADATA, NEAR, NODE, NODE_PORT, OTHER_NODE, OTHER_POD, POD,
        PODS, PRIVATE, PUBLIC_SERVICE, ROUTER, SERVICES, Surroundings,
    },
    wait,
};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::json;

use super::flushed::tables;
use crate::fixture::connected;

/// Where the agent tells its numbers: one more daemon that listens at every address of the node.
pub const METRICS: u16 = 9095;

/// What the other client answers, which a client must never learn.
const CLIENT_OPEN: [Kind; 3] = [Kind::Tcp(8080), Kind::Udp(8080), Kind::Echo];

/// The gateway, what is around it, and who uses it.
pub struct Stage {
    /// Culvert.
    pub bed: Bed,

    /// What is around the node.
    pub around: Surroundings,

    /// The client that probes.
    pub laptop: Client,

    /// Another one, which answers at its tunnel addresses.
    pub phone: Client,

    _answers: Listeners,
}

impl Stage {
    /// Starts everything, with the gateway's spec as the examples have it.
    pub async fn start() -> Result<Self> {
        let (bed, around) = surrounded().await?;
        Self::of(bed, around).await
    }

    /// Has two clients of a gateway that serves.
    pub async fn of(bed: Bed, around: Surroundings) -> Result<Self> {
        let laptop = connected(&bed, "laptop", 77).await?;
        laptop.route_everything()?;
        let (phone, answers) = answering(&bed).await?;
        Ok(Self {
            bed,
            around,
            laptop,
            phone,
            _answers: answers,
        })
    }

    /// Everything that a client must not reach, but other clients.
    pub fn forbidden(&self) -> Result<Vec<Probe>> {
        let mut probes = cluster()?;
        probes.extend(private()?);
        probes.extend(metadata()?);
        probes.extend(node()?);
        let apiserver = self.bed.plane.port();
        probes.push(Probe::new(
            "apiserver",
            "192.0.2.1".parse()?,
            Kind::Tcp(apiserver),
        ));
        probes.push(Probe::new("apiserver", "192.0.2.1".parse()?, Kind::Echo));
        Ok(probes)
    }

    /// The other client, at its tunnel addresses.
    pub fn neighbours(&self) -> Vec<Probe> {
        let addresses = &self.phone.addresses;
        let all = |address: &IpAddr| CLIENT_OPEN.map(|kind| Probe::new("another client", *address, kind));
        addresses.iter().flat_map(all).collect()
    }

    /// Fails when a client reaches something that it must not; gives the number of probes. Something that it may reach
    /// is asked before and after: the tunnel is what the probes went through.
    pub async fn ensure_refused(&self, probes: &[Probe]) -> Result<usize> {
        let from = &self.laptop.namespace;
        self.around.answered(from, &allowed()?).await?;
        let reached = self.around.reached(from, probes).await?;
        ensure!(
            reached.is_empty(),
            "{} of {} probes that are to be refused were not:\n{}",
            reached.len(),
            probes.len(),
            reached.join("\n")
        );
        self.around.answered(from, &allowed()?).await?;
        Ok(probes.len())
    }

    /// One round with everything: how many were refused, and how many passed.
    pub async fn round(&self, count: &mut Count) -> Result<()> {
        // The gateway knows where it is: nothing but rules keeps packets from it.
        self.phone.ping(5)?;
        let probes = [self.forbidden()?, self.neighbours()].concat();
        count.refused += self.ensure_refused(&probes).await?;
        count.passed += 2 * allowed()?.len();
        Ok(())
    }

    /// Changes the gateway's egress.
    pub async fn egress(&self, egress: &serde_json::Value) -> Result<()> {
        let patch = json!([{ "op": "add", "path": "/spec/egress", "value": egress }]).to_string();
        self.bed
            .kubectl(&["patch", "wireguardgateway/default", "--type=json", "-p", &patch])
            .await
            .map(drop)
    }

    /// Waits until all of these are answered.
    pub async fn passes(&self, probes: &[Probe]) -> Result<()> {
        wait::until("what is allowed to pass", SOON, || async {
            self.around.answered(&self.laptop.namespace, probes).await?;
            Ok(Some(()))
        })
        .await
    }
}

/// A gateway that serves, with everything around it, and its spec as the examples have it.
pub async fn surrounded() -> Result<(Bed, Surroundings)> {
    let mut bed = Bed::empty().await?;
    let around = Surroundings::around(&bed.gateway)?;
    bed.agent_flags(&["--listen", &format!("[::]:{METRICS}"), "--metrics-plain"]);
    bed.serve_examples().await?;
    know_cluster(&bed).await?;
    Ok((bed, around))
}

/// A client that answers at its tunnel addresses.
pub async fn answering(bed: &Bed) -> Result<(Client, Listeners)> {
    let phone = connected(bed, "phone", 78).await?;
    phone.route_everything()?;
    let any: IpAddr = "::".parse()?;
    let answers = Listeners::start(&phone.namespace, &CLIENT_OPEN.map(|kind| (any, kind)))?;
    Ok((phone, answers))
}

/// A home router's table: it hides who comes from the gateway's interface behind the node, and refuses nothing.
const BARE: &str = "
table inet bare {
    chain postrouting {
        type nat hook postrouting priority srcnat;
        iifname cv0 oifname != cv0 masquerade
    }
}";

/// Deletes Culvert's tables, of which there is one of each family, and forwards for clients without any rule.
pub fn without_tables(gateway: &Namespace) -> Result<()> {
    let tables = gateway.run(&["nft", "list", "tables"])?;
    let ours: Vec<&str> = tables.lines().filter(|line| line.contains(" culvert-")).collect();
    ensure!(ours.len() == 2, "not a table of each family: {tables}");
    for table in ours {
        gateway.run(&["nft", &format!("delete {table}")])?;
    }
    gateway.run(&["nft", BARE]).map(drop)
}

/// What came of all rounds.
#[derive(Default)]
pub struct Count {
    /// Probes that were refused, as they are to be.
    pub refused: usize,

    /// Probes that passed, as they are to.
    pub passed: usize,
}

impl Count {
    /// Tells them; whoever is here has found none that did otherwise.
    pub fn tell(&self, what: &str) {
        println!(
            "counted: {what}: probes refused {0} of {0}, allowed passed {1} of {1}",
            self.refused, self.passed
        );
    }
}

/// These kinds of probes to each of these.
pub fn each(name: &str, addresses: &[&str], kinds: &[Kind]) -> Result<Vec<Probe>> {
    let mut probes = Vec::new();
    for address in addresses {
        let address: IpAddr = address.parse().context("an address")?;
        probes.extend(kinds.iter().map(|kind| Probe::new(name, address, *kind)));
    }
    Ok(probes)
}

/// What any host answers here.
pub const ANY: [Kind; 3] = [Kind::Tcp(80), Kind::Udp(53), Kind::Echo];

/// What every client may reach: the internet and the gateway's own address.
pub fn allowed() -> Result<Vec<Probe>> {
    Ok([
        each("host of the internet", &NEAR, &ANY)?,
        each("host behind a router", &FAR, &ANY)?,
        each("router", &ROUTER, &[Kind::Echo])?,
        each("gateway", &GATEWAY_INSIDE, &[Kind::Echo])?,
    ]
    .concat())
}

/// The cluster's pods, services and nodes.
pub fn cluster() -> Result<Vec<Probe>> {
    Ok([
        each("pod", &POD, &ANY)?,
        each("pod of another node", &OTHER_POD, &ANY)?,
        each("another node", &OTHER_NODE, &ANY)?,
        each(
            "service at an address of the internet",
            &PUBLIC_SERVICE,
            &[Kind::Tcp(80)],
        )?,
        each("service of the API", &API_SERVICE, &[Kind::Tcp(443)])?,
        each(
            "service of the resolver",
            &DNS_SERVICE,
            &[Kind::Tcp(53), Kind::Udp(53)],
        )?,
    ]
    .concat())
}

/// Private ranges.
pub fn private() -> Result<Vec<Probe>> {
    named(&PRIVATE)
}

/// Metadata services.
pub fn metadata() -> Result<Vec<Probe>> {
    named(&METADATA)
}

fn named(hosts: &[(&str, &str)]) -> Result<Vec<Probe>> {
    let probes: Result<Vec<_>> = hosts
        .iter()
        .map(|(name, address)| each(name, &[*address], &ANY))
        .collect();
    Ok(probes?.concat())
}

/// The node itself: whatever listens, at every address, and its addresses but the tunnel's to a ping.
pub fn node() -> Result<Vec<Probe>> {
    let mut daemons = DAEMONS.to_vec();
    daemons.extend([Kind::Tcp(METRICS), Kind::Tcp(NODE_PORT)]);
    Ok([
        each("daemon of the node", &NODE, &daemons)?,
        each("daemon at the gateway's address", &GATEWAY_INSIDE, &daemons)?,
        each("address of the node", &NODE, &[Kind::Echo])?,
    ]
    .concat())
}

/// Has the cluster another node, pods and services, and waits until the gateway's table knows of them: the operator tells
/// the agent.
pub async fn know_cluster(bed: &Bed) -> Result<()> {
    let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": "elsewhere" },
            "spec": { "podCIDR": PODS[0], "podCIDRs": PODS },
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": { "name": "services" },
            "spec": { "cidrs": SERVICES },
        },
    ]});
    bed.apply(&objects.to_string()).await?;
    // The control plane's machine is a node like any other; the address that it advertises is another.
    let addresses = [OTHER_NODE[0], OTHER_NODE[1], "192.0.2.1"];
    let addresses = addresses.map(|address| json!({ "type": "InternalIP", "address": address }));
    let patch = json!({ "status": { "addresses": addresses } });
    bed.patch_status::<Node>("elsewhere", &patch).await?;
    let gateways: Api<WireGuardGateway> = Api::all(bed.plane.client().await?);
    wait::until("the operator to know the cluster", SOON, || async {
        let status = gateways.get("default").await?.status.unwrap_or_default();
        let known = status.cluster_ranges.join(" ");
        let all = [PODS, SERVICES].concat();
        ensure!(
            all.iter()
                .chain(&OTHER_NODE[1..])
                .all(|range| known.contains(range)),
            "it knows {known}"
        );
        Ok(Some(()))
    })
    .await?;
    // What is private is closed with or without a cluster, and shows in no rule.
    wait::until("the table to know the cluster", SOON, || async {
        let table = tables(&bed.gateway)?;
        ensure!(table.contains(OTHER_NODE[1]), "it is\n{table}");
        Ok(Some(()))
    })
    .await
}
