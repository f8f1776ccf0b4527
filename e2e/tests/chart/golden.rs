//! What is rendered by default, to be read in a review: `INSTA_UPDATE=always cargo test -p culvert-e2e --all-features --test
//! chart` writes it anew.

use anyhow::{Context, Result, ensure};
use culvert_e2e::chart;

use crate::{objects, read};

/// One line an object.
#[test]
fn objects_by_default() -> Result<()> {
    let lines: Vec<String> = objects(&[])?
        .iter()
        .map(|object| {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or("-").to_owned();
            let kind = object["kind"].as_str().unwrap_or("-");
            let hook = object["metadata"]["annotations"]["helm.sh/hook"]
                .as_str()
                .unwrap_or("");
            format!("{kind:<34} {:<15} {} {hook}", text("namespace"), text("name"))
                .trim_end()
                .to_owned()
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
    Ok(())
}

/// Both programs, as text: comments included.
#[test]
fn programs_by_default() -> Result<()> {
    let text = chart::render(&[])?;
    let mut programs = Vec::new();
    for document in text.split("---\n") {
        let objects = read(document)?;
        if objects
            .iter()
            .any(|object| object["kind"] == "Deployment" || object["kind"] == "DaemonSet")
        {
            programs.push(document.trim_end());
        }
    }
    programs.first().context("no programs")?;
    insta::assert_snapshot!(programs.join("\n---\n"));
    Ok(())
}

/// What is said after an install.
#[test]
fn notes_by_default() -> Result<()> {
    insta::assert_snapshot!(notes(&[])?);
    Ok(())
}

/// What was left out is named, and only that.
#[test]
fn notes_name_what_was_left_out_and_nothing_else() -> Result<()> {
    let of = |monitor: bool, rule: bool| {
        let value = |is_made| if is_made { "always" } else { "never" };
        let monitor = format!("metrics.serviceMonitor.render={}", value(monitor));
        let rule = format!("metrics.prometheusRule.render={}", value(rule));
        notes(&["--set", &monitor, "--set", &rule])
    };
    for (monitor, rule) in [(true, true), (true, false), (false, true), (false, false)] {
        let notes = of(monitor, rule)?;
        ensure!(notes.contains("Not made") != (monitor && rule), "{notes}");
        ensure!(notes.contains("ServiceMonitor (") != monitor, "{notes}");
        ensure!(notes.contains("PrometheusRule (") != rule, "{notes}");
    }
    Ok(())
}

/// What Helm says after an install with these further flags.
fn notes(flags: &[&str]) -> Result<String> {
    let folder = chart::folder();
    let folder = folder.to_string_lossy();
    let install = [
        "install",
        "culvert",
        &folder,
        "--namespace",
        chart::NAMESPACE,
        "--dry-run=client",
        "--hide-secret",
    ];
    let output = chart::helm(&[&install[..], flags].concat())?;
    let text = String::from_utf8(output.stdout)?;
    let notes = text.split_once("NOTES:\n");
    let (_, notes) = notes.with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok(notes.to_owned())
}
