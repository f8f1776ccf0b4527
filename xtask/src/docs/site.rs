//! The site: mdBook over a copy of `docs`, in which links that lead out of it go to the repository.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use culvert_e2e::programs::Tool;

use crate::{run, setup, setup::Need};

/// Where a file of the repository is read by those who have no checkout.
const REPOSITORY: &str = "https://github.com/culvert-dev/culvert/blob/main/";

pub fn build(site: &Path) -> Result<()> {
    setup::ensure(&[Need::MdBook])?;
    let site = std::path::absolute(site).with_context(|| format!("failed to resolve {}", site.display()))?;
    let copy = crate::test::artifact::target()?.join("culvert-docs");
    match fs::remove_dir_all(&copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("failed to remove {}", copy.display()));
        }
        _ => {}
    }
    take_over(&crate::checkout()?.join("docs"), &copy, Path::new("docs"))?;
    let mut book = Command::new(Tool::MdBook.find()?);
    book.arg("build").arg(&copy).arg("--dest-dir").arg(&site);
    ensure!(run::succeeds(&mut book)?, "mdbook failed");
    ensure!(
        site.join("index.html").is_file(),
        "mdbook made no index.html in {}",
        site.display()
    );
    println!("the site is in {}", site.display());
    Ok(())
}

/// Copies a folder whose place in the repository is `place`.
fn take_over(from: &Path, to: &Path, place: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("failed to create {}", to.display()))?;
    let entries = fs::read_dir(from).with_context(|| format!("failed to read {}", from.display()))?;
    for entry in entries {
        let entry = entry.context("failed to read a folder")?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            take_over(&path, &copy, &place.join(entry.file_name()))?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let page =
                fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
            let page = lead_out(&page, place).with_context(|| format!("in {}", path.display()))?;
            fs::write(&copy, page).with_context(|| format!("failed to write {}", copy.display()))?;
        } else {
            fs::copy(&path, &copy).with_context(|| format!("failed to copy {}", path.display()))?;
        }
    }
    Ok(())
}

/// The page with its links; those that lead out of `docs` lead to the repository.
fn lead_out(page: &str, place: &Path) -> Result<String> {
    let mut out = String::with_capacity(page.len());
    let mut rest = page;
    while let Some(at) = rest.find("](..") {
        let (before, link) = rest.split_at(at + 2);
        let end = link.find(')').context("a link without an end")?;
        out.push_str(before);
        let target = flat(&place.join(&link[..end]))?;
        if target.starts_with("docs") {
            out.push_str(&link[..end]);
        } else {
            out.push_str(REPOSITORY);
            out.push_str(&target.to_string_lossy());
        }
        rest = &link[end..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The path without `..`.
fn flat(path: &Path) -> Result<PathBuf> {
    let mut flat = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                if !flat.pop() {
                    bail!("{} leads out of the repository", path.display());
                }
            }
            part => flat.push(part),
        }
    }
    Ok(flat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_out_of_the_docs_lead_to_the_repository() {
        let page = "[a](../examples/pool.yaml), [b](../privacy.md#x), [c](b.md), [d](https://x.example)";
        assert_eq!(lead_out(page, Path::new("docs/reasons")).unwrap(), page);
        assert_eq!(
            lead_out(page, Path::new("docs")).unwrap(),
            format!(
                "[a]({REPOSITORY}examples/pool.yaml), [b]({REPOSITORY}privacy.md#x), [c](b.md), [d](https://x.example)"
            )
        );
        assert!(lead_out("[a](../../../x)", Path::new("docs")).is_err());
    }
}
