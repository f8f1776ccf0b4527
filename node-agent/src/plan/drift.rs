//! What others do to an interface of ours: each kind of it is repaired, and counted.

/// One way in which a kernel can come to differ from what the agent has made of it.
///
/// What the API asks anew is none: that is counted nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Drift {
    /// The interface is gone: deleted, moved to another namespace, or ended with its program.
    InterfaceGone,
    /// The interface has another name.
    InterfaceRenamed,
    /// The link is down.
    InterfaceDown,
    /// The MTU is another.
    Mtu,
    /// An address is missing, or there is one too many.
    Address,
    /// The alias that marks the interface says something else.
    Alias,
    /// The private key is another.
    PrivateKey,
    /// The UDP port is another.
    Port,
    /// Packets carry a mark.
    Mark,
    /// The link does not forward.
    Forwarding,
    /// The gateway's table is another, or gone.
    Table,
    /// A peer that was there is missing.
    PeerMissing,
    /// A peer has other allowed IPs, a keepalive or a preshared key.
    PeerAltered,
    /// There is a peer that nobody asked for.
    PeerSurplus,
}

impl Drift {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::InterfaceGone,
        Self::InterfaceRenamed,
        Self::InterfaceDown,
        Self::Mtu,
        Self::Address,
        Self::Alias,
        Self::PrivateKey,
        Self::Port,
        Self::Mark,
        Self::Forwarding,
        Self::Table,
        Self::PeerMissing,
        Self::PeerAltered,
        Self::PeerSurplus,
    ];

    /// Its name in a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InterfaceGone => "interface_gone",
            Self::InterfaceRenamed => "interface_renamed",
            Self::InterfaceDown => "interface_down",
            Self::Mtu => "mtu",
            Self::Address => "address",
            Self::Alias => "alias",
            Self::PrivateKey => "private_key",
            Self::Port => "port",
            Self::Mark => "mark",
            Self::Forwarding => "forwarding",
            Self::Table => "table",
            Self::PeerMissing => "peer_missing",
            Self::PeerAltered => "peer_altered",
            Self::PeerSurplus => "peer_surplus",
        }
    }
}
