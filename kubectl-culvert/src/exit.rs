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
    const ALL: [Self; 9] = [
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

/// What a command does, by which it may end in one way or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Asks no cluster.
    Local,
    /// Asks a cluster and changes nothing there.
    Reads,
    /// Changes something, writes a file that may be there, or selects by a text that may mean nothing.
    Writes,
    /// Looks for what is wrong.
    Looks,
    /// Shows a secret.
    Shows,
}

impl Does {
    fn may_end(self, exit: Exit) -> bool {
        match exit {
            Exit::Done | Exit::Failed | Exit::Usage => true,
            Exit::Denied | Exit::NotFound | Exit::TimedOut => self != Self::Local,
            Exit::Refused => matches!(self, Self::Writes | Self::Shows),
            Exit::Faulty => self == Self::Looks,
            Exit::Secret => self == Self::Shows,
        }
    }
}

/// What every code means, for the end of a help text.
pub fn all() -> String {
    table(|_| true)
}

/// Examples, then how a command may end that does this.
pub fn after(examples: &str, does: Does) -> String {
    format!("{examples}\n\n{}", table(|exit| does.may_end(exit)))
}

fn table(is_listed: impl Fn(Exit) -> bool) -> String {
    let listed = Exit::ALL.into_iter().filter(|exit| is_listed(*exit));
    listed.fold("Exit codes:".to_owned(), |text, exit| {
        format!("{text}\n  {}  {}", exit as u8, exit.meaning())
    })
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
