//! Kinds that a cluster may not know.

use anyhow::{Result, ensure};

use crate::{names, objects};

const MONITORS: &str = "monitoring.coreos.com/v1/ServiceMonitor";
const RULES: &str = "monitoring.coreos.com/v1/PrometheusRule";

#[test]
fn monitors_and_alerts_are_made_where_their_kinds_are_known() -> Result<()> {
    for (flags, monitors, rules) in [
        (&[][..], 0, 0),
        (&["--api-versions", MONITORS], 2, 0),
        (&["--api-versions", RULES], 0, 1),
        (&["--api-versions", MONITORS, "--api-versions", RULES], 2, 1),
        (
            &[
                "--api-versions",
                MONITORS,
                "--set",
                "metrics.serviceMonitor.render=never",
            ],
            0,
            0,
        ),
        (
            &[
                "--api-versions",
                RULES,
                "--set",
                "metrics.prometheusRule.render=never",
            ],
            0,
            0,
        ),
        (&["--set", "metrics.serviceMonitor.render=always"], 2, 0),
        (&["--set", "metrics.prometheusRule.render=always"], 0, 1),
        (
            &[
                "--api-versions",
                MONITORS,
                "--api-versions",
                RULES,
                "--set",
                "metrics.enabled=false",
            ],
            0,
            0,
        ),
    ] {
        let objects = objects(flags)?;
        let found = (
            names(&objects, "ServiceMonitor").len(),
            names(&objects, "PrometheusRule").len(),
        );
        ensure!(found == (monitors, rules), "{flags:?}: {found:?}");
    }
    Ok(())
}

#[test]
fn alerts_are_those_of_the_file_and_each_is_whole() -> Result<()> {
    let objects = objects(&["--set", "metrics.prometheusRule.render=always"])?;
    let rule = crate::object(&objects, "PrometheusRule", "culvert")?;
    let file = std::fs::read_to_string(culvert_e2e::chart::folder().join("files/alerts.yaml"))?;
    let meant = crate::read(&file)?;
    ensure!(rule["spec"]["groups"] == meant[0]["groups"], "{}", rule["spec"]);
    ensure!(rule["spec"]["groups"][0]["rules"].is_array(), "there is no alert");
    Ok(())
}

#[test]
fn the_dashboard_is_the_file() -> Result<()> {
    let objects = objects(&[])?;
    let map = crate::object(&objects, "ConfigMap", "culvert-dashboard")?;
    let shown: serde_json::Value =
        serde_json::from_str(map["data"]["culvert.json"].as_str().unwrap_or_default())?;
    let file = std::fs::read_to_string(culvert_e2e::chart::folder().join("files/dashboard.json"))?;
    ensure!(shown == serde_json::from_str::<serde_json::Value>(&file)?);
    ensure!(map["metadata"]["labels"]["grafana_dashboard"] == "1");
    Ok(())
}
