//! What Culvert stands on: definitions, policies, a namespace.

use culvert_crds::{admission, crds};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt as _;
use serde::Serialize;
use serde_json::Value;

use super::finding::{Check, Finding, Weight, finding};
use crate::world::{Culvert, Ground};

/// Judges definitions, policies and the namespace of the agents.
pub(super) fn ground(ground: &Ground, culvert: &Culvert, system: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for wanted in crds() {
        let Some(found) = &ground.definitions else { break };
        let about = format!("customresourcedefinition/{}", wanted.name_any());
        match found.iter().find(|one| one.name_any() == wanted.name_any()) {
            None => findings.push(finding(
                Check::Definitions,
                Weight::Bad,
                about,
                "it is missing; `kubectl culvert install generate | kubectl apply -f -` adds it",
            )),
            Some(one) if !same(&wanted, one) => findings.push(finding(
                Check::Definitions,
                Weight::Odd,
                about,
                "it is of another version than this program; apply the definitions of the newer one",
            )),
            Some(_) => {}
        }
    }
    if !culvert.is_defined && !findings.iter().any(|one| one.weight == Weight::Bad) {
        // This user may not list definitions, or the apiserver has not taken them up yet.
        findings.push(finding(
            Check::Definitions,
            Weight::Bad,
            "customresourcedefinitions".to_owned(),
            "the apiserver does not serve the kinds; `kubectl culvert install generate | kubectl apply -f -` defines them",
        ));
    }
    let has = |names: Option<Vec<String>>, wanted: &str| {
        names.is_none_or(|names| names.iter().any(|name| name == wanted))
    };
    for wanted in admission::policies() {
        let name = wanted.name_any();
        let policies = ground
            .policies
            .as_ref()
            .map(|all| all.iter().map(kube::ResourceExt::name_any).collect());
        let bindings = ground
            .bindings
            .as_ref()
            .map(|all| all.iter().map(kube::ResourceExt::name_any).collect());
        if !has(policies, &name) || !has(bindings, &name) {
            let about = format!("validatingadmissionpolicy/{name}");
            findings.push(finding(
                Check::Policies,
                Weight::Bad,
                about,
                "it or its binding is missing, so whoever may write objects may forge them; `kubectl culvert install generate | kubectl apply -f -` adds both",
            ));
        }
    }
    let namespace = ground
        .namespaces
        .iter()
        .flatten()
        .find(|namespace| namespace.name_any() == system);
    if let Some(level) = namespace.and_then(|one| one.labels().get("pod-security.kubernetes.io/enforce"))
        && level != "privileged"
    {
        let what = format!(
            "its Pod Security level is `{level}`, which keeps the agents from the node's network; kubectl label namespace {system} pod-security.kubernetes.io/enforce=privileged --overwrite"
        );
        findings.push(finding(
            Check::PodSecurity,
            Weight::Bad,
            format!("namespace/{system}"),
            what,
        ));
    }
    findings
}

/// What [`definitions`] says of another version.
pub const OTHER: &str = "of another version";

/// Whether the cluster's definitions are those that this program knows, in words; nothing where they could not be read.
pub fn definitions(ground: &Ground) -> Option<&'static str> {
    let found = ground.definitions.as_ref()?;
    let of = |wanted: &CustomResourceDefinition| found.iter().find(|one| one.name_any() == wanted.name_any());
    let wanted = crds();
    if wanted.iter().all(|wanted| of(wanted).is_none()) {
        return Some("none: Culvert is not installed");
    }
    let is_same = |wanted: &CustomResourceDefinition| of(wanted).is_some_and(|found| same(wanted, found));
    Some(if wanted.iter().all(is_same) {
        "as this program knows them"
    } else {
        OTHER
    })
}

/// Whether a definition in the cluster says what ours does. The apiserver adds defaults, and may be asked for more.
fn same<K: Serialize>(wanted: &K, found: &K) -> bool {
    let value = |one: &K| serde_json::to_value(one).unwrap_or_default();
    contains(
        &value(found)["spec"]["versions"],
        &value(wanted)["spec"]["versions"],
    )
}

/// Whether `found` has everything that `wanted` has.
fn contains(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, value)| found.get(name).is_some_and(|found| contains(found, value))),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found
                    .iter()
                    .zip(wanted)
                    .all(|(found, wanted)| contains(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}
