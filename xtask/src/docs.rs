//! `cargo xtask docs`: the pages that are made of the code, and the site.
//!
//! The reference is checked in, so that it can be read without a compiler. `--check` fails when it differs from the types;
//! `--site` builds what readers see.

mod reference;
pub mod site;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;

use crate::generated;

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
    let (wanted, present) = (reference::pages()?, generated::read(&folder, ".md")?);
    generated::settle(&folder, &wanted, &present, arguments.check, "docs")?;
    if let Some(site) = &arguments.site {
        site::build(site)?;
    }
    Ok(ExitCode::SUCCESS)
}
