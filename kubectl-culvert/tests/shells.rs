//! What shells make of the completion.

#![allow(clippy::unwrap_used, reason = "a failure of a fixture is the test's")]

mod cluster;

use std::process::Command;

use cluster::{Answers, Cluster};
use serde_json::{Value, json};

fn key(name: &str) -> Value {
    json!({
        "apiVersion": "culvert.dev/v1alpha1", "kind": "WireGuardKey",
        "metadata": { "name": name, "namespace": "tenant" },
        "spec": { "publicKey": "DD5yKRfzExcV5+kDnTroDgCU15latdMjiQ59j1hEuk8=" },
    })
}

/// What bash offers for the last of these words.
fn bash(cluster: &Cluster, words: &[&str]) -> Vec<String> {
    let program = env!("CARGO_BIN_EXE_kubectl-culvert");
    let script = r#"
        source <("$1" completion bash)
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        # As readline does: the first word is the command.
        _kubectl_culvert
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let output = Command::new("bash")
        .args(["-c", script, "bash", program])
        .args(words)
        .env("KUBECONFIG", cluster.home().join("kubeconfig"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn bash_completes_commands_and_live_names() {
    let keys =
        json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": [key("laptop"), key("phone")] });
    let path = "GET /apis/culvert.dev/v1alpha1/namespaces/tenant/wireguardkeys";
    let cluster = Cluster::start(Answers::from([(path, (200, keys))]));
    assert_eq!(bash(&cluster, &["key", "ro"]), ["rotate"]);
    assert_eq!(bash(&cluster, &["key", "rotate", ""]), ["laptop", "phone"]);
    assert_eq!(bash(&cluster, &["key", "rotate", "p"]), ["phone"]);
    assert_eq!(bash(&cluster, &["--context", ""]), ["one"]);
    // Another namespace has none, and an error is no choice.
    assert_eq!(bash(&cluster, &["-n", "other", "key", "rotate", ""]), [""; 0]);
}

#[test]
fn kubectl_asks_by_another_name() {
    let cluster = Cluster::start(Answers::new());
    let link = cluster.home().join("kubectl_complete-culvert");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kubectl-culvert"), &link).unwrap();
    let output = Command::new(link).args(["key", "rev"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text,
        "revoke\tDelete keys: every gateway forgets them at once\n:4\n"
    );
}
