//! Private keys on this machine: one file each, of mode 0600, in folders of mode 0700.
//!
//! `$XDG_DATA_HOME/culvert/<apiserver>/<namespace>/<name>.key`, in the format of `wg genkey`. `<name>.next` beside it is a
//! rotation under way: the key that the cluster has been told, or will be, and that no gateway need have yet. A file is
//! written under another name, brought to the disk and then put in place, so it is whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use culvert_wireguard::key::KeyError;
use zeroize::Zeroizing;

use super::pair::Pair;
use crate::cluster::Cluster;
use crate::exit::Exit;

/// A private key could not be made, kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system's random source failed.
    #[error("failed to make a key pair")]
    Draw(#[source] KeyError),

    /// There is no home.
    #[error("there is no folder for private keys: neither XDG_DATA_HOME nor HOME is set")]
    NoHome,

    /// The file is there already.
    #[error("there is a private key in `{}` already", .0.display())]
    Exists(PathBuf),

    /// The file is not there.
    #[error("there is no private key in `{}`", .0.display())]
    Missing(PathBuf),

    /// The file system failed.
    #[error("failed to {what} `{}`", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },

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
        match self {
            Self::Exists(_) => Some(
                "choose another name, or `kubectl culvert key revoke` that key first, which removes the file as well"
                    .to_owned(),
            ),
            Self::Missing(_) => Some(
                "name the file of the private key with --key-file, or make a new pair with `kubectl culvert key rotate`"
                    .to_owned(),
            ),
            Self::NoHome => Some("set XDG_DATA_HOME".to_owned()),
            _ => None,
        }
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
        let server = cluster.server.replace([':', '/', '[', ']'], "_");
        Ok(Self::at(
            data.join("culvert").join(server).join(&cluster.namespace),
        ))
    }

    /// This folder.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where the private key of this name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.key"))
    }

    /// Where the key of a rotation under way is.
    pub fn next_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.next"))
    }

    /// Keeps a new private key; one that is there stays.
    pub fn create(&self, name: &str, pair: &Pair) -> Result<PathBuf, StoreError> {
        let path = self.path(name);
        write_new(&path, pair)?;
        Ok(path)
    }

    /// Keeps the key of a rotation.
    pub fn create_next(&self, name: &str, pair: &Pair) -> Result<(), StoreError> {
        write_new(&self.next_path(name), pair)
    }

    /// The private key of this name.
    pub fn read(&self, name: &str) -> Result<Pair, StoreError> {
        read(&self.path(name))
    }

    /// The private key of this name, if there is one.
    pub fn read_opt(&self, name: &str) -> Result<Option<Pair>, StoreError> {
        optional(read(&self.path(name)))
    }

    /// The key of a rotation under way, if there is one.
    pub fn read_next(&self, name: &str) -> Result<Option<Pair>, StoreError> {
        optional(read(&self.next_path(name)))
    }

    /// Puts the rotation's key into the place of the old one.
    pub fn switch(&self, name: &str) -> Result<(), StoreError> {
        let (from, to) = (self.next_path(name), self.path(name));
        fs::rename(&from, &to).map_err(failed("replace", &to))?;
        sync(&self.folder)
    }

    /// Removes the key of a rotation that came to nothing; whether it was there does not matter.
    pub fn remove_next(&self, name: &str) -> Result<(), StoreError> {
        remove(&self.next_path(name))
    }

    /// Removes what there is of this name.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        remove(&self.path(name)).and(self.remove_next(name))
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::File { what, path, source }
}

fn optional(result: Result<Pair, StoreError>) -> Result<Option<Pair>, StoreError> {
    match result {
        Ok(pair) => Ok(Some(pair)),
        Err(StoreError::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a private key from a file, as `wg genkey` writes it.
pub(crate) fn read(path: &Path) -> Result<Pair, StoreError> {
    let mut file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => StoreError::Missing(path.to_owned()),
        _ => failed("open", path)(source),
    })?;
    // Room for more than a key: growing would leave a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(256));
    (&mut file)
        .take(255)
        .read_to_string(&mut text)
        .map_err(failed("read", path))?;
    Pair::read(&text).map_err(|source| StoreError::Content {
        path: path.to_owned(),
        source,
    })
}

/// Writes a private key to a file that is not there yet.
pub(crate) fn write_new(path: &Path, pair: &Pair) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut folders = fs::DirBuilder::new();
    folders.recursive(true).mode(0o700);
    folders
        .create(folder)
        .map_err(failed("make the folder", folder))?;
    let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = write(&unfinished, pair).and_then(|()| {
        // A hard link replaces nothing.
        fs::hard_link(&unfinished, path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => StoreError::Exists(path.to_owned()),
            _ => failed("write", path)(source),
        })
    });
    let removed = remove(&unfinished);
    written.and(removed).and_then(|()| sync(folder))
}

fn write(path: &Path, pair: &Pair) -> Result<(), StoreError> {
    remove(path)?;
    // In two parts: a text that grows leaves a copy behind.
    let text = pair.private.to_base64();
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        })
        .map_err(failed("write", path))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(source)),
        _ => Ok(()),
    }
}

/// Brings a folder's names to the disk.
fn sync(folder: &Path) -> Result<(), StoreError> {
    let opened = File::open(folder).and_then(|folder| folder.sync_all());
    opened.map_err(failed("sync the folder", folder))
}
