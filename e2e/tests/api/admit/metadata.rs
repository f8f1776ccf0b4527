//! The size of what a tenant hangs on a key.

use anyhow::{Result, ensure};
use culvert_e2e::{ControlPlane, bed::definitions};
use serde_json::{Map, Value, json};

use super::{attempt, define, takes};
use crate::fixture::{key, public_key};

fn with(field: &str, value: Value) -> Value {
    let mut object = key("adorned", &public_key(40));
    object["metadata"][field] = value;
    object
}

fn texts(count: usize, bytes: usize) -> Value {
    let map: Map<_, _> = (0..count)
        .map(|n| (format!("text-{n:04}"), json!("x".repeat(bytes))))
        .collect();
    map.into()
}

/// A key with this many labels.
pub fn labelled(count: usize) -> Value {
    with("labels", texts(count, 8))
}

fn owners(count: usize, name: &str) -> Value {
    (0..count)
        .map(|n| json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": format!("uid-{n}") }))
        .collect::<Vec<_>>()
        .into()
}

fn finalizers(count: usize) -> Value {
    (0..count)
        .map(|n| format!("example.com/finalizer-{n}"))
        .collect::<Vec<_>>()
        .into()
}

#[tokio::test]
async fn admit_refuses_keys_with_oversized_metadata() -> Result<()> {
    let annotations = "at most 64 annotations of 16 KiB altogether";
    for (object, because) in [
        // 200 KiB in one, 17 KiB in many, very many, and letters of more than one byte.
        (with("annotations", texts(1, 200 << 10)), annotations),
        (with("annotations", texts(17, 1 << 10)), annotations),
        (with("annotations", texts(10_000, 8)), annotations),
        (
            with("annotations", json!({ "a": "é".repeat(9 << 10) })),
            annotations,
        ),
        (labelled(33), "at most 32 labels"),
        (labelled(1000), "at most 32 labels"),
        (with("finalizers", finalizers(9)), "at most 8 finalizers"),
        (with("finalizers", finalizers(5000)), "at most 8 finalizers"),
        (
            with("ownerReferences", owners(9, "a")),
            "at most 8 owner references",
        ),
        (
            with("ownerReferences", owners(1, &"a".repeat(500 << 10))),
            "at most 8 owner references",
        ),
    ] {
        let (taken, said) = super::offer(&object).await?;
        ensure!(!taken && said.contains(because), "wanted `{because}`, got {said}");
        ensure!(said.len() < 1000, "the refusal repeats what it refuses");
    }
    Ok(())
}

#[tokio::test]
async fn admit_takes_keys_with_the_metadata_of_usual_tools() -> Result<()> {
    for object in [
        with("annotations", texts(15, 1 << 10)),
        labelled(32),
        with("finalizers", finalizers(8)),
        with("ownerReferences", owners(8, &"a".repeat(253))),
    ] {
        takes(&object).await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_lets_keys_older_than_a_bound_be_changed_and_deleted() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let admin = plane.kubeconfig();
    let folder = definitions();
    plane.define(&format!("{folder}/wireguardkeys.yaml")).await?;
    let mut object = labelled(33);
    object["metadata"]["finalizers"] = json!(["example.com/held"]);
    plane
        .kubectl_text(&["create", "-f", "-"], Some(&object.to_string()))
        .await?;
    define(&plane).await?;
    let none = Value::Null;
    let patch = |patch: &'static str| ["patch", "wgk/adorned", "--type=merge", "-p", patch];
    let (taken, said) = attempt(
        &plane,
        &admin,
        &patch(r#"{"metadata":{"labels":{"one":"more"}}}"#),
        &none,
    )
    .await?;
    ensure!(!taken && said.contains("at most 32 labels"), "{said}");
    let (taken, said) = attempt(&plane, &admin, &patch(r#"{"spec":{"suspend":true}}"#), &none).await?;
    ensure!(taken, "{said}");
    // A finalizer's owner lets go while the key is being deleted, and then it is gone.
    plane
        .kubectl_text(&["delete", "wgk/adorned", "--wait=false"], None)
        .await?;
    let (taken, said) = attempt(
        &plane,
        &admin,
        &patch(r#"{"metadata":{"finalizers":null}}"#),
        &none,
    )
    .await?;
    ensure!(taken, "{said}");
    let left = plane.kubectl_text(&["get", "wgk", "-o=name"], None).await?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}
