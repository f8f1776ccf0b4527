//! The suite `lint`: what a reviewer should not have to say. Every check runs, also after one has failed.

use std::process::Command;

use anyhow::{Result, bail};
use culvert_e2e::programs::Tool;

use super::{artifact, tally::Tally};
use crate::run;

pub fn run() -> Result<Tally> {
    let mut failed = Vec::new();
    for (name, mut command) in checks()? {
        println!("-- {name}");
        if !run::succeeds(&mut command)? {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(Tally::default());
    }
    bail!("these checks failed: {}", failed.join(", "))
}

fn checks() -> Result<Vec<(&'static str, Command)>> {
    let cargo = |words: &[&str]| -> Result<Command> {
        let mut command = run::cargo()?;
        command.args(words);
        Ok(command)
    };
    // As a program of its own, not as `cargo deny`: that would be the user's.
    let mut deny = Command::new(Tool::CargoDeny.find()?);
    deny.args(["check", "bans", "licenses", "sources"])
        .current_dir(crate::checkout()?);
    // With the features of every other build, so that nothing is built twice.
    let mut chart = cargo(&["test", "--quiet"])?;
    chart.args(artifact::EVERYTHING).args(["--test", "chart"]);
    // Nothing is linked, so no libFuzzer is needed; in the same folder, so that little is built twice.
    let mut fuzz = cargo(&[
        "clippy",
        "--quiet",
        "--locked",
        "--manifest-path",
        "fuzz/Cargo.toml",
    ])?;
    fuzz.arg("--target-dir")
        .arg(artifact::target()?)
        .args(["--", "-D", "warnings"])
        .env("CUSTOM_LIBFUZZER_PATH", "/none/libfuzzer.a");
    let mut workflows = Command::new(Tool::Actionlint.find()?);
    // Without shellcheck and pyflakes, which not every machine has.
    workflows
        .args(["-shellcheck=", "-pyflakes="])
        .current_dir(crate::checkout()?);
    Ok(vec![
        ("format", cargo(&["fmt", "--all", "--check"])?),
        (
            "clippy",
            cargo(&[
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--",
                "-D",
                "warnings",
            ])?,
        ),
        ("fuzz targets", fuzz),
        ("deny", deny),
        ("crds", cargo(&["xtask", "crds", "--check"])?),
        (
            "chart, as it is generated",
            cargo(&["xtask", "chart", "--check"])?,
        ),
        ("chart, as Helm renders it", chart),
        ("reference", cargo(&["xtask", "docs", "--check"])?),
        ("workflows", workflows),
    ])
}
