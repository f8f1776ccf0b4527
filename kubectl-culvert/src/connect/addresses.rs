//! The apiserver's addresses, as its name was last resolved: for when the name can be asked for only through a tunnel that no
//! longer leads anywhere.
//!
//! Who is killed leaves the tunnel, its resolvers and the kill switch in place. If the gateway goes then, the next run could
//! not find the apiserver by its name, and neither another gateway; so the addresses outlive a process, in a file that
//! goes with the tunnel. The apiserver is known by its certificate wherever it is.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is known; each clone knows the same.
#[derive(Clone, Debug, Default)]
pub struct Addresses(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    addresses: Vec<SocketAddr>,
    file: Option<PathBuf>,
}

impl Addresses {
    /// What the name was last.
    pub fn last(&self) -> Vec<SocketAddr> {
        self.known().addresses.clone()
    }

    /// Takes in what the name is now.
    pub fn learn(&self, addresses: Vec<SocketAddr>) {
        let mut known = self.known();
        if known.addresses == addresses {
            return;
        }
        known.addresses = addresses;
        if let Some(file) = &known.file {
            // For a time that may never come; nothing else depends on it.
            drop(write(file, &known.addresses));
        }
    }

    /// From now on the file has what is known, and what it has is known where nothing else is.
    pub fn keep_in(&self, file: PathBuf) {
        let mut known = self.known();
        if known.addresses.is_empty() {
            known.addresses = read(&file);
        } else {
            drop(write(&file, &known.addresses));
        }
        known.file = Some(file);
    }

    /// Removes the file.
    pub fn forget(&self) {
        if let Some(file) = self.known().file.take() {
            drop(fs::remove_file(file));
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(file: &Path) -> Vec<SocketAddr> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn write(file: &Path, addresses: &[SocketAddr]) -> io::Result<()> {
    let text = addresses
        .iter()
        .fold(String::new(), |text, address| text + &address.to_string() + "\n");
    // Whole or not at all, whenever the process ends.
    let next = file.with_extension("next");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    io::Write::write_all(&mut options.open(&next)?, text.as_bytes())?;
    fs::rename(next, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 6443))
    }

    #[test]
    fn addresses_outlive_who_learned_them_and_go_when_they_are_to() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("default.laptop.apiserver");
        let first = Addresses::default();
        first.learn(vec![at(1)]);
        first.keep_in(file.clone());
        first.learn(vec![at(2), at(3)]);

        let next = Addresses::default();
        next.keep_in(file.clone());
        assert_eq!(next.last(), [at(2), at(3)]);
        // What is new counts, and what is kept is no more than that.
        next.learn(vec![at(4)]);
        assert_eq!(read(&file), [at(4)]);
        next.forget();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        next.learn(vec![at(5)]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_address_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("default.laptop.apiserver");
        fs::write(&file, "192.0.2.1:6443\nnonsense\n").unwrap();
        let known = Addresses::default();
        known.keep_in(file);
        assert_eq!(known.last(), [at(1)]);
    }
}
