//! Roles: those of examples/roles.yaml, verb by verb.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{object, objects, read};

/// The rules of every role, by the names of those it is bound to, or its own where it is bound to nobody.
fn rights(objects: &[Value]) -> Result<BTreeMap<String, Vec<Value>>> {
    let mut rights: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for role in objects {
        let kind = role["kind"].as_str().unwrap_or_default();
        if !["Role", "ClusterRole"].contains(&kind) {
            continue;
        }
        let name = role["metadata"]["name"]
            .as_str()
            .context("a role without a name")?;
        let namespace = role["metadata"]["namespace"].as_str().unwrap_or("everywhere");
        let bindings = objects.iter().filter(|binding| {
            binding["roleRef"]["kind"] == kind
                && binding["roleRef"]["name"] == name
                && binding["metadata"]["namespace"] == role["metadata"]["namespace"]
        });
        let mut holders: Vec<String> = bindings
            .flat_map(|binding| binding["subjects"].as_array().into_iter().flatten())
            .map(|subject| format!("{} in {namespace}", subject["name"]))
            .collect();
        if holders.is_empty() {
            holders.push(format!("nobody: {name}"));
        }
        for holder in holders {
            let rules = role["rules"].as_array().context("a role without rules")?;
            rights.entry(holder).or_default().extend(rules.iter().cloned());
        }
    }
    Ok(rights)
}

fn example() -> Result<Vec<Value>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/roles.yaml");
    read(&fs::read_to_string(file)?)
}

#[test]
fn roles_are_those_of_the_example() -> Result<()> {
    let (meant, mut found) = (rights(&example()?)?, rights(&objects(&[])?)?);
    // The hook's and the test's are there while these run.
    found.retain(|holder, _| !holder.contains("culvert-uninstall") && !holder.contains("culvert-check"));
    ensure!(meant.len() > 8, "{meant:?}");
    ensure!(found == meant, "{found:#?}");
    Ok(())
}

#[test]
fn without_metrics_nobody_asks_who_may_see_them() -> Result<()> {
    let objects = objects(&["--set", "metrics.enabled=false"])?;
    let reviews = objects
        .iter()
        .filter(|object| object.to_string().contains("tokenreviews"));
    ensure!(reviews.count() == 0);
    ensure!(object(&objects, "ClusterRole", "culvert-metrics-reader").is_err());
    Ok(())
}

#[test]
fn the_test_may_change_nothing() -> Result<()> {
    let objects = objects(&[])?;
    let role = object(&objects, "ClusterRole", "culvert-check")?;
    for rule in role["rules"].as_array().context("no rules")? {
        let verbs = rule["verbs"].as_array().context("no verbs")?;
        ensure!(!verbs.is_empty());
        for verb in verbs {
            ensure!(["get", "list", "watch"].iter().any(|read| verb == read), "{rule}");
        }
    }
    Ok(())
}

#[test]
fn rights_of_the_hook_exist_while_it_runs() -> Result<()> {
    for object in objects(&[])? {
        if object["metadata"]["name"] == "culvert-uninstall" {
            let annotations = &object["metadata"]["annotations"];
            ensure!(annotations["helm.sh/hook"] == "pre-delete", "{object}");
            let policy = annotations["helm.sh/hook-delete-policy"]
                .as_str()
                .unwrap_or_default();
            ensure!(policy.contains("hook-succeeded"), "{object}");
            ensure!(
                object["kind"] == "Job" || policy.contains("hook-failed"),
                "{object}"
            );
        }
    }
    ensure!(
        objects(&["--set", "uninstall.enabled=false"])?
            .iter()
            .all(|object| object["metadata"]["name"] != "culvert-uninstall")
    );
    Ok(())
}

#[test]
fn people_get_roles_as_they_are_asked_for() -> Result<()> {
    let label = "rbac.authorization.k8s.io/aggregate-to-edit";
    let user = |flags: &[&str]| -> Result<Option<Value>> {
        let objects = objects(flags)?;
        Ok(object(&objects, "ClusterRole", "culvert-user").ok().cloned())
    };
    ensure!(user(&[])?.is_some_and(|role| role["metadata"]["labels"][label].is_null()));
    ensure!(
        user(&["--set", "roles.aggregate=true"])?
            .is_some_and(|role| role["metadata"]["labels"][label] == "true")
    );
    ensure!(user(&["--set", "roles.create=false"])?.is_none());
    Ok(())
}
