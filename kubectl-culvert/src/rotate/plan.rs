//! The next step of a rotation, from what is here and what the cluster says (pure).
//!
//! Asked again after every step, and by whoever finds a rotation that somebody else began.

use culvert_wireguard::PublicKey;

use crate::keys::{KeyState, Served};

/// What is known before a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The pair in use here.
    pub current: PublicKey,

    /// The pair that is to take its place, where a rotation is under way.
    pub next: Option<PublicKey>,

    /// What the cluster says.
    pub object: Object,
}

/// What the cluster says of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// There is no such object.
    Gone,

    /// It asks for this public key, and this is how far that is.
    Asks(PublicKey, KeyState),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Draw a pair and keep it as next.
    Draw,

    /// Put next's public key into the object.
    Tell(PublicKey),

    /// Wait until every gateway has next.
    Await(PublicKey),

    /// Every gateway has next: use it.
    Switch(Served),

    /// The pair in use is the one that the object asks for, and none is to take its place.
    Settled,

    /// There is nothing to rotate any more.
    Lost(Lost),
}

/// Why a key cannot be rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It was deleted.
    Gone,

    /// It asks for a public key whose private half is not here.
    Foreign,
}

/// What to do next. With `due` a rotation is begun; one under way is brought to its end in any case.
pub fn next(view: &View, due: bool) -> Next {
    let (asked, state) = match &view.object {
        Object::Gone => return Next::Lost(Lost::Gone),
        Object::Asks(asked, state) => (asked, state),
    };
    match view.next {
        Some(next) if *asked == next => match state {
            KeyState::Served(served) => Next::Switch(served.clone()),
            _ => Next::Await(next),
        },
        _ if *asked != view.current => Next::Lost(Lost::Foreign),
        Some(next) => Next::Tell(next),
        None if due => Next::Draw,
        None => Next::Settled,
    }
}

#[cfg(test)]
mod tests;
