//! The pages: every link leads somewhere, and a newcomer's list of contents has all of them.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result, ensure};
use culvert_e2e::documents::{checkout, files, links, pages, read};

/// The heading as GitHub and mdBook name it in a link.
fn anchor(heading: &str) -> String {
    let plain = heading.trim_start_matches('#').trim().to_lowercase();
    plain
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

fn has_anchor(page: &str, wanted: &str) -> bool {
    let (_, prose) = culvert_e2e::documents::blocks(page);
    prose
        .lines()
        .filter(|line| line.starts_with('#'))
        .any(|line| anchor(line) == wanted)
}

#[test]
fn pages_have_no_link_that_leads_nowhere() -> Result<()> {
    let mut broken = Vec::new();
    let mut followed = 0;
    for path in pages()? {
        let page = read(&path)?;
        let place = path.strip_prefix(checkout())?.display().to_string();
        for link in links(&page) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            let (file, wanted) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().context("no folder")?.join(file),
            };
            if !target.exists() {
                broken.push(format!("{place}: {link} is not there"));
            } else if !wanted.is_empty() && !has_anchor(&read(&target)?, wanted) {
                broken.push(format!("{place}: {link} has no such heading"));
            }
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    ensure!(followed > 200, "{followed} links were followed");
    Ok(())
}

#[test]
fn pages_are_all_in_the_contents() -> Result<()> {
    let docs = checkout().join("docs");
    let summary = docs.join("SUMMARY.md");
    let listed: BTreeSet<_> = links(&read(&summary)?)
        .iter()
        .map(|link| docs.join(link))
        .collect();
    // Plans are for whoever builds Culvert; they stay beside the code.
    let is_page = |path: &&Path| **path != *summary && !path.starts_with(docs.join("plans"));
    let there = files("docs", ".md")?;
    let missing: Vec<_> = there
        .iter()
        .map(std::path::PathBuf::as_path)
        .filter(is_page)
        .filter(|path| !listed.contains(*path))
        .collect();
    ensure!(missing.is_empty(), "docs/SUMMARY.md does not list {missing:?}");
    Ok(())
}

#[test]
fn pages_have_pictures_with_words() -> Result<()> {
    for path in files("docs", ".svg")? {
        let picture = read(&path)?;
        ensure!(
            picture.contains("<title>") && picture.contains("<desc>"),
            "{} says nothing to those who do not see it",
            path.display()
        );
    }
    Ok(())
}
