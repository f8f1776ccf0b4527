//! Names are resolved by the gateway's resolvers while the tunnel is up, and as before afterwards.
//!
//! The first way that is there: systemd-resolved (`resolvectl`), `resolvconf`, or a file of ours bound over
//! `/etc/resolv.conf`, which is left untouched below it. In a network namespace it is the file that `ip netns exec` shows
//! to programs there, `/etc/netns/NAME/resolv.conf`, unless somebody has made one. What was killed leaves a file or a bind of ours
//! behind, which the next run knows as such.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::program;

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What is bound over it.
const OURS: &str = "/run/culvert/connect/resolv.conf";
/// How a file of ours begins.
const HEADER: &str = "# Written by kubectl culvert connect; goes when the tunnel does.\n";
/// The name of our entry with resolvconf.
const ENTRY: &str = "tun.culvert";
/// How long a program may take; each takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Names cannot be resolved as they should.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// A program failed.
    #[error("`{program}` did not take the tunnel's resolvers")]
    Program {
        /// Which.
        program: &'static str,
        /// Why, where it could not be run.
        #[source]
        source: Option<io::Error>,
    },

    /// A file failed.
    #[error("failed to write `{}`", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// How names are resolved here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// systemd-resolved: an interface has resolvers.
    Resolved,
    /// resolvconf: an entry of ours.
    Resolvconf,
    /// Our file over the system's.
    Bind,
    /// A namespace's file.
    Namespace(PathBuf),
    /// Somebody else's file in the namespace: it stays.
    Theirs(PathBuf),
}

impl Way {
    /// Looks which there is.
    pub async fn find(netns: Option<&str>) -> Self {
        if let Some(name) = netns {
            let name = Path::new(name).file_name().unwrap_or_default();
            let file = Path::new("/etc/netns").join(name).join("resolv.conf");
            return match fs::read_to_string(&file) {
                Ok(text) if !text.starts_with(HEADER) => Self::Theirs(file),
                _ => Self::Namespace(file),
            };
        }
        if program::is_there(Path::new("resolvectl")) && run("resolvectl", &["status"], None).await.is_ok() {
            Self::Resolved
        } else if program::is_there(Path::new("resolvconf"))
            && run("resolvconf", &["--version"], None).await.is_ok()
        {
            Self::Resolvconf
        } else {
            Self::Bind
        }
    }

    /// Whether something of ours is in place that outlives its interface.
    pub fn is_left(&self) -> bool {
        match self {
            Self::Bind => is_bound(),
            Self::Namespace(file) => file.exists(),
            // What an earlier run has said to it nobody can tell; to take back what is not there changes nothing.
            Self::Resolvconf => true,
            Self::Resolved | Self::Theirs(_) => false,
        }
    }

    /// Puts the resolvers in place, for the interface where the way knows interfaces. Without any, names are resolved as
    /// before.
    pub async fn resolve(&self, interface: &str, resolvers: &[IpAddr]) -> Result<(), DnsError> {
        if resolvers.is_empty() {
            return self.relieve(interface).await;
        }
        let texts: Vec<String> = resolvers.iter().map(ToString::to_string).collect();
        let lines = texts
            .iter()
            .fold(String::new(), |lines, text| lines + "nameserver " + text + "\n");
        match self {
            Self::Resolved => {
                let mut words = vec!["dns", interface];
                words.extend(texts.iter().map(String::as_str));
                run("resolvectl", &words, None).await?;
                run("resolvectl", &["domain", interface, "~."], None).await?;
                run("resolvectl", &["default-route", interface, "true"], None).await
            }
            Self::Resolvconf => {
                let words = ["-a", ENTRY, "-m", "0", "-x"];
                run("resolvconf", &words, Some(&lines)).await
            }
            Self::Namespace(file) => write(file, &lines),
            Self::Bind => {
                let file = Path::new(OURS);
                let bound = is_bound();
                // In place: what is bound is the file, not its name.
                write(file, &lines)?;
                if bound {
                    return Ok(());
                }
                run("mount", &["--bind", OURS, RESOLV_CONF], None).await
            }
            Self::Theirs(_) => Ok(()),
        }
    }

    /// Has names resolved as before, while the interface stays.
    async fn relieve(&self, interface: &str) -> Result<(), DnsError> {
        match self {
            Self::Resolved => run("resolvectl", &["revert", interface], None).await,
            _ if self.is_left() => self.restore().await,
            _ => Ok(()),
        }
    }

    /// Has names resolved as before, where the interface goes.
    pub async fn restore(&self) -> Result<(), DnsError> {
        match self {
            // It goes with the interface.
            Self::Resolved | Self::Theirs(_) => Ok(()),
            Self::Resolvconf => run("resolvconf", &["-f", "-d", ENTRY], None).await,
            Self::Namespace(file) => remove(file),
            Self::Bind => {
                if is_bound() {
                    run("umount", &[RESOLV_CONF], None).await?;
                }
                remove(Path::new(OURS))
            }
        }
    }
}

/// Whether our file is bound over the system's.
fn is_bound() -> bool {
    fs::read_to_string(RESOLV_CONF).is_ok_and(|text| text.starts_with(HEADER))
}

fn write(file: &Path, lines: &str) -> Result<(), DnsError> {
    let failed = |source| DnsError::File {
        path: file.to_owned(),
        source,
    };
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(file, format!("{HEADER}{lines}")).map_err(failed)?;
    // Whoever asks for names reads it, whatever this process hides otherwise.
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).map_err(failed)
}

fn remove(file: &Path) -> Result<(), DnsError> {
    match fs::remove_file(file) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(DnsError::File {
            path: file.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

async fn run(program: &'static str, words: &[&str], input: Option<&str>) -> Result<(), DnsError> {
    let failed = |source| DnsError::Program { program, source };
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(Some(error)))?;
    let mut stdin = child.stdin.take();
    let running = async {
        if let (Some(stdin), Some(input)) = (&mut stdin, input) {
            stdin.write_all(input.as_bytes()).await?;
        }
        drop(stdin);
        child.wait().await
    };
    let status = tokio::time::timeout(PATIENCE, running).await;
    let status = status.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    if status.map_err(|error| failed(Some(error)))?.success() {
        Ok(())
    } else {
        Err(failed(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_namespaces_file_comes_and_goes_and_anothers_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("blue/resolv.conf");
        let way = Way::Namespace(file.clone());
        assert!(!way.is_left());
        way.resolve(
            "cvc0",
            &["10.64.0.1".parse().unwrap(), "fd64::1".parse().unwrap()],
        )
        .await
        .unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(
            text,
            format!("{HEADER}nameserver 10.64.0.1\nnameserver fd64::1\n")
        );
        assert!(way.is_left());
        way.restore().await.unwrap();
        assert!(!file.exists());
        way.restore().await.unwrap();

        fs::write(&file, "nameserver 192.0.2.53\n").unwrap();
        let theirs = Way::Theirs(file.clone());
        theirs.resolve("cvc0", &[]).await.unwrap();
        theirs.restore().await.unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "nameserver 192.0.2.53\n");
    }
}
