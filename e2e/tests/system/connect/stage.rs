//! What the tests of `connect` have around a laptop, and what they look at.

use std::{
    fs,
    net::{IpAddr, TcpListener, UdpSocket},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use culvert_crds::{IPPool, WireGuardGateway, WireGuardKey, key::WireGuardKeyStatus};
pub use culvert_e2e::laptop::{Laptop, NAME, tunnels};
use culvert_e2e::{
    Bed, Namespace, Program, bed::SOON, laptop::APISERVER, leaks::Canary, netns, process, wait,
};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

/// The second gateway's node.
pub const SECOND: &str = "gateway-2";

/// How long old addresses go on, in these tests.
pub const OVERLAP: Duration = Duration::from_secs(20);

/// A key as it was at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub public_key: String,
    pub addresses: Vec<String>,
}

/// A second gateway of the same pool, on a node of its own that the laptop reaches over a link of its own.
pub async fn second_gateway(bed: &Bed, laptop: &Laptop) -> Result<(Namespace, Program)> {
    let place = Namespace::new(SECOND)?;
    place.ip(&[
        "link", "add", "eth0", "type", "veth", "peer", "name", "node1", "netns", "1",
    ])?;
    netns::run(Command::new("ip").args(["addr", "add", "192.0.3.1/24", "dev", "node1"]))?;
    netns::run(Command::new("ip").args(["link", "set", "node1", "up"]))?;
    place.address("eth0", "192.0.3.2/24")?;
    place.ip(&["route", "add", APISERVER, "via", "192.0.3.1"])?;
    netns::wire((&laptop.namespace, "eth2"), (&place, "eth1"))?;
    laptop.namespace.address("eth2", "198.52.100.77/24")?;
    place.address("eth1", "198.52.100.1/24")?;

    let client = bed.plane.client().await?;
    let nodes: Api<Node> = Api::all(client);
    let mut node = Node::default();
    node.metadata.name = Some(SECOND.to_owned());
    node.metadata.labels = Some([("culvert.dev/gateway".to_owned(), "true".to_owned())].into());
    nodes
        .create(&PostParams::default(), &node)
        .await
        .context("failed to create a node")?;
    let addresses = json!([{ "type": "ExternalIP", "address": "198.52.100.1" }]);
    let patch = Patch::Merge(json!({ "status": { "addresses": addresses } }));
    nodes
        .patch_status(SECOND, &PatchParams::default(), &patch)
        .await
        .context("failed to give a node addresses")?;

    let user = bed
        .plane
        .kubeconfig_for("culvert-agent-2", Some("system:masters"))?;
    let kubeconfig = bed.plane.kubeconfig_via(&user, APISERVER.parse()?)?;
    let home = laptop.folder().join(SECOND);
    fs::create_dir_all(&home)?;
    let mut agent = process::built("CULVERT_NODE_AGENT")?;
    agent
        .env("KUBECONFIG", kubeconfig)
        .env("NODE_NAME", SECOND)
        .env("CULVERT_STATE_DIR", &home)
        .env("RUST_LOG", "info");
    let agent = Program::start("agent-2", &place.wrap(&agent), laptop.folder())?;
    bed.node_ready(&format!("default.{SECOND}")).await?;
    Ok((place, agent))
}

/// Answers probes at these addresses of the machine itself, over TCP and UDP at these ports.
pub fn answer_in_root(at: &[(&str, u16, u16)]) -> Result<()> {
    for (address, tcp, udp) in at {
        let address: IpAddr = address.parse()?;
        let listener = TcpListener::bind((address, *tcp)).context("failed to listen")?;
        let socket = UdpSocket::bind((address, *udp)).context("failed to bind")?;
        thread::spawn(move || listener.incoming().for_each(drop));
        thread::spawn(move || {
            let mut bytes = [0; 2048];
            while let Ok((count, from)) = socket.recv_from(&mut bytes) {
                let _ = socket.send_to(&bytes[..count], from);
            }
        });
    }
    Ok(())
}

/// The key, as the API has it and every gateway serves it.
pub async fn identity(bed: &Bed) -> Result<Identity> {
    let WireGuardKeyStatus {
        public_key,
        addresses,
        ..
    } = bed.key(NAME).await?;
    let identity = Identity {
        public_key: public_key.context("no public key")?,
        addresses,
    };
    ensure!(identity.addresses.len() == 2, "wanted an address of each family");
    bed.secret(Canary::public_key(
        "a public key of the laptop",
        &identity.public_key,
    )?);
    for address in &identity.addresses {
        let address: IpAddr = address.parse()?;
        bed.secret(Canary::tunnel("a tunnel address of the laptop", address));
    }
    Ok(identity)
}

/// The keys there are, by name.
pub async fn keys(bed: &Bed) -> Result<Vec<String>> {
    let keys: Api<WireGuardKey> = Api::default_namespaced(bed.plane.client().await?);
    let list = keys.list(&ListParams::default()).await?;
    Ok(list.into_iter().filter_map(|key| key.metadata.name).collect())
}

/// The public key that the API was told.
pub async fn told(bed: &Bed) -> Result<Option<String>> {
    let keys: Api<WireGuardKey> = Api::default_namespaced(bed.plane.client().await?);
    Ok(keys.get_opt(NAME).await?.map(|key| key.spec.public_key))
}

/// Has the gateway name these resolvers for its clients.
pub async fn resolvers(bed: &Bed, addresses: &[&str]) -> Result<()> {
    let patch = json!({ "spec": { "dns": addresses } });
    bed.patch::<WireGuardGateway>("default", &patch).await
}

/// Waits until no wireguard-go is left: each ends a moment after its interface. One that has ended, and for which nobody
/// has waited, is none.
pub async fn no_wireguard_go() -> Result<()> {
    const LEFT: &str = "for status in /proc/[0-9]*/status; do
        grep -qsx 'Name:.wireguard-go' $status && ! grep -qs '^State:.Z' $status && cat $status; done; true";
    wait::until("every wireguard-go to end", SOON, || async {
        let left = netns::run(Command::new("sh").args(["-c", LEFT]))?;
        Ok(left.is_empty().then_some(()))
    })
    .await
}

/// Makes the pool's overlap short.
pub async fn short_overlap(bed: &Bed) -> Result<()> {
    let overlap = format!("{}s", OVERLAP.as_secs());
    let patch = json!({ "spec": { "keyPolicy": { "overlap": overlap } } });
    bed.patch::<IPPool>("default", &patch).await
}

/// A gateway that serves, with a short overlap, and a laptop.
pub async fn start() -> Result<(Bed, Laptop)> {
    let bed = Bed::start().await?;
    short_overlap(&bed).await?;
    let laptop = Laptop::new(&bed).await?;
    Ok((bed, laptop))
}

/// Waits until the gateway has no such peer.
pub async fn gone(bed: &Bed, public_key: &str) -> Result<()> {
    wait::until("the old peer to go", OVERLAP + SOON, || async {
        Ok(bed.peer(public_key)?.is_none().then_some(()))
    })
    .await
}

/// What the system's resolver file says.
pub fn resolv_conf() -> String {
    fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
}
