//! What is rendered by default, to be read in a review: `INSTA_UPDATE=always cargo test -p culvert-e2e --all-features --test
//! chart` writes it anew.

use anyhow::{Context, Result};
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
    let output = chart::helm(&[
        "install",
        "culvert",
        &chart::folder().to_string_lossy(),
        "--namespace",
        chart::NAMESPACE,
        "--dry-run=client",
        "--hide-secret",
    ])?;
    let text = String::from_utf8(output.stdout)?;
    let notes = text
        .split_once("NOTES:\n")
        .context(String::from_utf8_lossy(&output.stderr).into_owned())?
        .1;
    insta::assert_snapshot!(notes);
    Ok(())
}
