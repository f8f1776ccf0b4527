//! Network namespaces for system tests: nodes, clients and the wires between them.
//!
//! For use inside a [`crate::Machine`] (it needs root, and names that nobody else uses). A namespace goes with its
//! value, with every link in it.
//!
//! Programs are run through `nsenter`: `ip netns exec` mounts another `/sys`, and the control groups below it are
//! gone.

use std::{
    fs::File,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// One network namespace, with its loopback up.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one.
    pub fn new(name: &str) -> Result<Self> {
        run(Command::new("ip").args(["netns", "add", name]))?;
        let namespace = Self {
            name: name.to_owned(),
        };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// A program to be run inside. `nsenter` becomes the program, so its pid is the program's.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .arg("--")
            .arg(program);
        command
    }

    /// The same command, inside: for programs that come with arguments and an environment, as a [`crate::Program`]
    /// takes them.
    pub fn wrap(&self, inner: &Command) -> Command {
        let mut command = self.command(inner.get_program());
        command.args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(folder) = inner.get_current_dir() {
            command.current_dir(folder);
        }
        command
    }

    /// Runs a program inside to its end and gives its output; a failure is an error with what it said.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let [program, arguments @ ..] = words else {
            bail!("nothing to run")
        };
        run(self.command(program).args(arguments))
    }

    /// Does something in a thread inside, and waits for it. Sockets that it gives back stay this namespace's.
    pub fn within<T: Send>(&self, job: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let inside = || {
            enter(&self.path())?;
            job()
        };
        thread::scope(|scope| scope.spawn(inside).join())
            .map_err(|_| anyhow!("a thread in {} panicked", self.name))?
    }

    /// `ip` inside.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        run(self.command("ip").args(arguments))
    }

    /// Gives a link an address with its prefix length, usable at once, and sets it up.
    pub fn address(&self, link: &str, address: &str) -> Result<()> {
        let mut words = vec!["addr", "add", address, "dev", link];
        if address.contains(':') {
            // Duplicate address detection would keep it tentative for a second.
            words.push("nodad");
        }
        self.ip(&words)?;
        self.ip(&["link", "set", link, "up"]).map(drop)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The machine goes too; what is left of a namespace is no reason to fail.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// Moves the thread that calls this into a namespace, for the rest of its life: sockets that it opens from now on are that
/// one's.
pub fn enter(namespace: &Path) -> Result<()> {
    let file = File::open(namespace).with_context(|| format!("failed to open {}", namespace.display()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("failed to enter {}", namespace.display()))
}

/// Lays a wire between two namespaces; each end is a place and a link's name.
pub fn wire(one: (&Namespace, &str), other: (&Namespace, &str)) -> Result<()> {
    let ((here, link), (there, peer)) = (one, other);
    here.ip(&[
        "link",
        "add",
        link,
        "type",
        "veth",
        "peer",
        "name",
        peer,
        "netns",
        there.name(),
    ])?;
    here.ip(&["link", "set", link, "up"])?;
    there.ip(&["link", "set", peer, "up"]).map(drop)
}

/// Runs a command to its end and gives its standard output; a failure is an error with what it said.
pub fn run(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command
        .output()
        .with_context(|| format!("failed to run {shown}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{shown} failed with {}: {}", output.status, said.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("the output of {shown} is no text"))
}
