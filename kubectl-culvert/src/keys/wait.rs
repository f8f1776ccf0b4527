//! Waiting for a key, by a watch of that one object.

use std::pin::pin;
use std::time::Duration;

use culvert_crds::WireGuardKey;
use culvert_wireguard::PublicKey;
use futures::StreamExt as _;
use kube::runtime::{WatchStreamExt as _, watcher};

use super::state::{KeyState, Served, state};
use crate::cluster::Cluster;
use crate::exit::Exit;
use crate::request::{Ask, Failure, cause};

/// A key is not what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum KeyFailure {
    /// It will not be served as things are.
    #[error("key `{name}` is not served ({reason}): {message}")]
    Refused {
        /// The key.
        name: String,
        /// The reason of its condition.
        reason: String,
        /// What it means and what to do.
        message: String,
    },

    /// Time is up.
    #[error("key `{name}` is not everywhere after {waited}: {message}")]
    TimedOut {
        /// The key.
        name: String,
        /// How long was waited.
        waited: String,
        /// What is missing.
        message: String,
    },

    /// Somebody deleted it.
    #[error("key `{0}` was deleted meanwhile")]
    Gone(String),

    /// Somebody put another public key into it.
    #[error("key `{0}` was given another public key meanwhile")]
    Replaced(String),

    /// Its private half is not the one that is here.
    #[error("key `{0}` has another public key than the private key that is here")]
    Foreign(String),

    /// The apiserver will not tell.
    #[error(transparent)]
    Request(#[from] Failure),
}

impl KeyFailure {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Refused { .. } | Self::Replaced(_) | Self::Foreign(_) => Exit::Refused,
            Self::TimedOut { .. } => Exit::TimedOut,
            Self::Gone(_) => Exit::NotFound,
            Self::Request(failure) => failure.exit(),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TimedOut { name, .. } => Some(format!(
                "it goes on by itself; `kubectl culvert key list` shows `{name}`, and a longer --wait waits longer"
            )),
            Self::Gone(_) | Self::Replaced(_) => {
                Some("make another with `kubectl culvert key new`, under a name of its own".to_owned())
            }
            Self::Foreign(_) => Some(
                "it was rotated elsewhere, or made by somebody else; `key config` and `key qr` read another file with --private-key"
                    .to_owned(),
            ),
            Self::Request(failure) => failure.hint(),
            Self::Refused { .. } => None,
        }
    }
}

/// Waits until every gateway has this public key of the object `name`; `say` is told what is waited for.
pub async fn wait_served(
    cluster: &Cluster,
    name: &str,
    public: &PublicKey,
    patience: Duration,
    mut say: impl FnMut(&str),
) -> Result<Served, KeyFailure> {
    let mut missing = "waiting for the operator".to_owned();
    say(&missing);
    let watched = watched(cluster, name, |key| {
        let Some(key) = key else {
            return Some(Err(KeyFailure::Gone(name.to_owned())));
        };
        match state(&key, public) {
            KeyState::Served(served) => Some(Ok(served)),
            KeyState::Replaced => Some(Err(KeyFailure::Replaced(name.to_owned()))),
            KeyState::Refused { reason, message } => Some(Err(KeyFailure::Refused {
                name: name.to_owned(),
                reason,
                message,
            })),
            KeyState::Waiting { message, .. } => {
                say(&message);
                missing = message;
                None
            }
        }
    });
    match tokio::time::timeout(patience, watched).await {
        Ok(done) => done?,
        Err(_) => Err(KeyFailure::TimedOut {
            name: name.to_owned(),
            waited: crate::duration::text(patience),
            message: missing,
        }),
    }
}

/// Waits until the object is gone.
pub async fn wait_gone(cluster: &Cluster, name: &str, patience: Duration) -> Result<(), KeyFailure> {
    let watched = watched(cluster, name, |key| key.is_none().then_some(()));
    match tokio::time::timeout(patience, watched).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(KeyFailure::TimedOut {
            name: name.to_owned(),
            waited: crate::duration::text(patience),
            message: "it is being deleted, and something holds it (a finalizer)".to_owned(),
        }),
    }
}

/// Watches one object until `done` says so. What may pass by itself is tried again for as long as somebody waits.
async fn watched<T>(
    cluster: &Cluster,
    name: &str,
    mut done: impl FnMut(Option<WireGuardKey>) -> Option<T>,
) -> Result<T, Failure> {
    let api = cluster.here::<WireGuardKey>();
    let mut objects = pin!(watcher::watch_object(api, name).default_backoff());
    while let Some(object) = objects.next().await {
        match object {
            Ok(object) => {
                if let Some(result) = done(object) {
                    return Ok(result);
                }
            }
            Err(error) => {
                let verb = match &error {
                    watcher::Error::InitialListFailed(_) => "list",
                    _ => "watch",
                };
                let ask = Ask::within(verb, "wireguardkeys", &cluster.namespace);
                if let Some(failure) = Some(Failure::of(ask, cause(error))).filter(|f| !f.may_pass()) {
                    return Err(failure);
                }
            }
        }
    }
    // The stream has no end of its own.
    std::future::pending().await
}
