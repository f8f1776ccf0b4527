//! What a person at a terminal sees that a pipe does not get.
#![allow(clippy::unwrap_used, reason = "a failure of a fixture is the test's")]

mod cluster;

use std::process::Command;

use cluster::{Answers, Cluster};
use serde_json::json;

const PRIVATE: &str = "SGb+ojrRNDuMePufwtIYhXzA//k6wF3R21tEBgKlzlM=";
const PUBLIC: &str = "DD5yKRfzExcV5+kDnTroDgCU15latdMjiQ59j1hEuk8=";

fn served() -> Cluster {
    let said = |kind: &str| {
        json!({ "type": kind, "status": "True", "reason": "Ready", "message": "",
            "lastTransitionTime": "2026-01-02T03:04:05Z" })
    };
    let key = json!({
        "apiVersion": "culvert.dev/v1alpha1", "kind": "WireGuardKey",
        "metadata": { "name": "laptop", "namespace": "tenant", "generation": 1 },
        "spec": { "publicKey": PUBLIC },
        "status": { "observedGeneration": 1, "publicKey": PUBLIC, "addressGeneration": 0,
            "addresses": ["10.93.165.221", "fd64:cafe:1:0:9930:c16f:6b43:335f"], "conditions": [said("Ready")] },
    });
    let pool = json!({
        "apiVersion": "culvert.dev/v1alpha1", "kind": "IPPool", "metadata": { "name": "default" },
        "spec": { "ipv4": { "cidr": "10.64.0.0/11" }, "ipv6": { "cidr": "fd64:cafe:1::/64" } },
    });
    let gateway = json!({
        "apiVersion": "culvert.dev/v1alpha1", "kind": "WireGuardGateway",
        "metadata": { "name": "default", "uid": "g" }, "spec": { "poolRefs": [{ "name": "default" }] },
    });
    let node = json!({
        "apiVersion": "culvert.dev/v1alpha1", "kind": "GatewayNode", "metadata": { "name": "default.gateway-1" },
        "spec": { "gatewayRef": { "name": "default", "uid": "g" }, "nodeName": "gateway-1" },
        "status": { "publicKey": PUBLIC, "endpoints": ["198.51.100.1:51820"], "pools": ["default"],
            "renewTime": "2026-01-02T03:04:05.000000Z", "conditions": [said("Ready")] },
    });
    let list = |item| json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "9" }, "items": [item] });
    let cluster = Cluster::start(Answers::from([
        (
            "GET /apis/culvert.dev/v1alpha1/namespaces/tenant/wireguardkeys",
            (200, list(key.clone())),
        ),
        (
            "GET /apis/culvert.dev/v1alpha1/namespaces/tenant/wireguardkeys/laptop",
            (200, key),
        ),
        ("GET /apis/culvert.dev/v1alpha1/ippools/default", (200, pool)),
        (
            "GET /apis/culvert.dev/v1alpha1/wireguardgateways",
            (200, list(gateway)),
        ),
        ("GET /apis/culvert.dev/v1alpha1/gatewaynodes", (200, list(node))),
    ]));
    cluster.keep("laptop", PRIVATE);
    cluster
}

/// What the plugin shows in a window of this size.
fn shown(cluster: &Cluster, words: &str, columns: u16, rows: u16) -> String {
    let program = env!("CARGO_BIN_EXE_kubectl-culvert");
    let line = format!("stty cols {columns} rows {rows}; {program} {words}");
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("KUBECONFIG", cluster.home().join("kubeconfig"))
        .env("XDG_DATA_HOME", cluster.home())
        .env_remove("NO_COLOR")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert!(output.status.success(), "{text}");
    text
}

/// Pixels of a module.
const PIXELS: usize = 4;

/// Decodes the half blocks of a code in black on white.
fn decode(text: &str) -> String {
    let lines = text.lines().filter_map(|line| line.strip_prefix("\x1b[30;107m"));
    let lines: Vec<Vec<char>> = lines
        .map(|line| line.trim_end_matches("\x1b[0m").chars().collect())
        .collect();
    let side = lines[0].len();
    let is_dark = |x: usize, y: usize| {
        let half = lines
            .get(y / 2)
            .and_then(|line| line.get(x))
            .copied()
            .unwrap_or(' ');
        half == '█' || half == if y.is_multiple_of(2) { '▀' } else { '▄' }
    };
    let shade = |x: usize, y: usize| if is_dark(x / PIXELS, y / PIXELS) { 0 } else { 255 };
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(side * PIXELS, side * PIXELS, shade);
    let grids = picture.detect_grids();
    grids[0].decode().unwrap().1
}

#[test]
fn a_terminal_shows_what_no_pipe_gets_unasked() {
    let cluster = served();
    assert!(!cluster.run(&["key", "config", "laptop"]).contains(PRIVATE));
    let config = shown(&cluster, "key config laptop", 80, 24);
    assert!(
        config.contains("# default.gateway-1") && config.contains(PRIVATE),
        "{config}"
    );
}

#[test]
fn a_code_on_a_terminal_is_the_configuration_and_fits_into_the_window() {
    let cluster = served();
    let asked = cluster.run(&["key", "config", "laptop", "--out", "-"]);
    let wide = shown(&cluster, "key qr laptop", 250, 130);
    assert!(asked.contains(&decode(&wide)), "another text");
    let small = shown(&cluster, "key qr laptop", 72, 38);
    assert!(asked.contains(&decode(&small)), "another text");
    let width = |text: &str| text.lines().next().map_or(0, |line| line.chars().count());
    assert!(width(&small) < width(&wide), "it does not go by the window");
    assert!(!small.contains("too small"), "{small}");
    assert!(shown(&cluster, "key qr laptop", 40, 20).contains("the window is too small"));
}
