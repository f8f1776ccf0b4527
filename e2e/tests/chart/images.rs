//! Where images come from.

use std::{collections::BTreeSet, fs};

use anyhow::{Result, ensure};
use culvert_e2e::chart;
use serde_json::Value;

use crate::objects;

/// Every text at a field called `image`, and every value that an environment variable with IMAGE in its name has.
fn images(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(image) = fields.get("image").and_then(Value::as_str) {
                found.insert(image.to_owned());
            }
            let is_image = fields
                .get("name")
                .and_then(Value::as_str)
                .is_some_and(|name| name.contains("IMAGE"));
            if let Some(image) = fields.get("value").and_then(Value::as_str).filter(|_| is_image) {
                found.insert(image.to_owned());
            }
            fields.values().for_each(|value| images(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| images(value, found)),
        _ => {}
    }
}

fn of(flags: &[&str]) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    objects(flags)?
        .iter()
        .for_each(|object| images(object, &mut found));
    Ok(found)
}

#[test]
fn images_are_those_of_images_txt() -> Result<()> {
    let listed = fs::read_to_string(chart::folder().join("images.txt"))?;
    let listed: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
    ensure!(listed.len() == 2 && of(&[])? == listed, "{:?}", of(&[])?);
    Ok(())
}

#[test]
fn one_registry_serves_them_all() -> Result<()> {
    let found = of(&["--set", "global.imageRegistry=r.test"])?;
    ensure!(found.len() == 2, "{found:?}");
    for image in found {
        ensure!(image.starts_with("r.test/culvert-dev/culvert-"), "{image}");
    }
    Ok(())
}

#[test]
fn a_digest_takes_the_place_of_the_tag() -> Result<()> {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let flags = [
        "--set",
        &format!("operator.image.digest={digest}"),
        "--set",
        "operator.image.tag=other,agent.image.tag=9.9",
    ];
    let found = of(&flags)?;
    ensure!(
        found.contains(&format!("ghcr.io/culvert-dev/culvert-operator@{digest}")),
        "{found:?}"
    );
    ensure!(
        found.contains("ghcr.io/culvert-dev/culvert-node-agent:9.9"),
        "{found:?}"
    );
    ensure!(found.len() == 2, "{found:?}");
    Ok(())
}

#[test]
fn every_pod_has_the_secrets_to_pull_with() -> Result<()> {
    let flags = [
        "--set",
        "global.imagePullSecrets[0].name=one,imagePullSecrets[0].name=two",
    ];
    for object in objects(&flags)? {
        if let Some(pod) = crate::pod(&object) {
            let secrets = &pod["spec"]["imagePullSecrets"];
            ensure!(
                *secrets == serde_json::json!([{ "name": "one" }, { "name": "two" }]),
                "{}: {secrets}",
                object["metadata"]
            );
        }
    }
    Ok(())
}
