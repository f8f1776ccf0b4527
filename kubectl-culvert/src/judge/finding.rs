//! What is looked at, and what is found.

use serde::Serialize;

/// What is looked at. The order is that of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The kinds are defined, as this program knows them.
    Definitions,
    /// The admission policies are in force.
    Policies,
    /// The operator answers.
    Operator,
    /// Pools can be drawn from.
    Pools,
    /// Gateways have nodes.
    Gateways,
    /// Agents are heard.
    Agents,
    /// The namespace of the agents lets them work.
    PodSecurity,
    /// Nodes have WireGuard.
    KernelModule,
    /// The port and the pools are free.
    Port,
    /// The interface's name is free.
    Interface,
    /// The kernel does what it is told.
    Kernel,
    /// nftables takes the gateway's table.
    Nftables,
    /// Nodes forward.
    Forwarding,
    /// No other firewall is in the way.
    OtherFirewall,
    /// Nodes have the address that traffic leaves under.
    SourceAddress,
    /// Tunnels fit into the way to clients.
    Mtu,
    /// Clocks are together.
    Clock,
    /// Nothing writes down where clients are.
    Privacy,
    /// No gateway is leaving.
    Drain,
}

impl Check {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Definitions,
        Self::Policies,
        Self::Operator,
        Self::Pools,
        Self::Gateways,
        Self::Agents,
        Self::PodSecurity,
        Self::KernelModule,
        Self::Port,
        Self::Interface,
        Self::Kernel,
        Self::Nftables,
        Self::Forwarding,
        Self::OtherFirewall,
        Self::SourceAddress,
        Self::Mtu,
        Self::Clock,
        Self::Privacy,
        Self::Drain,
    ];

    /// Its name, and what is so when nothing is wrong.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Definitions => ("definitions", "the kinds are defined as this program knows them"),
            Self::Policies => ("policies", "the admission policies are in force"),
            Self::Operator => ("operator", "the operator answers"),
            Self::Pools => ("pools", "there are pools, and they can be drawn from"),
            Self::Gateways => ("gateways", "there are gateways, and they have nodes"),
            Self::Agents => ("agents", "every gateway's agent is heard"),
            Self::PodSecurity => ("pod security", "the agents' namespace lets them work"),
            Self::KernelModule => ("kernel module", "nodes have WireGuard"),
            Self::Port => ("port", "ports and pools are in nobody else's use"),
            Self::Interface => ("interface", "interfaces are in nobody else's use"),
            Self::Kernel => ("kernel", "kernels do what they are told"),
            Self::Nftables => ("nftables", "the gateways' tables are in place"),
            Self::Forwarding => ("forwarding", "nodes forward"),
            Self::OtherFirewall => ("other firewall", "no other firewall is in the way"),
            Self::SourceAddress => (
                "source address",
                "nodes have the addresses that traffic leaves under",
            ),
            Self::Mtu => ("mtu", "tunnels fit into a path of 1500 bytes"),
            Self::Clock => ("clock", "clocks are together"),
            Self::Privacy => (
                "privacy",
                "nothing was found that could write down where clients are",
            ),
            Self::Drain => ("drain", "no gateway is leaving its node"),
        }
    }

    /// Whether only a node's agent can tell.
    pub fn is_of_nodes(self) -> bool {
        matches!(
            self,
            Self::KernelModule
                | Self::Port
                | Self::Interface
                | Self::Kernel
                | Self::Nftables
                | Self::Forwarding
                | Self::OtherFirewall
                | Self::SourceAddress
                | Self::Privacy
        )
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Something does not work.
    Bad,
    /// Worth a look.
    Odd,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at.
    pub check: Check,

    /// How bad it is.
    pub weight: Weight,

    /// The object, as `kind/name`.
    pub about: String,

    /// What is wrong, and what to do.
    pub what: String,

    /// The reason, which has a page in `docs/reasons`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

pub(super) fn finding(check: Check, weight: Weight, about: String, what: impl Into<String>) -> Finding {
    Finding {
        check,
        weight,
        about,
        what: what.into(),
        reason: None,
    }
}
