//! Files that hold a secret, and the ways a secret may leave this process.
//!
//! A file is written under another name, of mode 0600 from its first byte, brought to the disk and then put in place: it is
//! whole or not there. A secret goes to standard output only where that is a terminal, or where the user says so.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::exit::Exit;
use crate::output::Screen;

/// A secret could not be kept, read or handed over.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// The file is there already.
    #[error("`{}` is there already", .0.display())]
    Exists(PathBuf),

    /// The folder of a file is not there.
    #[error("there is no folder `{}`", .0.display())]
    NoFolder(PathBuf),

    /// The file is not there.
    #[error("there is no `{}`", .0.display())]
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

    /// Standard output is no terminal, and nobody asked for the secret there.
    #[error("standard output is no terminal, so {0} is not printed: something may keep it")]
    NotATerminal(&'static str),

    /// A picture on a terminal.
    #[error("a terminal cannot show {0}")]
    NoText(&'static str),

    /// Several configurations for one file.
    #[error("there are {0} gateways, and one file holds the configuration of one")]
    Several(usize),
}

impl PrivateError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Exists(_) => Exit::Refused,
            Self::Missing(_) | Self::NoFolder(_) => Exit::NotFound,
            Self::File { .. } => Exit::Failed,
            Self::NotATerminal(_) => Exit::Secret,
            Self::NoText(_) | Self::Several(_) => Exit::Usage,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoFolder(folder) => {
                return Some(format!("make it with `mkdir -p {}`", folder.display()));
            }
            Self::Exists(_) => "name another file, or say --overwrite where the command has it",
            Self::Missing(_) | Self::File { .. } => return None,
            Self::NotATerminal(_) => "name a file with --out, or say `--out -` if standard output is meant",
            Self::NoText(_) => "name a file with --out",
            Self::Several(_) => "choose one with --gateway, or name a folder with --out",
        };
        Some(hint.to_owned())
    }
}

/// Whether a file that is there may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and that is an error.
    Stays,
    /// It is replaced.
    Replaced,
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Ensures that a file that a user has named can be made: its folder is there, and it is not.
pub fn is_free(path: &Path) -> Result<(), PrivateError> {
    let folder = folder(path);
    if !folder.is_dir() {
        return Err(PrivateError::NoFolder(folder.to_owned()));
    }
    match fs::symlink_metadata(path) {
        Ok(_) => Err(PrivateError::Exists(path.to_owned())),
        Err(_) => Ok(()),
    }
}

/// Writes the parts of a secret into a file of mode 0600, in folders of mode 0700.
pub fn write(path: &Path, parts: &[&[u8]], existing: Existing) -> Result<(), PrivateError> {
    let folder = folder(path);
    let mut folders = fs::DirBuilder::new();
    folders.recursive(true).mode(0o700);
    folders
        .create(folder)
        .map_err(failed("make the folder", folder))?;
    // A name of this process's own, that no reader of the folder takes for another's.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let unfinished = folder.join(name);
    let written = fill(&unfinished, parts).and_then(|()| match existing {
        Existing::Replaced => fs::rename(&unfinished, path).map_err(failed("write", path)),
        // A hard link replaces nothing.
        Existing::Stays => fs::hard_link(&unfinished, path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => PrivateError::Exists(path.to_owned()),
            _ => failed("write", path)(source),
        }),
    });
    let removed = remove(&unfinished);
    written.and(removed).and_then(|()| sync(folder))
}

fn fill(path: &Path, parts: &[&[u8]]) -> Result<(), PrivateError> {
    remove(path)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| {
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.sync_all()
    });
    written.map_err(failed("write", path))
}

/// Reads a text of at most `room` bytes; what is longer is cut.
pub fn read(path: &Path, room: usize) -> Result<Zeroizing<String>, PrivateError> {
    let mut file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => PrivateError::Missing(path.to_owned()),
        _ => failed("open", path)(source),
    })?;
    // Room for all of it: growing would leave a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(room + 1));
    let mut part = (&mut file).take(u64::try_from(room).unwrap_or(u64::MAX));
    part.read_to_string(&mut text).map_err(failed("read", path))?;
    Ok(text)
}

/// When a file was written.
pub fn modified(path: &Path) -> Result<jiff::Timestamp, PrivateError> {
    let read = fs::metadata(path).and_then(|about| about.modified());
    let time = read.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => PrivateError::Missing(path.to_owned()),
        _ => failed("look at", path)(source),
    })?;
    Ok(jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::MAX))
}

/// Removes a file; that it is not there does not matter.
pub fn remove(path: &Path) -> Result<(), PrivateError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(source)),
        _ => Ok(()),
    }
}

/// Puts one file into the place of another, for good. Says whether it was there.
pub fn rename(from: &Path, to: &Path) -> Result<bool, PrivateError> {
    match fs::rename(from, to) {
        Ok(()) => sync(to.parent().unwrap_or(Path::new("."))).map(|()| true),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(failed("replace", to)(source)),
    }
}

/// Brings a folder's names to the disk.
fn sync(folder: &Path) -> Result<(), PrivateError> {
    let opened = File::open(folder).and_then(|folder| folder.sync_all());
    opened.map_err(failed("sync the folder", folder))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PrivateError + use<> {
    let path = path.to_owned();
    move |source| PrivateError::File { what, path, source }
}

/// Where a secret is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Out {
    /// To standard output.
    Standard,

    /// Into this file or folder.
    Path(PathBuf),
}

impl Out {
    /// What was asked for with `--out`. Without it a terminal is the place, and anything else is none.
    pub fn of(asked: Option<&Path>, screen: Screen, what: &'static str) -> Result<Self, PrivateError> {
        match asked {
            Some(path) if path == Path::new("-") => Ok(Self::Standard),
            Some(path) => Ok(Self::Path(path.to_owned())),
            None if screen.terminal.out => Ok(Self::Standard),
            None => Err(PrivateError::NotATerminal(what)),
        }
    }
}

#[cfg(test)]
mod tests;
