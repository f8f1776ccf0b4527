//! The project's own pages and examples, as tests read them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// The checkout's folder.
pub fn checkout() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// A file of the checkout.
pub fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

/// The files below a folder of the checkout whose names end so, in order.
pub fn files(folder: &str, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(&checkout().join(folder), ending, &mut found)?;
    found.sort_unstable();
    Ok(found)
}

fn collect(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))?;
    for entry in entries {
        let path = entry.context("failed to read a folder")?.path();
        if path.is_dir() {
            collect(&path, ending, found)?;
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    Ok(())
}

/// Every page that a reader may open.
pub fn pages() -> Result<Vec<PathBuf>> {
    let mut pages: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
        .map(|page| checkout().join(page))
        .into();
    for folder in ["docs", "examples", "charts"] {
        pages.extend(files(folder, ".md")?);
    }
    Ok(pages)
}

/// What stands between two fences of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What stands behind the first fence: `yaml`, `console`.
    pub info: String,
    /// The text.
    pub text: String,
    /// The line of the first fence.
    pub line: usize,
}

/// The fenced blocks of a page, and the page without them.
pub fn blocks(page: &str) -> (Vec<Block>, String) {
    let (mut blocks, mut prose) = (Vec::new(), String::new());
    let mut open: Option<(Block, usize)> = None;
    for (number, line) in page.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let fence = line.trim_start().strip_prefix("```");
        match (open.as_mut(), fence) {
            (None, Some(info)) => {
                let block = Block {
                    info: info.trim().to_owned(),
                    text: String::new(),
                    line: number + 1,
                };
                open = Some((block, indent));
            }
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(block, _)| block)),
            (Some((block, indent)), None) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
            (None, None) => {
                prose.push_str(line);
                prose.push('\n');
            }
        }
    }
    (blocks, prose)
}

/// The targets of a page's links and pictures, blocks and code left out.
pub fn links(page: &str) -> Vec<String> {
    let (_, prose) = blocks(page);
    let mut links = Vec::new();
    for (at, _) in prose.match_indices("](") {
        let before = &prose[..at];
        let is_code = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .matches('`')
            .count()
            % 2
            == 1;
        if let Some(end) = prose[at..].find(')').filter(|_| !is_code) {
            links.push(prose[at + 2..at + end].to_owned());
        }
    }
    links
}

/// The documents of a YAML text.
pub fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in text.lines() {
        if line.trim_end() == "---" {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    let says_something = |part: &String| {
        part.lines()
            .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    };
    parts.into_iter().filter(says_something).collect()
}

/// The objects of a YAML text.
pub fn objects(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("this is no YAML")?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_links_are_told_apart() {
        let page = "See [a](a.md) and `[b](b.md)`.\n\n```yaml\na: 1\n```\n\n- x\n\n  ```console\n  $ [c](c.md)\n  ```\n![d](d.svg)\n";
        let (found, _) = blocks(page);
        let shown: Vec<_> = found
            .iter()
            .map(|block| (block.info.as_str(), block.text.as_str()))
            .collect();
        assert_eq!(shown, [("yaml", "a: 1\n"), ("console", "$ [c](c.md)\n")]);
        assert_eq!(links(page), ["a.md", "d.svg"]);
    }

    #[test]
    fn documents_without_content_are_none() {
        assert_eq!(parts("# x\n---\na: 1\n---\n\n---\nb: 2\n"), ["a: 1\n", "b: 2\n"]);
    }
}
