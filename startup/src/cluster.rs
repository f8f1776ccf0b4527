//! The way to the cluster: `KUBECONFIG`, `~/.kube/config`, or the service account of a pod.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kube::{Client, Config};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a connection may be silent: longer than a watch lives, shorter than a person waits.
const SILENCE: Duration = Duration::from_secs(60);

/// Why there is no cluster. What the client library says of it quotes the file, which holds credentials; so this names
/// the file and no more.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// Nothing says where a cluster is.
    #[error("no cluster found: set KUBECONFIG, or run in a pod whose service account is mounted")]
    NotConfigured,

    /// `KUBECONFIG` names no file.
    #[error("`{}` (from KUBECONFIG) does not exist", .0.display())]
    Missing(PathBuf),

    /// `KUBECONFIG` names a file that this user may not open.
    #[error("`{}` (from KUBECONFIG) may not be opened; name a copy that belongs to this program's own user: the agent, also as root, gives up the right to open others' files", .0.display())]
    Forbidden(PathBuf),

    /// `KUBECONFIG` names a file that cannot be used.
    #[error("`{}` (from KUBECONFIG) is not a usable kubeconfig; try `kubectl get nodes` with it", .0.display())]
    Unusable(PathBuf),
}

impl ClusterError {
    fn of(kubeconfig: Option<OsString>) -> Self {
        match kubeconfig.map(PathBuf::from) {
            Some(path) => Self::opened(File::open(&path).map(drop), path),
            None => Self::NotConfigured,
        }
    }

    fn opened(result: io::Result<()>, path: PathBuf) -> Self {
        match result {
            Ok(()) => Self::Unusable(path),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Self::Forbidden(path),
            Err(_) => Self::Missing(path),
        }
    }
}

/// A client for the cluster that the environment names. It gives up connections that are dead, and repeats no request by
/// itself: the library begins to repeat what an overloaded apiserver has refused after five milliseconds, and whoever
/// repeats it knows better when, and whether.
pub async fn client() -> Result<Client, ClusterError> {
    let why = || ClusterError::of(std::env::var_os("KUBECONFIG"));
    let mut config = Config::infer().await.map_err(|_| why())?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    config.default_retry = false;
    Client::try_from(config).map_err(|_| why())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_file_and_nothing_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        assert_eq!(
            ClusterError::of(Some(file.clone().into())),
            ClusterError::Missing(file.clone())
        );
        std::fs::write(&file, "token: secret").unwrap();
        let error = ClusterError::of(Some(file.clone().into()));
        assert_eq!(error, ClusterError::Unusable(file));
        assert!(!error.to_string().contains("secret"));
        assert_eq!(ClusterError::of(None), ClusterError::NotConfigured);
    }

    #[test]
    fn a_file_of_somebody_elses_is_not_said_to_be_missing() {
        let file = PathBuf::from("/home/user/.kube/config");
        let denied = Err(io::ErrorKind::PermissionDenied.into());
        let error = ClusterError::opened(denied, file.clone());
        assert_eq!(error, ClusterError::Forbidden(file));
        assert!(
            error
                .to_string()
                .contains("a copy that belongs to this program's own user")
        );
    }
}
