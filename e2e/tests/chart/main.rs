//! The chart, as Helm renders it: `cargo xtask test lint`. No cluster is asked; what an apiserver says of it is in
//! tests/api/chart.rs.

mod apis;
mod definitions;
mod examples;
mod golden;
mod images;
mod pods;
mod rights;
mod upgrade;
mod values;
mod wrong;

use anyhow::{Context, Result};
use culvert_e2e::chart;
use culvert_e2e::documents::objects as read;
use serde_json::Value;

/// What it renders to, as objects.
pub fn objects(flags: &[&str]) -> Result<Vec<Value>> {
    read(&chart::render(flags)?)
}

/// The object of this kind and name.
pub fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> Result<&'a Value> {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .with_context(|| format!("there is no {kind} {name}"))
}

/// Names of a kind's objects.
pub fn names<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a str> {
    objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .filter_map(|object| object["metadata"]["name"].as_str())
        .collect()
}

/// Every pod that an object makes: itself, or its template.
pub fn pod(object: &Value) -> Option<&Value> {
    match object["kind"].as_str()? {
        "Pod" => Some(object),
        "Deployment" | "DaemonSet" | "Job" => Some(&object["spec"]["template"]),
        _ => None,
    }
}
