//! `cargo xtask setup`: everything that the suites need and a package manager does not have, built once.
//!
//! Results go to the cache outside the checkout, each in a folder named by a digest of what decided it, so a fresh
//! clone on the same machine pays nothing. A step whose result is there is skipped at once; one that fails leaves
//! nothing but its log, and the others go on. Two setups at a time wait for each other.

mod apt;
mod crates;
mod go;
mod kernel;
mod progress;

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
};

use anyhow::{Context, Result, anyhow, bail};
use culvert_e2e::{
    Program,
    cache::{self, Entry},
    machine,
    programs::assets,
    recipes::{self, Recipe},
};

use progress::Progress;

/// `cargo xtask setup` takes no arguments.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Something that a suite cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// etcd, kube-apiserver, kubectl.
    ControlPlane,

    /// What makes a control plane a cluster, and its nodes.
    Cluster,

    /// What installs the chart and checks what it renders.
    Charts,

    /// A kernel with WireGuard, and the programs that set up networks.
    Machine,

    /// WireGuard as a program.
    UserspaceWireGuard,

    /// The checker of licences and sources.
    CargoDeny,

    /// What writes into programs which crates they were made of.
    CargoAuditable,

    /// What makes the site of the documentation.
    MdBook,

    /// What reads alerts, workflows and objects as others do.
    Readers,
}

/// One thing to build.
struct Step {
    recipe: &'static Recipe,
    /// How long it takes on two cores.
    usual: &'static str,
    build: fn(&Site<'_>) -> Result<()>,
}

const KUBERNETES: Step = Step {
    recipe: &recipes::KUBERNETES,
    usual: "13 min",
    build: go::kubernetes,
};
const ETCD: Step = Step {
    recipe: &recipes::ETCD,
    usual: "1 min",
    build: go::etcd,
};
const KUBERNETES_NODE: Step = Step {
    recipe: &recipes::KUBERNETES_NODE,
    usual: "4 min",
    build: go::kubernetes_node,
};
const CONTAINERD: Step = Step {
    recipe: &recipes::CONTAINERD,
    usual: "4 min",
    build: go::containerd,
};
const RUNC: Step = Step {
    recipe: &recipes::RUNC,
    usual: "1 min",
    build: go::runc,
};
const HELM: Step = Step {
    recipe: &recipes::HELM,
    usual: "6 min",
    build: go::helm,
};
const WIREGUARD_GO: Step = Step {
    recipe: &recipes::WIREGUARD_GO,
    usual: "20 s",
    build: go::wireguard_go,
};
const KERNEL: Step = Step {
    recipe: &recipes::KERNEL,
    usual: "8 min",
    build: kernel::build,
};
const CARGO_DENY: Step = Step {
    recipe: &recipes::CARGO_DENY,
    usual: "4 min",
    build: crates::build,
};
const CARGO_AUDITABLE: Step = Step {
    recipe: &recipes::CARGO_AUDITABLE,
    usual: "1 min",
    build: crates::build,
};
const MDBOOK: Step = Step {
    recipe: &recipes::MDBOOK,
    usual: "2 min",
    build: crates::mdbook,
};
const PROMETHEUS: Step = Step {
    recipe: &recipes::PROMETHEUS,
    usual: "4 min",
    build: go::prometheus,
};
const ACTIONLINT: Step = Step {
    recipe: &recipes::ACTIONLINT,
    usual: "10 s",
    build: go::actionlint,
};
const VERDICT: Step = Step {
    recipe: &recipes::VERDICT,
    usual: "20 s",
    build: go::verdict,
};

/// Where a step works.
struct Site<'a> {
    /// For its own files; removed afterwards.
    work: PathBuf,
    /// For its result.
    out: PathBuf,
    recipe: &'a Recipe,
    logs: PathBuf,
}

impl Site<'_> {
    /// Runs a command to its end; what it prints goes to the step's log.
    fn run(&self, command: &Command) -> Result<()> {
        let program = Program::start(self.recipe.family, command, &self.logs)?;
        let log = program.log().to_owned();
        match program.finish()? {
            0 => Ok(()),
            status => {
                let shown = command.get_program().to_string_lossy();
                let text = fs::read(&log).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                let lines: Vec<&str> = text.lines().collect();
                let tail = lines[lines.len().saturating_sub(15)..].join("\n  ");
                bail!(
                    "{shown} failed with status {status}; its log is {}, ending in\n  {tail}",
                    log.display()
                )
            }
        }
    }

    /// Writes the recipe's files into the work folder.
    fn unpack(&self) -> Result<()> {
        for (name, content) in self.recipe.files {
            let path = self.work.join(name);
            fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))?;
        }
        Ok(())
    }
}

pub fn main(_: &Arguments) -> Result<ExitCode> {
    ensure(&[
        Need::ControlPlane,
        Need::Cluster,
        Need::Charts,
        Need::Machine,
        Need::UserspaceWireGuard,
        Need::CargoDeny,
        Need::Readers,
    ])?;
    println!("everything that the suites need is there");
    Ok(ExitCode::SUCCESS)
}

/// Builds what is missing of the needs.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let needs_kernel = needs.contains(&Need::Machine) && !machine::is_native()?;
    let lanes = missing(needs, needs_kernel)?;
    let builds = |recipe: &Recipe| {
        lanes
            .iter()
            .flatten()
            .any(|step| step.recipe.family == recipe.family)
    };
    let uses = [
        (needs.contains(&Need::Machine), apt::Use::Networks),
        (needs.contains(&Need::Cluster), apt::Use::Containers),
        (builds(&recipes::KERNEL), apt::Use::Kernel),
        (builds(&recipes::RUNC), apt::Use::Runc),
    ];
    let uses: Vec<apt::Use> = uses
        .into_iter()
        .filter_map(|(is_needed, one)| is_needed.then_some(one))
        .collect();
    apt::ensure(&uses)?;
    if lanes.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let root = cache::root()?;
    fs::create_dir_all(root.join("logs")).with_context(|| format!("failed to create {}", root.display()))?;
    let _lock = lock(&root.join("setup.lock"))?;
    // Another setup may have built it while this one waited.
    build(&root, missing(needs, needs_kernel)?)
}

/// The steps to do, in two lanes: kernel and Go programs are built side by side.
fn missing(needs: &[Need], needs_kernel: bool) -> Result<[Vec<Step>; 2]> {
    let mut lanes = [Vec::new(), Vec::new()];
    if needs_kernel {
        lanes[0].push(KERNEL);
    }
    if needs.contains(&Need::CargoDeny) {
        lanes[0].push(CARGO_DENY);
    }
    if needs.contains(&Need::CargoAuditable) {
        lanes[0].push(CARGO_AUDITABLE);
    }
    if needs.contains(&Need::MdBook) {
        lanes[0].push(MDBOOK);
    }
    if needs.contains(&Need::Readers) {
        lanes[1].extend([VERDICT, ACTIONLINT, PROMETHEUS]);
    }
    if needs.contains(&Need::UserspaceWireGuard) {
        lanes[1].push(WIREGUARD_GO);
    }
    if needs.contains(&Need::ControlPlane) && assets().is_none() {
        lanes[1].push(KUBERNETES);
        lanes[1].push(ETCD);
    }
    if needs.contains(&Need::Charts) {
        lanes[1].push(HELM);
    }
    if needs.contains(&Need::Cluster) {
        lanes[1].extend([RUNC, CONTAINERD, KUBERNETES_NODE]);
    }
    for lane in &mut lanes {
        let mut left = Vec::new();
        for step in lane.drain(..) {
            if !Entry::of(step.recipe)?.is_complete() {
                left.push(step);
            }
        }
        *lane = left;
    }
    Ok(lanes)
}

fn build(root: &Path, lanes: [Vec<Step>; 2]) -> Result<()> {
    let progress = Progress::start()?;
    let failures: Vec<anyhow::Error> = thread::scope(|scope| {
        let running: Vec<_> = lanes
            .into_iter()
            .map(|lane| {
                let progress = &progress;
                scope.spawn(move || {
                    lane.iter()
                        .filter_map(|step| one(root, step, progress).err())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        running
            .into_iter()
            .flat_map(|lane| lane.join().unwrap_or_else(|_| vec![anyhow!("a build panicked")]))
            .collect()
    });
    drop(progress);
    match failures.as_slice() {
        [] => Ok(()),
        failures => {
            let list: Vec<String> = failures.iter().map(|failure| format!("{failure:#}")).collect();
            bail!("setup is not complete:\n{}", list.join("\n"))
        }
    }
}

fn one(root: &Path, step: &Step, progress: &Progress) -> Result<()> {
    let family = step.recipe.family;
    let entry = Entry::of(step.recipe)?;
    let partial = entry.begin()?;
    // A name of its own without randomness: what a killed build left is found and removed.
    let work = root.join(format!(".work-{family}"));
    clear(&work)?;
    fs::create_dir_all(&work).with_context(|| format!("failed to create {}", work.display()))?;
    let logs = root.join("logs");
    let log = logs.join(format!("{family}.log"));
    fs::write(&log, "").with_context(|| format!("failed to write {}", log.display()))?;
    let running = progress.begin(family, step.usual, &log);
    let site = Site {
        work: work.clone(),
        out: partial.folder().to_owned(),
        recipe: step.recipe,
        logs,
    };
    let built = (step.build)(&site).and_then(|()| partial.finish());
    clear(&work)?;
    running.end(built.is_ok());
    built.with_context(|| format!("failed to build {family}"))
}

fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Held until the file is dropped; the kernel releases it when this process dies.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("failed to create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => println!("another setup is running: waiting for it"),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("failed to lock {}", path.display()));
        }
    }
    file.lock()
        .with_context(|| format!("failed to lock {}", path.display()))?;
    Ok(file)
}
