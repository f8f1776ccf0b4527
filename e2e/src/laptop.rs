//! A laptop on which `kubectl culvert connect` runs, with everything around the gateway.
//!
//! ```text
//!  root namespace                        laptop                          gateway                internet
//!  etcd, kube-apiserver, operator        connect, cvc0, cvc1, …          agent, cv0
//!  192.0.2.1, 203.0.114.1 ────────────── default route: 203.0.114.2
//!                                        198.51.100.77 ───────────────── 198.51.100.1 (br0) ─── 203.0.113.80
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    Bed, Namespace, Program, Scratch,
    bed::{OUTSIDE, SOON, outer},
    client::GATEWAY_INSIDE,
    netns,
    process::{self, Signal},
    wait,
};

/// The apiserver, as every place of the bed reaches it.
pub const APISERVER: &str = "192.0.2.1";

/// Where it has files while it runs.
const FILES: &str = "/run/culvert/connect";

/// Longer than it takes to give up an apiserver that does not answer.
const LONG: Duration = Duration::from_mins(3);

/// The name of the key.
pub const NAME: &str = "laptop";

/// Whose it is.
const USER: &str = "alice";

/// What lets her have keys in the default namespace, and read what gateways there are.
fn grants() -> Value {
    let grant = |kind: &str, role: &str, metadata: Value| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": metadata,
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER }],
        })
    };
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        grant("RoleBinding", "culvert-user", json!({ "name": USER, "namespace": "default" })),
        grant("ClusterRoleBinding", "culvert-reader", json!({ "name": USER })),
    ]})
}

/// A machine that connects.
pub struct Laptop {
    /// Where it is.
    pub namespace: Namespace,

    /// Further flags of `connect`.
    pub flags: Vec<String>,
    program: Option<Program>,
    kubeconfig: PathBuf,
    folder: Scratch,
    starts: u32,
}

impl Laptop {
    /// A laptop that has not connected yet, of somebody with the roles of a user.
    pub async fn new(bed: &Bed) -> Result<Self> {
        let namespace = Namespace::new(NAME)?;
        netns::wire((&namespace, "eth0"), (&bed.gateway, "c77"))?;
        bed.gateway.ip(&["link", "set", "c77", "master", "br0"])?;
        namespace.address("eth0", &format!("{}/{OUTSIDE}", outer(77)))?;
        namespace.ip(&[
            "link", "add", "eth1", "type", "veth", "peer", "name", "home0", "netns", "1",
        ])?;
        netns::run(Command::new("ip").args(["addr", "add", "203.0.114.1/24", "dev", "home0"]))?;
        netns::run(Command::new("ip").args(["link", "set", "home0", "up"]))?;
        namespace.address("eth1", "203.0.114.2/24")?;
        namespace.ip(&["route", "add", "default", "via", "203.0.114.1"])?;
        bed.apply_example("roles.yaml").await?;
        bed.apply(&grants().to_string()).await?;
        let user = bed.plane.kubeconfig_for(USER, None)?;
        Ok(Self {
            namespace,
            flags: Vec::new(),
            program: None,
            kubeconfig: bed.plane.kubeconfig_via(&user, APISERVER.parse()?)?,
            folder: Scratch::new("culvert-laptop-")?,
            starts: 0,
        })
    }

    /// The user's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// From now on it goes by another kubeconfig.
    pub fn go_by(&mut self, kubeconfig: PathBuf) {
        self.kubeconfig = kubeconfig;
    }

    /// The plugin with these arguments, on the laptop.
    pub fn plugin(&self, words: &[&str]) -> Result<Command> {
        let mut command = process::built("CULVERT_PLUGIN")?;
        command
            .args(words)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.folder.path());
        Ok(self.namespace.wrap(&command))
    }

    /// The folder of what it writes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Begins to connect.
    pub fn start(&mut self) -> Result<()> {
        self.start_with(&[])
    }

    /// Begins to connect, with further variables.
    pub fn start_with(&mut self, variables: &[(&str, &str)]) -> Result<()> {
        let mut command = self.connecting()?;
        command.envs(variables.iter().copied());
        self.start_by(&command)
    }

    /// What connects.
    pub fn connecting(&self) -> Result<Command> {
        let mut words = vec!["connect", NAME];
        words.extend(self.flags.iter().map(String::as_str));
        self.plugin(&words)
    }

    /// Begins to connect, by a command that comes to that.
    pub fn start_by(&mut self, command: &Command) -> Result<()> {
        self.starts += 1;
        let name = format!("connect-{}", self.starts);
        self.program = Some(Program::start(&name, command, self.folder.path())?);
        Ok(())
    }

    /// Connects.
    pub async fn connect(&mut self) -> Result<()> {
        self.start()?;
        self.connected().await
    }

    /// Waits until it says that it is connected.
    pub async fn connected(&mut self) -> Result<()> {
        self.says("connected as").await
    }

    /// Waits until it has said something.
    pub async fn says(&mut self, words: &str) -> Result<()> {
        let program = self.program.as_mut().context("connect does not run")?;
        let deadline = wait::Stopwatch::start();
        // Its log is there a moment after it.
        while !program.output().unwrap_or_default().contains(words) {
            program.ensure_running()?;
            ensure!(
                deadline.elapsed() < SOON,
                "it does not say `{words}`:\n{}\n{}",
                program.tail(20),
                self.state()
            );
            wait::pass(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Links, routes and rules, for a failure's message.
    fn state(&self) -> String {
        let script =
            "wg show; ip addr; ip rule; ip -6 rule; ip route show table all; ip -6 route show table all";
        let shown = self.namespace.run(&["sh", "-c", script]);
        shown.unwrap_or_else(|error| format!("{error:#}"))
    }

    /// What it has said.
    pub fn output(&self) -> String {
        self.program
            .as_ref()
            .map_or_else(String::new, |program| program.tail(20))
    }

    /// The file of what it says.
    pub fn log(&self) -> Result<PathBuf> {
        let program = self.program.as_ref().context("connect does not run")?;
        Ok(program.log().to_owned())
    }

    /// Asks it to end, as systemd does.
    pub async fn disconnect(&mut self) -> Result<()> {
        let program = self.program.take().context("connect does not run")?;
        let log = program.tail(20);
        let status = program.terminate(SOON).await?;
        ensure!(status == 0, "connect ended with status {status}:\n{log}");
        Self::left_no_file()
    }

    /// Fails when a file of ours is left.
    pub fn left_no_file() -> Result<()> {
        let Ok(files) = fs::read_dir(FILES) else {
            return Ok(());
        };
        let names: Vec<_> = files.flatten().map(|file| file.file_name()).collect();
        ensure!(names.is_empty(), "files are left in {FILES}: {names:?}");
        Ok(())
    }

    /// Sends it a signal, and gives the status that it ends with.
    pub async fn end_by(&mut self, signal: Signal) -> Result<i32> {
        let mut program = self.program.take().context("connect does not run")?;
        program.signal(signal)?;
        program.wait(LONG).await.with_context(|| program.tail(20))
    }

    /// Kills it.
    pub fn kill(&mut self) -> Result<()> {
        self.program.take().context("connect does not run")?.kill()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.program
            .as_ref()
            .context("connect does not run")?
            .signal(signal)
    }

    /// Whether it has ended, and how.
    pub fn exited(&mut self) -> Result<Option<i32>> {
        self.program.as_mut().context("connect does not run")?.exited()
    }

    /// Waits until it ends by itself, and gives its exit status. What it has said can still be read.
    pub async fn ended(&mut self) -> Result<i32> {
        let program = self.program.as_mut().context("connect does not run")?;
        program.wait(SOON).await.with_context(|| program.tail(20))
    }

    /// `kubectl culvert key rotate`.
    pub fn rotate(&self) -> Result<()> {
        netns::run(&mut self.plugin(&["key", "rotate", NAME])?).map(drop)
    }

    /// Pings the gateway's own address through the tunnel, in both families.
    pub fn ping(&self) -> Result<()> {
        for target in GATEWAY_INSIDE {
            self.namespace.run(&["ping", "-c1", "-W5", target])?;
        }
        Ok(())
    }

    /// Our interfaces, by name.
    pub fn tunnels(&self) -> Result<Vec<String>> {
        tunnels(&self.namespace)
    }

    /// Fails when something of ours is left.
    pub fn is_clean(&self) -> Result<()> {
        let tunnels = self.tunnels()?;
        ensure!(tunnels.is_empty(), "interfaces are left: {tunnels:?}");
        for family in ["-4", "-6"] {
            let rules = self.namespace.ip(&[family, "rule", "list"])?;
            ensure!(!rules.contains("3000"), "rules are left:\n{rules}");
            let routes = self.namespace.ip(&[family, "route", "list", "table", "all"])?;
            ensure!(!routes.contains("16686"), "routes are left:\n{routes}");
        }
        let tables = self.namespace.run(&["nft", "list", "tables"])?;
        ensure!(!tables.contains("culvert-connect"), "a table is left");
        Ok(())
    }
}

/// Our interfaces in a namespace, by name.
pub fn tunnels(namespace: &Namespace) -> Result<Vec<String>> {
    let links = namespace.ip(&["-o", "link", "show"])?;
    let names = links.lines().filter_map(|line| line.split(": ").nth(1));
    Ok(names
        .filter(|name| name.starts_with("cvc"))
        .map(str::to_owned)
        .collect())
}
