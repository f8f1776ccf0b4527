//! The kernel over netlink: WireGuard's own family on a blocking socket of ours, links over rtnetlink.
//!
//! `frame`, `write`, `encode` and `decode` are pure; `wire`, `socket`, `look`, `dump` and the rtnetlink modules do the
//! talking.

pub mod abi;
pub mod address;
pub mod decode;
pub mod departures;
pub mod dump;
pub mod encode;
pub mod frame;
mod gateway;
pub mod link;
mod look;
pub mod nftables;
pub mod policy;
pub mod route;
pub mod rtnl;
pub mod socket;
pub mod wire;
pub mod write;

pub use dump::dump;
pub use encode::{Limits, Message};
pub use link::LinkInfo;
pub use policy::{Family, Rule};
pub use route::{MAIN_TABLE, RouteInfo};
pub use rtnl::Rtnl;
pub use socket::Socket;
pub use wire::Wire;
