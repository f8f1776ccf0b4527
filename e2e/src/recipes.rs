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
