//! What a program needs of the distribution, as the distribution's own tools say.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::run;

/// The libraries that a program is linked with, and the loader, at the paths where the loader finds them.
pub fn of(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .env("LC_ALL", "C")
        .output()
        .context("failed to run ldd")?;
    let (out, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if [&out, &errors]
        .iter()
        .any(|text| text.contains("not a dynamic executable") || text.contains("statically linked"))
    {
        return Ok(Vec::new());
    }
    parse(&out).with_context(|| format!("{} cannot be put into an image", program.display()))
}

/// What `ldd` says: `name => path (address)` or `path (address)`.
fn parse(text: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        let (name, path) = line.split_once(" => ").unwrap_or((line, line));
        if path.starts_with("not found") {
            bail!("its library {name} is not there");
        }
        // What the kernel brings along has no file.
        if let Some(path) = path.split(' ').next().filter(|path| path.starts_with('/')) {
            found.push(path.into());
        }
    }
    Ok(found)
}

/// The package that a file came with, if any.
pub fn package(file: &Path) -> Result<Option<String>> {
    // A package knows a file by the path it was given, of which the folder may have become a link.
    let real = fs::canonicalize(file).with_context(|| format!("failed to find {}", file.display()))?;
    for path in [&real, file] {
        let output = Command::new("dpkg-query")
            .arg("--search")
            .arg(path)
            .output()
            .context("failed to run dpkg-query; images are built on Debian")?;
        let text = String::from_utf8_lossy(&output.stdout);
        // `libc6:amd64: /usr/lib/…`
        if let Some((package, _)) = text.split_once(':').filter(|_| output.status.success()) {
            return Ok(Some(package.to_owned()));
        }
    }
    Ok(None)
}

/// The version of an installed package.
pub fn version(package: &str) -> Result<String> {
    let text =
        run::output(Command::new("dpkg-query").args(["--show", "--showformat=${Version}\\n", package]))?;
    Ok(text.lines().next().context("a package has a version")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NFT: &str = "\tlinux-vdso.so.1 (0x00007f67)\n\tlibnftables.so.1 => /lib/x/libnftables.so.1 (0x00007f67)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f67)\n";

    #[test]
    fn libraries_and_the_loader_are_found() {
        let found = parse(NFT).unwrap();
        let expected: [PathBuf; 2] = [
            "/lib/x/libnftables.so.1".into(),
            "/lib64/ld-linux-x86-64.so.2".into(),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_missing_library_is_an_error() {
        assert!(parse("\tlibnftables.so.1 => not found\n").is_err());
    }
}
