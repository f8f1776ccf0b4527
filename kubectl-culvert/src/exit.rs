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

impl Exit {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Denied,
        Self::NotFound,
        Self::TimedOut,
        Self::Refused,
        Self::Faulty,
        Self::Secret,
    ];

    fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed: no cluster, no answer, a file",
            Self::Usage => "the command line cannot be read",
            Self::Denied => "denied by the cluster's roles or policies",
            Self::NotFound => "not found",
            Self::TimedOut => "time ran out while waiting",
            Self::Refused => "refused as it is: invalid, taken, or the pool says no",
            Self::Faulty => "`check` or `status` found something wrong",
            Self::Secret => "a secret would have been printed where nobody asked for it",
        }
    }
}

/// How a command may end that asks no cluster.
pub const LOCAL: &[Exit] = &[Exit::Done, Exit::Failed, Exit::Usage];

/// How one may end that asks a cluster and changes nothing there.
pub const READS: &[Exit] = &[
    Exit::Done,
    Exit::Failed,
    Exit::Usage,
    Exit::Denied,
    Exit::NotFound,
    Exit::TimedOut,
];

/// How one may end that changes something, writes a file that may be there, or selects by a text that may mean nothing.
pub const WRITES: &[Exit] = &[
    Exit::Done,
    Exit::Failed,
    Exit::Usage,
    Exit::Denied,
    Exit::NotFound,
    Exit::TimedOut,
    Exit::Refused,
];

/// How one may end that looks for what is wrong.
pub const LOOKS: &[Exit] = &[
    Exit::Done,
    Exit::Failed,
    Exit::Usage,
    Exit::Denied,
    Exit::NotFound,
    Exit::TimedOut,
    Exit::Faulty,
];

/// How one may end that shows a secret.
pub const SHOWS: &[Exit] = &[
    Exit::Done,
    Exit::Failed,
    Exit::Usage,
    Exit::Denied,
    Exit::NotFound,
    Exit::TimedOut,
    Exit::Refused,
    Exit::Secret,
];

/// These codes and what they mean, for the end of a help text.
pub fn table(codes: &[Exit]) -> String {
    codes.iter().fold("Exit codes:".to_owned(), |text, code| {
        format!("{text}\n  {}  {}", *code as u8, code.meaning())
    })
}

/// Examples, then how the command may end.
pub fn after(examples: &str, codes: &[Exit]) -> String {
    format!("{examples}\n\n{}", table(codes))
}

/// Examples of commands that have others below them, each of which says how it may end.
pub fn below(examples: &str) -> String {
    format!("{examples}\n\nExit codes: see --help of each command")
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
