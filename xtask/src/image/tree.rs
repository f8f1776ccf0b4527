//! The files of an image, and the layer that they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use super::{READ, RUN, libraries};

/// What lies where in an image; paths are relative to its root.
#[derive(Default)]
pub struct Tree {
    folders: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, File>,
    /// Packages of the distribution that files came from, with their versions.
    pub packages: BTreeMap<String, String>,
}

struct File {
    content: Vec<u8>,
    mode: u32,
}

/// Bytes of a layer, and how they are named.
pub struct Layer {
    /// Compressed.
    pub bytes: Vec<u8>,
    /// As it is unpacked.
    pub plain: Vec<u8>,
}

impl Tree {
    /// Adds a program, and the libraries that it needs where it will look for them.
    pub fn program(&mut self, source: &Path, place: &str) -> Result<()> {
        self.file(source, Path::new(place), RUN)?;
        for library in libraries::of(source)? {
            let place = library
                .strip_prefix("/")
                .context("a library's path is absolute")?;
            self.file(&library, place, RUN)?;
        }
        if let Some(package) = libraries::package(source)? {
            self.package(&package)?;
        }
        Ok(())
    }

    /// Adds a folder, and those it lies in.
    pub fn folder(&mut self, place: &str) {
        self.parents(&Path::new(place).join("."));
    }

    fn file(&mut self, source: &Path, place: &Path, mode: u32) -> Result<()> {
        let content = fs::read(source).with_context(|| format!("failed to read {}", source.display()))?;
        if place.starts_with("lib") || place.starts_with("lib64") || place.starts_with("usr/lib") {
            let package = libraries::package(source)?;
            let package = package.with_context(|| format!("no package has {}", source.display()))?;
            self.package(&package)?;
        }
        self.parents(place);
        self.files.insert(place.to_owned(), File { content, mode });
        Ok(())
    }

    /// Notes a package, and adds its licence.
    fn package(&mut self, package: &str) -> Result<()> {
        if self.packages.contains_key(package) {
            return Ok(());
        }
        let version = libraries::version(package)?;
        self.packages.insert(package.to_owned(), version);
        let place = PathBuf::from(format!("usr/share/doc/{package}/copyright"));
        let source = Path::new("/").join(&place);
        // A package of parts of another one's has a link in its stead, which is followed.
        self.file(&source, &place, READ)
    }

    fn parents(&mut self, place: &Path) {
        let above = place
            .ancestors()
            .skip(1)
            .filter(|path| !path.as_os_str().is_empty());
        self.folders.extend(above.map(Path::to_owned));
    }

    /// The layer: folders first, then files, both in order, of root's, from 1970.
    pub fn layer(&self) -> Result<Layer> {
        let mut builder = Builder::new(Vec::new());
        for folder in &self.folders {
            ensure!(
                !self.files.contains_key(folder),
                "{} is two things",
                folder.display()
            );
            let mut header = header(EntryType::Directory, RUN, 0);
            builder.append_data(&mut header, format!("{}/", folder.display()), [].as_slice())?;
        }
        for (place, file) in &self.files {
            let mut header = header(EntryType::Regular, file.mode, file.content.len() as u64);
            builder.append_data(&mut header, place, file.content.as_slice())?;
        }
        let plain = builder.into_inner().context("failed to end a layer")?;
        Ok(Layer {
            bytes: compressed(&plain)?,
            plain,
        })
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn compressed(bytes: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write as _;
    let mut writer = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::default());
    writer.write_all(bytes)?;
    writer.finish().context("failed to compress a layer")
}
