//! What the cache holds, pinned: one recipe for each family, with everything that decides the result.
//!
//! The files are compiled in, so a test binary finds its programs wherever it runs. `cargo xtask setup` builds from
//! the same bytes.

/// One thing to build.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Names the folder in the cache.
    pub family: &'static str,

    /// What the files do not say: a version, or how the build is done. Change it to have everybody build again.
    pub version: &'static str,

    /// The files of the recipe, by name.
    pub files: &'static [(&'static str, &'static str)],
}

/// kube-apiserver and kubectl, from the Go module k8s.io/kubernetes.
pub const KUBERNETES: Recipe = Recipe {
    family: "kubernetes",
    version: "kube-apiserver kubectl, trimpath, version stamped",
    files: &[
        ("go.mod", include_str!("../programs/kubernetes/go.mod")),
        ("go.sum", include_str!("../programs/kubernetes/go.sum")),
        ("tools.go", include_str!("../programs/kubernetes/tools.go")),
    ],
};

/// What a cluster has besides: the controllers, and the programs of its nodes. From the same module, in a family of its
/// own: who needs an API alone does not wait for them.
pub const KUBERNETES_NODE: Recipe = Recipe {
    family: "kubernetes-node",
    version: "kube-controller-manager kube-scheduler kubelet kube-proxy, trimpath, version stamped",
    files: KUBERNETES.files,
};

/// etcd, from the Go module go.etcd.io/etcd/server.
pub const ETCD: Recipe = Recipe {
    family: "etcd",
    version: "etcd, trimpath",
    files: &[
        ("go.mod", include_str!("../programs/etcd/go.mod")),
        ("go.sum", include_str!("../programs/etcd/go.sum")),
        ("tools.go", include_str!("../programs/etcd/tools.go")),
    ],
};

/// containerd with its shim and its client, without the file systems that no test uses.
pub const CONTAINERD: Recipe = Recipe {
    family: "containerd",
    version: "containerd containerd-shim-runc-v2 ctr, no btrfs devmapper zfs, trimpath",
    files: &[
        ("go.mod", include_str!("../programs/containerd/go.mod")),
        ("go.sum", include_str!("../programs/containerd/go.sum")),
        ("tools.go", include_str!("../programs/containerd/tools.go")),
    ],
};

/// runc, with seccomp: pods ask for the runtime's default profile. Not a distribution's: older ones do not say why a
/// container did not start.
pub const RUNC: Recipe = Recipe {
    family: "runc",
    version: "runc, seccomp, trimpath",
    files: &[
        ("go.mod", include_str!("../programs/runc/go.mod")),
        ("go.sum", include_str!("../programs/runc/go.sum")),
        ("tools.go", include_str!("../programs/runc/tools.go")),
    ],
};

/// Helm, and kubeconform for what it renders.
pub const HELM: Recipe = Recipe {
    family: "helm",
    version: "helm kubeconform, trimpath",
    files: &[
        ("go.mod", include_str!("../programs/helm/go.mod")),
        ("go.sum", include_str!("../programs/helm/go.sum")),
        ("tools.go", include_str!("../programs/helm/tools.go")),
    ],
};

/// wireguard-go, from the Go module golang.zx2c4.com/wireguard. Static: it runs wherever a node agent does.
pub const WIREGUARD_GO: Recipe = Recipe {
    family: "wireguard-go",
    version: "wireguard-go, static, trimpath",
    files: &[
        ("go.mod", include_str!("../programs/wireguard-go/go.mod")),
        ("go.sum", include_str!("../programs/wireguard-go/go.sum")),
        ("tools.go", include_str!("../programs/wireguard-go/tools.go")),
    ],
};

/// The test kernel: Linux as a User-Mode Linux program with WireGuard built in, from Debian's source package, with
/// clocks that cost no system call while time travels.
pub const KERNEL: Recipe = Recipe {
    family: "kernel",
    version: "linux-source-6.12",
    files: &[
        ("config", include_str!("../kernel/config")),
        ("uml.patch", include_str!("../kernel/uml.patch")),
    ],
};

/// cargo-deny, which checks licences and sources.
pub const CARGO_DENY: Recipe = Recipe {
    family: "cargo-deny",
    version: "0.20.2",
    files: &[],
};

/// cargo-auditable, which writes into programs which crates they were made of.
pub const CARGO_AUDITABLE: Recipe = Recipe {
    family: "cargo-auditable",
    version: "0.7.7",
    files: &[],
};

/// mdbook, which makes the site of the documentation.
pub const MDBOOK: Recipe = Recipe {
    family: "mdbook",
    version: "0.5.4",
    files: &[],
};

/// Prometheus and promtool, which hold alerts and dashboard, from the Go module github.com/prometheus/prometheus.
pub const PROMETHEUS: Recipe = Recipe {
    family: "prometheus",
    version: "prometheus promtool, trimpath, without service discovery",
    files: &[
        ("go.mod", include_str!("../programs/prometheus/go.mod")),
        ("go.sum", include_str!("../programs/prometheus/go.sum")),
        ("tools.go", include_str!("../programs/prometheus/tools.go")),
    ],
};

/// actionlint, which reads the hosted workflows, from the Go module github.com/rhysd/actionlint.
pub const ACTIONLINT: Recipe = Recipe {
    family: "actionlint",
    version: "actionlint, trimpath",
    files: &[
        ("go.mod", include_str!("../programs/actionlint/go.mod")),
        ("go.sum", include_str!("../programs/actionlint/go.sum")),
        ("tools.go", include_str!("../programs/actionlint/tools.go")),
    ],
};

/// verdict, which says what kstatus and Argo CD's Lua make of an object: a program of our own over their libraries.
pub const VERDICT: Recipe = Recipe {
    family: "verdict",
    version: "verdict, trimpath",
    files: &[
        ("go.mod", include_str!("../programs/verdict/go.mod")),
        ("go.sum", include_str!("../programs/verdict/go.sum")),
        ("main.go", include_str!("../programs/verdict/main.go")),
    ],
};
