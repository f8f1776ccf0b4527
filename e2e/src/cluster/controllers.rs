//! What turns a control plane into a cluster: kube-controller-manager and kube-scheduler.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{ControlPlane, Program, programs::Tool};

/// What pods' addresses are drawn from, a /24 for each node.
pub(super) const PODS: &str = "10.244.0.0/16";

/// Starts both. They go on while the apiserver is away: nobody else could take over.
pub(super) fn start(plane: &ControlPlane, logs: &Path) -> Result<Vec<Program>> {
    let kubeconfig = format!("--kubeconfig={}", plane.kubeconfig().display());
    let mut manager = Command::new(Tool::KubeControllerManager.find()?);
    manager.current_dir(plane.folder()).args([
        kubeconfig.as_str(),
        "--service-account-private-key-file=sa.key",
        "--root-ca-file=ca.crt",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--allocate-node-cidrs",
        &format!("--cluster-cidr={PODS}"),
        "--service-cluster-ip-range=10.96.0.0/16",
        "--bind-address=127.0.0.1",
    ]);
    let mut scheduler = Command::new(Tool::KubeScheduler.find()?);
    scheduler.args([
        kubeconfig.as_str(),
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    ]);
    Ok(vec![
        Program::start("kube-controller-manager", &manager, logs)?,
        Program::start("kube-scheduler", &scheduler, logs)?,
    ])
}
