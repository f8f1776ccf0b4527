//! Condition types and the closed set of their reasons.
//!
//! A reason is an enum, never a free string: a reader can look every one of them up, and no writer
//! can put a key, an address or somebody else's name where reasons go. Each has its page in `docs/reasons`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The aspect of an object that a condition speaks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The object's spec can be acted upon.
    ///
    /// True: `Accepted`, `ExcludedAddress`. False: `InvalidKey`, `GatewayKey`, `DuplicateKey`, `PoolNotFound`,
    /// `NamespaceNotAllowed`, `QuotaExceeded`, `RateLimited`, `PoolExhausted`, `InvalidSpec`, `OverlappingPool`,
    /// `ClusterRange`.
    Accepted,
    /// Every serving gateway has the peer in its kernel (keys), or the node has all of them (nodes).
    ///
    /// True: `Programmed`. False: `NotAccepted`, `Pending`, `NoGateway`, `Refused`, `Suspended`, `Expired`,
    /// `InterfaceConflict`, `Unsupported`, `KernelError`, `FirewallError`, `TooManyPeers`, `Draining`.
    Programmed,
    /// The one condition to wait for: accepted and programmed.
    ///
    /// True: `Ready`. False: the reason of the condition that is missing; on pools also `PoolInUse`.
    Ready,
    /// The addresses of a key are about to be released. No part of `Ready`: until then everything works.
    ///
    /// True: `ExpiresSoon`. False: `Fresh`.
    Expiring,
    /// Something on the node can write down where clients are. No part of `Ready`: who is served is served.
    ///
    /// True: `DebugMessages`, `CoreDumps`, `PlainSwap`, `PacketSockets`, `ConnectionTracking`, the first of these that is
    /// found; the message names each that is. False: `NothingFound`. The condition is absent where nothing was found and not
    /// everything could be looked at.
    PrivacyDegraded,
    /// What clients send to the internet gets there. No part of `Ready`: what it lacks is the node's own to change.
    ///
    /// True: `Ready`. False: `FirewallError`, `ForwardingDisabled`, `RouterAdvertisements`, `SourceAddressMissing`,
    /// `OtherFirewall`, the first of these that is found.
    EgressReady,
}

impl ConditionType {
    /// The name as it stands in `status.conditions[].type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Programmed => "Programmed",
            Self::Ready => "Ready",
            Self::Expiring => "Expiring",
            Self::PrivacyDegraded => "PrivacyDegraded",
            Self::EgressReady => "EgressReady",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident => $message:literal),+ $(,)?) => {
        /// Why a condition has its status. The message that goes with each is fixed, too.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])+ $name),+ }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name as it stands in `status.conditions[].reason`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// What a person reads; it says what to do and repeats no value.
            pub fn message(self) -> &'static str {
                match self { $(Self::$name => $message),+ }
            }
        }
    };
}

reasons! {
    /// The spec is valid and the object takes part.
    Accepted => "the object is valid",
    /// The public key is no usable curve point.
    InvalidKey => "spec.publicKey is not a usable WireGuard key; make a new pair with `wg genkey` and apply its public half",
    /// The public key is a gateway's own.
    GatewayKey => "spec.publicKey belongs to a gateway; make a new key pair with `wg genkey` and apply its public half",
    /// Another object holds this public key already.
    DuplicateKey => "another WireGuardKey uses this public key already; make a new key pair with `wg genkey`",
    /// No pool has the name in the reference.
    PoolNotFound => "the pool in spec.poolRef does not exist or is being deleted; see `kubectl get wgpool` for the pools there are",
    /// The pool does not serve this namespace.
    NamespaceNotAllowed => "the pool does not allow this namespace; use another pool or ask its administrator",
    /// The namespace holds as many keys as the pool grants it.
    QuotaExceeded => "this namespace has as many keys as the pool allows; delete or suspend one, or ask the pool's administrator",
    /// The pool has no free address.
    PoolExhausted => "the pool has no free address; who waits is served when one has been released and has cooled down",
    /// As many released addresses of the key's namespace cool down as its share allows.
    RateLimited => "this namespace has given back so many addresses of the pool lately that it gets no more until some have cooled down; the key is served then",
    /// The pool, or the key's pool, overlaps an older one.
    OverlappingPool => "the pool's range overlaps that of an older pool, so its addresses would not be unique; make a pool with another range",
    /// The pool's range is one that the cluster uses itself.
    ClusterRange => "the pool's range overlaps the cluster's own pod, service, node or apiserver addresses; make a pool with another range",
    /// The pool has come to exclude addresses that the key holds.
    ExcludedAddress => "the pool excludes this key's addresses by now; they stay until the key rotates: apply a new public key or raise spec.addressGeneration",
    /// The pool is being deleted, and keys hold its addresses.
    PoolInUse => "the pool is being deleted and waits for the addresses counted in status.allocated; delete their keys or move them to another pool, and wait for the cooldown",
    /// A field needs another value; the API would have refused it, so this object is older than the rule.
    InvalidSpec => "the spec holds a value that this version cannot use; compare it with `kubectl explain`",
    /// Two want the same thing on one node.
    Conflict => "an older gateway, or another program, uses the same interface, port or pool on this node; choose another, or remove the other user",
    /// There is nothing to program.
    NotAccepted => "nothing is programmed for a key that is not accepted; the condition Accepted says what to do",
    /// Work is under way.
    Pending => "waiting for the gateways; if it stays, `kubectl get wgn` and the agent's log on that node say why",
    /// No gateway serves the pool.
    NoGateway => "no gateway serves the pool; add a WireGuardGateway that names it, or wait for its nodes",
    /// A gateway could not program this peer.
    Refused => "a gateway refused this peer; its node's GatewayNode and log say why",
    /// Suspended by `spec.suspend`.
    Suspended => "spec.suspend is set; the addresses are released",
    /// The key's time is over.
    Expired => "the key has reached its maximum age; apply a new public key",
    /// The key's time is nearly over.
    ExpiresSoon => "the addresses are released at status.expiresAt; rotate the key before: apply a new public key, and replace client configurations made by hand or QR code",
    /// The key's time is far from over.
    Fresh => "the addresses are not about to be released; status.expiresAt says when they are",
    /// Every serving gateway has the peer.
    Programmed => "every serving gateway has the peer in its kernel",
    /// Accepted and programmed.
    Ready => "ready to use",
    /// The interface name belongs to somebody else.
    InterfaceConflict => "an interface of this name exists and is not Culvert's; choose another spec.interface",
    /// The kernel has no WireGuard.
    Unsupported => "the node has no WireGuard; load the kernel's module `wireguard`, or install `wireguard-go`",
    /// The kernel refused a request.
    KernelError => "the node's kernel refused a request; the agent's log has the error",
    /// The kernel takes no further peer.
    TooManyPeers => "the node's kernel has no room for all of the gateway's peers; status.refused counts those that are missing: spread the keys over pools with gateways of their own",
    /// The kernel logs WireGuard's debug messages.
    DebugMessages => "the node's kernel logs WireGuard's debug messages, and in them where clients are; switch them off: `echo 'module wireguard -p' > /proc/dynamic_debug/control`",
    /// A crash could store memory.
    CoreDumps => "a crash of the agent or of wireguard-go could be stored on the node with its memory; see the page of this reason for what has to be changed",
    /// Memory could be written to a disk in the clear.
    PlainSwap => "the node swaps to a disk without encryption, so memory that tells where clients are may end there; use zram, an encrypted device, or no swap",
    /// Somebody looks at every packet.
    PacketSockets => "a program on the node reads packets of the interface that clients arrive at (a capture, or a packet socket); end it, or make sure that it keeps nothing",
    /// Connection tracking remembers outer addresses.
    ConnectionTracking => "the node's connection tracking holds entries of the gateway's own port, and in them where clients are; see the page of this reason for what tracks them",
    /// The node keeps nothing.
    NothingFound => "nothing was found on the node that could write down where clients are",
    /// The gateway's table could not be set.
    FirewallError => "the node's nftables refused the gateway's table, or the program `nft` is missing; a new gateway stays down until it has its table; the agent's log has the error",
    /// The node does not forward.
    ForwardingDisabled => "the node does not forward packets, so clients reach nothing; set net.ipv4.ip_forward to 1 and, for pools with IPv6, net.ipv6.conf.all.forwarding to 1",
    /// IPv6 forwarding ends the node's own default route.
    RouterAdvertisements => "the node has its IPv6 default route from router advertisements, which end to count where it forwards; set accept_ra of that uplink (below net.ipv6.conf) to 2",
    /// None of the addresses that traffic is to leave under is the node's.
    SourceAddressMissing => "the node has none of spec.egress.sourceAddresses of a family that the gateway serves, so nothing of that family leaves; give the node one of them, or list one that it has",
    /// Another table drops what the gateway's lets pass.
    OtherFirewall => "another firewall of the node drops forwarded packets by default; let it accept those of the gateway's interface",
    /// The node is leaving the gateway.
    Draining => "the gateway is leaving this node",
}

/// Makes one condition.
///
/// `since` is kept from `previous` while the status stays the same, as the API conventions ask.
pub fn condition(
    kind: ConditionType,
    status: bool,
    reason: Reason,
    generation: i64,
    now: &Time,
    previous: &[Condition],
) -> Condition {
    let status = if status { "True" } else { "False" };
    let since = previous
        .iter()
        .find(|c| c.type_ == kind.as_str() && c.status == status)
        .map_or_else(|| now.clone(), |c| c.last_transition_time.clone());
    Condition {
        type_: kind.as_str().to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message: reason.message().to_owned(),
        observed_generation: Some(generation),
        last_transition_time: since,
    }
}

/// As [`condition`], where there are several reasons: the first of them is its reason, and its message has each with its
/// name and its own message. With none there is no such condition.
pub fn condition_of_all(
    kind: ConditionType,
    status: bool,
    reasons: &[Reason],
    generation: i64,
    now: &Time,
    previous: &[Condition],
) -> Option<Condition> {
    let mut condition = condition(kind, status, *reasons.first()?, generation, now, previous);
    if reasons.len() > 1 {
        let said = reasons
            .iter()
            .map(|reason| format!("{}: {}", reason.as_str(), reason.message()));
        condition.message = said.collect::<Vec<_>>().join(". ");
    }
    Some(condition)
}

#[cfg(test)]
mod tests;
