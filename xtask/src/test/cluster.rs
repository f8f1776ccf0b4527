//! The suite `cluster`: Culvert as people install it, on a cluster with real nodes.
//!
//! Tests whose names begin with `userspace::` run in the host's own kernel, with namespaces for nodes, and WireGuard is a
//! program there. The others have WireGuard in the kernel: they run in a test machine. With `CULVERT_CLUSTER=kubeconfig`
//! there is no machine at all, and those that begin with `any::` run against the cluster that `KUBECONFIG` names.

use std::{env, fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use culvert_e2e::{Machine, machine::Time, programs::Tool, wait::Stopwatch};

use super::{
    artifact::{self, Artifact},
    isolated, kernel,
    system::{listed, tail},
    tally::Tally,
};
use crate::{
    image::{self, Profile},
    run,
};

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
    let logs = artifact::target()?.join("culvert-cluster");
    let mut names = listed(&binary, filter)?;
    if is_kubeconfig()? {
        names.retain(|name| name.starts_with(ANY));
        return against_kubeconfig(&binary, &names, programs);
    }
    let images = logs.join("images");
    image::write(Profile::Dev, &images)?;
    image::write_pause(&artifact::program("culvert-pause")?.executable, &images)?;
    println!(
        "running {} tests, each in its own machine; logs: {}",
        names.len(),
        logs.display()
    );
    let mut sum = Tally::default();
    let mut counted = Vec::new();
    for name in &names {
        let folder = logs.join(name.replace("::", "."));
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("failed to remove {}", folder.display()))?;
        }
        let out = folder.join("out");
        fs::create_dir_all(&out).with_context(|| format!("failed to create {}", out.display()))?;
        let mut machine = machine(name, real_time)?
            .share(&out)
            .env("CULVERT_OUT", &out)
            .env("CULVERT_IMAGES", &images)
            .env("CULVERT_CHART", chart()?)
            .env(kernel::WIREGUARD_GO, Tool::WireguardGo.find()?);
        for (variable, path) in &programs {
            machine = machine.env(*variable, path);
        }
        let log = folder.join("log");
        let watch = Stopwatch::start();
        let result = isolated::run(&machine, &binary, name, &log, |words| {
            counted.push(words.to_owned());
        });
        sum.add(told(name, result, watch.elapsed(), &log));
    }
    for line in counted {
        println!("{line}");
    }
    Ok(sum)
}

/// The machine of one test.
fn machine(name: &str, real_time: bool) -> Result<Machine> {
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
fn chart() -> Result<std::path::PathBuf> {
    Ok(crate::checkout()?.join("charts/culvert"))
}

fn told(name: &str, result: Result<Tally>, time: Duration, log: &Path) -> Tally {
    let seconds = time.as_secs();
    match result {
        Ok(tally) if tally.failed == 0 => {
            println!("test {name} ... ok ({seconds} s)");
            tally
        }
        Ok(tally) => {
            println!(
                "test {name} ... FAILED ({seconds} s); log: {}\n{}",
                log.display(),
                tail(log)
            );
            tally
        }
        Err(error) => {
            println!(
                "test {name} ... FAILED ({seconds} s): {error:#}; log: {}\n{}",
                log.display(),
                tail(log)
            );
            Tally::failure()
        }
    }
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
    programs: Vec<(&'static str, std::path::PathBuf)>,
) -> Result<Tally> {
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
