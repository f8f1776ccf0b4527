//! `cargo xtask demo`: the main job from end to end, in a machine with a kernel WireGuard.
//!
//! It sets up what is missing, builds, and runs `culvert-demo` where sleeping costs nothing. What the programs logged
//! stays in the target folder, and a failure says where.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use culvert_e2e::{
    machine::{self, Time},
    wait::Stopwatch,
};

use crate::{
    setup::{self, Need},
    test::{artifact, kernel},
};

pub fn main() -> Result<ExitCode> {
    setup::ensure(&[Need::ControlPlane, Need::Machine])?;
    println!("building culvert …");
    let programs = artifact::programs()?;
    let demo = artifact::program("culvert-demo")?;
    let logs = artifact::target()?.join("culvert-demo");
    if logs.exists() {
        fs::remove_dir_all(&logs).with_context(|| format!("failed to remove {}", logs.display()))?;
    }
    fs::create_dir_all(&logs).with_context(|| format!("failed to create {}", logs.display()))?;
    println!(
        "running in {}",
        if machine::is_native()? {
            "network namespaces of this machine's kernel: the four minutes of silence are real"
        } else {
            "a User-Mode Linux kernel whose time travels: the four minutes of silence take a second"
        }
    );
    let watch = Stopwatch::start();
    let colour = if io::stdout().is_terminal() { "1" } else { "0" };
    let mut machine = kernel::machine()?
        .time(Time::Travels)
        .share(&logs)
        .env("CULVERT_OUT", &logs)
        .env("CULVERT_COLOUR", colour);
    for (variable, path) in programs {
        machine = machine.env(variable, path);
    }
    let outcome = machine.run(&Command::new(demo.executable), |line| {
        let mut out = io::stdout().lock();
        // A closed pipe ends the audience, not the show.
        let _ = out
            .write_all(line)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush());
    })?;
    println!("\n{} s; logs: {}", watch.elapsed().as_secs(), logs.display());
    if outcome.status == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    if !outcome.messages.is_empty() {
        eprintln!("kernel messages:\n{}", outcome.messages);
    }
    eprintln!(
        "error: the demo failed with status {}; the logs are in {}",
        outcome.status,
        logs.display()
    );
    Ok(ExitCode::FAILURE)
}
