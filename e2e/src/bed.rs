//! The whole of Culvert in one machine: control plane, operator, one gateway node with its agent.
//!
//! ```text
//!  root namespace                     gateway                        clients
//!  etcd, kube-apiserver, operator     agent, cv0 (kernel WireGuard)  one namespace each, wg0
//!        192.0.2.1 ─────────────────── 192.0.2.2
//!                                      198.51.100.1 (br0) ─────────── 198.51.100.x
//! ```
//!
//! Both programs log everything (`RUST_LOG=trace`), and [`Bed::finish`] looks through what they wrote for every
//! client that was there: a test that does not call it has not looked.

mod programs;

use std::{
    env,
    fmt::Debug,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use culvert_crds::{GatewayNode, WireGuardKey, gateway_node::GatewayNodeStatus, key::WireGuardKeyStatus};
use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    ControlPlane, Namespace, Program, Scratch,
    control_plane::{self, Options},
    documents::{self, checkout},
    leaks, netns,
    tunnel::Peer,
    wait,
};
use programs::Extras;

/// Longer than anything takes that is not a matter of age.
pub const SOON: Duration = Duration::from_mins(1);

/// The node's name in the API.
pub const NODE: &str = "gateway-1";

/// The object of the example's gateway on that node.
pub const DEFAULT: &str = "default.gateway-1";

/// The gateway's address for clients.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// The interface that `examples/gateway.yaml` asks for.
pub const INTERFACE: &str = "cv0";

/// The hardware address of the gateway on the clients' side, of those that anybody may use.
const BRIDGE: &str = "02:00:00:00:00:01";

const OPERATOR_SIDE: &str = "192.0.2.1";
const AGENT_SIDE: &str = "192.0.2.2";

/// Where clients are, and the gateway among them.
pub const OUTSIDE: u8 = 16;

/// The agent's user at the apiserver, whose requests an audit policy may ask for.
pub const AGENT_USER: &str = "culvert-agent";

/// A running Culvert.
pub struct Bed {
    /// The API.
    pub plane: ControlPlane,

    /// The network namespace of the gateway node.
    pub gateway: Namespace,

    /// For what tests read again and again: kubectl takes seconds of a slow machine.
    client: kube::Client,
    operator: Option<Program>,
    agent: Option<Program>,
    operator_extras: Extras,
    agent_extras: Extras,
    secrets: Mutex<Vec<leaks::Canary>>,
    logs: PathBuf,
    folder: Scratch,
}

impl Bed {
    /// Starts everything and waits until the gateway serves.
    pub async fn start() -> Result<Self> {
        let mut bed = Self::empty().await?;
        bed.serve_examples().await?;
        Ok(bed)
    }

    /// Applies the example's pool and gateway, starts both programs and waits until the gateway serves.
    pub async fn serve_examples(&mut self) -> Result<()> {
        for file in ["pool.yaml", "gateway.yaml"] {
            self.apply_example(file).await?;
        }
        self.start_operator()?;
        self.start_agent()?;
        self.serving().await
    }

    /// The control plane with definitions and a labelled node: no pool, no gateway, none of Culvert's programs.
    pub async fn empty() -> Result<Self> {
        Self::audited(None).await
    }

    /// As [`Bed::empty`], with an audit policy for the apiserver.
    pub async fn audited(policy: Option<&str>) -> Result<Self> {
        Self::with(|options| options.audit_policy = policy.map(str::to_owned)).await
    }

    /// As [`Bed::empty`], with another control plane.
    pub async fn with(change: impl FnOnce(&mut Options)) -> Result<Self> {
        let gateway = Namespace::new("gateway")?;
        gateway.ip(&[
            "link", "add", "eth0", "type", "veth", "peer", "name", "node0", "netns", "1",
        ])?;
        netns::run(Command::new("ip").args(["addr", "add", &format!("{OPERATOR_SIDE}/24"), "dev", "node0"]))?;
        netns::run(Command::new("ip").args(["link", "set", "node0", "up"]))?;
        gateway.address("eth0", &format!("{AGENT_SIDE}/24"))?;
        // With an address of its own: otherwise it has its lowest port's, and a client that comes changes it for all.
        gateway.ip(&["link", "add", "br0", "address", BRIDGE, "type", "bridge"])?;
        gateway.address("br0", &format!("{GATEWAY}/{OUTSIDE}"))?;

        let mut options = Options::in_machine(&[OPERATOR_SIDE.parse()?]);
        // Nobody here is to wait for another, and it is a fifth of what the start costs.
        options
            .flags
            .push("--enable-priority-and-fairness=false".to_owned());
        change(&mut options);
        let plane = ControlPlane::start_with(options).await?;
        let folder = Scratch::new("culvert-bed-")?;
        // Where the machine's host can read them afterwards, if it has given such a place.
        let logs = env::var_os("CULVERT_OUT").map_or_else(|| folder.path().to_owned(), PathBuf::from);
        let bed = Self {
            client: plane.client().await?,
            plane,
            gateway,
            operator: None,
            agent: None,
            operator_extras: Extras::default(),
            agent_extras: Extras::default(),
            secrets: Mutex::default(),
            logs,
            folder,
        };
        bed.plane.define(&definitions()).await?;
        bed.make_node().await?;
        Ok(bed)
    }

    async fn make_node(&self) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut node = Node::default();
        node.metadata.name = Some(NODE.to_owned());
        node.metadata.labels = Some([("culvert.dev/gateway".to_owned(), "true".to_owned())].into());
        nodes
            .create(&PostParams::default(), &node)
            .await
            .context("failed to create the node")?;
        let addresses = json!([
            { "type": "ExternalIP", "address": GATEWAY.to_string() },
            { "type": "InternalIP", "address": AGENT_SIDE },
        ]);
        let patch = json!({ "status": { "addresses": addresses } });
        self.patch_status::<Node>(NODE, &patch).await
    }

    /// The agent's present session and how far it has got in it; empty before it has said anything.
    pub async fn session(&self) -> Result<(String, String)> {
        let status = self.gateway_node(DEFAULT).await?;
        let word = |word: Option<String>| word.unwrap_or_default();
        Ok((word(status.session), word(status.applied_resource_version)))
    }

    /// What a `GatewayNode` says.
    pub async fn gateway_node(&self, name: &str) -> Result<GatewayNodeStatus> {
        let nodes: Api<GatewayNode> = Api::all(self.client.clone());
        Ok(read(&nodes, name).await?.status.unwrap_or_default())
    }

    /// What a `WireGuardKey` of the namespace `default` says.
    pub async fn key(&self, name: &str) -> Result<WireGuardKeyStatus> {
        let keys: Api<WireGuardKey> = Api::default_namespaced(self.client.clone());
        Ok(read(&keys, name).await?.status.unwrap_or_default())
    }

    /// Waits until the agent has caught up in another session than this one.
    pub async fn caught_up_after(&self, before: &str) -> Result<()> {
        wait::until("the agent to catch up in a new session", SOON, || async {
            let (session, applied) = self.session().await?;
            Ok((session != before && !applied.is_empty()).then_some(()))
        })
        .await
    }

    /// Waits until the gateway node says that it serves.
    pub async fn serving(&self) -> Result<()> {
        self.node_ready(DEFAULT).await
    }

    /// Waits until this gateway node is Ready.
    pub async fn node_ready(&self, name: &str) -> Result<()> {
        self.ready(name, || async { Ok(self.gateway_node(name).await?.conditions) })
            .await
    }

    /// Waits until this key is Ready.
    pub async fn key_ready(&self, name: &str) -> Result<()> {
        self.ready(name, || async { Ok(self.key(name).await?.conditions) })
            .await
    }

    async fn ready(&self, name: &str, conditions: impl AsyncFn() -> Result<Vec<Condition>>) -> Result<()> {
        wait::until(&format!("{name} to be Ready"), SOON, || async {
            let ready = said(&conditions().await?, "Ready");
            ensure!(ready == "True Ready", "Ready is `{ready}`");
            Ok(Some(()))
        })
        .await
        .with_context(|| self.tails())
    }

    /// Applies an example, without kubectl.
    pub async fn apply_example(&self, file: &str) -> Result<()> {
        self.apply(&documents::read(Path::new(&example(file)))?).await
    }

    /// Applies objects in YAML or JSON, without kubectl.
    pub async fn apply(&self, text: &str) -> Result<()> {
        control_plane::apply(&self.client, text).await
    }

    /// Changes an object of the cluster by a merge patch, without kubectl.
    pub async fn patch<K: Global>(&self, name: &str, patch: &Value) -> Result<()> {
        let objects: Api<K> = Api::all(self.client.clone());
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
        let changed = objects.patch(name, &parameters, &patch).await;
        changed
            .with_context(|| format!("failed to change {name}"))
            .map(drop)
    }

    /// The same of its status.
    pub async fn patch_status<K: Global>(&self, name: &str, patch: &Value) -> Result<()> {
        let objects: Api<K> = Api::all(self.client.clone());
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
        let changed = objects.patch_status(name, &parameters, &patch).await;
        changed
            .with_context(|| format!("failed to change the status of {name}"))
            .map(drop)
    }

    /// Runs kubectl with all rights and gives what it printed.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with(arguments, None).await
    }

    /// As [`Bed::kubectl`], with an input.
    pub async fn kubectl_with(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        self.plane.kubectl_text(arguments, input).await
    }

    /// What clients read of the gateway: its public key and where it is.
    pub async fn gateway_for_clients(&self) -> Result<(String, String)> {
        self.gateway_of(DEFAULT).await
    }

    /// As [`Bed::gateway_for_clients`], of another `GatewayNode`.
    pub async fn gateway_of(&self, node: &str) -> Result<(String, String)> {
        let status = self.gateway_node(node).await?;
        let endpoint = status.endpoints.into_iter().next();
        status
            .public_key
            .zip(endpoint)
            .context("the gateway says no key or no endpoint")
    }

    /// The gateway's peers, as `wg` shows them.
    pub fn peers(&self) -> Result<Vec<Peer>> {
        Peer::all(&self.gateway, INTERFACE)
    }

    /// One of the gateway's peers, if it is there.
    pub fn peer(&self, public_key: &str) -> Result<Option<Peer>> {
        Ok(self
            .peers()?
            .into_iter()
            .find(|peer| peer.public_key == public_key))
    }

    /// Remembers something that must not be in any log.
    pub fn secret(&self, canary: leaks::Canary) {
        self.secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(canary);
    }

    /// Everything that must not be in any log, so far.
    pub fn secrets(&self) -> Vec<leaks::Canary> {
        self.secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Both programs' logs.
    pub fn logs(&self) -> Vec<PathBuf> {
        ["operator.log", "agent.log"]
            .iter()
            .map(|name| self.logs.join(name))
            .collect()
    }

    fn tails(&self) -> String {
        let tail = |program: &Option<Program>| program.as_ref().map_or_else(String::new, |p| p.tail(12));
        format!(
            "operator says:\n{}\nagent says:\n{}",
            tail(&self.operator),
            tail(&self.agent)
        )
    }

    /// Ends both programs and searches their logs for what must not be there.
    pub async fn finish(mut self) -> Result<()> {
        let logs = self.logs();
        for program in [self.agent.take(), self.operator.take()] {
            if program.is_some() {
                programs::terminate(program, "a program").await?;
            }
        }
        for file in self.key_files()? {
            let key = fs::read_to_string(&file).context("failed to read the gateway's key")?;
            self.secret(leaks::Canary::gateway_key(
                "the gateway's private key",
                key.trim(),
            )?);
        }
        let secrets = self.secrets();
        ensure!(!secrets.is_empty(), "nothing to search the logs for");
        let mut found = Vec::new();
        for log in &logs {
            let bytes = fs::read(log).with_context(|| format!("failed to read {}", log.display()))?;
            ensure!(
                !bytes.is_empty(),
                "{} is empty: nothing was searched",
                log.display()
            );
            let leaks = leaks::search(&bytes, &secrets);
            found.extend(
                leaks
                    .into_iter()
                    .map(|leak| format!("{} holds {leak}", log.display())),
            );
        }
        ensure!(found.is_empty(), "{}", found.join("\n"));
        Ok(())
    }
}

/// A kind without namespaces, as the API's client wants it.
pub trait Global: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug {}

impl<K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug> Global for K {}

async fn read<K: Clone + DeserializeOwned + Debug>(objects: &Api<K>, name: &str) -> Result<K> {
    let object = objects.get(name).await;
    object.with_context(|| format!("failed to read {name}"))
}

/// The path of an example.
pub fn example(file: &str) -> String {
    checkout().join("examples").join(file).display().to_string()
}

/// The folder of the generated definitions.
pub fn definitions() -> String {
    checkout().join("crds/yaml").display().to_string()
}

/// The outer address number `n`: 198.51.100.n, and those that follow.
pub fn outer(n: u16) -> IpAddr {
    let first = u32::from(Ipv4Addr::new(198, 51, 100, 0));
    IpAddr::V4(Ipv4Addr::from(first + u32::from(n)))
}

/// Status and reason of a condition; nothing when it is not there.
pub fn said(conditions: &[Condition], kind: &str) -> String {
    let found = conditions.iter().find(|condition| condition.type_ == kind);
    found.map_or_else(String::new, |found| format!("{} {}", found.status, found.reason))
}
