//! Finds the programs that the tests run: those of `KUBEBUILDER_ASSETS` where it is set, as every user of envtest
//! expects, otherwise those that `cargo xtask setup` built into the cache.
//!
//! A program that is missing is an error that says what to run; no test passes without it.

use std::{env, path::PathBuf};

use crate::{
    cache::Entry,
    recipes::{
        ACTIONLINT, CARGO_AUDITABLE, CARGO_DENY, CONTAINERD, ETCD, HELM, KERNEL, KUBERNETES, KUBERNETES_NODE,
        MDBOOK, PROMETHEUS, RUNC, Recipe, VERDICT, WIREGUARD_GO,
    },
};

/// Why a program cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// Nobody built it yet, or `KUBEBUILDER_ASSETS` lacks it.
    #[error("{program} is not at {}: run `cargo xtask setup`", .path.display())]
    Program {
        /// The file name.
        program: &'static str,

        /// Where it was looked for.
        path: PathBuf,
    },

    /// There is no cache folder to look in.
    #[error("failed to find the cache: {0:#}")]
    Cache(anyhow::Error),
}

/// A program that the tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// The database below the apiserver.
    Etcd,

    /// The Kubernetes API.
    KubeApiserver,

    /// The command line client.
    Kubectl,

    /// Makes pods of deployments, tokens of service accounts, and deletes what has lost its owner.
    KubeControllerManager,

    /// Gives pods their nodes.
    KubeScheduler,

    /// Runs a node's pods.
    Kubelet,

    /// Leads a node's connections to services to the pods behind them.
    KubeProxy,

    /// Runs a node's containers, as [`Tool::Kubelet`] asks.
    Containerd,

    /// Stands between containerd and one pod.
    ContainerdShim,

    /// containerd's own client.
    Ctr,

    /// Starts one container.
    Runc,

    /// Installs charts.
    Helm,

    /// Checks manifests against the API's schemas.
    Kubeconform,

    /// The kernel of [`crate::Machine`].
    Kernel,

    /// WireGuard as a program, for nodes whose kernel has none.
    WireguardGo,

    /// The dependency checker of the lint suite.
    CargoDeny,

    /// What builds programs that say which crates they were made of.
    CargoAuditable,

    /// What makes the site of the documentation.
    MdBook,

    /// What tests alerts.
    Promtool,

    /// What scrapes, and evaluates the dashboard.
    Prometheus,

    /// The reader of hosted workflows.
    Actionlint,

    /// What kstatus and Argo CD say of an object.
    Verdict,
}

impl Tool {
    /// The file name, and where it lies within its family's folder.
    fn file(self) -> (&'static str, &'static str) {
        match self {
            Self::Etcd => ("etcd", "etcd"),
            Self::KubeApiserver => ("kube-apiserver", "kube-apiserver"),
            Self::Kubectl => ("kubectl", "kubectl"),
            Self::KubeControllerManager => ("kube-controller-manager", "kube-controller-manager"),
            Self::KubeScheduler => ("kube-scheduler", "kube-scheduler"),
            Self::Kubelet => ("kubelet", "kubelet"),
            Self::KubeProxy => ("kube-proxy", "kube-proxy"),
            Self::Containerd => ("containerd", "containerd"),
            Self::ContainerdShim => ("containerd-shim-runc-v2", "containerd-shim-runc-v2"),
            Self::Ctr => ("ctr", "ctr"),
            Self::Runc => ("runc", "runc"),
            Self::Helm => ("helm", "helm"),
            Self::Kubeconform => ("kubeconform", "kubeconform"),
            Self::Kernel => ("linux", "linux"),
            Self::WireguardGo => ("wireguard-go", "wireguard-go"),
            Self::CargoDeny => ("cargo-deny", "bin/cargo-deny"),
            Self::CargoAuditable => ("cargo-auditable", "bin/cargo-auditable"),
            Self::MdBook => ("mdbook", "bin/mdbook"),
            Self::Promtool => ("promtool", "promtool"),
            Self::Prometheus => ("prometheus", "prometheus"),
            Self::Actionlint => ("actionlint", "actionlint"),
            Self::Verdict => ("verdict", "verdict"),
        }
    }

    fn recipe(self) -> &'static Recipe {
        match self {
            Self::Etcd => &ETCD,
            Self::KubeApiserver | Self::Kubectl => &KUBERNETES,
            Self::KubeControllerManager | Self::KubeScheduler | Self::Kubelet | Self::KubeProxy => {
                &KUBERNETES_NODE
            }
            Self::Containerd | Self::ContainerdShim | Self::Ctr => &CONTAINERD,
            Self::Runc => &RUNC,
            Self::Helm | Self::Kubeconform => &HELM,
            Self::Kernel => &KERNEL,
            Self::WireguardGo => &WIREGUARD_GO,
            Self::CargoDeny => &CARGO_DENY,
            Self::CargoAuditable => &CARGO_AUDITABLE,
            Self::MdBook => &MDBOOK,
            Self::Promtool | Self::Prometheus => &PROMETHEUS,
            Self::Actionlint => &ACTIONLINT,
            Self::Verdict => &VERDICT,
        }
    }

    /// Whether `KUBEBUILDER_ASSETS` is a place for it.
    fn is_asset(self) -> bool {
        matches!(self, Self::Etcd | Self::KubeApiserver | Self::Kubectl)
    }

    /// The program's file, which exists.
    pub fn find(self) -> Result<PathBuf, Missing> {
        let (program, place) = self.file();
        let path = match assets().filter(|_| self.is_asset()) {
            Some(folder) => folder.join(program),
            None => Entry::of(self.recipe())
                .map_err(Missing::Cache)?
                .folder()
                .join(place),
        };
        if path.is_file() {
            Ok(path)
        } else {
            Err(Missing::Program { program, path })
        }
    }
}

/// The folder of the programs that the user brought along, if any.
pub fn assets() -> Option<PathBuf> {
    env::var_os("KUBEBUILDER_ASSETS")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}
