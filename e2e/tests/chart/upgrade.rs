//! What an upgrade restarts: what has changed.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{chart, scratch::Scratch};
use serde_json::Value;

use crate::{object, objects, read};

/// A copy of the chart's folder.
pub fn copy(to: &Path) -> Result<()> {
    let status = Command::new("cp")
        .arg("-r")
        .arg(chart::folder())
        .arg(to)
        .status()?;
    ensure!(status.success(), "failed to copy the chart");
    Ok(())
}

fn spec(objects: &[Value], kind: &str, name: &str) -> Result<Value> {
    Ok(object(objects, kind, name)?["spec"].clone())
}

#[test]
fn changes_of_the_operator_leave_agents_alone_and_the_other_way_round() -> Result<()> {
    let both = |flags: &[&str]| -> Result<(Value, Value)> {
        let objects = objects(flags)?;
        Ok((
            spec(&objects, "Deployment", "culvert-operator")?,
            spec(&objects, "DaemonSet", "culvert-agent")?,
        ))
    };
    let (operator, agent) = both(&[])?;
    for change in [
        "operator.image.tag=9.9",
        "operator.replicas=3",
        "operator.concurrency=64",
        "operator.podLabels.a=b",
        "networkPolicy.enabled=false",
        "crds.enabled=false",
        "metrics.operatorPort=9443",
        "uninstall.wait=90s",
    ] {
        ensure!(both(&["--set", change])?.1 == agent, "{change} restarts agents");
    }
    for change in [
        "agent.image.tag=9.9",
        "agent.backend=auto",
        "agent.probePort=9000",
    ] {
        ensure!(
            both(&["--set", change])?.0 == operator,
            "{change} restarts the operator"
        );
    }
    // The comparison can tell.
    ensure!(both(&["--set", "operator.image.tag=9.9"])?.0 != operator);
    ensure!(both(&["--set", "agent.image.tag=9.9"])?.1 != agent);
    Ok(())
}

#[test]
fn another_version_of_the_chart_restarts_nothing_by_itself() -> Result<()> {
    let scratch = Scratch::new("culvert-chart-")?;
    let folder = scratch.path().join("culvert");
    copy(&folder)?;
    let file = folder.join("Chart.yaml");
    let chart = fs::read_to_string(&file)?;
    let version = chart
        .lines()
        .find(|line| line.starts_with("version:"))
        .context("no version")?;
    fs::write(&file, chart.replace(version, "version: 99.0.0"))?;
    let (before, after) = (objects(&[])?, read(&chart::render_in(&folder, &[])?)?);
    for (kind, name) in [("Deployment", "culvert-operator"), ("DaemonSet", "culvert-agent")] {
        let labels = &object(&after, kind, name)?["metadata"]["labels"];
        ensure!(labels["helm.sh/chart"] == "culvert-99.0.0", "{labels}");
        ensure!(spec(&before, kind, name)? == spec(&after, kind, name)?, "{kind}");
    }
    Ok(())
}
