//! What cargo built, as cargo itself says: paths are never guessed, so any target folder will do.

use std::{
    env, iter,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use culvert_e2e::programs::Tool;
use serde_json::Value;

use crate::run;

/// One program that was built.
pub struct Artifact {
    pub executable: PathBuf,
    /// The folder of its package, in which cargo would run it.
    pub package: PathBuf,
}

/// Builds one test program.
pub fn test(name: &str) -> Result<Artifact> {
    only(built(&["--test", name], "test")?, name)
}

/// Builds the test programs of this name: several crates may have one.
pub fn tests(name: &str) -> Result<Vec<Artifact>> {
    let found = built(&["--test", name], "test")?
        .into_iter()
        .filter(|(target, _)| target == name);
    let found: Vec<Artifact> = found.map(|(_, artifact)| artifact).collect();
    ensure!(!found.is_empty(), "cargo built no program `{name}`");
    Ok(found)
}

/// Builds one program.
pub fn program(name: &str) -> Result<Artifact> {
    only(built(&[], "bin")?, name)
}

/// Builds Culvert's programs, and gives the environment by which tests find them.
pub fn programs() -> Result<Vec<(&'static str, PathBuf)>> {
    let mut built = built(&[], "bin")?;
    let mut found = Vec::new();
    for (variable, name) in [
        ("CULVERT_OPERATOR", "culvert-operator"),
        ("CULVERT_NODE_AGENT", "culvert-node-agent"),
        ("CULVERT_PLUGIN", "kubectl-culvert"),
    ] {
        let at = built.iter().position(|(target, _)| target == name);
        let at = at.with_context(|| format!("cargo built no program `{name}`"))?;
        found.push((variable, built.swap_remove(at).1.executable));
    }
    Ok(found)
}

/// Where cargo puts what it builds.
pub fn target() -> Result<PathBuf> {
    let text = run::output(run::cargo()?.args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).context("failed to read cargo's metadata")?;
    Ok(metadata["target_directory"]
        .as_str()
        .context("cargo names no target folder")?
        .into())
}

fn only(artifacts: Vec<(String, Artifact)>, name: &str) -> Result<Artifact> {
    let found = artifacts.into_iter().find(|(target, _)| target == name);
    Ok(found
        .with_context(|| format!("cargo built no program `{name}`"))?
        .1)
}

/// What selects everything there is. Each suite builds with the same selection, because another one gives dependencies
/// other features, and cargo would compile most of them again.
pub const EVERYTHING: [&str; 2] = ["--workspace", "--all-features"];

/// Builds every program, and what else is named: other suites' tests are theirs to wait for. Collects those of one kind,
/// by name.
fn built(targets: &[&str], kind: &str) -> Result<Vec<(String, Artifact)>> {
    let mut command = run::cargo()?;
    command.arg("build").args(EVERYTHING).arg("--bins").args(targets);
    Ok(of_kind(&messages(command)?, kind))
}

/// Builds with the release profile what benchmarks need and nothing else, which takes minutes as it is: two programs,
/// and the planner's benchmark.
pub fn released() -> Result<Released> {
    let built = release(&[
        "--package=culvert-operator",
        "--package=culvert-e2e",
        "--bin=culvert-operator",
        "--bin=culvert-bench",
        "--bench=planner",
    ])?;
    let one = |kind, name| only(of_kind(&built, kind), name);
    Ok(Released {
        operator: one("bin", "culvert-operator")?,
        bench: one("bin", "culvert-bench")?,
        planner: one("bench", "planner")?,
    })
}

/// Programs as they are shipped.
pub struct Released {
    pub operator: Artifact,
    /// What measures the operator.
    pub bench: Artifact,
    /// What measures the planner alone.
    pub planner: Artifact,
}

/// Builds with the release profile the agent and what measures it.
pub fn released_agent() -> Result<ReleasedAgent> {
    let built = release(&[
        "--package=culvert-node-agent",
        "--package=culvert-operator",
        "--package=culvert-e2e",
        "--features=culvert-e2e/bench-agent",
        "--bin=culvert-node-agent",
        "--bin=culvert-operator",
        "--bin=culvert-bench-agent",
    ])?;
    let one = |name| only(of_kind(&built, "bin"), name);
    Ok(ReleasedAgent {
        agent: one("culvert-node-agent")?,
        operator: one("culvert-operator")?,
        bench: one("culvert-bench-agent")?,
    })
}

/// Builds with the release profile what measures the gateway's table, with the agent's code in it.
pub fn released_dataplane() -> Result<Artifact> {
    let built = release(&[
        "--package=culvert-e2e",
        "--features=culvert-e2e/bench-agent",
        "--bin=culvert-bench-dataplane",
    ])?;
    only(of_kind(&built, "bin"), "culvert-bench-dataplane")
}

/// Builds with the release profile everything from client to operator, and what measures the client.
pub fn released_client() -> Result<ReleasedClient> {
    let built = release(&[
        "--package=culvert-node-agent",
        "--package=culvert-operator",
        "--package=kubectl-culvert",
        "--package=culvert-e2e",
        "--bin=culvert-node-agent",
        "--bin=culvert-operator",
        "--bin=kubectl-culvert",
        "--bin=culvert-bench-connect",
    ])?;
    let one = |name| only(of_kind(&built, "bin"), name);
    Ok(ReleasedClient {
        agent: one("culvert-node-agent")?,
        operator: one("culvert-operator")?,
        plugin: one("kubectl-culvert")?,
        bench: one("culvert-bench-connect")?,
    })
}

/// Everything from client to operator, as it is shipped.
pub struct ReleasedClient {
    pub agent: Artifact,
    pub operator: Artifact,
    pub plugin: Artifact,
    /// What measures the client.
    pub bench: Artifact,
}

/// The agent as it is shipped.
pub struct ReleasedAgent {
    pub agent: Artifact,
    pub operator: Artifact,
    /// What measures the agent.
    pub bench: Artifact,
}

/// Builds what images hold: with the release profile, linked statically, and with no path of this machine in it. Its own
/// part of the target folder, as other flags make everything anew.
pub fn released_static() -> Result<ReleasedStatic> {
    let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let cargo = run::cargo()?;
    let mut command = Command::new(Tool::CargoAuditable.find()?);
    command
        .current_dir(crate::checkout()?)
        .env("CARGO", cargo.get_program())
        .args(["auditable", "build", "--release", "--locked", "--target", &triple])
        .arg("--target-dir")
        .arg(target()?.join("static"));
    for name in ["culvert-operator", "culvert-node-agent", "kubectl-culvert"] {
        command.args(["--package", name, "--bin", name]);
    }
    let sysroot = run::output(
        Command::new("rustc")
            .args(["--print", "sysroot"])
            .current_dir(crate::checkout()?),
    )?;
    let paths = [
        (cargo_home()?, "/cargo"),
        (crate::checkout()?, "/culvert"),
        (sysroot.trim().into(), "/rust"),
    ];
    let of_rust = paths
        .iter()
        .map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display()));
    let of_rust: Vec<String> = iter::once("-Ctarget-feature=+crt-static".to_owned())
        .chain(of_rust)
        .collect();
    // What C code says of itself: where it lay, in its assertions, and when it was compiled.
    let of_c = paths
        .iter()
        .map(|(path, name)| format!("-ffile-prefix-map={}={name}", path.display()));
    let of_c: Vec<String> = of_c.chain(NO_TIME.map(str::to_owned)).collect();
    command
        .env("CARGO_ENCODED_RUSTFLAGS", of_rust.join("\u{1f}"))
        .env("CFLAGS", of_c.join(" "));
    let built = messages(command)?;
    let one = |name| only(of_kind(&built, "bin"), name);
    Ok(ReleasedStatic {
        operator: one("culvert-operator")?,
        agent: one("culvert-node-agent")?,
        plugin: one("kubectl-culvert")?,
    })
}

/// Has C code know no time: the allocator has it in its statistics otherwise.
const NO_TIME: [&str; 3] = [
    "-Wno-builtin-macro-redefined",
    "-D__DATE__=\"\"",
    "-D__TIME__=\"\"",
];

/// Where cargo keeps the sources of crates.
fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME").filter(|home| !home.is_empty()) {
        return Ok(home.into());
    }
    let home = env::home_dir().context("this user has no home folder; set CARGO_HOME")?;
    Ok(home.join(".cargo"))
}

/// What images hold.
pub struct ReleasedStatic {
    pub operator: Artifact,
    pub agent: Artifact,
    pub plugin: Artifact,
}

/// Builds this with the release profile, and gives cargo's messages about it.
fn release(selection: &[&str]) -> Result<Vec<Value>> {
    let mut command = run::cargo()?;
    command.args(["build", "--release"]).args(selection);
    messages(command)
}

/// Runs a build and gives cargo's messages about it.
fn messages(mut command: Command) -> Result<Vec<Value>> {
    let output = command
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("failed to run cargo")?;
    if !output.status.success() {
        bail!("the build failed");
    }
    let text = String::from_utf8(output.stdout).context("cargo's messages are no text")?;
    Ok(text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

/// What was built of one kind, by name.
fn of_kind(messages: &[Value], kind: &str) -> Vec<(String, Artifact)> {
    let mut artifacts = Vec::new();
    for message in messages {
        let kinds = message["target"]["kind"].as_array();
        // A program's own unit tests go by the program's name. A benchmark is built as a test is.
        if message["profile"]["test"] != (kind != "bin") {
            continue;
        }
        if !kinds.is_some_and(|kinds| kinds.iter().any(|one| one == kind)) {
            continue;
        }
        let (Some(name), Some(executable), Some(manifest)) = (
            message["target"]["name"].as_str(),
            message["executable"].as_str(),
            message["manifest_path"].as_str(),
        ) else {
            continue;
        };
        let mut package = PathBuf::from(manifest);
        package.pop();
        artifacts.push((
            name.to_owned(),
            Artifact {
                executable: executable.into(),
                package,
            },
        ));
    }
    artifacts
}
