//! What keeps a gateway's clients where they belong: one nftables table a gateway, and one for ARP.
//!
//! Guarantees: a new interface is not set up before its table stands; a table is replaced as a whole, so no packet ever
//! meets half of one; it stays when the agent ends, however it ends. Whatever others do to it is undone as soon as the
//! kernel tells of it, and at the latest with the next tick. Nobody else's table is ever touched.
//!
//! [`rules`] says what stands in it · [`ranges`] which destinations are whose · [`Nft`] writes it with the program `nft`
//! · [`order`] is what a task of its own does with it · [`events`] hears what others do to it · [`node`] looks at what the
//! node itself must do (docs/decisions/0006).

mod events;
mod nft;
mod node;
mod order;
mod ranges;
pub mod rules;
#[cfg(test)]
mod tests;

pub use nft::{NFT, Nft};
pub use order::{Done, Order, Tables};
pub use rules::{Source, Table};

use std::io;

use culvert_crds::Reason;

/// Why a table could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// There is no program.
    #[error("`{0}` is not there; install the package nftables")]
    Missing(String),
    /// It could not be run.
    #[error("failed to run nft")]
    Run(#[source] io::Error),
    /// It does not end.
    #[error("nft has not answered in time")]
    Late,
    /// The kernel or the program refused.
    #[error("nft refused: {0}")]
    Refused(String),
    /// The kernel cannot be asked for its ruleset.
    #[error("failed to ask the kernel for its ruleset")]
    Kernel(#[source] io::Error),
    /// What the program said is not what it should.
    #[error("nft's answer cannot be understood")]
    Malformed,
}

/// The node's packet filter, as the agent needs it.
pub trait Firewall {
    /// The same one for somebody else, who may ask it at the same time.
    #[must_use]
    fn apart(&self) -> Self;

    /// The number of the ruleset: it changes with every change that anybody makes to it.
    fn generation(&mut self) -> Result<u32, FirewallError>;

    /// Carries a script out: all of it, or nothing.
    fn apply(&mut self, script: &str) -> impl Future<Output = Result<(), FirewallError>> + Send;

    /// A gateway's tables as they stand, whatever they look like: the same text, the same tables. `None` when one is
    /// missing.
    fn read(&mut self, gateway: &str) -> impl Future<Output = Result<Option<String>, FirewallError>> + Send;

    /// Whether a gateway's table stands and says something. The kernel itself answers: no program is needed for it.
    fn stands(&mut self, gateway: &str) -> Result<bool, FirewallError>;

    /// Uids of the gateways that have a table.
    fn gateways(&mut self) -> impl Future<Output = Result<Vec<String>, FirewallError>>;

    /// Whether a table of somebody else drops what is forwarded unless told otherwise.
    fn is_overruled(&mut self) -> impl Future<Output = Result<bool, FirewallError>> + Send;

    /// What the node itself lacks so that IPv4, or IPv6, gets out.
    fn lacks(&mut self, has_ipv4: bool, has_ipv6: bool) -> Option<Reason>;

    /// The smallest MTU of the links that the node's default routes lead to, in bytes; `None` where there is none.
    fn uplink_mtu(&mut self) -> Option<u32>;

    /// Waits until somebody else has changed a table of ours. May be dropped and asked again.
    fn changed(&mut self) -> impl Future<Output = ()>;
}
