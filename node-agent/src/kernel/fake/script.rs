//! What goes wrong, and when: each call may meet one failure.

use std::io;

use culvert_wireguard::netlink::decode::DecodeError;
use culvert_wireguard::{Error, PeerChange, Refusal};

use crate::plan::link::Shape;

/// One call of the agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`Kernel::managed`](crate::kernel::Kernel::managed).
    Managed,
    /// [`Kernel::link`](crate::kernel::Kernel::link).
    Link,
    /// [`Kernel::create`](crate::kernel::Kernel::create).
    Create,
    /// [`Kernel::rename`](crate::kernel::Kernel::rename).
    Rename,
    /// [`Kernel::mark`](crate::kernel::Kernel::mark).
    Mark,
    /// [`Kernel::addresses`](crate::kernel::Kernel::addresses).
    Addresses,
    /// [`Kernel::routes`](crate::kernel::Kernel::routes).
    Routes,
    /// [`Kernel::own_addresses`](crate::kernel::Kernel::own_addresses).
    OwnAddresses,
    /// [`Firewall::generation`](crate::firewall::Firewall::generation).
    Generation,
    /// [`Firewall::apply`](crate::firewall::Firewall::apply).
    Apply,
    /// [`Firewall::read`](crate::firewall::Firewall::read).
    ReadTable,
    /// Whether a table stands.
    TableStands,
    /// [`Firewall::gateways`](crate::firewall::Firewall::gateways).
    Tables,
    /// [`Firewall::is_overruled`](crate::firewall::Firewall::is_overruled).
    Chains,
    /// [`Kernel::shape`](crate::kernel::Kernel::shape).
    Shape(Shape),
    /// [`Kernel::delete`](crate::kernel::Kernel::delete).
    Delete,
    /// [`Kernel::begin`](crate::kernel::Kernel::begin).
    Begin,
    /// [`Kernel::next`](crate::kernel::Kernel::next).
    Next,
    /// [`Kernel::configure`](crate::kernel::Kernel::configure).
    Configure,
    /// [`Kernel::change`](crate::kernel::Kernel::change).
    Change(Vec<PeerChange>),
}

/// What can go wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The receive queue overflows: done, and the answer lost.
    Enobufs,
    /// Somebody changes what is listed or looked at: a look leaves out the rest. Nothing happens to other calls.
    DumpInterrupted,
    /// No memory; nothing is done.
    Enomem,
    /// Not permitted; nothing is done.
    Eperm,
    /// Something else is in the way; nothing is done.
    Ebusy,
    /// The answer does not fit the buffer: done.
    Truncated,
    /// The answer cannot be understood: done.
    Malformed,
    /// Done, and the answer does not arrive.
    LostAck,
    /// The request does not arrive; nothing is done.
    NotDone,
    /// Memory ends halfway: the first half of the changes of peers is done; of a deletion, the peers. Nothing of others.
    HalfDone,
    /// Somebody has just deleted the interface. Nothing happens to calls that name none.
    NoDevice,
    /// There is no socket; nothing is done.
    Disconnected,
}

/// Every failure.
pub const FAILURES: [Failure; 12] = [
    Failure::Enobufs,
    Failure::DumpInterrupted,
    Failure::Enomem,
    Failure::Eperm,
    Failure::Ebusy,
    Failure::Truncated,
    Failure::Malformed,
    Failure::LostAck,
    Failure::NotDone,
    Failure::HalfDone,
    Failure::NoDevice,
    Failure::Disconnected,
];

impl Call {
    pub(super) fn action(&self) -> &'static str {
        match self {
            Self::Managed
            | Self::Addresses
            | Self::Routes
            | Self::OwnAddresses
            | Self::Tables
            | Self::Chains => "list",
            Self::Link | Self::Generation | Self::ReadTable | Self::TableStands => "read",
            Self::Apply => "apply",
            Self::Create => "create",
            Self::Rename => "rename",
            Self::Mark => "mark",
            Self::Shape(Shape::Mtu(_)) => "set the mtu of",
            Self::Shape(Shape::Add(_)) => "add an address to",
            Self::Shape(Shape::Remove(_)) => "remove an address from",
            Self::Shape(Shape::Forward) => "set forwarding of",
            Self::Shape(Shape::Up) => "set up",
            Self::Shape(Shape::Down) => "set down",
            Self::Delete => "delete",
            Self::Begin | Self::Next => "dump",
            Self::Configure | Self::Change(_) => "configure",
        }
    }
}

impl Failure {
    /// Whether what was asked is done before it fails.
    pub(super) fn is_done(self) -> bool {
        matches!(
            self,
            Self::Enobufs | Self::Truncated | Self::Malformed | Self::LostAck
        )
    }

    /// The error that the agent gets.
    pub(super) fn error(self, action: &'static str, object: String) -> Error {
        let refused = |object, refusal| Error::Refused {
            action,
            object,
            refusal,
        };
        match self {
            Self::Enobufs => Error::Overrun { action, object },
            Self::DumpInterrupted => Error::DumpInterrupted { object },
            Self::Enomem | Self::HalfDone => refused(object, Refusal::OutOfMemory),
            Self::Eperm => refused(object, Refusal::Permission),
            Self::Ebusy => refused(object, Refusal::Busy),
            Self::NoDevice => refused(object, Refusal::NotFound),
            Self::Truncated => Error::Truncated {
                object,
                size: 2,
                capacity: 1,
            },
            Self::Malformed => Error::Malformed {
                object,
                source: DecodeError::Message,
            },
            Self::LostAck => Error::Receive {
                action,
                object,
                source: io::ErrorKind::ConnectionReset.into(),
            },
            Self::NotDone => Error::Send {
                action,
                object,
                source: io::ErrorKind::ConnectionReset.into(),
            },
            Self::Disconnected => Error::Disconnected { action, object },
        }
    }
}
