//! Every file of `examples` and every block of YAML in the documentation is taken by an apiserver.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use culvert_e2e::{
    ControlPlane,
    bed::definitions,
    documents::{blocks, checkout, files, pages, parts, read},
};
use serde_json::Value;

/// Groups of other programs, which no apiserver here serves: their objects are read as YAML and no more.
const FOREIGN: &[&str] = &[
    "argoproj.io",
    "audit.k8s.io",
    "fluxcd.io",
    "kind.x-k8s.io",
    "monitoring.coreos.com",
];

/// What is no object to apply: values of the chart, which the chart's own tests render, and Argo CD's test data, which have a
/// status and are held against Argo CD's Lua.
const OTHERWISE_TESTED: &[&str] = &["examples/helm/", "/resource_customizations/"];

/// What a block of YAML is, if no whole object, stands behind the fence: ```` ```yaml values ````, ```` ```yaml fragment ````.
const NO_OBJECT: &[&str] = &["yaml values", "yaml fragment"];

#[tokio::test]
async fn documents_and_examples_are_taken_by_an_apiserver() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    plane.define(&definitions()).await?;
    let (mut objects, mut namespaces) = (Vec::new(), BTreeSet::new());
    for (place, text) in everything()? {
        for part in parts(&text) {
            let object: Value =
                serde_saphyr::from_str(&part).with_context(|| format!("{place} is no YAML"))?;
            let Some(version) = object["apiVersion"].as_str() else {
                bail!(
                    "{place} has no apiVersion: if it is no whole object, write `yaml values` or `yaml fragment` behind the fence"
                )
            };
            let group = version.split_once('/').map_or("", |(group, _)| group);
            let is_foreign = |foreign: &&str| group == *foreign || group.ends_with(&format!(".{foreign}"));
            if FOREIGN.iter().any(is_foreign) {
                continue;
            }
            // What is tried and not stored holds nothing: namespaces have to be there.
            let name = match object["kind"].as_str() {
                Some("Namespace") => &object["metadata"]["name"],
                _ => &object["metadata"]["namespace"],
            };
            namespaces.extend(name.as_str().map(str::to_owned));
            objects.push((place.clone(), part));
        }
    }
    ensure!(objects.len() >= 40, "{} objects were found", objects.len());
    let missing = ["default", "kube-system"];
    for namespace in namespaces.iter().filter(|name| !missing.contains(&name.as_str())) {
        let made = plane.kubectl(&["create", "namespace", namespace], None).await?;
        let said = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success() || said.contains("AlreadyExists"), "{said}");
    }
    let all: Vec<&str> = objects.iter().map(|(_, part)| part.as_str()).collect();
    let apply = ["apply", "--dry-run=server", "-f", "-"];
    let taken = plane.kubectl(&apply, Some(&all.join("---\n"))).await?;
    if taken.status.success() {
        return Ok(());
    }
    // One at a time, to say which.
    let mut refused = Vec::new();
    for (place, part) in &objects {
        let tried = plane.kubectl(&apply, Some(part)).await?;
        if !tried.status.success() {
            refused.push(format!(
                "{place}: {}",
                String::from_utf8_lossy(&tried.stderr).trim_end()
            ));
        }
    }
    bail!("an apiserver refuses these:\n{}", refused.join("\n"))
}

/// Every text that may hold objects, with its place.
fn everything() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for path in files("examples", ".yaml")? {
        let place = path.strip_prefix(checkout())?.display().to_string();
        if !OTHERWISE_TESTED.iter().any(|tested| place.contains(tested)) {
            found.push((place, read(&path)?));
        }
    }
    for path in pages()? {
        let place = path.strip_prefix(checkout())?.display().to_string();
        for block in blocks(&read(&path)?).0 {
            let is_yaml = block.info.split_ascii_whitespace().next() == Some("yaml");
            if is_yaml && !NO_OBJECT.contains(&block.info.as_str()) {
                ensure!(
                    block.info == "yaml",
                    "{place}:{} says `{}`",
                    block.line,
                    block.info
                );
                found.push((format!("{place}:{}", block.line), block.text));
            }
        }
    }
    Ok(found)
}
