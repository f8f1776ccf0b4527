//! One wireguard-go: its start and its end.
//!
//! It is started under a name of its own and keeps its socket under that name when the interface is renamed. It leads
//! a process group of its own and outlives the agent: a restart of the agent cuts no session. Nothing that it prints
//! is kept, as its errors repeat endpoints.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use culvert_wireguard::userspace::Uapi;

/// Where wireguard-go puts its sockets.
const FOLDER: &str = "/var/run/wireguard";

/// A program that this process has started. Dropping it ends nothing.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    /// Starts the program, which makes an interface and a socket of this name.
    pub fn start(program: &Path, name: &str) -> io::Result<Self> {
        let child = Command::new(program)
            .args(["-f", name])
            .env("LOG_LEVEL", "silent")
            // It would take descriptors of these numbers for its own.
            .env_remove("WG_TUN_FD")
            .env_remove("WG_UAPI_FD")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self {
            child,
            socket: path(name),
        })
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Ends it, and its interface with it.
    pub fn end(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        // It is dead, so nobody ends with its socket.
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The socket of the program of this name.
pub fn socket(name: &str, object: &str) -> Uapi {
    Uapi::new(path(name), object)
}

fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{name}.sock"))
}
