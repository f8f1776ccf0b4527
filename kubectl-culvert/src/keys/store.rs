//! Private keys on this machine: one file each, in the format of `wg genkey`.
//!
//! `$XDG_DATA_HOME/culvert/<apiserver>/<namespace>/<name>.key`. `<name>.next` beside it is a pair that the cluster has been
//! told, or will be, and that is not in use yet: of a rotation, or of a key that is being made.

use std::path::{Path, PathBuf};
use std::time::Duration;

use culvert_wireguard::key::KeyError;
use jiff::Timestamp;
use rand::rngs::SysError;
use sha2::{Digest as _, Sha256};

use super::pair::Pair;
use crate::cluster::Cluster;
use crate::exit::Exit;
use crate::private::{self, Existing, PrivateError};

/// Longer than the file of a key, blanks included.
const ROOM: usize = 255;

/// The longest name that stands in a path as it is, of the 255 letters of a file's name, and the beginning of a longer one.
const LONG: usize = 200;
const HEAD: usize = 100;

/// A private key could not be made, kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system's random source failed.
    #[error("failed to make a key pair")]
    Draw(#[source] KeyError),

    /// The system's random source failed.
    #[error("failed to draw a random number")]
    Chance(#[source] SysError),

    /// There is no home.
    #[error("there is no folder for private keys: neither XDG_DATA_HOME nor HOME is set")]
    NoHome,

    /// The file is there already.
    #[error("there is a private key of this name already, in `{}`", .0.display())]
    Exists(PathBuf),

    /// The file is not there.
    #[error("there is no private key in `{}`", .0.display())]
    Missing(PathBuf),

    /// The file could not be written or read.
    #[error(transparent)]
    File(PrivateError),

    /// The file holds no private key.
    #[error("`{}` holds no private key", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why it is none.
        #[source]
        source: KeyError,
    },
}

impl From<PrivateError> for StoreError {
    fn from(error: PrivateError) -> Self {
        match error {
            PrivateError::Exists(path) => Self::Exists(path),
            PrivateError::Missing(path) => Self::Missing(path),
            error => Self::File(error),
        }
    }
}

impl StoreError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Exists(_) => Exit::Refused,
            Self::Missing(_) => Exit::NotFound,
            _ => Exit::Failed,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Exists(_) => {
                "choose another name, or revoke that key first with `kubectl culvert key revoke`, which removes the file as well"
            }
            Self::Missing(_) => {
                "`key config` and `key qr` read another file with --private-key; if it is lost, revoke the key and make another"
            }
            Self::NoHome => "set XDG_DATA_HOME",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// A folder with private keys.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The folder for the keys of a namespace of a cluster.
    pub fn default_for(cluster: &Cluster) -> Result<Self, StoreError> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let data = match (set("XDG_DATA_HOME"), set("HOME")) {
            (Some(data), _) => PathBuf::from(data),
            (None, Some(home)) => PathBuf::from(home).join(".local/share"),
            (None, None) => return Err(StoreError::NoHome),
        };
        let server = component(&cluster.server.replace([':', '[', ']'], "_"));
        let namespace = component(&cluster.namespace);
        Ok(Self::at(data.join("culvert").join(server).join(namespace)))
    }

    /// This folder.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where the private key of this name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}.key", component(name)))
    }

    /// Where the pair is that is not in use yet.
    pub fn next_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}.next", component(name)))
    }

    /// Keeps a pair that is not in use yet; one that is there stays, and is an error.
    pub fn create_next(&self, name: &str, pair: &Pair) -> Result<(), StoreError> {
        write_new(&self.next_path(name), pair)
    }

    /// The pair of this name.
    pub fn read(&self, name: &str) -> Result<Pair, StoreError> {
        read(&self.path(name))
    }

    /// The pair of this name, if there is one.
    pub fn read_opt(&self, name: &str) -> Result<Option<Pair>, StoreError> {
        optional(self.read(name))
    }

    /// The pair that is not in use yet, if there is one.
    pub fn read_next(&self, name: &str) -> Result<Option<Pair>, StoreError> {
        optional(read(&self.next_path(name)))
    }

    /// Puts the next pair into the place of the one in use. Where somebody else was quicker nothing is left to do.
    pub fn switch(&self, name: &str) -> Result<(), StoreError> {
        private::rename(&self.next_path(name), &self.path(name))?;
        Ok(())
    }

    /// Removes a pair that came to nothing.
    pub fn remove_next(&self, name: &str) -> Result<(), StoreError> {
        Ok(private::remove(&self.next_path(name))?)
    }

    /// How long ago the pair in use was made; a clock that was set back makes it young.
    pub fn age(&self, name: &str, now: Timestamp) -> Result<Duration, StoreError> {
        let made = private::modified(&self.path(name))?;
        let seconds = now.as_second().saturating_sub(made.as_second());
        Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    /// Removes what there is of this name.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let removed = private::remove(&self.path(name)).map_err(StoreError::from);
        removed.and(self.remove_next(name))
    }
}

/// One component of a path. No name in the API has a slash or begins with a dot, so none loses its own. A long one has its
/// beginning and a digest: with an ending it would be longer than a file's name may be.
fn component(name: &str) -> String {
    let mut name = name.replace('/', "_");
    if name.len() > LONG {
        let digest = Sha256::digest(name.as_bytes());
        let head: String = name.chars().take(HEAD).collect();
        name = digest[..16]
            .iter()
            .fold(head + "-", |text, byte| format!("{text}{byte:02x}"));
    }
    if name.starts_with('.') {
        format!("_{name}")
    } else {
        name
    }
}

fn optional(result: Result<Pair, StoreError>) -> Result<Option<Pair>, StoreError> {
    match result {
        Ok(pair) => Ok(Some(pair)),
        Err(StoreError::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a private key from a file, as `wg genkey` writes it.
pub fn read(path: &Path) -> Result<Pair, StoreError> {
    let text = private::read(path, ROOM)?;
    Pair::read(&text).map_err(|source| StoreError::Content {
        path: path.to_owned(),
        source,
    })
}

/// Writes a private key to a file that is not there yet.
pub fn write_new(path: &Path, pair: &Pair) -> Result<(), StoreError> {
    // In two parts: a text that grows leaves a copy behind.
    let text = pair.private.to_base64();
    private::write(path, &[text.as_bytes(), b"\n"], Existing::Stays)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_kept_then_used_and_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().to_owned());
        let (one, two) = (Pair::draw().unwrap(), Pair::draw().unwrap());
        assert!(matches!(store.read("laptop"), Err(StoreError::Missing(_))));
        store.create_next("laptop", &one).unwrap();
        assert!(matches!(
            store.create_next("laptop", &two),
            Err(StoreError::Exists(_))
        ));
        assert_eq!(store.read_next("laptop").unwrap().unwrap().public, one.public);
        store.switch("laptop").unwrap();
        // Somebody else was quicker.
        store.switch("laptop").unwrap();
        assert_eq!(store.read("laptop").unwrap().public, one.public);
        assert!(store.read_next("laptop").unwrap().is_none());
        store.create_next("laptop", &two).unwrap();
        store.remove("laptop").unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let store = Store::at(PathBuf::from("/home/culvert"));
        for name in ["../other", "/etc/passwd", "..", ".", "a/../../b", "laptop"] {
            assert_eq!(
                store.path(name).parent(),
                Some(Path::new("/home/culvert")),
                "{name}"
            );
            let last = store.path(name);
            assert!(!last.components().any(|part| part.as_os_str() == ".."), "{name}");
        }
        for name in ["..", ".", "a/b"] {
            assert!(![".", ".."].contains(&component(name).as_str()) && !component(name).contains('/'));
        }
    }

    #[test]
    fn a_name_of_any_length_has_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().to_owned());
        // The longest that an object may have.
        for name in [
            format!("a{}", "b".repeat(252)),
            format!("{}a", "b".repeat(252)),
            "b".repeat(200),
        ] {
            let pair = Pair::draw().unwrap();
            store.create_next(&name, &pair).unwrap();
            store.switch(&name).unwrap();
            assert_eq!(store.read(&name).unwrap().public, pair.public);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
        assert!(
            store
                .path(&"b".repeat(200))
                .ends_with(format!("{}.key", "b".repeat(200)))
        );
    }

    #[test]
    fn an_error_about_a_file_repeats_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("laptop.key");
        std::fs::write(&path, "SGb+ojrRNDuMePufwtIYhXzA//k6wF3R21tEBgKlzlM").unwrap();
        let error = read(&path).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("SGb+"), "{text}");
        assert!(text.contains("laptop.key"), "{text}");
    }
}
