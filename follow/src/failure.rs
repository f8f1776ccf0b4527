//! What a failed request means, and nothing more of it.
//!
//! The apiserver's texts repeat names, and a claim's name is a tunnel address; so a failure keeps
//! its class and code, and the text ends here.

use std::time::Duration;

/// A failed request, by what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The object has changed since it was planned for: plan again with what the watch brings.
    #[error("the object has changed meanwhile")]
    Conflict,

    /// The name is taken.
    #[error("an object of this name exists")]
    AlreadyExists,

    /// The object is gone.
    #[error("the object does not exist")]
    NotFound,

    /// The apiserver knows no such kind, or has forgotten it: that says nothing of any object.
    #[error("the apiserver does not know the kind")]
    NoSuchKind,

    /// The apiserver understood and will not do it; trying again helps only when something changes.
    #[error("the apiserver refused the request with code {0}")]
    Refused(u16),

    /// The apiserver cannot do it at present, and asks to be left alone for so long.
    #[error("the apiserver answered with code {0}")]
    Unavailable(u16, Duration),

    /// No answer, or none that makes sense: the request may have been carried out.
    #[error("no answer from the apiserver ({0})")]
    Unclear(&'static str),
}

impl Failure {
    /// The class of a client error.
    pub fn of(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.is_already_exists() => Self::AlreadyExists,
            kube::Error::Api(status) => match status.code {
                404 if status
                    .details
                    .as_ref()
                    .is_some_and(|about| !about.name.is_empty()) =>
                {
                    Self::NotFound
                }
                404 => Self::NoSuchKind,
                409 => Self::Conflict,
                code @ (408 | 429 | 500..) => Self::Unavailable(code, Duration::ZERO),
                code => Self::Refused(code),
            },
            kube::Error::Service(_) | kube::Error::HyperError(_) => Self::Unclear("connection failed"),
            kube::Error::SerdeError(_) => Self::Unclear("unreadable reply"),
            kube::Error::Auth(_) => Self::Unclear("no credentials"),
            _ => Self::Unclear("request failed"),
        }
    }

    /// Whether the request may have been carried out, or may still be.
    pub fn is_unclear(&self) -> bool {
        matches!(self, Self::Unclear(_) | Self::Unavailable(..))
    }

    /// For how long the apiserver asks to be left alone.
    pub fn after(&self) -> Duration {
        match self {
            Self::Unavailable(_, after) => *after,
            _ => Duration::ZERO,
        }
    }
}
