//! Culvert's two programs in a bed: how they start, where they write, how they end.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use super::{AGENT_USER, Bed, NODE, OPERATOR_SIDE, SOON};
use crate::{
    Program,
    process::{self, Signal},
};

/// What a program gets at its next start besides what it needs.
#[derive(Debug, Default)]
pub(super) struct Extras {
    flags: Vec<String>,
    variables: Vec<(String, OsString)>,
    kubeconfig: Option<PathBuf>,
}

impl Bed {
    /// Starts the operator.
    pub fn start_operator(&mut self) -> Result<()> {
        let admin = self.plane.kubeconfig();
        let extras = &self.operator_extras;
        let mut command = process::built("CULVERT_OPERATOR")?;
        command
            .args(&extras.flags)
            .env("KUBECONFIG", extras.kubeconfig.as_ref().unwrap_or(&admin))
            .env("RUST_LOG", "trace")
            .envs(extras.variables.iter().map(|(name, value)| (name, value)));
        self.operator = Some(Program::start("operator", &command, &self.logs)?);
        Ok(())
    }

    /// Gives the operator further flags, from its next start on.
    pub fn operator_flags(&mut self, flags: &[&str]) {
        self.operator_extras.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    }

    /// Has the operator reach the API as this file says, from its next start on.
    pub fn operator_kubeconfig(&mut self, kubeconfig: &Path) {
        self.operator_extras.kubeconfig = Some(kubeconfig.to_owned());
    }

    /// Gives the operator a further variable, from its next start on.
    pub fn operator_variable(&mut self, name: &str, value: impl Into<OsString>) {
        let variables = &mut self.operator_extras.variables;
        variables.push((name.to_owned(), value.into()));
    }

    /// Gives the agent further flags, from its next start on.
    pub fn agent_flags(&mut self, flags: &[&str]) {
        self.agent_extras.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    }

    /// Gives the agent a further variable, from its next start on.
    pub fn agent_variable(&mut self, name: &str, value: impl Into<OsString>) {
        let variables = &mut self.agent_extras.variables;
        variables.push((name.to_owned(), value.into()));
    }

    /// Starts the node's agent.
    pub fn start_agent(&mut self) -> Result<()> {
        let command = self.gateway.wrap(&self.agent_command()?);
        self.agent = Some(Program::start("agent", &command, &self.logs)?);
        Ok(())
    }

    /// The agent's command, which is to be run in the gateway's network namespace.
    pub fn agent_command(&self) -> Result<Command> {
        let user = self.plane.kubeconfig_for(AGENT_USER, Some("system:masters"))?;
        let kubeconfig = self.plane.kubeconfig_via(&user, OPERATOR_SIDE.parse()?)?;
        let home = self.agent_home();
        fs::create_dir_all(&home).with_context(|| format!("failed to create {}", home.display()))?;
        let mut command = process::built("CULVERT_NODE_AGENT")?;
        command
            .args(&self.agent_extras.flags)
            .current_dir(&home)
            .env("KUBECONFIG", kubeconfig)
            .env("NODE_NAME", NODE)
            .env("CULVERT_STATE_DIR", self.keys())
            .env("TMPDIR", home)
            .env("RUST_LOG", "trace")
            .envs(
                self.agent_extras
                    .variables
                    .iter()
                    .map(|(name, value)| (name, value)),
            );
        Ok(command)
    }

    /// The agent's process.
    pub fn agent_pid(&self) -> Result<u32> {
        Ok(self.agent.as_ref().context("the agent does not run")?.pid())
    }

    /// The operator's process.
    pub fn operator_pid(&self) -> Result<u32> {
        Ok(self.operator.as_ref().context("the operator does not run")?.pid())
    }

    /// The folder in which the agent works, and has what it writes for the time being.
    pub fn agent_home(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    /// The folder in which the agent keeps gateways' private keys.
    pub fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// The files in that folder; none before the first gateway has a key.
    pub fn key_files(&self) -> Result<Vec<PathBuf>> {
        match fs::read_dir(self.keys()) {
            Ok(folder) => folder.map(|entry| Ok(entry?.path())).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).context("failed to list the gateways' keys"),
        }
    }

    /// Kills the agent with SIGKILL.
    pub fn kill_agent(&mut self) -> Result<()> {
        self.agent.take().context("the agent does not run")?.kill()
    }

    /// Has the agent crash: the signal is one on which a process leaves a core, if it may.
    pub async fn crash_agent(&mut self) -> Result<()> {
        let mut agent = self.agent.take().context("the agent does not run")?;
        agent.signal(Signal::ABORT)?;
        let status = agent.wait(SOON).await?;
        let aborted = 128 + Signal::ABORT.as_raw();
        ensure!(status == aborted, "the agent ended with status {status}");
        Ok(())
    }

    /// Ends the agent as an upgrade would.
    pub async fn terminate_agent(&mut self) -> Result<()> {
        terminate(self.agent.take(), "the agent").await
    }

    /// Ends the operator as an upgrade would.
    pub async fn terminate_operator(&mut self) -> Result<()> {
        terminate(self.operator.take(), "the operator").await
    }
}

/// Ends a program politely, and fails when it has not ended well.
pub(super) async fn terminate(program: Option<Program>, name: &str) -> Result<()> {
    let Some(program) = program else {
        bail!("{name} does not run");
    };
    let log = program.tail(12);
    let status = program.terminate(SOON).await?;
    ensure!(status == 0, "{name} ended with status {status}:\n{log}");
    Ok(())
}
