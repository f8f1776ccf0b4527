//! The socket of a program: one connection for each operation.
//!
//! Guarantees: whether a program is there is decided by connecting, as a socket's file outlives whoever made it, and
//! stands before anybody listens. No operation waits for a silent program longer than [`PATIENCE`] at a time, not even
//! for a connection, which a program that is stopped gives nobody once so many wait for one. A program
//! that refuses a line answers, takes the rest for operations and hangs up, so our writing fails; its answer is there
//! all the same, and is read before anything is judged. Buffers are wiped, also when they grow.
//!
//! The file is never removed here: its removal ends the program.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use zeroize::Zeroizing;

use super::END;
use super::line::{self, LineError};
use super::look::Look;
use super::write::{self, GET, Text};
use crate::{DeviceChange, Error, GatewayPeer, PeerChange, PublicKey, Refusal};

/// How long the program may keep silent, and how long it may leave our text unread.
const PATIENCE: Duration = Duration::from_secs(5);

/// Room for an answer to begin with.
const ROOM: usize = 64 * 1024;

/// A program's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uapi {
    path: PathBuf,
    object: String,
    patience: Duration,
}

impl Uapi {
    /// The socket at `path`, which belongs to `object`: what errors are about.
    pub fn new(path: impl Into<PathBuf>, object: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            object: object.into(),
            patience: PATIENCE,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a program listens.
    pub fn answers(&self) -> bool {
        self.connect().is_ok()
    }

    /// Takes a snapshot of everything. Fails with a refusal `NotFound` when no program listens.
    pub fn look(&self) -> Result<Look, Error> {
        let text = self.operate("look at", GET)?;
        let length = self.done("look at", &text)?;
        Ok(Look::new(&self.object, text, length))
    }

    /// Changes settings and peers, in order, up to the first line that is refused.
    pub fn set_device(&self, change: &DeviceChange) -> Result<(), Error> {
        write::device(change).try_for_each(|text| self.set(&text))
    }

    /// Changes peers, in order, up to the first line that is refused.
    pub fn set_peers(&self, changes: &[PeerChange]) -> Result<(), Error> {
        write::peers(changes).try_for_each(|text| self.set(&text))
    }

    /// Sets a client's gateways and removes others.
    pub fn set_gateways(&self, set: &[GatewayPeer], remove: &[PublicKey]) -> Result<(), Error> {
        self.set(&write::gateways(set, remove))
    }

    fn set(&self, text: &[u8]) -> Result<(), Error> {
        let answer = self.operate("change", text)?;
        self.done("change", &answer).map(drop)
    }

    /// How long what the program said is, when it says that all is well.
    fn done(&self, action: &'static str, answer: &[u8]) -> Result<usize, Error> {
        match line::status(answer) {
            Ok((said, 0)) => Ok(said.len()),
            Ok((_, errno)) => Err(Error::refused(action, &self.object, errno)),
            Err(source) => Err(Error::Garbled {
                object: self.object.clone(),
                source,
            }),
        }
    }

    /// A connection on which nothing is said: it ends when the program does. Fails with a refusal `NotFound` when no
    /// program listens.
    pub fn hold(&self) -> Result<UnixStream, Error> {
        self.connect()
            .map_err(|source| self.not_connected("watch", source))
    }

    fn connect(&self) -> io::Result<UnixStream> {
        let kind = SocketType::STREAM;
        let socket = net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        // Before it connects: this is what bounds the wait for a place in the program's queue.
        for end in [sockopt::Timeout::Send, sockopt::Timeout::Recv] {
            sockopt::set_socket_timeout(&socket, end, Some(self.patience))?;
        }
        net::connect(&socket, &SocketAddrUnix::new(&self.path)?)?;
        Ok(socket.into())
    }

    fn not_connected(&self, action: &'static str, source: io::Error) -> Error {
        let object = self.object.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::Refused {
                action,
                object,
                refusal: Refusal::NotFound,
            },
            _ => Error::Connect { object, source },
        }
    }

    /// Sends one operation and gives the whole answer.
    fn operate(&self, action: &'static str, operation: &[u8]) -> Result<Text, Error> {
        let object = || self.object.clone();
        let mut stream = self
            .connect()
            .map_err(|source| self.not_connected(action, source))?;
        let sent = stream.write_all(operation);
        if let Err(source) = sent
            && !hung_up(&source)
        {
            // Part of it may be there, and be done.
            return Err(Error::Send {
                action,
                object: object(),
                source,
            });
        }
        read_answer(&mut stream).map_err(|source| Error::Receive {
            action,
            object: object(),
            source,
        })
    }
}

fn hung_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// Reads up to the end of an answer. An answer without an end is an error.
fn read_answer(stream: &mut UnixStream) -> io::Result<Text> {
    let mut text = Zeroizing::new(vec![0; ROOM]);
    let mut length = 0;
    loop {
        if length == text.len() {
            let mut larger = Zeroizing::new(vec![0; 2 * length]);
            larger[..length].copy_from_slice(&text);
            text = larger;
        }
        match stream.read(&mut text[length..]) {
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    LineError::Unfinished,
                ));
            }
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if text[..length].ends_with(END) {
            text.truncate(length);
            return Ok(text);
        }
    }
}

#[cfg(test)]
mod tests;
