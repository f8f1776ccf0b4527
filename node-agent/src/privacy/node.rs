//! The one reader: what the node's kernel says of itself, read as it is and judged elsewhere.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use culvert_crds::gateway_node::Backend;
use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

use super::swap::{self, Block};
use super::{Cores, Look, debug_messages, network, sockets};

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

    /// Looks at everything. `ports` are those on which clients reach the gateways.
    pub async fn look(&self, ports: &HashSet<u16>) -> Look {
        let links = network::links().await;
        let connection_tracking = if self.tracks_nothing() || ports.is_empty() {
            Some(false)
        } else {
            links.as_ref().and_then(|links| links.are_tracked(ports))
        };
        Look {
            packet_sockets: links.and_then(|links| self.packet_sockets(&links.own)),
            connection_tracking,
            ..self.files()
        }
    }

    /// Looks at what files say of the kernel and of this process.
    pub(super) fn files(&self) -> Look {
        let control = CONTROLS.iter().find_map(|control| self.read(control));
        Look {
            debug_messages: control.as_deref().map(debug_messages),
            core_dumps: self.cores().map(Cores::possible),
            plain_swap: self.plain_swap(),
            ..Look::default()
        }
    }

    /// Whether a program reads packets of others' interfaces than these.
    pub(super) fn packet_sockets(&self, own: &HashSet<u32>) -> Option<bool> {
        match fs::read_to_string(self.root.join("proc/net/packet")) {
            Ok(table) => sockets::read_clients(&table, own),
            // A kernel that has no such sockets.
            Err(error) => self.is_absent(&error).then_some(false),
        }
    }

    /// Whether it is known that connection tracking holds nothing.
    pub(super) fn tracks_nothing(&self) -> bool {
        match fs::read_to_string(self.root.join("proc/sys/net/netfilter/nf_conntrack_count")) {
            Ok(count) => count.trim_end() == "0",
            Err(error) => self.is_absent(&error),
        }
    }

    /// Whether a file is not there because the kernel has no such thing: only where there is a /proc is that known.
    fn is_absent(&self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::NotFound && self.root.join("proc/self").exists()
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
            // A kernel that cannot swap has no such file.
            Err(error) => return self.is_absent(&error).then_some(false),
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
