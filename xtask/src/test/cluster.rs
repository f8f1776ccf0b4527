//! The suite `cluster`: Culvert as people install it, on a cluster with real nodes.
//!
//! Tests whose names begin with `userspace::` run in the host's own kernel, with namespaces for nodes, and WireGuard is a
//! program there. They want root. The others have WireGuard in the kernel: they run in a test machine. With `CULVERT_CLUSTER=kubeconfig`
//! there is no machine at all, and those that begin with `any::` run against the cluster that `KUBECONFIG` names.

use std::{env, path::PathBuf, process::Command, time::Duration};

use anyhow::{Result, bail};
use culvert_e2e::{
    Machine,
    machine::{self, Time},
    programs::Tool,
};

use super::{
    artifact::{self, Artifact},
    isolated::{self, Tests},
    kernel,
    tally::Tally,
};
use crate::{
    image::{self, Profile},
    run,
};

/// What every run of all suites has of this one; the rest takes half an hour (docs/plans/cluster.md).
pub const IN_EVERY_RUN: [&str; 2] = [
    "kernel::programs_keep_to_themselves",
    "kernel::the_documentation_is_right",
];

/// Where images are that are to be tested as they are, as those that are shipped; the tests' own are built otherwise.
const IMAGES: &str = "CULVERT_SHIPPED_IMAGES";

/// How the names of tests begin whose nodes have WireGuard as a program.
const USERSPACE: &str = "userspace::";

/// How the names of tests begin that take any cluster.
const ANY: &str = "any::";

/// Images lie in memory, three times as they are unpacked.
const MEMORY: &str = "6G";

/// Hours of a cluster's life take minutes where time travels.
const BOUND: Duration = Duration::from_mins(40);

pub fn run(filter: &[String], real_time: bool) -> Result<Tally> {
    let programs = artifact::programs()?;
    let binary = artifact::test("cluster")?;
    let mut names = isolated::listed(&binary)?;
    names.retain(|name| isolated::fits(name, filter));
    if is_kubeconfig()? {
        names.retain(|name| name.starts_with(ANY));
        return against_kubeconfig(&binary, &names, programs);
    }
    let logs = artifact::target()?.join("culvert-cluster");
    let images = logs.join("images");
    match env::var_os(IMAGES).filter(|folder| !folder.is_empty()) {
        Some(folder) => image::take(&PathBuf::from(folder), &images)?,
        None => drop(image::write(Profile::Dev, &images)?),
    }
    image::write_pause(&artifact::program("culvert-pause")?.executable, &images)?;
    // Those that share the host's kernel would meet in its control groups.
    let is_native = machine::is_native()?;
    let (shared, own): (Vec<_>, Vec<_>) = names
        .into_iter()
        .partition(|name| is_native || name.starts_with(USERSPACE));
    let tests = Tests {
        binary: &binary,
        logs,
        tells_all: false,
        machine: &|name| {
            let mut machine = machine_of(name, real_time)?
                .env("CULVERT_IMAGES", &images)
                .env("CULVERT_CHART", chart()?)
                .env(kernel::WIREGUARD_GO, Tool::WireguardGo.find()?);
            for (variable, path) in &programs {
                machine = machine.env(*variable, path);
            }
            Ok(machine)
        },
    };
    Ok(tests.run(&shared, &own))
}

/// The machine of one test.
fn machine_of(name: &str, real_time: bool) -> Result<Machine> {
    let userspace = name.starts_with(USERSPACE);
    let machine = if userspace {
        Machine::of_host()
    } else {
        // containerd's shim, after a collection of its garbage, has threads that wait for each other in a loop.
        let time = if real_time { Time::Real } else { Time::SkipsSleep };
        Machine::new()?.memory(MEMORY).time(time)
    };
    let backend = if userspace { "userspace" } else { "kernel" };
    Ok(kernel::passing_on(machine)
        .within(BOUND)
        .env("CULVERT_BACKEND", backend))
}

/// Where the chart is.
fn chart() -> Result<PathBuf> {
    Ok(crate::checkout()?.join("charts/culvert"))
}

/// Whether somebody's own cluster is to be used, as far as can be told before the suite runs.
pub fn is_of_kubeconfig() -> bool {
    is_kubeconfig().unwrap_or(false)
}

/// Whether somebody's own cluster is to be used.
fn is_kubeconfig() -> Result<bool> {
    match env::var("CULVERT_CLUSTER").as_deref() {
        Ok("kubeconfig") => Ok(true),
        Err(_) | Ok("") => Ok(false),
        Ok(other) => bail!("CULVERT_CLUSTER is `kubeconfig` or nothing, not `{other}`"),
    }
}

/// Runs tests one after the other where this program runs.
fn against_kubeconfig(
    binary: &Artifact,
    names: &[String],
    programs: Vec<(&'static str, PathBuf)>,
) -> Result<Tally> {
    // Without a name the program would run all that there are.
    if names.is_empty() {
        return Ok(Tally::default());
    }
    let mut command = Command::new(&binary.executable);
    command
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .args(names)
        .current_dir(&binary.package)
        .envs(programs)
        .env("CULVERT_CHART", chart()?);
    let mut tally = Tally::default();
    let well = run::follow(&command, |line| tally.line(line))?;
    Ok(tally.ended(well))
}
