//! WireGuard as Culvert sees it: keys, peers, and the kernel's interfaces over netlink. No Kubernetes.
//!
//! ```text
//!  types, always (no I/O)                feature `netlink`
//!
//!  key          PublicKey, PrivateKey    netlink::encode   DeviceChange ──► messages ─┐
//!  endpoint     Endpoint                                                              ▼
//!  allowed_ips  AllowedIps               netlink::socket   family id, changes   over netlink::wire
//!  peer         DesiredPeer,                                                          │
//!               ObservedPeer,            netlink::look     a dump, datagram by datagram ◄┘
//!               ObservedDevice             └ netlink::decode   bytes ──► parts; never panics
//!  look         PeerPart, Settings,      netlink::dump     one whole dump or an error
//!               Progress                 netlink::link, address, route   interfaces, over rtnetlink (async)
//!  change       PeerChange,              error             what the kernel refused, with meaning
//!               DeviceChange
//! ```
//!
//! What the modules promise:
//!
//! * [`key`]: one text for each key; secrets wipe themselves, compare in constant time and never print.
//! * [`endpoint`], [`peer`]: where a client is and when it spoke never prints.
//! * [`allowed_ips`]: equal sets are equal to the kernel.
//! * [`change`]: a plan is data, and cannot set an endpoint other than the forgotten one.
//! * [`gateway`]: a gateway as a client has it, the one peer with an endpoint; it does not print either.
//! * [`look`]: an interrupted look is read to its end and says so; only a coherent one makes a device.
//! * `netlink::encode`: no message above its byte bound; a [remove, add] pair is never split.
//! * `netlink::decode`: any bytes give a value or an error.
//! * `netlink::look`: parts of one peer follow one another; a change may be sent, over another socket, meanwhile.
//! * `netlink::dump`: peers split over messages are merged; an interrupted dump is an error, so absence is proved.
//! * `netlink::wire`: an exchange that ended early leaves nothing behind for the next one; buffers are wiped.
//! * `userspace::line`, `userspace::write`: any bytes give a value or an error; no secret becomes a `String`.
//! * `userspace::socket`: a program is there when it can be connected to; what it refused is known even if it hung up.
//! * `netlink::link`: a kernel's refusal is typed; the mark of ownership is the interface's alias.
//!
//! There are no tasks or channels here but one: `netlink::rtnl::Rtnl` runs rtnetlink's connection on the current
//! tokio runtime and ends it when dropped. `netlink::Socket` blocks: the kernel answers within
//! the system call, which takes as long as the change does.
//!
//! Features: `netlink` adds everything that opens a netlink socket, `userspace` a WireGuard that runs as a program
//! (wireguard-go) over its text protocol; `kernel-tests` enables the contract tests, which need
//! root and a private network namespace. Without features this is types only.

pub mod allowed_ips;
pub mod change;
pub mod endpoint;
pub mod gateway;
pub mod key;
pub mod look;
pub mod peer;

#[cfg(any(feature = "netlink", feature = "userspace"))]
pub mod error;
#[cfg(feature = "netlink")]
pub mod netlink;
#[cfg(feature = "userspace")]
pub mod userspace;

pub use allowed_ips::AllowedIps;
pub use change::{DeviceChange, PeerChange};
pub use endpoint::Endpoint;
pub use gateway::GatewayPeer;
pub use key::{KeyError, PrivateKey, PublicKey};
pub use look::{PeerPart, Progress, Settings};
pub use peer::{DesiredPeer, ObservedDevice, ObservedPeer, WallTime};

#[cfg(any(feature = "netlink", feature = "userspace"))]
pub use error::{Error, ErrorClass, Refusal};
