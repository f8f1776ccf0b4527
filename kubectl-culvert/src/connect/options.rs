//! What is asked for.

use std::path::PathBuf;

use super::machine::Backend;
use super::view::Choice;
use crate::rotate::Every;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The key's name.
    pub name: String,
    /// What this machine is called in the label.
    pub machine: String,
    /// The pool.
    pub pool: String,
    /// Which gateways.
    pub gateway: Choice,
    /// How often keys are replaced.
    pub every: Every,
    /// The namespace for the tunnel.
    pub netns: Option<String>,
    /// Nothing leaves outside of the tunnel.
    pub closed: bool,
    /// What moves packets.
    pub backend: Backend,
    /// wireguard-go.
    pub program: PathBuf,
    /// Take down what an earlier run has left, and end.
    pub down: bool,
    /// Print how long each part of the first connection took.
    pub times: bool,
}
