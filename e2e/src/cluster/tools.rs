//! What people have at hand: kubectl, Helm and the plugin, with one kubeconfig and a home of their own.

use std::{
    fs,
    io::{Seek, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use kube::Client;
use serde_json::{Value, json};

use crate::{kubeconfig, process, programs::Tool};

/// Programs of one user.
#[derive(Clone)]
pub struct Tools {
    /// For what tests read again and again: kubectl takes seconds of a slow machine.
    client: Client,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Tools {
    /// Those of the user of this kubeconfig.
    pub async fn new(kubeconfig: &Path, home: &Path) -> Result<Self> {
        fs::create_dir_all(home).with_context(|| format!("failed to create {}", home.display()))?;
        Ok(Self {
            client: kubeconfig::client(kubeconfig).await?,
            kubeconfig: kubeconfig.to_owned(),
            home: home.to_owned(),
        })
    }

    /// Those of whoever this token was issued for, in the same cluster.
    pub async fn with_token(&self, token: &str, home: &Path) -> Result<Self> {
        let mut config = self.json(&["config", "view", "--raw", "--minify"]).await?;
        config["users"][0]["user"] = json!({ "token": token });
        fs::create_dir_all(home).with_context(|| format!("failed to create {}", home.display()))?;
        let file = home.join("kubeconfig");
        fs::write(&file, config.to_string())
            .with_context(|| format!("failed to write {}", file.display()))?;
        Self::new(&file, home).await
    }

    /// The kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The folder of what they keep.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// kubectl, for calls that must succeed: what it printed.
    pub async fn kubectl(&self, words: &[&str]) -> Result<String> {
        text(&self.kubectl_output(words, None).await?, "kubectl", words)
    }

    /// As [`Tools::kubectl`], with an input.
    pub async fn kubectl_with(&self, words: &[&str], input: &str) -> Result<String> {
        text(&self.kubectl_output(words, Some(input)).await?, "kubectl", words)
    }

    /// kubectl, whatever becomes of it.
    pub async fn kubectl_output(&self, words: &[&str], input: Option<&str>) -> Result<Output> {
        self.output(Command::new(Tool::Kubectl.find()?), words, input)
            .await
    }

    /// A client of the same user.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Reads an object or a list, at its path in the API.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let request = http::Request::get(path).body(Vec::new())?;
        let read = self.client.request(request).await;
        read.with_context(|| format!("failed to read {path}"))
    }

    /// What kubectl gives as JSON.
    pub async fn json(&self, words: &[&str]) -> Result<Value> {
        let printed = self.kubectl(&[words, &["--output=json"]].concat()).await?;
        serde_json::from_str(&printed).with_context(|| format!("kubectl {} gave no JSON", words.join(" ")))
    }

    /// Helm, for calls that must succeed: what it printed.
    pub async fn helm(&self, words: &[&str]) -> Result<String> {
        text(&self.helm_output(words).await?, "helm", words)
    }

    /// Helm, whatever becomes of it.
    pub async fn helm_output(&self, words: &[&str]) -> Result<Output> {
        self.output(Command::new(Tool::Helm.find()?), words, None).await
    }

    /// `kubectl culvert`, for calls that must succeed: what it printed.
    pub async fn plugin(&self, words: &[&str]) -> Result<String> {
        text(&self.plugin_output(words).await?, "kubectl culvert", words)
    }

    /// `kubectl culvert`, whatever becomes of it.
    pub async fn plugin_output(&self, words: &[&str]) -> Result<Output> {
        self.output(process::built("CULVERT_PLUGIN")?, words, None).await
    }

    /// `kubectl culvert`, to be started by the caller: for what goes on until it is ended.
    pub fn plugin_command(&self, words: &[&str]) -> Result<Command> {
        Ok(self.of_user(process::built("CULVERT_PLUGIN")?, words))
    }

    /// A program, to be run as this user.
    fn of_user(&self, mut command: Command, words: &[&str]) -> Command {
        command
            .args(words)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .current_dir(&self.home);
        command
    }

    /// Runs a program to its end, as this user.
    async fn output(&self, command: Command, words: &[&str], input: Option<&str>) -> Result<Output> {
        let mut command = self.of_user(command, words);
        let stdin = match input {
            None => Stdio::null(),
            Some(text) => {
                let mut file = tempfile::tempfile().context("failed to create a file for an input")?;
                file.write_all(text.as_bytes())?;
                file.rewind()?;
                Stdio::from(file)
            }
        };
        command.stdin(stdin);
        let shown = format!("{command:?}");
        tokio::task::spawn_blocking(move || {
            command.output().with_context(|| format!("failed to run {shown}"))
        })
        .await
        .context("a program's thread ended early")?
    }
}

fn text(output: &Output, program: &str, words: &[&str]) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} {} failed: {}",
        words.join(" "),
        said.trim_end()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
