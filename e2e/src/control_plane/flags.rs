//! The command lines of etcd and kube-apiserver.
//!
//! Chosen for a quick start and few side effects; what a cluster's user meets (RBAC, admission, validation, watch
//! caches) is as kubeadm sets it up.

use std::{net::Ipv4Addr, process::Command};

use anyhow::Result;

use super::ControlPlane;
use crate::programs::Tool;

/// Where etcd keeps its data, in the control plane's folder.
pub(super) const ETCD_DATA: &str = "etcd";

pub(super) fn etcd(plane: &ControlPlane) -> Result<Command> {
    let clients = format!("http://{}:{}", plane.home, plane.etcd_port);
    let mut command = Command::new(Tool::Etcd.find()?);
    command.current_dir(plane.folder()).args([
        &format!("--data-dir={ETCD_DATA}"),
        // The data need not survive a power failure; a killed etcd finds them all the same.
        "--unsafe-no-fsync",
        &format!("--listen-client-urls={clients}"),
        &format!("--advertise-client-urls={clients}"),
        // One member has no peers: any port will do.
        "--listen-peer-urls=http://127.0.0.1:0",
        "--log-level=warn",
    ]);
    command.args(&plane.options.etcd_flags);
    Ok(command)
}

pub(super) fn apiserver(plane: &ControlPlane) -> Result<Command> {
    let options = &plane.options;
    let mut command = Command::new(Tool::KubeApiserver.find()?);
    command.current_dir(plane.folder()).args([
        &format!("--etcd-servers=http://{}:{}", plane.home, plane.etcd_port),
        &format!("--bind-address={}", plane.bind),
        &format!("--secure-port={}", plane.port),
        "--tls-cert-file=apiserver.crt",
        "--tls-private-key-file=apiserver.key",
        "--client-ca-file=ca.crt",
        "--kubelet-client-certificate=kubelets.crt",
        "--kubelet-client-key=kubelets.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-key-file=sa.pub",
        "--service-account-signing-key-file=sa.key",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
    ]);
    match options.advertise {
        Some(address) => command.arg(format!("--advertise-address={address}")),
        // Without this it looks for a default route, which a test machine may lack. Loopback cannot be an endpoint,
        // so none is published.
        None => command
            .arg(format!("--advertise-address={}", Ipv4Addr::LOCALHOST))
            .arg("--endpoint-reconciler-type=none"),
    };
    if options.audit_policy.is_some() {
        command.args([
            "--audit-policy-file=audit-policy.yaml",
            "--audit-log-path=audit.log",
            "--audit-log-mode=blocking",
        ]);
    }
    command.args(&options.flags);
    Ok(command)
}
