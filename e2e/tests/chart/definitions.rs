//! Definitions and admission policies.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{objects, read};

/// What `kubectl apply` without `--server-side` can store in an annotation is 256 KiB; a file below this stays clear of it.
const LARGEST: u64 = 200_000;

const KINDS: [&str; 3] = [
    "CustomResourceDefinition",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

fn definitions(objects: &[Value]) -> Vec<Value> {
    let of_ours = |object: &&Value| KINDS.iter().any(|kind| object["kind"] == *kind);
    let mut found: Vec<Value> = objects.iter().filter(of_ours).cloned().collect();
    found.sort_by_key(|object| format!("{}{}", object["kind"], object["metadata"]["name"]));
    found
}

#[test]
fn definitions_are_those_of_crds_yaml() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/yaml");
    let mut meant = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        ensure!(
            path.metadata()?.len() < LARGEST,
            "{} is too large",
            path.display()
        );
        meant.extend(read(&fs::read_to_string(path)?)?);
    }
    let mut rendered = definitions(&objects(&[])?);
    for object in &mut rendered {
        let metadata = object["metadata"].as_object_mut().context("no metadata")?;
        let annotations = metadata.remove("annotations");
        ensure!(
            annotations.is_some_and(|of| of["helm.sh/resource-policy"] == "keep"),
            "{metadata:?} does not outlive the release"
        );
        metadata.remove("labels");
    }
    ensure!(rendered.len() > 10, "{}", rendered.len());
    ensure!(rendered == definitions(&meant));
    Ok(())
}

#[test]
fn definitions_can_be_left_out_and_need_not_be_kept() -> Result<()> {
    ensure!(definitions(&objects(&["--set", "crds.enabled=false"])?).is_empty());
    for object in definitions(&objects(&["--set", "crds.keep=false"])?) {
        ensure!(
            object["metadata"]["annotations"].is_null(),
            "{}",
            object["metadata"]
        );
    }
    Ok(())
}

#[test]
fn there_is_no_webhook() -> Result<()> {
    for object in objects(&[])? {
        let kind = object["kind"].as_str().unwrap_or_default();
        ensure!(!kind.contains("Webhook"), "{kind}");
        ensure!(
            object["spec"]["conversion"]["webhook"].is_null(),
            "{}",
            object["metadata"]
        );
    }
    Ok(())
}
