//! The test kernel: Debian's Linux source built as a User-Mode Linux program, with everything the tests need built
//! in. The list of options is the recipe's; one that does not take effect is an error here, not a riddle in a test.

use std::{fs, process::Command, thread::available_parallelism};

use anyhow::{Context, Result, bail, ensure};

use super::Site;

/// Where the package `linux-source-6.12` puts it.
pub const SOURCE: &str = "/usr/src/linux-source-6.12.tar.xz";

/// The recipe's file with what we change of it.
const PATCH: &str = "uml.patch";

pub fn build(site: &Site<'_>) -> Result<()> {
    let options = options(site)?;
    let mut unpack = Command::new("tar");
    unpack
        .args(["xf", SOURCE, "--strip-components=1", "-C"])
        .arg(&site.work);
    site.run(&unpack)?;
    site.unpack()?;
    let mut change = Command::new("patch");
    change
        .args(["-p1", "--forward", "-i", PATCH])
        .current_dir(&site.work);
    site.run(&change)?;
    site.run(make(site).arg("defconfig"))?;
    let mut configure = Command::new("scripts/config");
    for (name, is_on) in &options {
        configure.args([if *is_on { "-e" } else { "-d" }, name]);
    }
    site.run(configure.current_dir(&site.work))?;
    site.run(make(site).arg("olddefconfig"))?;
    check(site, &options)?;
    let jobs = available_parallelism().map_or(1, usize::from);
    site.run(make(site).arg(format!("-j{jobs}")).arg("linux"))?;
    let mut strip = Command::new("strip");
    strip
        .arg("-o")
        .arg(site.out.join("linux"))
        .arg(site.work.join("linux"));
    site.run(&strip)
}

fn make(site: &Site<'_>) -> Command {
    let mut command = Command::new("make");
    command
        .arg("ARCH=um")
        .current_dir(&site.work)
        .env_remove("MAKEFLAGS")
        .env_remove("ARCH");
    command
}

/// The recipe's options: `NAME=y` is on, `NAME=n` is off.
fn options(site: &Site<'_>) -> Result<Vec<(String, bool)>> {
    let (_, config) = site
        .recipe
        .files
        .first()
        .context("the kernel's recipe has no list of options")?;
    config
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| match line.split_once('=') {
            Some((name, "y")) => Ok((name.to_owned(), true)),
            Some((name, "n")) => Ok((name.to_owned(), false)),
            _ => bail!("no option of the kernel: `{line}`"),
        })
        .collect()
}

fn check(site: &Site<'_>, options: &[(String, bool)]) -> Result<()> {
    let path = site.work.join(".config");
    let config = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let on: std::collections::BTreeSet<&str> = config
        .lines()
        .filter_map(|line| line.strip_prefix("CONFIG_")?.strip_suffix("=y"))
        .collect();
    let missing: Vec<&str> = options
        .iter()
        .filter(|(name, is_on)| *is_on != on.contains(name.as_str()))
        .map(|(name, _)| name.as_str())
        .collect();
    ensure!(
        missing.is_empty(),
        "these options of the kernel did not take effect: {}",
        missing.join(" ")
    );
    Ok(())
}
