//! The cache: a folder outside the checkout with one sub-folder for each thing that was built.
//!
//! A sub-folder's name holds a digest of everything that decided its content, so another version never passes for
//! this one, and several checkouts share what they have in common. A folder that exists is complete: it is filled
//! under another name and renamed in one step. A build that dies leaves a `.partial-…` folder behind, which the next
//! build of the same entry removes.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::recipes::Recipe;

/// The folder of the whole cache: `$CULVERT_CACHE`, otherwise `culvert` in the user's cache folder.
pub fn root() -> Result<PathBuf> {
    let set = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(folder) = set("CULVERT_CACHE") {
        return std::path::absolute(&folder)
            .with_context(|| format!("failed to resolve {}", folder.display()));
    }
    if let Some(folder) = set("XDG_CACHE_HOME") {
        return Ok(folder.join("culvert"));
    }
    match set("HOME") {
        Some(home) => Ok(home.join(".cache/culvert")),
        None => bail!("no place for the cache: set CULVERT_CACHE, XDG_CACHE_HOME or HOME"),
    }
}

/// The place of one recipe's result, built or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    folder: PathBuf,
}

impl Entry {
    /// Where the result of `recipe` belongs.
    pub fn of(recipe: &Recipe) -> Result<Self> {
        Ok(Self::below(&root()?, recipe))
    }

    fn below(root: &Path, recipe: &Recipe) -> Self {
        Self {
            folder: root.join(format!("{}-{:016x}", recipe.family, digest(recipe))),
        }
    }

    /// The folder that holds the result once [`Self::is_complete`].
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the result is there.
    pub fn is_complete(&self) -> bool {
        self.folder.is_dir()
    }

    /// An empty folder to build in, on the same file system as the final place.
    pub fn begin(&self) -> Result<Partial> {
        let name = self
            .folder
            .file_name()
            .unwrap_or(OsStr::new("entry"))
            .to_string_lossy();
        let folder = self.folder.with_file_name(format!(".partial-{name}"));
        remove(&folder)?;
        fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        Ok(Partial {
            folder,
            place: self.folder.clone(),
        })
    }
}

/// A result in the making; dropping it without [`Self::finish`] removes it.
#[derive(Debug)]
pub struct Partial {
    folder: PathBuf,
    place: PathBuf,
}

impl Partial {
    /// Where to put the files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the result visible under its final name, in one step.
    pub fn finish(self) -> Result<()> {
        fs::rename(&self.folder, &self.place)
            .with_context(|| format!("failed to move the finished build to {}", self.place.display()))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After `finish` there is nothing under this name any more.
        let _ = remove(&self.folder);
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The first 64 bits. Lengths are part of what is digested, so that moving a byte from one input to its neighbour changes it.
fn digest(recipe: &Recipe) -> u64 {
    let mut hash = Sha256::new();
    let mut input = |text: &str| {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text.as_bytes());
    };
    input(recipe.version);
    for (name, content) in recipe.files {
        input(name);
        input(content);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(version: &'static str, files: &'static [(&'static str, &'static str)]) -> Recipe {
        Recipe {
            family: "thing",
            version,
            files,
        }
    }

    #[test]
    fn another_version_or_file_is_another_place() {
        let root = Path::new("/cache");
        let place = Entry::below(root, &recipe("1", &[("a", "bc")]));
        assert_eq!(place, Entry::below(root, &recipe("1", &[("a", "bc")])));
        assert_ne!(place, Entry::below(root, &recipe("2", &[("a", "bc")])));
        assert_ne!(place, Entry::below(root, &recipe("1", &[("a", "bd")])));
        assert_ne!(place, Entry::below(root, &recipe("1", &[("ab", "c")])));
        let name = place.folder().file_name().unwrap().to_str().unwrap();
        assert_eq!(name.len(), "thing-".len() + 16);
    }

    #[test]
    fn an_unfinished_build_is_not_complete_and_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let entry = Entry::below(root.path(), &recipe("1", &[]));
        let partial = entry.begin().unwrap();
        fs::write(partial.folder().join("half"), "").unwrap();
        assert!(!entry.is_complete());
        drop(partial);
        assert!(!entry.is_complete());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_finished_build_is_complete() {
        let root = tempfile::tempdir().unwrap();
        let entry = Entry::below(root.path(), &recipe("1", &[]));
        let partial = entry.begin().unwrap();
        fs::write(partial.folder().join("program"), "x").unwrap();
        partial.finish().unwrap();
        assert!(entry.is_complete());
        assert_eq!(fs::read_to_string(entry.folder().join("program")).unwrap(), "x");
    }
}
