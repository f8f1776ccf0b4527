//! The chart, rendered by Helm as a user would have it rendered. No cluster is asked.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};

use crate::{programs::Tool, scratch::Scratch};

/// The namespace of the release.
pub const NAMESPACE: &str = "culvert-system";

/// The version of Kubernetes that it is rendered for.
const KUBERNETES: &str = "1.37.0";

/// The chart's folder.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/culvert")
}

/// Runs Helm with folders of its own.
pub fn helm(words: &[&str]) -> Result<Output> {
    let home = Scratch::new("culvert-helm-")?;
    let mut command = Command::new(Tool::Helm.find()?);
    command.args(words);
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, home.path());
    }
    command
        .env_remove("KUBECONFIG")
        .output()
        .context("failed to run helm")
}

/// What `helm template` makes of the chart in this folder with these flags.
pub fn template(chart: &Path, flags: &[&str]) -> Result<Output> {
    let chart = chart.to_string_lossy();
    let words = [
        "template",
        "culvert",
        &*chart,
        "--namespace",
        NAMESPACE,
        "--kube-version",
        KUBERNETES,
    ];
    helm(&[&words, flags].concat())
}

/// What the chart renders to with these flags.
pub fn render(flags: &[&str]) -> Result<String> {
    render_in(&folder(), flags)
}

/// As [`render`], for another folder.
pub fn render_in(chart: &Path, flags: &[&str]) -> Result<String> {
    let output = template(chart, flags)?;
    ensure!(
        output.status.success(),
        "helm template {}: {}",
        flags.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).context("helm prints no text")
}
