//! A cluster on which Culvert was installed with Helm, with gateways and clients that have tunnels.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Cluster,
    bed::example,
    client::DEFAULT_POOL,
    cluster::{Member, Node, SOON, Tools, condition},
    wait,
};
use serde_json::Value;

/// The release, and where it is.
pub const RELEASE: &str = "culvert";
pub const NAMESPACE: &str = "culvert-system";

/// Where people's keys are.
pub const TEAM: &str = "team-a";

/// Paths in the API.
pub const PODS: &str = "/api/v1/namespaces/culvert-system/pods";
pub const KEYS: &str = "/apis/culvert.dev/v1alpha1/namespaces/team-a/wireguardkeys";
const LABELLED: &str = "/api/v1/nodes?labelSelector=culvert.dev%2Fgateway%3Dtrue";

/// Where everything is that a test of its own cluster has.
const FOLDER: &str = "/run/culvert-world";

/// A cluster with Culvert on it.
pub struct World {
    /// Ours; none where the tests take somebody's own.
    cluster: Option<Cluster>,
    tools: Tools,
    pub members: Vec<Member>,
    /// Whether WireGuard is in the nodes' kernel.
    pub kernel: bool,
    pub folder: PathBuf,
}

/// Runs a part of a test, and says what it has shown.
pub async fn fact(name: &str, shown: impl Future<Output = Result<String>>) -> Result<()> {
    let watch = wait::Stopwatch::start();
    println!("fact: {name}");
    let shown = shown
        .await
        .with_context(|| format!("it is no fact that {name}"))?;
    let stop = if shown.is_empty() { "" } else { ": " };
    println!("counted: {name}{stop}{shown} ({} s)", watch.elapsed().as_secs());
    Ok(())
}

/// Whether the nodes' WireGuard is the kernel's.
pub fn is_kernel() -> bool {
    env::var("CULVERT_BACKEND").is_ok_and(|backend| backend == "kernel")
}

/// The chart's folder.
pub fn chart() -> Result<String> {
    env::var("CULVERT_CHART").context("CULVERT_CHART is not set: run the suite through `cargo xtask test`")
}

/// Helm's words for an installation or an upgrade, with these values besides.
pub fn release(verb: &[&str], values: &[&str]) -> Result<Vec<String>> {
    let mut words: Vec<String> = verb.iter().map(|&word| word.to_owned()).collect();
    words.extend([RELEASE.to_owned(), chart()?]);
    for word in ["--namespace", NAMESPACE, "--wait", "--timeout", "5m"] {
        words.push(word.to_owned());
    }
    if let Ok(backend) = env::var("CULVERT_BACKEND") {
        words.extend(["--set".to_owned(), format!("agent.backend={backend}")]);
    }
    for value in values {
        words.extend(["--set".to_owned(), (*value).to_owned()]);
    }
    Ok(words)
}

/// Installs or upgrades.
pub async fn helm(tools: &Tools, verb: &[&str], values: &[&str]) -> Result<String> {
    let words = release(verb, values)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    tools.helm(&words).await
}

impl World {
    /// A cluster with so many nodes, nothing on it.
    pub async fn bare(nodes: u8) -> Result<Self> {
        let images = env::var_os("CULVERT_IMAGES").context("CULVERT_IMAGES is not set")?;
        let cluster = Cluster::start(nodes, Path::new(&images)).await?;
        let folder = PathBuf::from(FOLDER);
        fs::create_dir_all(&folder).with_context(|| format!("failed to create {FOLDER}"))?;
        Ok(Self {
            tools: cluster.tools.clone(),
            cluster: Some(cluster),
            members: Vec::new(),
            kernel: is_kernel(),
            folder,
        })
    }

    /// The cluster that `KUBECONFIG` names.
    pub async fn of_kubeconfig() -> Result<Self> {
        let file = env::var_os("KUBECONFIG").context("KUBECONFIG names no cluster")?;
        let folder = env::temp_dir().join(format!("culvert-world-{}", std::process::id()));
        Ok(Self {
            tools: Tools::new(Path::new(&file), &folder).await?,
            cluster: None,
            members: Vec::new(),
            kernel: is_kernel(),
            folder,
        })
    }

    /// What its administrator has at hand.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// The cluster, for what is seen from outside of it alone.
    pub fn cluster(&self) -> Result<&Cluster> {
        self.cluster
            .as_ref()
            .context("nobody looks at this cluster from outside")
    }

    /// The cluster, to break something in it.
    pub fn cluster_mut(&mut self) -> Result<&mut Cluster> {
        self.cluster.as_mut().context("this cluster is not ours to break")
    }

    /// Its nodes, as far as they are ours.
    pub fn nodes(&self) -> &[Node] {
        self.cluster.as_ref().map_or(&[], |cluster| &cluster.nodes)
    }

    /// Installs the chart, with the examples' pool and gateway on every node, and waits until all of them serve.
    pub async fn install(&self) -> Result<()> {
        let installed = helm(self.tools(), &["install", "--create-namespace"], &[]).await;
        if let Err(error) = installed {
            return Err(error.context(self.pods().await));
        }
        self.serve().await
    }

    /// Labels every node and applies the examples' pool and gateway.
    pub async fn serve(&self) -> Result<()> {
        let tools = self.tools();
        if self.cluster.is_some() {
            tools
                .kubectl(&["label", "node", "--all", "culvert.dev/gateway=true"])
                .await?;
        }
        for file in ["pool.yaml", "gateway.yaml"] {
            tools.kubectl(&["apply", "-f", &example(file)]).await?;
        }
        let team = format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{TEAM}"}}}}"#);
        tools.kubectl_with(&["apply", "-f", "-"], &team).await?;
        self.all_serve().await
    }

    /// Waits until there is a Ready `GatewayNode` for every node.
    pub async fn all_serve(&self) -> Result<()> {
        let served = wait::until("every gateway to serve", SOON, || async {
            let wanted = items(self.tools.get(LABELLED).await?).len();
            let ready = self.serving().await?;
            ensure!(wanted > 0 && ready.len() == wanted, "only {ready:?} serve");
            Ok(Some(()))
        });
        match served.await {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(self.pods().await)),
        }
    }

    /// The nodes of the gateways that are Ready.
    pub async fn serving(&self) -> Result<Vec<String>> {
        let nodes = items(
            self.tools()
                .get("/apis/culvert.dev/v1alpha1/gatewaynodes")
                .await?,
        );
        let ready = nodes.iter().filter(|node| condition(node, "Ready") == "True");
        Ok(ready
            .filter_map(|node| node["spec"]["nodeName"].as_str().map(str::to_owned))
            .collect())
    }

    /// Makes a key with the plugin, and a client somewhere that has the tunnel of this node.
    pub async fn client(&mut self, key: &str, node: &str) -> Result<usize> {
        let tools = self.tools();
        tools
            .plugin(&["-n", TEAM, "key", "new", key, "--wait", "2m"])
            .await?;
        let configuration = self.configuration(key, node).await?;
        let number = u8::try_from(self.members.len() + 1)?;
        let mut member = Member::new(number, &self.folder)?;
        member.connect(&configuration, self.kernel).await?;
        member.reaches(DEFAULT_POOL.inside[0]).await?;
        self.members.push(member);
        Ok(self.members.len() - 1)
    }

    /// Has the plugin write the configuration of a key for the gateway on a node.
    pub async fn configuration(&self, key: &str, node: &str) -> Result<PathBuf> {
        let file = self.folder.join(format!("{key}-{node}.conf"));
        let path = file.display().to_string();
        let mut words = vec![
            "-n",
            TEAM,
            "key",
            "config",
            key,
            "--gateway",
            node,
            "--out",
            &path,
        ];
        words.extend(["--overwrite", "--dns", "none"]);
        for range in ROUTES {
            words.extend(["--route", range]);
        }
        self.tools().plugin(&words).await?;
        Ok(file)
    }

    /// All pods and what they say, for a failure's message.
    pub async fn pods(&self) -> String {
        let tools = self.tools();
        let mut text = String::new();
        for words in [
            &["get", "daemonsets,pods", "-A", "-o", "wide"][..],
            &["get", "events", "-A", "--sort-by=.lastTimestamp"],
            &["get", "wgw,wgpool,wgn", "-o", "wide"],
        ] {
            match tools.kubectl(words).await {
                Ok(printed) => text.push_str(&last(&printed, 25)),
                Err(error) => text.push_str(&(format!("{error:#}") + "\n")),
            }
        }
        for node in self.nodes() {
            for pod in ["culvert-operator", "culvert-agent", "culvert-uninstall"] {
                let said = last(&node.pod_logs(pod).unwrap_or_default(), 12);
                text += &[pod, " on ", &node.name, ":\n", &said].concat();
            }
        }
        text
    }

    /// How often containers of Culvert's pods were started again, all together.
    pub async fn restarts(&self) -> Result<u64> {
        let pods = items(self.tools().get(PODS).await?);
        ensure!(!pods.is_empty(), "there are no pods");
        let containers = pods.iter().flat_map(|pod| {
            pod["status"]["containerStatuses"]
                .as_array()
                .into_iter()
                .flatten()
        });
        Ok(containers
            .map(|container| container["restartCount"].as_u64().unwrap_or_default())
            .sum())
    }
}

/// What goes through a tunnel: the pool's ranges, and somebody on the internet.
const ROUTES: [&str; 3] = ["10.64.0.0/11", "fd64:cafe:1::/64", "203.0.113.80/32"];

/// The objects of a list.
pub fn items(list: Value) -> Vec<Value> {
    match list {
        Value::Object(mut list) => match list.remove("items") {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// The last lines of a text.
fn last(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n") + "\n"
}
