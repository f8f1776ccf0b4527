//! Keys, from the pair that is made here to the last gateway that has the public half.
//!
//! [`Pair::draw`] makes a pair; [`create`] applies a `WireGuardKey` with the public half; [`wait_served`] watches it until
//! every gateway has it; [`replace`] gives the same object another public key, which is a rotation: the operator keeps the
//! old peer in place for the pool's overlap, counted from when the new one is on every gateway. So a rotation has one
//! object at every moment, and whoever is killed in the middle leaves none behind. [`revoke`] deletes it.

mod api;
mod name;
mod pair;
mod state;
mod store;
mod wait;

pub use api::{MANAGED_BY, NewKey, Revoked, create, get, list, replace, revoke};
pub use name::{NameError, RULE as NAME_RULE, check as check_name};
pub use pair::Pair;
pub use state::{KeyState, Served, state};
pub use store::{Store, StoreError, read as read_private, write_new as write_private};
pub use wait::{KeyFailure, wait_gone, wait_served};
