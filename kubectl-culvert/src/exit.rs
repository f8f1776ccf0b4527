//! Exit codes. Scripts rely on them: a number never changes its meaning.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is done.
    Done = 0,
    /// Something failed that has no number of its own: no cluster, no answer, a file.
    Failed = 1,
    /// The command line cannot be read (clap's own number).
    Usage = 2,
    /// The cluster's roles or policies do not let this user do it.
    Denied = 3,
    /// What was named does not exist.
    NotFound = 4,
    /// Time ran out while waiting.
    TimedOut = 5,
    /// The cluster will not have it as it is: the object is refused, the name is taken, the pool says no.
    Refused = 6,
    /// `check` or `status` found something wrong.
    Faulty = 7,
    /// A secret would have gone where nobody asked for it.
    Secret = 8,
}

/// For the end of every help text.
pub const TABLE: &str = "\
Exit codes:
  0  done
  1  failed: no cluster, no answer, a file
  2  the command line cannot be read
  3  denied by the cluster's roles or policies
  4  not found
  5  time ran out while waiting
  6  refused as it is: invalid, taken, or the pool says no
  7  `check` or `status` found something wrong
  8  a secret would have been printed where nobody asked for it";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
