//! `cargo xtask docs`: the pages that are made of the code, and the site.
//!
//! The reference is checked in, so that it can be read without a compiler. `--check` fails when it differs from the types;
//! `--site` builds what readers see.

mod reference;
pub mod site;

use std::{collections::BTreeMap, fs, io, path::Path, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Compare only, and fail when a page differs.
    #[arg(long)]
    check: bool,

    /// Build the site into this folder.
    #[arg(long, value_name = "FOLDER", conflicts_with = "check")]
    site: Option<PathBuf>,
}

pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let folder = crate::checkout()?.join("docs/reference");
    let (wanted, present) = (reference::pages()?, read(&folder)?);
    if arguments.check {
        let names = wanted.keys().chain(present.keys());
        let mut differ: Vec<&String> = names
            .filter(|name| wanted.get(*name) != present.get(*name))
            .collect();
        differ.dedup();
        if !differ.is_empty() {
            bail!("docs/reference differs from the types ({differ:?}): run `cargo xtask docs`");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if wanted != present {
        fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        for name in present.keys().filter(|name| !wanted.contains_key(*name)) {
            let path = folder.join(name);
            fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))?;
        }
        for (name, page) in &wanted {
            let path = folder.join(name);
            fs::write(&path, page).with_context(|| format!("failed to write {}", path.display()))?;
        }
        println!("wrote {} pages to {}", wanted.len(), folder.display());
    }
    if let Some(site) = &arguments.site {
        site::build(site)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(folder: &Path) -> Result<BTreeMap<String, String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error).with_context(|| format!("failed to read {}", folder.display())),
    };
    let mut pages = BTreeMap::new();
    for entry in entries {
        let path = entry.context("failed to read a folder")?.path();
        let page = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        pages.insert(name.into_owned(), page);
    }
    Ok(pages)
}
