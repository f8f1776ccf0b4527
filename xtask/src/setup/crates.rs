//! Programs that cargo installs, in versions of our own choosing: a user's own installation may judge otherwise. The
//! recipe's family is the crate.

use anyhow::Result;

use super::Site;
use crate::run;

pub fn build(site: &Site<'_>) -> Result<()> {
    install(site, &[])
}

/// Without what serves and watches, which is most of it.
pub fn mdbook(site: &Site<'_>) -> Result<()> {
    install(site, &["--no-default-features", "--features", "search"])
}

fn install(site: &Site<'_>, features: &[&str]) -> Result<()> {
    let mut command = run::cargo()?;
    // Not the checkout's target folder: a build that waits for this one must not wait for its lock.
    command.env("CARGO_TARGET_DIR", site.work.join("target"));
    command
        .args(["install", site.recipe.family, "--version", site.recipe.version])
        .args(features)
        .args(["--locked", "--root"])
        .arg(&site.out);
    site.run(&command)
}
