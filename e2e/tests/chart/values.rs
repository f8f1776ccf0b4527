//! Every value: it is in values.yaml, in the table of the README, and it changes what is rendered.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result, ensure};
use culvert_e2e::chart;
use serde_json::Value;

/// A change of every value that is not the default, as flags of Helm's.
const CHANGES: &[(&str, &str)] = &[
    ("global.imageRegistry", "r.test"),
    ("global.imagePullSecrets[0].name", "a"),
    ("imagePullSecrets[0].name", "a"),
    ("ipFamily", "IPv6"),
    ("logs.level", "debug"),
    ("logs.format", "text"),
    ("crds.enabled", "false"),
    ("crds.keep", "false"),
    ("roles.create", "false"),
    ("roles.aggregate", "true"),
    ("operator.replicas", "3"),
    ("operator.concurrency", "9"),
    ("agent.namespace", "a"),
    ("agent.createNamespace", "true,agent.namespace=a"),
    ("agent.backend", "auto"),
    ("agent.stateDir", "/srv/culvert"),
    ("agent.probePort", "9000"),
    ("agent.lingerSeconds", "0"),
    ("agent.maxUnavailable", "20%"),
    ("agent.seLinuxOptions.type", "spc_t"),
    ("metrics.enabled", "false"),
    ("metrics.operatorPort", "9443"),
    ("metrics.agentPort", "9443"),
    ("metrics.tlsSecret", "a"),
    ("metrics.serviceMonitor.render", "always"),
    (
        "metrics.serviceMonitor.interval",
        "1m,metrics.serviceMonitor.render=always",
    ),
    (
        "metrics.serviceMonitor.labels.a",
        "b,metrics.serviceMonitor.render=always",
    ),
    (
        "metrics.serviceMonitor.tlsConfig.serverName",
        "a,metrics.serviceMonitor.render=always",
    ),
    ("metrics.prometheusRule.render", "always"),
    (
        "metrics.prometheusRule.labels.a",
        "b,metrics.prometheusRule.render=always",
    ),
    ("metrics.dashboard.enabled", "false"),
    ("metrics.dashboard.labels.a", "b"),
    ("networkPolicy.enabled", "false"),
    ("networkPolicy.metricsFrom[0].podSelector.matchLabels.a", "b"),
    ("networkPolicy.egress[0].ports[0].port", "443"),
    ("uninstall.enabled", "false"),
    ("uninstall.wait", "1m"),
    ("test.enabled", "false"),
];

/// Those of both programs.
const OF_EACH: &[(&str, &str)] = &[
    ("image.registry", "r.test"),
    ("image.repository", "a/b"),
    ("image.tag", "9.9"),
    (
        "image.digest",
        "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ),
    ("image.pullPolicy", "Always"),
    ("resources.limits.memory", "1Gi"),
    ("extraArgs[0]", "--version"),
    ("extraEnv[0].name", "A"),
    ("extraVolumes[0].name", "a"),
    ("extraVolumeMounts[0].name", "a,{}.extraVolumes[0].name=a"),
    ("podLabels.a", "b"),
    ("podAnnotations.a", "b"),
    ("serviceAccountAnnotations.a", "b"),
    ("nodeSelector.a", "b"),
    ("tolerations[0].key", "a"),
    ("affinity.podAntiAffinity.a", "b"),
    ("priorityClassName", "a"),
    ("terminationGracePeriodSeconds", "90"),
];

fn changes() -> Vec<(String, String)> {
    let own = CHANGES
        .iter()
        .map(|(path, to)| ((*path).to_owned(), (*to).to_owned()));
    let of_each = ["operator", "agent"].into_iter().flat_map(|program| {
        let change =
            move |(path, to): &(&str, &str)| (format!("{program}.{path}"), to.replace("{}", program));
        OF_EACH.iter().map(change)
    });
    own.chain(of_each).collect()
}

/// Every value that holds no others of the chart's.
fn leaves(schema: &Value, above: &str, found: &mut BTreeSet<String>) {
    match schema["properties"].as_object() {
        Some(properties) => properties
            .iter()
            .for_each(|(name, schema)| leaves(schema, &format!("{above}.{name}"), found)),
        None => {
            found.insert(above.trim_start_matches('.').to_owned());
        }
    }
}

fn known() -> Result<BTreeSet<String>> {
    let schema = fs::read_to_string(chart::folder().join("values.schema.json"))?;
    let mut known = BTreeSet::new();
    leaves(&serde_json::from_str(&schema)?, "", &mut known);
    // An umbrella chart's, for Helm itself.
    ensure!(known.remove("enabled"));
    Ok(known)
}

#[test]
fn every_value_changes_what_is_rendered() -> Result<()> {
    let before = chart::render(&[])?;
    let mut unchanged = known()?;
    for (path, to) in changes() {
        let after = chart::render(&["--set", &format!("{path}={to}")])?;
        ensure!(before != after, "{path} changes nothing");
        unchanged.retain(|known| {
            let rest = path.strip_prefix(known.as_str());
            !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        });
    }
    ensure!(unchanged.is_empty(), "no change is known of {unchanged:?}");
    Ok(())
}

#[test]
fn every_value_is_in_the_table_and_in_the_defaults() -> Result<()> {
    let readme = fs::read_to_string(chart::folder().join("README.md"))?;
    let defaults = crate::read(&fs::read_to_string(chart::folder().join("values.yaml"))?)?;
    let defaults = defaults.first().context("no values")?;
    for path in known()? {
        ensure!(
            readme.contains(&format!("\n| `{path}` | ")),
            "{path} is not in the table"
        );
        let pointer = format!("/{}", path.replace('.', "/"));
        ensure!(defaults.pointer(&pointer).is_some(), "{path} has no default");
    }
    Ok(())
}
