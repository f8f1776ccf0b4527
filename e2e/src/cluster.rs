//! A whole cluster: control plane, controllers, and nodes on which pods really run.
//!
//! ```text
//!  root namespace                          gateway-1, gateway-2, …        clients
//!  etcd, kube-apiserver,                   kubelet, containerd,           plain WireGuard
//!  controllers, scheduler                  kube-proxy, pods
//!        192.0.2.1 (nodes0) ────────────── 192.0.2.11, 192.0.2.12, …
//!     198.51.100.1 (clients0) ──────────────────────────────────────────── 198.51.100.x
//!     203.0.113.80: the internet
//! ```
//!
//! For use inside a [`crate::Machine`]: everything lies below its `/run`, in memory, and goes with it. The root namespace
//! is the router between all of them. A node has a network and mounts of its own, so that what a pod finds at a path of
//! its host is that node's.
//!
//! With `CULVERT_CLUSTER=kubeconfig` there is nothing of this: the tests take the cluster that `KUBECONFIG` names.

mod config;
mod controllers;
pub mod member;
mod network;
mod node;
pub mod pings;
pub mod tools;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{ControlPlane, Program, control_plane::Options, wait};
pub use member::Member;
pub use network::INTERNET;
pub use node::{Node, processes};
pub use pings::Pings;
pub use tools::Tools;

/// Longer than anything takes on a slow machine that is not a matter of age.
pub const SOON: Duration = Duration::from_mins(3);

/// Where everything of a cluster lies: in memory, because containers' layers cannot lie on the layer that is a test
/// machine's root.
const FOLDER: &str = "/run/culvert-cluster";

/// A running cluster.
pub struct Cluster {
    /// Its API.
    pub plane: ControlPlane,

    /// Its nodes.
    pub nodes: Vec<Node>,

    /// What people use, with all rights.
    pub tools: Tools,

    controllers: Vec<Program>,
    logs: PathBuf,
}

impl Cluster {
    /// Starts one with so many nodes, and waits until each is Ready and has the images of this folder.
    pub async fn start(nodes: u8, images: &Path) -> Result<Self> {
        let folder = PathBuf::from(FOLDER);
        fs::create_dir_all(&folder).with_context(|| format!("failed to create {FOLDER}"))?;
        let logs = env::var_os("CULVERT_OUT").map_or_else(|| folder.clone(), PathBuf::from);
        network::prepare()?;
        let plane = ControlPlane::start_with(Options::in_machine(&[network::ROUTER.into()])).await?;
        let controllers = controllers::start(&plane, &logs)?;
        let tools = Tools::new(&plane.kubeconfig(), &folder.join("home")).await?;
        let mut cluster = Self {
            plane,
            nodes: Vec::new(),
            tools,
            controllers,
            logs,
        };
        for number in 1..=nodes {
            cluster.join(number, &folder, images).await?;
        }
        for node in &cluster.nodes {
            cluster.settle(node).await?;
        }
        Ok(cluster)
    }

    async fn join(&mut self, number: u8, folder: &Path, images: &Path) -> Result<()> {
        let mut node = Node::new(number, folder, &self.logs)?;
        node.start(&self.plane, &archives(images)?).await?;
        self.nodes.push(node);
        Ok(())
    }

    /// Gives a node's pods their range, which the controllers have chosen, and waits until it takes pods.
    async fn settle(&self, node: &Node) -> Result<()> {
        let range = wait::until("a node to have a range for its pods", SOON, || async {
            let object = self.tools.get(&format!("/api/v1/nodes/{}", node.name)).await?;
            Ok(object["spec"]["podCIDR"].as_str().map(str::to_owned))
        });
        node.connect_pods(&range.await.with_context(|| self.tails())?)?;
        self.node_ready(&node.name, true)
            .await
            .with_context(|| self.tails())
    }

    /// Waits until a node is Ready, or is not.
    pub async fn node_ready(&self, name: &str, ready: bool) -> Result<()> {
        let what = format!("{name} to be {}Ready", if ready { "" } else { "not " });
        wait::until(&what, SOON, || async {
            let object = self.tools.get(&format!("/api/v1/nodes/{name}")).await?;
            let status = condition(&object, "Ready");
            Ok(((status == "True") == ready).then_some(()))
        })
        .await
    }

    /// An administrator's kubeconfig for whoever is not where the apiserver is.
    pub fn kubeconfig_for_others(&self) -> Result<PathBuf> {
        let everybody = self.plane.kubeconfig();
        self.plane.kubeconfig_via(&everybody, network::ROUTER.into())
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes
            .iter()
            .find(|node| node.name == name)
            .with_context(|| format!("there is no node {name}"))
    }

    /// The ends of the logs of what makes pods run, for a failure's message.
    pub fn tails(&self) -> String {
        let mut text = String::new();
        for program in &self.controllers {
            text.push_str(&program.tail(5));
            text.push('\n');
        }
        for node in &self.nodes {
            text.push_str(&node.tails());
        }
        text
    }
}

/// Everything in a folder that is an image.
fn archives(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "tar") {
            found.push(path);
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "there are no images in {}", folder.display());
    Ok(found)
}

/// The status of a condition of an object; nothing when it is not there.
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == kind));
    found
        .and_then(|condition| condition["status"].as_str())
        .unwrap_or_default()
}

fn ip(words: &[&str]) -> Result<String> {
    crate::netns::run(Command::new("ip").args(words))
}
