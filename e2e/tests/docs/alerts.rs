//! The alerts: as Prometheus reads them, set off and not, each with a page for whoever is woken.

use std::{collections::BTreeSet, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    documents::{checkout, files, read},
    programs::Tool,
};
use serde_json::Value;

const ALERTS: &str = "charts/culvert/files/alerts.yaml";
const CASES: &str = "e2e/tests/docs/alerts_test.yaml";
const RUNBOOKS: &str = "https://github.com/culvert-dev/culvert/blob/main/";

fn yaml(file: &str) -> Result<Value> {
    let text = read(&checkout().join(file))?;
    serde_saphyr::from_str(&text).with_context(|| format!("failed to read {file}"))
}

fn promtool(words: &[&str]) -> Result<()> {
    let mut command = Command::new(Tool::Promtool.find()?);
    let output = command.args(words).current_dir(checkout()).output()?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    Ok(())
}

fn alerts() -> Result<Vec<Value>> {
    let rules = yaml(ALERTS)?;
    let groups = rules["groups"].as_array().context("no groups")?;
    let alerts = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten());
    Ok(alerts.cloned().collect())
}

#[test]
fn alerts_are_read_by_prometheus() -> Result<()> {
    promtool(&["check", "rules", "--lint-fatal", ALERTS])
}

#[test]
fn alerts_fire_when_they_should_and_not_otherwise() -> Result<()> {
    promtool(&["test", "rules", CASES])?;
    let cases = yaml(CASES)?;
    let mut set_off = BTreeSet::new();
    let mut quiet = BTreeSet::new();
    for case in cases["tests"].as_array().context("no tests")? {
        for test in case["alert_rule_test"].as_array().context("no case")? {
            let name = test["alertname"].as_str().context("no alert")?.to_owned();
            let fires = test["exp_alerts"]
                .as_array()
                .is_some_and(|alerts| !alerts.is_empty());
            let set = if fires { &mut set_off } else { &mut quiet };
            set.insert(name);
        }
    }
    for alert in alerts()? {
        let name = alert["alert"].as_str().context("no name")?;
        ensure!(set_off.contains(name), "no case sets {name} off");
        ensure!(quiet.contains(name), "no case has {name} quiet");
    }
    Ok(())
}

#[test]
fn alerts_have_what_whoever_is_woken_needs() -> Result<()> {
    let mut pages = BTreeSet::from(["README.md".to_owned()]);
    for alert in alerts()? {
        let name = alert["alert"].as_str().context("no name")?;
        let severity = alert["labels"]["severity"].as_str();
        ensure!(
            matches!(severity, Some("critical" | "warning" | "info")),
            "{name} has the severity {severity:?}"
        );
        for annotation in ["summary", "description"] {
            ensure!(
                alert["annotations"][annotation].is_string(),
                "{name} has no {annotation}"
            );
        }
        let url = alert["annotations"]["runbook_url"].as_str().unwrap_or_default();
        let page = url.strip_prefix(RUNBOOKS).unwrap_or_default();
        ensure!(
            page == format!("docs/runbooks/{name}.md"),
            "{name} has the runbook {url}"
        );
        let text = read(&checkout().join(page))?;
        for part in [
            &format!("# {name}\n\nSeverity: {}\n", severity.unwrap_or_default()),
            "\n## How to look\n",
            "\n## What to do\n",
        ] {
            ensure!(text.contains(part), "{page} lacks {part:?}");
        }
        pages.insert(format!("{name}.md"));
    }
    let there = files("docs/runbooks", ".md")?;
    let there: BTreeSet<String> = there
        .iter()
        .filter_map(|path| Path::new(path).file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    ensure!(
        there == pages,
        "docs/runbooks has {there:?}, the alerts need {pages:?}"
    );
    Ok(())
}
