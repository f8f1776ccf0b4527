//! `cargo xtask dashboard`: the picture of the dashboard in the documentation, from numbers that were really scraped.

use std::{
    fs,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};
use culvert_e2e::machine::Time;

use crate::{
    run,
    setup::{self, Need},
    test::{artifact, kernel},
};

pub fn main() -> Result<ExitCode> {
    setup::ensure(&[Need::ControlPlane, Need::Machine, Need::Readers])?;
    let programs = artifact::programs()?;
    let story = artifact::program("culvert-dashboard")?;
    let out = artifact::target()?.join("culvert-dashboard");
    fs::create_dir_all(&out).with_context(|| format!("failed to create {}", out.display()))?;
    let mut machine = kernel::machine()?
        .time(Time::Travels)
        .share(&out)
        .env("CULVERT_OUT", &out);
    for (variable, path) in programs {
        machine = machine.env(variable, path);
    }
    let outcome = machine.run(&Command::new(story.executable), run::show)?;
    ensure!(
        outcome.status == 0,
        "the story failed with status {}; logs are in {}",
        outcome.status,
        out.display()
    );
    let (from, to) = (
        out.join("dashboard.svg"),
        crate::checkout()?.join("docs/images/dashboard.svg"),
    );
    fs::copy(&from, &to).with_context(|| format!("failed to write {}", to.display()))?;
    println!("wrote {}", to.display());
    Ok(ExitCode::SUCCESS)
}
