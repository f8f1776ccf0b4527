//! An image's bill of materials, in SPDX 2.3 (spdx.github.io/spdx-spec): what each program says of itself, and the packages
//! of the distribution. Nothing is looked up, so it is true of these very bytes.

use std::{collections::BTreeSet, path::Path, process::Command};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::archive::{Image, VERSION};
use crate::run;

/// Something that was made by others, by its package URL (github.com/package-url/purl-spec).
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    kind: &'static str,
    name: String,
    version: String,
}

/// The bill of an image with this digest.
pub fn of(image: &Image, digest: &str) -> Result<Vec<u8>> {
    let mut parts: BTreeSet<Part> = image
        .tree
        .packages
        .iter()
        .map(|(name, version)| part("deb/debian", name, version))
        .collect();
    for program in &image.of_crates {
        let of = crates(program);
        parts.extend(of.with_context(|| format!("{} does not say what it was made of", program.display()))?);
    }
    for program in &image.of_modules {
        parts.extend(modules(program)?);
    }
    serde_json::to_vec_pretty(&document(image, digest, &parts)).context("a bill is no JSON")
}

/// The crates of a program, which cargo-auditable has written into it.
fn crates(program: &Path) -> Result<Vec<Part>> {
    let text = auditable_info::json_from_file(program, auditable_info::Limits::default())?;
    let list: Value = serde_json::from_str(&text)?;
    let list = list["packages"].as_array().context("no list")?;
    let text = |package: &Value, field: &str| Some(package[field].as_str()?.to_owned());
    Ok(list
        .iter()
        // What only builds is in no program.
        .filter(|package| package["kind"] != "build")
        .filter_map(|package| Some(part("cargo", &text(package, "name")?, &text(package, "version")?)))
        .collect())
}

/// The modules of a program of Go's, which the linker has written into it.
fn modules(program: &Path) -> Result<Vec<Part>> {
    let text = run::output(Command::new("go").args(["version", "-m"]).arg(program))?;
    Ok(text.lines().filter_map(module).collect())
}

/// `mod` or `dep`, path, version, sum.
fn module(line: &str) -> Option<Part> {
    let mut words = line.split_whitespace();
    matches!(words.next()?, "mod" | "dep").then_some(())?;
    let (name, version) = (words.next()?, words.next()?);
    // Of the module that was built, a version is known only where it was fetched as one.
    (version != "(devel)").then(|| part("golang", name, version))
}

fn part(kind: &'static str, name: &str, version: &str) -> Part {
    Part {
        kind,
        name: name.to_owned(),
        version: version.to_owned(),
    }
}

fn document(image: &Image, digest: &str, parts: &BTreeSet<Part>) -> Value {
    const IMAGE: &str = "SPDXRef-image";
    let mut packages = vec![json!({
        "SPDXID": IMAGE,
        "name": image.name,
        "versionInfo": VERSION,
        "downloadLocation": "NOASSERTION",
        "licenseDeclared": env!("CARGO_PKG_LICENSE"),
        "checksums": [{ "algorithm": "SHA256", "checksumValue": digest.trim_start_matches("sha256:") }],
    })];
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    for (number, part) in (1..).zip(parts) {
        let id = format!("SPDXRef-part-{number}");
        let url = format!(
            "pkg:{}/{}@{}",
            part.kind,
            part.name,
            part.version.replace('+', "%2B")
        );
        packages.push(json!({
            "SPDXID": id,
            "name": part.name,
            "versionInfo": part.version,
            "downloadLocation": "NOASSERTION",
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": url,
            }],
        }));
        relations.push(relation(IMAGE, "CONTAINS", &id));
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": image.name,
        "documentNamespace": format!("https://culvert.dev/spdx/{}/{}", image.name, digest.replace(':', "-")),
        // The same image has the same bill, whenever it is written.
        "creationInfo": { "created": "1970-01-01T00:00:00Z", "creators": ["Tool: cargo-xtask-image"] },
        "packages": packages,
        "relationships": relations,
    })
}

fn relation(from: &str, what: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": what, "relatedSpdxElement": to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_read_with_their_versions() {
        let found = module("\tdep\tgolang.org/x/net\tv0.50.0\th1:abc=").unwrap();
        assert_eq!(
            (found.name.as_str(), found.version.as_str()),
            ("golang.org/x/net", "v0.50.0")
        );
        assert!(module("\tmod\tculvert\t(devel)\t").is_none());
        assert!(module("\tbuild\t-trimpath=true").is_none());
    }
}
