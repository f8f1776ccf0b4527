//! The places where something could be left of a client: a closed list, and for each what may be there.
//!
//! ```text
//!  what Culvert says      logs at trace, metrics, probes, command line, environment, files, memory, core dump
//!  what the API keeps     objects with their managed fields, Events, audit log, etcd's files, logs of both
//!  what a kernel keeps    WireGuard, connection tracking, nftables, routes, neighbours, TCP metrics, sockets, its log
//! ```
//!
//! Those of a kernel are read in the gateway's network namespace. A place that cannot be read is an error: an empty one
//! would be taken for a clean one.

mod read;

use crate::leaks::{Canary, Class};

pub use read::{PROBES, read};

/// A place where something could be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sink {
    /// The agent's log, at trace.
    AgentLog,
    /// The operator's, at trace.
    OperatorLog,
    /// What the agent tells whoever scrapes it.
    AgentMetrics,
    /// What the agent answers to probes, and to whoever asks for something else.
    AgentProbes,
    /// What the operator tells whoever scrapes it.
    OperatorMetrics,
    /// The agent's command line.
    AgentCommandLine,
    /// The agent's environment.
    AgentEnvironment,
    /// Files that the agent has written, its core dumps aside.
    AgentFiles,
    /// The agent's memory.
    AgentMemory,
    /// The operator's memory.
    OperatorMemory,
    /// Core dumps of the agent.
    CoreDumps,

    /// Keys and claims, with their managed fields.
    Claims,
    /// Every other object of every kind that can be listed.
    OtherObjects,
    /// Events.
    Events,
    /// What `kubectl describe` makes of Culvert's objects.
    Descriptions,
    /// The apiserver's audit log, with requests and answers.
    AuditLog,
    /// The apiserver's log, with every request.
    ApiserverLog,
    /// etcd's log, with every request.
    EtcdLog,
    /// etcd's files: the data and the log ahead of it.
    EtcdFiles,

    /// The kernel's WireGuard, as `wg` shows it.
    WireGuard,
    /// Links, with their aliases.
    Links,
    /// Tracked connections.
    Connections,
    /// nftables, as text.
    Nftables,
    /// nftables, as JSON.
    NftablesJson,
    /// Routes of every table, and rules.
    Routes,
    /// What the kernel has learnt of the way to single addresses.
    RouteExceptions,
    /// Neighbours.
    Neighbours,
    /// What TCP remembers of single addresses.
    TcpMetrics,
    /// Sockets, counters and whatever else is in `/proc/net`.
    ProcNet,
    /// The kernel's log.
    KernelLog,
}

impl Sink {
    /// All of them.
    pub const ALL: [Self; 30] = [
        Self::AgentLog,
        Self::OperatorLog,
        Self::AgentMetrics,
        Self::AgentProbes,
        Self::OperatorMetrics,
        Self::AgentCommandLine,
        Self::AgentEnvironment,
        Self::AgentFiles,
        Self::AgentMemory,
        Self::OperatorMemory,
        Self::CoreDumps,
        Self::Claims,
        Self::OtherObjects,
        Self::Events,
        Self::Descriptions,
        Self::AuditLog,
        Self::ApiserverLog,
        Self::EtcdLog,
        Self::EtcdFiles,
        Self::WireGuard,
        Self::Links,
        Self::Connections,
        Self::Nftables,
        Self::NftablesJson,
        Self::Routes,
        Self::RouteExceptions,
        Self::Neighbours,
        Self::TcpMetrics,
        Self::ProcNet,
        Self::KernelLog,
    ];

    /// Whether something of this class may be there. Where clients are, and their private keys, may be nowhere.
    pub fn may_hold(self, class: Class) -> bool {
        match class {
            Class::Whereabouts | Class::ClientKey => false,
            // Its owner, and the file that it outlives a reboot in.
            Class::GatewayKey => matches!(self, Self::WireGuard | Self::AgentFiles),
            // The API's own objects, those who keep them, and those who act on them.
            Class::Claim => {
                self.is_of_claims()
                    || matches!(self, Self::WireGuard | Self::AgentMemory | Self::OperatorMemory)
            }
            // Who was answered, and who keeps what was asked.
            Class::Answer => {
                self.is_of_requests() || matches!(self, Self::AgentMemory | Self::OperatorMemory)
            }
        }
    }

    /// What of these may not be there, in the shapes that would tell.
    pub fn forbidden(self, canaries: &[Canary]) -> Vec<Canary> {
        let forbidden = canaries.iter().filter(|canary| !self.may_hold(canary.class()));
        if self.is_dated() {
            forbidden.map(Canary::dateless).collect()
        } else {
            forbidden.cloned().collect()
        }
    }

    /// Whether each thing there carries the time at which it was written, so that a date by itself says nothing.
    fn is_dated(self) -> bool {
        self.is_of_requests()
            || matches!(
                self,
                Self::AgentLog | Self::OperatorLog | Self::AgentMemory | Self::OperatorMemory
            )
    }

    fn is_of_claims(self) -> bool {
        self.is_of_requests() || matches!(self, Self::Claims | Self::Descriptions)
    }

    fn is_of_requests(self) -> bool {
        matches!(
            self,
            Self::AuditLog | Self::ApiserverLog | Self::EtcdLog | Self::EtcdFiles
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_sink_is_listed_once() {
        assert_eq!(HashSet::from(Sink::ALL).len(), Sink::ALL.len());
        // One that is added without being listed is not the last any more.
        assert_eq!(Sink::KernelLog as usize + 1, Sink::ALL.len());
    }

    #[test]
    fn where_clients_are_may_be_nowhere() {
        for sink in Sink::ALL {
            assert!(!sink.may_hold(Class::Whereabouts) && !sink.may_hold(Class::ClientKey));
        }
    }

    #[test]
    fn what_culvert_says_holds_no_claim() {
        for sink in [
            Sink::AgentLog,
            Sink::OperatorLog,
            Sink::AgentMetrics,
            Sink::Events,
        ] {
            assert!(!sink.may_hold(Class::Claim) && !sink.may_hold(Class::GatewayKey));
        }
    }
}
