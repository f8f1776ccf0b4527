//! Why there is no tunnel, or why it is not gone, with what to do next.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use culvert_wireguard::Refusal;

use super::control::ControlError;
use super::dns::DnsError;
use super::machine::MachineError;
use crate::exit::Exit;
use crate::gateways::GatewayError;
use crate::keys::NameError;
use crate::request::{Failure, Why};

/// What it takes.
const ROOT: &str = "run it as root, or with CAP_NET_ADMIN and a folder /run/culvert of your own";

/// Why there is no tunnel, or why it is not gone.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No key has such a name.
    #[error(transparent)]
    Name(#[from] NameError),

    /// The program that is to move packets is not there.
    #[error("there is no program `{}`", .0.display())]
    NoProgram(PathBuf),

    /// It takes a right that this process does not have.
    #[error("not permitted: a tunnel needs CAP_NET_ADMIN")]
    NotRoot,

    /// This machine.
    #[error(transparent)]
    Machine(#[from] MachineError),

    /// The apiserver.
    #[error(transparent)]
    Request(#[from] Failure),

    /// The apiserver will not tell what is to be followed.
    #[error("{0}")]
    Unwatched(Arc<Failure>),

    /// No gateway.
    #[error(transparent)]
    Gateway(#[from] GatewayError),

    /// Names.
    #[error(transparent)]
    Dns(#[from] DnsError),

    /// The socket by which it is told to rotate.
    #[error(transparent)]
    Control(#[from] ControlError),

    /// Signals cannot be heard.
    #[error("failed to listen for signals")]
    Signals(#[source] io::Error),

    /// The cluster will not have the key.
    #[error("key `{name}` is not served ({reason}): {message}")]
    Refused {
        /// The key.
        name: String,
        /// The reason.
        reason: String,
        /// What it means.
        message: String,
    },

    /// The key was made otherwise.
    #[error("key `{0}` was not made by `connect` on this machine")]
    Foreign(String),

    /// Another tunnel is here.
    #[error("a tunnel of key `{0}` is on this machine")]
    Occupied(String),

    /// Somebody has deleted the key.
    #[error("key `{0}` was revoked")]
    Revoked(String),

    /// It is there still.
    #[error("key `{0}` could not be revoked: the apiserver did not answer")]
    NotRevoked(String),

    /// Something was left behind.
    #[error("not everything could be taken back: {0}")]
    Left(String),

    /// Rotation outside of its bounds.
    #[error("keys are replaced every 1 to 30 days")]
    Every,

    /// A namespace of its own has nothing that a kill switch could close.
    #[error("--kill-switch has no use with --netns: nothing leaves a namespace but through its tunnel")]
    NothingToClose,
}

impl ConnectError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Request(failure) => failure.exit(),
            Self::Unwatched(failure) => failure.exit(),
            Self::Gateway(error) => error.exit(),
            Self::Refused { .. }
            | Self::Foreign(_)
            | Self::Occupied(_)
            | Self::Control(ControlError::Taken(_)) => Exit::Refused,
            Self::Control(ControlError::Slow) => Exit::TimedOut,
            Self::Revoked(_) => Exit::NotFound,
            Self::NothingToClose | Self::Every => Exit::Usage,
            Self::Name(error) => error.exit(),
            _ => Exit::Failed,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Request(failure) => failure.hint(),
            Self::Unwatched(failure) => failure.hint(),
            Self::Control(ControlError::Bind { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Some(ROOT.to_owned())
            }
            Self::Gateway(error) => error.hint(),
            Self::Name(error) => error.hint(),
            Self::NotRoot => Some(ROOT.to_owned()),
            Self::NoProgram(_) => Some(
                "install wireguard-go, or say where it is with --wireguard-go; with --backend kernel none is needed"
                    .to_owned(),
            ),
            Self::Machine(MachineError::Kernel(error)) => match error.refusal() {
                Some(Refusal::Permission) => Some(ROOT.to_owned()),
                Some(Refusal::NotSupported) => Some(
                    "the kernel has no WireGuard (`modprobe wireguard`), and `wireguard-go` is not in PATH"
                        .to_owned(),
                ),
                _ => None,
            },
            Self::Machine(MachineError::Namespace(name)) => {
                Some(format!("make it with `ip netns add {name}`"))
            }
            Self::Machine(MachineError::Guard(_)) => {
                Some("install nftables, or connect without --kill-switch".to_owned())
            }
            Self::Foreign(_) => Some("choose another name: `kubectl culvert connect NAME`".to_owned()),
            Self::Occupied(owner) => {
                let name = owner.rsplit_once('/').map_or(owner.as_str(), |(_, name)| name);
                Some(format!(
                    "stop that one first, or, when it was killed: `kubectl culvert connect {name} --down`"
                ))
            }
            Self::NotRevoked(name) => Some(format!("later: `kubectl culvert key revoke {name}`")),
            Self::Left(_) => Some("run it again with --down".to_owned()),
            _ => None,
        }
    }

    /// Whether it may be otherwise in a moment.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Request(failure) => {
                failure.may_pass() || matches!(failure.why, Why::AlreadyExists | Why::NotFound)
            }
            _ => false,
        }
    }
}
