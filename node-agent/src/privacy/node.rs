//! The one reader: what the node's kernel says of itself, read as it is and judged elsewhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use culvert_crds::gateway_node::Backend;
use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

use super::swap::{self, Block};
use super::{Cores, Look, debug_messages};

/// The kernel's table of debug messages: its own place since Linux 5.7, and that of the file system for debugging.
const CONTROLS: [&str; 2] = [
    "proc/dynamic_debug/control",
    "sys/kernel/debug/dynamic_debug/control",
];

/// The node, as it is seen under `/`.
#[derive(Clone, Debug)]
pub struct Node {
    root: PathBuf,
    starts_programs: bool,
}

impl Node {
    /// The node as it is for an agent with this backend.
    pub fn new(backend: Backend) -> Self {
        Self {
            root: "/".into(),
            starts_programs: backend == Backend::Userspace,
        }
    }

    /// A node whose kernel's files are under another folder.
    #[cfg(test)]
    pub fn under(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            ..Self::new(Backend::Kernel)
        }
    }

    /// Looks at everything.
    pub fn look(&self) -> Look {
        let control = CONTROLS.iter().find_map(|control| self.read(control));
        Look {
            debug_messages: control.as_deref().map(debug_messages),
            core_dumps: self.cores().map(Cores::possible),
            plain_swap: self.plain_swap(),
        }
    }

    fn cores(&self) -> Option<Cores> {
        let pattern = self.read("proc/sys/kernel/core_pattern")?;
        Some(Cores {
            dumpable: dumpable_behavior().ok()? != DumpableBehavior::NotDumpable,
            starts_programs: self.starts_programs,
            limit: getrlimit(Resource::Core).current,
            // `|` is a program, `@` a socket.
            piped: pattern.starts_with(['|', '@']),
        })
    }

    fn plain_swap(&self) -> Option<bool> {
        let swaps = match fs::read_to_string(self.root.join("proc/swaps")) {
            Ok(swaps) => swaps,
            // A kernel that cannot swap has no such file; but only where there is a /proc is that known.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.root.join("proc/self").exists() => {
                return Some(false);
            }
            Err(_) => return None,
        };
        if swaps.lines().nth(1).is_none() {
            return Some(false);
        }
        Some(swap::is_plain(&swaps, &self.blocks()?))
    }

    fn blocks(&self) -> Option<Vec<Block>> {
        let names = entries(&self.root.join("sys/block"))?;
        let block = |name: String| {
            let own = |file: &str| self.read(&format!("sys/block/{name}/{file}"));
            let line = |file: &str| own(file).map(|text| text.trim_end().to_owned());
            Block {
                mapped: line("dm/name"),
                uuid: line("dm/uuid"),
                below: entries(&self.root.join("sys/block").join(&name).join("slaves")).unwrap_or_default(),
                backing: line("backing_dev").filter(|path| path != "none"),
                name,
            }
        };
        Some(names.into_iter().map(block).collect())
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }
}

/// The names in a folder.
fn entries(folder: &Path) -> Option<Vec<String>> {
    let entries = fs::read_dir(folder).ok()?;
    let names = entries.map(|entry| entry.ok()?.file_name().into_string().ok());
    names.collect()
}
