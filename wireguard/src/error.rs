//! What goes wrong between us and the kernel: each error number with its meaning.
//!
//! No variant carries a key, an address or bytes of a message, so every error may be logged with its whole chain.
//! [`Error::class`] says what a caller can do about it; the default for the unknown is to give up, loudly.

use std::fmt;
use std::io;

#[cfg(feature = "netlink")]
use crate::netlink::decode::DecodeError;
#[cfg(feature = "userspace")]
use crate::userspace::line::LineError;

/// Why an exchange with the kernel failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No socket, or none with the settings we need.
    #[error("failed to open a netlink socket")]
    Open(#[source] io::Error),

    /// A program's socket cannot be reached, though somebody may listen.
    #[cfg(feature = "userspace")]
    #[error("failed to reach the program behind {object}")]
    Connect {
        /// What it serves.
        object: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },

    /// The request did not reach the kernel.
    #[error("failed to send the request to {action} {object}")]
    Send {
        /// What was attempted.
        action: &'static str,
        /// On which object.
        object: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },

    /// The answer did not reach us; the request may have been carried out.
    #[error("failed to receive the answer to the request to {action} {object}")]
    Receive {
        /// What was attempted.
        action: &'static str,
        /// On which object.
        object: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },

    /// The kernel said no.
    #[error("failed to {action} {object}")]
    Refused {
        /// What was attempted.
        action: &'static str,
        /// On which object.
        object: String,
        /// The kernel's reason.
        #[source]
        refusal: Refusal,
    },

    /// The configuration changed while it was dumped: what arrived is neither the old nor the new one.
    #[error("the dump of {object} was interrupted by a change")]
    DumpInterrupted {
        /// What was dumped.
        object: String,
    },

    /// No look is open: it has ended, failed or been given up, or none was begun.
    #[error("no look at an interface is open")]
    NoLook,

    /// The socket's queue overflowed (`ENOBUFS`): answers were lost.
    #[error("answers were lost while trying to {action} {object}")]
    Overrun {
        /// What was attempted.
        action: &'static str,
        /// On which object.
        object: String,
    },

    /// A datagram was larger than the receive buffer.
    #[error("the answer about {object} was cut to {capacity} of {size} bytes")]
    Truncated {
        /// What was asked about.
        object: String,
        /// Bytes in the datagram.
        size: usize,
        /// Bytes in the buffer.
        capacity: usize,
    },

    /// The answer is not what this version of the protocol looks like.
    #[cfg(feature = "netlink")]
    #[error("unable to understand the answer about {object}")]
    Malformed {
        /// What was asked about.
        object: String,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },

    /// The text is not what this version of the protocol looks like.
    #[cfg(feature = "userspace")]
    #[error("unable to understand the answer of the program behind {object}")]
    Garbled {
        /// What was asked about.
        object: String,
        /// What is wrong with it.
        #[source]
        source: LineError,
    },

    /// The task that carries rtnetlink's messages has ended.
    #[error("the netlink connection ended while trying to {action} {object}")]
    Disconnected {
        /// What was attempted.
        action: &'static str,
        /// On which object.
        object: String,
    },
}

impl Error {
    /// The kernel's reason, when the kernel refused.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    /// What a caller can do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::DumpInterrupted { .. }
            | Self::NoLook
            | Self::Overrun { .. }
            | Self::Open(_)
            | Self::Send { .. }
            | Self::Receive { .. }
            | Self::Disconnected { .. } => ErrorClass::Retry,
            Self::Refused { refusal, .. } => refusal.class(),
            Self::Truncated { .. } => ErrorClass::GiveUp,
            #[cfg(feature = "userspace")]
            Self::Connect { .. } => ErrorClass::Retry,
            #[cfg(feature = "netlink")]
            Self::Malformed { .. } => ErrorClass::GiveUp,
            #[cfg(feature = "userspace")]
            Self::Garbled { .. } => ErrorClass::GiveUp,
        }
    }

    pub(crate) fn refused(action: &'static str, object: &str, errno: i32) -> Self {
        Self::Refused {
            action,
            object: object.to_owned(),
            refusal: Refusal::from_errno(errno),
        }
    }
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The same request may succeed soon.
    Retry,

    /// Something outside must change first: another interface, a privilege, the kernel.
    WaitForChange,

    /// The request or the protocol is wrong; trying again repeats it.
    GiveUp,
}

/// The kernel's reason for a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `CAP_NET_ADMIN` is missing in the namespace of the interface.
    #[error("not permitted, CAP_NET_ADMIN is needed")]
    Permission,

    /// No such interface, address or route.
    #[error("it does not exist")]
    NotFound,

    /// An interface with that name, of whatever kind, or that address or route is already there.
    #[error("it exists already")]
    AlreadyExists,

    /// The kernel has no WireGuard, or the interface is of another kind.
    #[error("not supported by the kernel or by this kind of interface")]
    NotSupported,

    /// The UDP port is taken.
    #[error("the UDP port is in use")]
    PortInUse,

    /// No memory, or 2^20 peers on the interface.
    #[error("out of memory or of room for peers")]
    OutOfMemory,

    /// Another request is in the way.
    #[error("busy")]
    Busy,

    /// A value is out of range.
    #[error("a value is out of range")]
    Invalid,

    /// Another error number.
    #[error("{0}")]
    Other(Errno),
}

impl Refusal {
    /// The meaning of a positive error number.
    pub const fn from_errno(errno: i32) -> Self {
        // Numbers of Linux on every architecture we build for (asm-generic/errno*.h).
        match errno {
            1 | 13 => Self::Permission,              // EPERM EACCES
            2 | 3 | 6 | 19 | 99 => Self::NotFound,   // ENOENT ESRCH ENXIO ENODEV EADDRNOTAVAIL
            17 => Self::AlreadyExists,               // EEXIST
            93 | 95 | 96 | 97 => Self::NotSupported, // EPROTONOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT
            98 => Self::PortInUse,                   // EADDRINUSE
            12 | 28 => Self::OutOfMemory,            // ENOMEM ENOSPC
            4 | 11 | 16 => Self::Busy,               // EINTR EAGAIN EBUSY
            7 | 22 | 34 | 53 | 90 => Self::Invalid,  // E2BIG EINVAL ERANGE EBADR EMSGSIZE
            other => Self::Other(Errno(other)),
        }
    }

    /// What a caller can do about it.
    pub const fn class(self) -> ErrorClass {
        match self {
            Self::Busy | Self::OutOfMemory => ErrorClass::Retry,
            Self::Permission
            | Self::NotFound
            | Self::AlreadyExists
            | Self::NotSupported
            | Self::PortInUse => ErrorClass::WaitForChange,
            Self::Invalid | Self::Other(_) => ErrorClass::GiveUp,
        }
    }
}

/// A positive error number of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(
    /// The number.
    pub i32,
);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_says_what_was_attempted_and_why_not() {
        let error = Error::refused("create", "interface `cv0`", 17);
        assert_eq!(error.to_string(), "failed to create interface `cv0`");
        assert_eq!(error.refusal().unwrap().to_string(), "it exists already");
        assert_eq!(error.class(), ErrorClass::WaitForChange);
    }

    #[test]
    fn an_unknown_number_is_given_up_and_named() {
        let refusal = Refusal::from_errno(126);
        assert_eq!(refusal, Refusal::Other(Errno(126)));
        assert_eq!(refusal.class(), ErrorClass::GiveUp);
        assert!(refusal.to_string().contains("126"));
    }

    #[test]
    fn an_interrupted_dump_may_be_tried_again() {
        let error = Error::DumpInterrupted {
            object: "interface 3".into(),
        };
        assert_eq!(error.class(), ErrorClass::Retry);
    }
}
