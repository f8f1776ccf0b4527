//! The gateway's private key: made on the node, and never anywhere else.
//!
//! The kernel's copy comes first: as long as the interface lives, a lost or changed file changes
//! nothing for clients. A key that is to have no file is kept by the gateway in the agent's memory as
//! well, and that copy outlives the interface. A file is written whole and private (0600) or not at all: under
//! another name first, and what a crash leaves there is a key that nobody looks after, so it goes at the next start.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use culvert_crds::gateway::KeyStorage;
use culvert_follow::Uid;
use culvert_wireguard::{KeyError, PrivateKey};

/// A failure to keep a gateway's private key. Paths are named, contents never.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// The file could not be read or written.
    #[error("failed to {action} the private key at `{path}`")]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file holds something else. Deleting it makes a new key.
    #[error("the file `{path}` holds no private key; restore it, or delete it for a new key")]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// No key could be made.
    #[error("failed to make a private key")]
    Generate(#[source] KeyError),
}

/// How the name of a key's file ends.
const WHOLE: &str = "key";

/// The same while it is not whole yet.
const UNFINISHED: &str = "new";

/// Where the private keys of this node's gateways are kept.
#[derive(Clone, Debug)]
pub struct Keystore {
    folder: PathBuf,
}

impl Keystore {
    /// A store in this folder, which is made when the first key is.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Removes what an agent that was killed while it wrote a key has left behind.
    pub fn clean(&self) -> Result<(), KeystoreError> {
        // One that cannot be removed keeps no other.
        let results: Vec<_> = self.files(UNFINISHED)?.iter().map(|path| remove(path)).collect();
        results.into_iter().collect()
    }

    /// The gateways that have a file here. One that is not named by a uid is not ours.
    pub fn gateways(&self) -> Result<Vec<String>, KeystoreError> {
        let files = self.files(WHOLE)?;
        let names = files.iter().filter(|path| path.is_file());
        let names = names.filter_map(|path| path.file_stem()?.to_str());
        let uids = names.filter(|name| Uid::try_parse(name).is_ok());
        Ok(uids.map(str::to_owned).collect())
    }

    /// The files whose names end so.
    fn files(&self, extension: &str) -> Result<Vec<PathBuf>, KeystoreError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                return Err(KeystoreError::File {
                    action: "look for",
                    path: self.folder.clone(),
                    source,
                });
            }
        };
        Ok(entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|end| end == extension))
            .collect())
    }

    /// The key of a gateway: the one that is in use, in the agent or in the kernel, then the file's, then a new one.
    pub fn key(
        &self,
        gateway: &str,
        storage: KeyStorage,
        in_use: Option<PrivateKey>,
    ) -> Result<PrivateKey, KeystoreError> {
        let path = self.path(gateway);
        if storage == KeyStorage::Memory {
            // A file from before, where nobody else has the key, has the one that clients know.
            let known = in_use.or_else(|| read(&path).ok().flatten());
            let key = known.map_or_else(PrivateKey::generate, Ok);
            self.forget(gateway)?;
            return key.map_err(KeystoreError::Generate);
        }
        let stored = read(&path);
        let key = match (in_use, stored) {
            (Some(used), Ok(Some(file))) if used == file => return Ok(used),
            (Some(used), _) => used,
            (None, Ok(Some(file))) => return Ok(file),
            (None, Ok(None)) => PrivateKey::generate().map_err(KeystoreError::Generate)?,
            (None, Err(error)) => return Err(error),
        };
        self.write(&path, &key)?;
        Ok(key)
    }

    /// Removes the file of a gateway that has left the node.
    pub fn forget(&self, gateway: &str) -> Result<(), KeystoreError> {
        let path = self.path(gateway);
        if path.exists() {
            tracing::info!(path = %path.display(), "private key removed");
        }
        remove(&path)?;
        remove(&path.with_extension(UNFINISHED))
    }

    fn path(&self, gateway: &str) -> PathBuf {
        self.folder.join(format!("{gateway}.{WHOLE}"))
    }

    fn write(&self, path: &Path, key: &PrivateKey) -> Result<(), KeystoreError> {
        let failed = |action| {
            let path = path.to_owned();
            move |source| KeystoreError::File { action, path, source }
        };
        fs::create_dir_all(&self.folder).map_err(failed("make the folder of"))?;
        fs::set_permissions(&self.folder, Permissions::from_mode(0o700))
            .map_err(failed("close the folder of"))?;
        let temporary = path.with_extension(UNFINISHED);
        remove(&temporary)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed("create"))?;
        let written = file
            .write_all(key.to_base64().as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(failed("write"))
            .and_then(|()| fs::rename(&temporary, path).map_err(failed("replace")));
        if written.is_err() {
            // A full disk, most likely; why it failed is what is to be told.
            let _ = remove(&temporary);
        }
        written?;
        // The name, too, must outlive a loss of power.
        fs::File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("write"))
    }
}

fn read(path: &Path) -> Result<Option<PrivateKey>, KeystoreError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => zeroize::Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(KeystoreError::File {
                action: "read",
                path: path.to_owned(),
                source,
            });
        }
    };
    let key = PrivateKey::from_base64(text.trim_end()).map_err(|source| KeystoreError::NotAKey {
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(key))
}

fn remove(path: &Path) -> Result<(), KeystoreError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(KeystoreError::File {
            action: "delete",
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Keystore) {
        let folder = tempfile::tempdir().unwrap();
        let keystore = Keystore::new(folder.path().join("keys"));
        (folder, keystore)
    }

    fn files(store: &Keystore) -> Vec<String> {
        let entries = fs::read_dir(&store.folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_key_survives_a_restart_in_a_private_file() {
        let (_folder, store) = store();
        let made = store.key("gw", KeyStorage::Node, None).unwrap();
        assert!(store.key("gw", KeyStorage::Node, None).unwrap() == made);
        let mode = fs::metadata(store.folder.join("gw.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_kernels_key_outlives_a_lost_and_a_broken_file() {
        let (_folder, store) = store();
        let made = store.key("gw", KeyStorage::Node, None).unwrap();
        let kernel = || Some(PrivateKey::from_bytes(made.as_bytes()));
        fs::remove_file(store.folder.join("gw.key")).unwrap();
        assert!(store.key("gw", KeyStorage::Node, kernel()).unwrap() == made);
        fs::write(store.folder.join("gw.key"), "broken").unwrap();
        assert!(store.key("gw", KeyStorage::Node, kernel()).unwrap() == made);
        assert!(store.key("gw", KeyStorage::Node, None).unwrap() == made);
    }

    #[test]
    fn a_broken_file_is_an_error_when_nobody_else_has_the_key() {
        let (_folder, store) = store();
        store.key("gw", KeyStorage::Node, None).unwrap();
        fs::write(store.folder.join("gw.key"), "broken").unwrap();
        assert!(matches!(
            store.key("gw", KeyStorage::Node, None),
            Err(KeystoreError::NotAKey { .. })
        ));
    }

    #[test]
    fn a_key_in_memory_leaves_no_file() {
        let (_folder, store) = store();
        store.key("gw", KeyStorage::Node, None).unwrap();
        fs::write(store.folder.join("gw.new"), "half").unwrap();
        store.key("gw", KeyStorage::Memory, None).unwrap();
        assert_eq!(files(&store), [""; 0]);
    }

    #[test]
    fn a_key_that_only_its_file_has_goes_on_without_it() {
        let (_folder, store) = store();
        let made = store.key("gw", KeyStorage::Node, None).unwrap();
        assert!(store.key("gw", KeyStorage::Memory, None).unwrap() == made);
        assert_eq!(files(&store), [""; 0]);
    }

    #[test]
    fn a_key_in_use_goes_on_without_a_file() {
        let (_folder, store) = store();
        let made = store.key("gw", KeyStorage::Memory, None).unwrap();
        let in_use = Some(PrivateKey::from_bytes(made.as_bytes()));
        assert!(store.key("gw", KeyStorage::Memory, in_use).unwrap() == made);
        assert!(!store.folder.exists());
    }

    #[test]
    fn only_files_that_are_named_by_a_uid_are_gateways() {
        let (_folder, store) = store();
        let uid = Uid::from_u128(7).to_string();
        store.key(&uid, KeyStorage::Node, None).unwrap();
        fs::write(store.folder.join("tls.key"), "").unwrap();
        fs::create_dir(store.folder.join(format!("{}.key", Uid::from_u128(8)))).unwrap();
        assert_eq!(store.gateways().unwrap(), [uid]);
    }

    #[test]
    fn what_a_crash_left_half_written_is_gone_after_a_start() {
        let (_folder, store) = store();
        store.clean().unwrap();
        let made = store.key("gw", KeyStorage::Node, None).unwrap();
        for name in ["gw.new", "other.new", "other.key", "new"] {
            fs::write(store.folder.join(name), "half").unwrap();
        }
        store.clean().unwrap();
        assert_eq!(files(&store), ["gw.key", "new", "other.key"]);
        assert!(store.key("gw", KeyStorage::Node, None).unwrap() == made);
    }

    #[test]
    fn a_key_that_cannot_be_written_leaves_nothing() {
        let (_folder, store) = store();
        store.key("gw", KeyStorage::Node, None).unwrap();
        // A folder stands where the file is to be.
        fs::create_dir_all(store.folder.join("other.key/full")).unwrap();
        let failed = store.key("other", KeyStorage::Node, Some(PrivateKey::from_bytes(&[7; 32])));
        assert!(matches!(
            failed,
            Err(KeystoreError::File {
                action: "replace",
                ..
            })
        ));
        assert_eq!(files(&store), ["gw.key", "other.key"]);
    }
}
