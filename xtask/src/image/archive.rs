//! An image's archive: blobs named by their digests, and an index that says which is what
//! (github.com/opencontainers/image-spec: image-layout.md, manifest.md, config.md).

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::{READ, REPOSITORY, Written, tree::Tree};

/// An image to be written.
pub struct Image {
    pub name: &'static str,
    /// What it is, in a line.
    pub title: &'static str,
    pub entrypoint: &'static str,
    pub user: &'static str,
    pub tree: Tree,
    /// The programs in it that are made of crates, and those that are made of Go's modules.
    pub of_crates: Vec<PathBuf>,
    pub of_modules: Vec<PathBuf>,
}

/// The version of everything here.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin:/";

impl Image {
    /// Writes it into a folder.
    pub fn write(&self, out: &Path) -> Result<Written> {
        let layer = self.tree.layer()?;
        let config = json!({
            "architecture": architecture()?,
            "os": "linux",
            "config": {
                "User": self.user,
                "Entrypoint": [self.entrypoint],
                "Env": [PATH],
                "Labels": self.labels(),
            },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer.plain)] },
            "history": [{ "created_by": "cargo xtask image" }],
        });
        let config = serde_json::to_vec(&config)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described("application/vnd.oci.image.config.v1+json", &config),
            "layers": [described("application/vnd.oci.image.layer.v1.tar+gzip", &layer.bytes)],
            "annotations": self.labels(),
        });
        let manifest = serde_json::to_vec(&manifest)?;
        let reference = format!("{REPOSITORY}/{}:{VERSION}", self.name);
        let mut entry = described(MANIFEST, &manifest);
        entry["platform"] = json!({ "architecture": architecture()?, "os": "linux" });
        entry["annotations"] = json!({
            "io.containerd.image.name": reference,
            "org.opencontainers.image.ref.name": VERSION,
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry],
        });
        let mut builder = Builder::new(Vec::new());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Regular);
            header.set_mode(READ);
            header.set_size(bytes.len() as u64);
            header.set_mtime(0);
            builder.append_data(&mut header, name, bytes)
        };
        add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        add("index.json", &serde_json::to_vec(&index)?)?;
        for blob in [&manifest, &config, &layer.bytes] {
            add(&format!("blobs/{}", digest(blob).replace(':', "/")), blob)?;
        }
        let archive = out.join(format!("{}.tar", self.name));
        let bytes = builder.into_inner()?;
        fs::write(&archive, bytes).with_context(|| format!("failed to write {}", archive.display()))?;
        Ok(Written {
            archive,
            reference,
            digest: digest(&manifest),
        })
    }

    fn labels(&self) -> Value {
        json!({
            "org.opencontainers.image.title": self.title,
            "org.opencontainers.image.version": VERSION,
            "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
            "org.opencontainers.image.vendor": "The Culvert Authors",
        })
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A blob as others refer to it.
fn described(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() })
}

fn digest(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// As the specification calls this machine's processor.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => anyhow::bail!("no image for {other}: build on x86_64 or aarch64"),
    }
}
