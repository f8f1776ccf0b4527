//! A node: a network and mounts of its own, with kubelet, containerd and kube-proxy in them.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{SOON, config, ip, network};
use crate::{ControlPlane, Namespace, Program, netns, programs::Tool, wait};

/// What every node has for itself: what pods ask of their host, and what kubelet writes wherever its own folder is.
const OWN: [&str; 4] = ["/var/lib/culvert", "/var/lib/kubelet", "/var/lib/cni", "/var/log"];

/// What is said when they are there.
const HELD: &str = "the mounts are there";

/// One node.
pub struct Node {
    /// Its name in the API.
    pub name: String,

    /// Its address, where gateways on it listen.
    pub address: Ipv4Addr,

    /// Its network.
    pub namespace: Namespace,

    folder: PathBuf,
    /// Holds what is mounted on the node.
    mounts: Program,
    logs: PathBuf,
    programs: Vec<Program>,
}

impl Node {
    /// Makes the node number `n`: nothing runs yet.
    pub(super) fn new(number: u8, cluster: &Path, logs: &Path) -> Result<Self> {
        let name = format!("gateway-{number}");
        let address = Ipv4Addr::new(192, 0, 2, 10 + number);
        let namespace = Namespace::new(&name)?;
        network::connect(&namespace, "nodes0", address, network::ROUTER)?;
        for setting in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            namespace.run(&["sysctl", "-qw", &format!("{setting}=1")])?;
        }
        let folder = cluster.join(&name);
        for part in ["cni", "kubelet", "pods", "home"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).with_context(|| format!("failed to create {}", path.display()))?;
        }
        let mounts = mounts(&name, logs)?;
        Ok(Self {
            name,
            address,
            namespace,
            folder,
            mounts,
            logs: logs.to_owned(),
            programs: Vec::new(),
        })
    }

    /// A program to be run on the node.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let holder = format!("/proc/{}", self.mounts.pid());
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.namespace.path().display()))
            .arg(format!("--mount={holder}/ns/mnt"))
            // A test machine's root is not that of its mounts, and whoever enters them gets theirs.
            .arg(format!("--root={holder}/root"))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs a program on the node to its end.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        netns::run(self.command(words[0]).args(&words[1..]))
    }

    /// Starts containerd, brings it images, and starts kubelet and kube-proxy.
    pub(super) async fn start(&mut self, plane: &ControlPlane, images: &[PathBuf]) -> Result<()> {
        let write = |name: &str, text: String| -> Result<PathBuf> {
            let path = self.folder.join(name);
            fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
            Ok(path)
        };
        let containerd_config = write("containerd.toml", config::containerd(&self.folder))?;
        let kubelet_config = write(
            "kubelet.json",
            config::kubelet(&self.folder, &plane.folder().join("ca.crt")),
        )?;
        let user = format!("system:node:{}", self.name);
        let identity = plane.kubeconfig_for(&user, Some("system:nodes"))?;
        let identity = plane.kubeconfig_via(&identity, network::ROUTER.into())?;
        let proxy = plane.kubeconfig_for("system:kube-proxy", None)?;
        let proxy = plane.kubeconfig_via(&proxy, network::ROUTER.into())?;

        let socket = self.folder.join("containerd.sock");
        let mut containerd = self.command(Tool::Containerd.find()?);
        containerd
            .arg("--config")
            .arg(containerd_config)
            .env("PATH", programs_path()?);
        self.program("containerd", &containerd)?;
        wait::until("containerd to listen", SOON, || async {
            Ok(socket.exists().then_some(()))
        })
        .await
        .with_context(|| self.tails())?;

        // Before kubelet looks at the file systems: it takes a mount of an import for that of the images, and gives up when it
        // is gone.
        for archive in images {
            self.import(archive)?;
        }

        let mut kubelet = self.command(Tool::Kubelet.find()?);
        kubelet
            .arg(format!("--config={}", kubelet_config.display()))
            .arg(format!("--kubeconfig={}", identity.display()))
            .arg(format!("--hostname-override={}", self.name))
            .arg(format!("--node-ip={}", self.address))
            .arg(format!("--root-dir={}", self.folder.join("kubelet").display()));
        self.program("kubelet", &kubelet)?;
        let mut command = self.command(Tool::KubeProxy.find()?);
        command.args(config::proxy(&proxy, &self.name, self.address));
        self.program("kube-proxy", &command)
    }

    fn program(&mut self, name: &str, command: &Command) -> Result<()> {
        let name = format!("{}-{name}", self.name);
        self.programs.push(Program::start(&name, command, &self.logs)?);
        Ok(())
    }

    /// Brings an image.
    fn import(&self, archive: &Path) -> Result<()> {
        netns::run(self.images()?.arg("import").arg(archive)).map(drop)
    }

    /// Gives an image that is there another name, as if it had come from another registry.
    pub fn name_image(&self, from: &str, to: &str) -> Result<()> {
        netns::run(self.images()?.args(["tag", from, to])).map(drop)
    }

    /// `ctr images`.
    fn images(&self) -> Result<Command> {
        let mut ctr = self.command(Tool::Ctr.find()?);
        ctr.arg("--address").arg(self.folder.join("containerd.sock"));
        ctr.args(["--namespace", "k8s.io", "images"]);
        Ok(ctr)
    }

    /// Gives pods their network.
    pub(super) fn connect_pods(&self, range: &str) -> Result<()> {
        ip(&["route", "replace", range, "via", &self.address.to_string()])?;
        let path = self.folder.join("cni/10-pods.conflist");
        fs::write(&path, config::cni(&self.folder, range))
            .with_context(|| format!("failed to write {}", path.display()))
    }

    /// What a container has said, by the name of its pod.
    pub fn pod_logs(&self, pod: &str) -> Result<String> {
        let folder = self.folder.join("pods");
        let mut text = String::new();
        for file in crate::scratch::files_below(&folder)? {
            if file.display().to_string().contains(pod) {
                text.push_str(&String::from_utf8_lossy(
                    &fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?,
                ));
            }
        }
        Ok(text)
    }

    /// The node is off: nothing of it runs, and its network is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.namespace.ip(&["link", "set", "eth0", "down"])?;
        for program in self.programs.drain(..) {
            program.kill()?;
        }
        // What it ran goes on below other processes.
        for pid in self.pids()? {
            netns::run(Command::new("kill").args(["-KILL", &pid])).ok();
        }
        Ok(())
    }

    fn pids(&self) -> Result<Vec<String>> {
        let pids = netns::run(Command::new("ip").args(["netns", "pids", self.namespace.name()]))?;
        Ok(pids.split_whitespace().map(str::to_owned).collect())
    }

    /// The ends of its programs' logs.
    pub(super) fn tails(&self) -> String {
        let tails = self.programs.iter().map(|program| program.tail(8));
        tails.fold(format!("{}:\n", self.name), |text, tail| text + &tail + "\n")
    }
}

/// The processes of a pod that has a network of its own: each bears the pod's name as its host's.
pub fn processes(pod: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("failed to list processes")? {
        let pid = entry?.file_name().to_string_lossy().into_owned();
        if pid.parse::<u32>().is_err() {
            continue;
        }
        // One that has ended since has no name.
        let mut name = Command::new("nsenter");
        name.args(["--target", &pid, "--uts", "--", "hostname"]);
        if netns::run(&mut name).is_ok_and(|name| name.trim() == pod) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Starts what holds mounts of its own, with empty folders. A file that stands for them would do without a program, but a
/// kernel that numbers namespaces out of order (6.18) does not always bind them to one.
fn mounts(name: &str, logs: &Path) -> Result<Program> {
    let script = OWN
        .iter()
        .map(|own| format!("mkdir -p {own} && mount -n -t tmpfs -o mode=755 own {own}"))
        .collect::<Vec<_>>()
        .join(" && ");
    let mut holder = Command::new("unshare");
    holder
        .args(["--mount", "--propagation", "private", "--", "sh", "-c"])
        .arg(format!("{script} && echo {HELD} && exec sleep infinity"));
    let mut program = Program::start(&format!("{name}-mounts"), &holder, logs)?;
    wait::until_blocking("a node's mounts", SOON, || {
        program.ensure_running()?;
        Ok(program.output()?.contains(HELD).then_some(()))
    })?;
    Ok(program)
}

/// The path on which containerd finds its shim, and that one runc, and the network plugins their programs.
fn programs_path() -> Result<String> {
    let mut folders = Vec::new();
    for tool in [Tool::ContainerdShim, Tool::Runc] {
        let path = tool.find()?;
        folders.push(
            path.parent()
                .context("a program lies in a folder")?
                .display()
                .to_string(),
        );
    }
    folders.push("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    Ok(folders.join(":"))
}
