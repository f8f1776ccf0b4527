//! Everything that can fail, with an exit code and what to do next.

use std::error::Error as StdError;
use std::io::Write as _;

use crate::cluster::ClusterError;
use crate::commands::connect::ConnectError;
use crate::commands::gateway::Unanswered;
use crate::conf::ConfError;
use crate::exit::Exit;
use crate::gateways::GatewayError;
use crate::keys::{KeyFailure, NameError, StoreError};
use crate::logs::LogsError;
use crate::output::{self, Mood, OutputError, Screen, paint};
use crate::private::PrivateError;
use crate::qr::QrError;
use crate::request::Failure;
use crate::rotate::RotateError;

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no cluster to ask.
    #[error(transparent)]
    Cluster(#[from] ClusterError),

    /// The apiserver did not do it.
    #[error(transparent)]
    Request(#[from] Failure),

    /// A key is not usable.
    #[error(transparent)]
    Key(#[from] KeyFailure),

    /// No key has such a name.
    #[error(transparent)]
    Name(#[from] NameError),

    /// A private key could not be kept or read.
    #[error(transparent)]
    Store(#[from] StoreError),

    /// No gateway can be connected to.
    #[error(transparent)]
    Gateway(#[from] GatewayError),

    /// There is no configuration to write.
    #[error(transparent)]
    Conf(#[from] ConfError),

    /// A secret could not be kept or handed over.
    #[error(transparent)]
    Private(#[from] PrivateError),

    /// There is no QR code.
    #[error(transparent)]
    Qr(#[from] QrError),

    /// There is no log to read.
    #[error(transparent)]
    Logs(#[from] LogsError),

    /// A node has not done what it was asked.
    #[error(transparent)]
    Node(#[from] Unanswered),

    /// A rotation failed.
    #[error(transparent)]
    Rotate(#[from] RotateError),

    /// Standard output failed.
    #[error(transparent)]
    Output(#[from] OutputError),

    /// The tunnel failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl Error {
    /// The program's exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Cluster(_) | Self::Output(_) | Self::Qr(_) => Exit::Failed,
            Self::Private(error) => error.exit(),
            Self::Node(_) => Exit::TimedOut,
            Self::Logs(_) => Exit::NotFound,
            Self::Request(failure) => failure.exit(),
            Self::Key(failure) => failure.exit(),
            Self::Name(error) => error.exit(),
            Self::Store(error) => error.exit(),
            Self::Gateway(error) => error.exit(),
            Self::Conf(error) => error.exit(),
            Self::Rotate(error) => error.exit(),
            Self::Connect(error) => error.exit(),
        }
    }

    /// Whether it is of use to try again later, with nothing else changed.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Request(failure) => failure.may_pass(),
            Self::Rotate(error) => error.may_pass(),
            _ => false,
        }
    }

    /// What to do next, where that is not said already.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Cluster(error) => Some(error.hint().to_owned()),
            Self::Request(failure) => failure.hint(),
            Self::Key(failure) => failure.hint(),
            Self::Name(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Gateway(error) => error.hint(),
            Self::Conf(error) => error.hint(),
            Self::Rotate(error) => error.hint(),
            Self::Private(error) => error.hint(),
            Self::Qr(error) => error.hint(),
            Self::Connect(error) => error.hint(),
            Self::Logs(error) => Some(error.hint()),
            Self::Node(unanswered) => Some(format!(
                "it goes on by itself; `kubectl get wgn {}` and the agent's log on that node say what it waits for",
                unanswered.name
            )),
            Self::Output(_) => None,
        }
    }
}

/// An error with all its causes, then what to do next.
pub fn text(error: &Error, colour: bool) -> String {
    let mut text = format!("{} {error}", paint(colour, Mood::Bad, "error:"));
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        // Libraries repeat their causes in their own texts.
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = next.source();
    }
    text.push('\n');
    if let Some(hint) = error.hint() {
        text = format!("{text}{}\n", output::next(&hint, colour));
    }
    text
}

/// Prints an error to standard error. That it cannot be printed is no further failure.
pub fn print(error: &Error, screen: Screen) {
    drop(
        std::io::stderr()
            .lock()
            .write_all(text(error, screen.colour_err).as_bytes()),
    );
}
