//! The files that a node's programs read.

use std::{net::Ipv4Addr, path::Path};

use serde_json::json;

/// What keeps a pod's namespaces open.
const PAUSE: &str = concat!("ghcr.io/culvert-dev/culvert-pause:", env!("CARGO_PKG_VERSION"));

/// containerd's configuration, for a node whose files lie in this folder.
pub(super) fn containerd(folder: &Path) -> String {
    let at = folder.display();
    format!(
        r#"version = 3
root = "{at}/containerd"
state = "{at}/run"
[grpc]
  address = "{at}/containerd.sock"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
  # Without the right to lower a process's score, as in a namespace, runc fails.
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni", "/opt/cni/bin"]
  conf_dir = "{at}/cni"
"#
    )
}

/// kubelet's configuration. What it limits and evicts is left to the machine, which has other tests' load, too.
pub(super) fn kubelet(folder: &Path, authority: &Path) -> String {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "containerRuntimeEndpoint": format!("unix://{}/containerd.sock", folder.display()),
        "podLogsDir": folder.join("pods"),
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": authority },
        },
        "authorization": { "mode": "Webhook" },
        "evictionHard": { "memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%" },
        "imageGCHighThresholdPercent": 100,
        "resolvConf": "",
        // An outage of the apiserver ends for a node when it asks again.
        "nodeStatusUpdateFrequency": "5s",
    })
    .to_string()
}

/// How a node's pods get a network: a bridge, of which the node is the router.
pub(super) fn cni(folder: &Path, range: &str) -> String {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": "pods0",
            "isGateway": true,
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": folder.join("ipam"),
                "ranges": [[{ "subnet": range }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    })
    .to_string()
}

/// kube-proxy's flags.
pub(super) fn proxy(kubeconfig: &Path, name: &str, address: Ipv4Addr) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--proxy-mode=nftables".to_owned(),
        format!("--hostname-override={name}"),
        format!("--bind-address={address}"),
        format!("--cluster-cidr={}", super::controllers::PODS),
        // Settings of the whole machine, which are not a node's to change.
        "--conntrack-max-per-core=0".to_owned(),
        "--conntrack-tcp-timeout-established=0".to_owned(),
        "--conntrack-tcp-timeout-close-wait=0".to_owned(),
        "--metrics-bind-address=127.0.0.1:10249".to_owned(),
        "--healthz-bind-address=127.0.0.1:10256".to_owned(),
    ]
}
