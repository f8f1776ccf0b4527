//! Carries out a rotation: looks, does the next step, looks again.

use std::future::Future;
use std::time::Duration;

use culvert_crds::WireGuardKey;
use culvert_wireguard::PublicKey;

use super::plan::{self, Lost, Next, Object, View};
use crate::cluster::Cluster;
use crate::exit::Exit;
use crate::keys::{self, KeyFailure, Pair, Served, StoreError};
use crate::request::{Failure, Why};

/// Whoever holds the pair that is rotated: files, or a tunnel that is up.
pub trait Holder {
    /// What can go wrong on its side.
    type Error: From<RotateError>;

    /// The pair in use, and the one that is to take its place.
    fn look(&mut self) -> Result<(PublicKey, Option<PublicKey>), Self::Error>;

    /// Keeps the pair that is to take the place of the one in use. Where one is kept already (somebody else was quicker)
    /// that one stays, and this is none of an error.
    fn keep(&mut self, next: Pair) -> Result<(), Self::Error>;

    /// Uses the pair that was kept. Every gateway has it.
    fn switch(&mut self, served: &Served) -> impl Future<Output = Result<(), Self::Error>>;
}

/// A rotation failed. The old key is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The key is gone, or not ours any more.
    #[error("{}", lost(*.why, .name))]
    Lost {
        /// The key.
        name: String,
        /// Why it cannot be rotated.
        why: Lost,
    },

    /// No pair could be drawn.
    #[error(transparent)]
    Draw(#[from] StoreError),

    /// The new key is not everywhere.
    #[error(transparent)]
    Key(#[from] KeyFailure),

    /// The apiserver did not do it.
    #[error(transparent)]
    Request(#[from] Failure),
}

fn lost(why: Lost, name: &str) -> String {
    match why {
        Lost::Gone => format!("key `{name}` does not exist"),
        Lost::Foreign => format!("key `{name}` holds a public key whose private half is not here"),
    }
}

impl RotateError {
    /// Whether it is of use to try again later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Lost { .. } => false,
            Self::Draw(_) => true,
            Self::Request(failure) => failure.may_pass(),
            Self::Key(failure) => match failure {
                // What refuses it may be put right; the old one works until then.
                KeyFailure::TimedOut { .. } | KeyFailure::Refused { .. } => true,
                KeyFailure::Gone(_) | KeyFailure::Replaced(_) | KeyFailure::Foreign(_) => false,
                KeyFailure::Request(failure) => failure.may_pass(),
            },
        }
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Lost { why: Lost::Gone, .. } => Exit::NotFound,
            Self::Lost { .. } => Exit::Refused,
            Self::Draw(error) => error.exit(),
            Self::Key(failure) => failure.exit(),
            Self::Request(failure) => failure.exit(),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Lost { .. } => Some("make another key with `kubectl culvert key new`".to_owned()),
            Self::Draw(error) => error.hint(),
            Self::Key(KeyFailure::TimedOut { .. } | KeyFailure::Refused { .. }) => Some(
                "the old key works as before; run the command again, and the rotation goes on where it is"
                    .to_owned(),
            ),
            Self::Key(failure) => failure.hint(),
            Self::Request(failure) => failure.hint(),
        }
    }
}

/// Rotates the key once, or brings a rotation under way to its end; `patience` is how long gateways may take, `say` is told
/// what is waited for. Gives what the new key has, or `None` where nothing was to be done.
pub async fn rotate<H: Holder>(
    cluster: &Cluster,
    name: &str,
    holder: &mut H,
    mut due: bool,
    patience: Duration,
    mut say: impl FnMut(&str),
) -> Result<Option<Served>, H::Error> {
    let mut done = None;
    loop {
        let (current, next) = holder.look()?;
        let seen = seen(cluster, name).await?;
        let view = View {
            current,
            next,
            object: object(seen.as_ref()),
        };
        match plan::next(&view, due) {
            Next::Draw => holder.keep(Pair::draw().map_err(RotateError::Draw)?)?,
            Next::Tell(public) => tell(cluster, seen.as_ref(), &public).await?,
            Next::Await(public) => {
                let waited = keys::wait_served(cluster, name, &public, patience, &mut say).await;
                waited.map_err(RotateError::Key)?;
            }
            Next::Switch(served) => {
                holder.switch(&served).await?;
                // One that somebody else had begun is a rotation, too.
                due = false;
                done = Some(served);
            }
            Next::Settled => return Ok(done),
            Next::Lost(why) => {
                let name = name.to_owned();
                return Err(RotateError::Lost { name, why }.into());
            }
        }
    }
}

async fn seen(cluster: &Cluster, name: &str) -> Result<Option<WireGuardKey>, RotateError> {
    match keys::get(cluster, name).await {
        Ok(key) => Ok(Some(key)),
        Err(Failure {
            why: Why::NotFound, ..
        }) => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

fn object(seen: Option<&WireGuardKey>) -> Object {
    let Some(key) = seen.filter(|key| key.metadata.deletion_timestamp.is_none()) else {
        return Object::Gone;
    };
    // A text that is no key is none of ours.
    let asked = PublicKey::from_base64(&key.spec.public_key);
    let asked = asked.unwrap_or(PublicKey::from_bytes([0; 32]));
    Object::Asks(asked, keys::state(key, &asked))
}

async fn tell(cluster: &Cluster, seen: Option<&WireGuardKey>, public: &PublicKey) -> Result<(), RotateError> {
    let Some(key) = seen else { return Ok(()) };
    match keys::replace(cluster, key, public).await {
        // The operator writes the status meanwhile: look again.
        Ok(_)
        | Err(Failure {
            why: Why::Conflict, ..
        }) => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}
