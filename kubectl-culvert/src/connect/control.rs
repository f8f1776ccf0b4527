//! How a running `connect` is told to rotate: a socket of its own, for its user alone.
//!
//! `kubectl culvert key rotate NAME` asks here first: the private key of a connected client is in its kernel, and only the
//! program that made it can make the next. One line goes each way, and nothing secret in either.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

/// Where sockets are.
const FOLDER: &str = "/run/culvert/connect";

/// How long somebody who has connected may take to say something.
const PATIENCE: Duration = Duration::from_secs(5);

/// The socket could not be worked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It cannot be made.
    #[error("failed to make the socket `{}`", .path.display())]
    Bind {
        /// Where.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },

    /// Somebody has it.
    #[error("`{0}` is connected already, by another process of this machine")]
    Taken(String),

    /// The other end hung up.
    #[error("the running `connect` did not answer")]
    Silent(#[source] io::Error),

    /// It has not rotated yet.
    #[error("the running `connect` has not rotated yet; it goes on by itself")]
    Slow,

    /// It could not rotate.
    #[error("the running `connect` could not rotate: {0}")]
    Refused(String),
}

/// A wish for a rotation, and where to say what became of it.
pub type Asked = oneshot::Sender<Result<(), String>>;

/// The socket, while it is there. Dropping it removes the file.
pub struct Control {
    path: PathBuf,
    wishes: mpsc::Receiver<Asked>,
    task: tokio::task::JoinHandle<()>,
}

impl Control {
    /// Makes the socket of a key. Whoever has it is the one `connect` of that key on this machine.
    pub fn listen(namespace: &str, name: &str) -> Result<Self, ControlError> {
        let path = path(namespace, name);
        let failed = |source| ControlError::Bind {
            path: path.clone(),
            source,
        };
        let mut folder = fs::DirBuilder::new();
        folder.recursive(true).mode(0o700);
        folder.create(FOLDER).map_err(failed)?;
        // A file outlives whoever made it; one that answers has somebody.
        match std::os::unix::net::UnixStream::connect(&path) {
            Ok(_) => return Err(ControlError::Taken(format!("{namespace}/{name}"))),
            Err(_) => drop(fs::remove_file(&path)),
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let (wish, wishes) = mpsc::channel(4);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, wish.clone()));
            }
        });
        Ok(Self { path, wishes, task })
    }

    /// The next wish.
    pub async fn next(&mut self) -> Asked {
        match self.wishes.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        let _ = fs::remove_file(&self.path);
    }
}

async fn serve(stream: UnixStream, wish: mpsc::Sender<Asked>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_line(&mut line)).await;
    if !matches!(read, Ok(Ok(_))) || line.trim_end() != "rotate" {
        return;
    }
    let (asked, answered) = oneshot::channel();
    if wish.send(asked).await.is_err() {
        return;
    }
    let answer = match answered.await {
        Ok(Ok(())) => "done\n".to_owned(),
        Ok(Err(why)) => format!("failed {}\n", why.replace('\n', " ")),
        Err(_) => "failed it is ending\n".to_owned(),
    };
    let _ = stream.get_mut().write_all(answer.as_bytes()).await;
}

/// Asks the `connect` of a key that runs on this machine to rotate, and waits until it has; `None` when none runs, or it is
/// not this user's.
pub async fn rotate(namespace: &str, name: &str, patience: Duration) -> Option<Result<(), ControlError>> {
    let stream = UnixStream::connect(path(namespace, name)).await.ok()?;
    let asked = tokio::time::timeout(patience, ask(stream)).await;
    Some(asked.unwrap_or(Err(ControlError::Slow)))
}

async fn ask(stream: UnixStream) -> Result<(), ControlError> {
    let mut stream = BufReader::new(stream);
    stream
        .get_mut()
        .write_all(b"rotate\n")
        .await
        .map_err(ControlError::Silent)?;
    let mut line = String::new();
    stream.read_line(&mut line).await.map_err(ControlError::Silent)?;
    match line.trim_end().split_once(' ') {
        None if line.trim_end() == "done" => Ok(()),
        Some(("failed", why)) => Err(ControlError::Refused(why.to_owned())),
        _ => Err(ControlError::Silent(io::ErrorKind::UnexpectedEof.into())),
    }
}

fn path(namespace: &str, name: &str) -> PathBuf {
    file(namespace, name, "sock")
}

/// A file of the `connect` of a key: one that is there while it is, or its tunnel.
pub fn file(namespace: &str, name: &str, kind: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{namespace}.{name}.{kind}"))
}
