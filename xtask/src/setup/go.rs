//! The Kubernetes programs, etcd, the container runtime, Helm and wireguard-go, built from their Go modules. Versions and digests are pinned by the recipe's
//! `go.mod` and `go.sum`.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Site;
use crate::run;

/// kube-apiserver and kubectl.
pub fn kubernetes(site: &Site<'_>) -> Result<()> {
    of_kubernetes(site, &["kube-apiserver", "kubectl"])
}

/// The controllers, and what a node runs.
pub fn kubernetes_node(site: &Site<'_>) -> Result<()> {
    let programs = [
        "kube-controller-manager",
        "kube-scheduler",
        "kube-proxy",
        "kubelet",
    ];
    of_kubernetes(site, &programs)
}

fn of_kubernetes(site: &Site<'_>, programs: &[&str]) -> Result<()> {
    site.unpack()?;
    let list = ["list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes"];
    let version = run::output(go(site)?.args(list))?.trim().to_owned();
    let (major, rest) = version
        .trim_start_matches('v')
        .split_once('.')
        .context("no version of k8s.io/kubernetes")?;
    let minor = rest.split('.').next().unwrap_or_default();
    // Without a version the API says v0.0.0, and clients that ask for it refuse to work.
    let package = "k8s.io/component-base/version";
    let flags = format!(
        "-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
    );
    for program in programs {
        build(site, &flags, program, &format!("k8s.io/kubernetes/cmd/{program}"))?;
    }
    Ok(())
}

/// etcd.
pub fn etcd(site: &Site<'_>) -> Result<()> {
    site.unpack()?;
    build(site, "-s -w", "etcd", "go.etcd.io/etcd/server/v3")
}

/// containerd, its shim, its client.
pub fn containerd(site: &Site<'_>) -> Result<()> {
    site.unpack()?;
    for program in ["containerd", "containerd-shim-runc-v2", "ctr"] {
        let mut go = go(site)?;
        // File systems that need headers of their own, and that no test uses.
        go.env("GOFLAGS", "-tags=no_btrfs,no_devmapper,no_zfs");
        let package = format!("github.com/containerd/containerd/v2/cmd/{program}");
        build_with(go, site, "-s -w", program, &package)?;
    }
    Ok(())
}

/// runc, which needs a C compiler and the headers of libseccomp.
pub fn runc(site: &Site<'_>) -> Result<()> {
    site.unpack()?;
    let mut go = go(site)?;
    go.env("GOFLAGS", "-tags=seccomp").env("CGO_ENABLED", "1");
    build_with(go, site, "-s -w", "runc", "github.com/opencontainers/runc")
}

/// Helm and kubeconform.
pub fn helm(site: &Site<'_>) -> Result<()> {
    site.unpack()?;
    build(site, "-s -w", "helm", "helm.sh/helm/v4/cmd/helm")?;
    build(
        site,
        "-s -w",
        "kubeconform",
        "github.com/yannh/kubeconform/cmd/kubeconform",
    )
}

/// wireguard-go, static.
pub fn wireguard_go(site: &Site<'_>) -> Result<()> {
    site.unpack()?;
    let mut go = go(site)?;
    go.env("CGO_ENABLED", "0");
    build_with(go, site, "-s -w", "wireguard-go", "golang.zx2c4.com/wireguard")
}

/// Prometheus and promtool. They are asked of files and fixed addresses, so what finds clouds' machines is left out.
pub fn prometheus(site: &Site<'_>) -> Result<()> {
    site.unpack()?;
    for program in ["promtool", "prometheus"] {
        let mut go = go(site)?;
        go.env("GOFLAGS", "-tags=remove_all_sd");
        let package = format!("github.com/prometheus/prometheus/cmd/{program}");
        build_with(go, site, "-s -w", program, &package)?;
    }
    Ok(())
}

/// actionlint.
pub fn actionlint(site: &Site<'_>) -> Result<()> {
    site.unpack()?;
    build(
        site,
        "-s -w",
        "actionlint",
        "github.com/rhysd/actionlint/cmd/actionlint",
    )
}

/// verdict, whose source is the recipe's.
pub fn verdict(site: &Site<'_>) -> Result<()> {
    site.unpack()?;
    build(site, "-s -w", "verdict", ".")
}

fn build(site: &Site<'_>, flags: &str, program: &str, package: &str) -> Result<()> {
    build_with(go(site)?, site, flags, program, package)
}

fn build_with(
    mut command: Command,
    site: &Site<'_>,
    flags: &str,
    program: &str,
    package: &str,
) -> Result<()> {
    // -v names each package as it is done: the log shows progress.
    command
        .args(["build", "-v", "-trimpath", "-ldflags", flags, "-o"])
        .arg(site.out.join(program))
        .arg(package);
    site.run(&command)
}

fn go(site: &Site<'_>) -> Result<Command> {
    let works = Command::new("go")
        .arg("version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !works {
        bail!(
            "`go` is not there: install Go 1.21 or newer (it fetches the version it needs), or point KUBEBUILDER_ASSETS to etcd, kube-apiserver and kubectl"
        );
    }
    let mut command = Command::new("go");
    command
        .current_dir(&site.work)
        .env_remove("GOOS")
        .env_remove("GOARCH")
        .env("GOWORK", "off");
    Ok(command)
}
