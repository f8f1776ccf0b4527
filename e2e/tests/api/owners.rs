//! Whose an object's fields are: what users write stays theirs, and Helm, Argo CD and Flux find nothing to argue about.

use anyhow::{Context, Result, ensure};
use culvert_e2e::wait;
use serde_json::{Value, json};

use crate::fixture::{Api, SOON, examples, key, public_key};

/// What Culvert's programs call themselves begins so.
const OURS: &str = "culvert-";

/// The users' kinds.
const KINDS: [&str; 3] = ["wireguardkeys", "ippools", "wireguardgateways"];

/// Who has written what of an object: `(manager, operation, subresource, fields)`, of Culvert's programs alone.
fn ours(object: &Value) -> Vec<(&str, &str, &str, &Value)> {
    let entries = object["metadata"]["managedFields"].as_array();
    let all = entries.into_iter().flatten().map(|entry| {
        let text = |field| entry[field].as_str().unwrap_or_default();
        (
            text("manager"),
            text("operation"),
            text("subresource"),
            &entry["fieldsV1"],
        )
    });
    all.filter(|(manager, ..)| manager.starts_with(OURS)).collect()
}

#[tokio::test]
async fn owners_of_a_spec_are_its_users_alone() -> Result<()> {
    let api = Api::start().await?;
    // Before anybody answers: kstatus waits for a generation that has been seen.
    api.apply(&key("laptop", &public_key(1))).await?;
    let unanswered = api.list("wireguardkeys").await?.remove(0);
    ensure!(unanswered["status"]["observedGeneration"] == -1, "{unanswered}");
    let _operator = api.operator(&api.plane.kubeconfig())?;
    for file in ["pool.yaml", "gateway.yaml"] {
        api.kubectl(&["apply", "-f", &format!("{}/{file}", examples())], None)
            .await?;
    }
    let labels = json!({ "culvert.dev/gateway": "true" });
    api.apply(
        &json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "one", "labels": labels } }),
    )
    .await?;
    api.addressed("laptop").await?;
    wait::until("all to be answered", SOON, || async {
        let mut all = true;
        for kind in KINDS {
            let object = api.list(kind).await?.remove(0);
            all &= object["status"]["observedGeneration"] == object["metadata"]["generation"];
        }
        Ok(all.then_some(()))
    })
    .await?;
    for kind in KINDS {
        let object = api.list(kind).await?.remove(0);
        let ours = ours(&object);
        ensure!(
            ours.iter().any(|(_, _, subresource, _)| *subresource == "status"),
            "no status of {kind}: {ours:?}"
        );
        for (manager, operation, subresource, fields) in &ours {
            ensure!(
                fields["f:spec"].is_null(),
                "{manager} owns a spec of {kind}: {fields}"
            );
            if *subresource != "status" {
                ensure!(kind == "ippools" && *operation == "Apply", "{kind}: {ours:?}");
                let expected =
                    json!({ "f:metadata": { "f:finalizers": { "v:\"culvert.dev/in-use\"": {} } } });
                ensure!(**fields == expected, "{manager}: {fields}");
            }
        }
    }
    let pool = api.list("ippools").await?.remove(0);
    let finalizer = ours(&pool)
        .into_iter()
        .find(|(_, operation, ..)| *operation == "Apply")
        .context("nobody has the finalizer")?;
    let status = ours(&pool)
        .into_iter()
        .find(|(_, _, subresource, _)| *subresource == "status")
        .context("nobody has the status")?;
    ensure!(finalizer.0 != status.0, "the finalizer is the status writer's");
    Ok(())
}
