//! `connect`: a tunnel on this machine, from a key pair to routes, kept until it is told to stop.
//!
//! ```text
//!   apiserver ◀──▶ follow, marked          what is there           plan (pure)          one step at a time
//!                     │                        │                       │                       │
//!                     └──────▶ session ◀── place: look ──▶ world ──▶ steps ──▶ session ──▶ place: machine (links, rules,
//!   user, systemd ──▶ control, stop               ear: who is silent                        device (WireGuard), guard (nft)
//!                                                                                           dns, apiserver
//! ```
//!
//! What is promised:
//!
//! * The private key is drawn here and goes to the kernel (or to wireguard-go's socket) and nowhere else: no file, no
//!   argument, no environment, no request. Whoever wants it back asks the kernel.
//! * A rotation makes another tunnel beside the one in use and sends traffic there when a gateway has answered it, by one
//!   replacement of a route a family. The old one keeps its addresses, its table and a rule by source address until the
//!   pool's overlap is over, so connections that use them go on.
//! * State is what the kernel and the API hold. Whoever is killed leaves a tunnel that works, and the kill switch; the next
//!   run, also one with `--down`, finds all of it by name and mark.
//! * The nearest gateway is the one whose answer to a handshake is the first to arrive: all are asked at once over the
//!   interface itself, so what is measured is what will be used, and the session is there already.
//!
//! [`names`], [`world`], [`plan`] and [`ear`] are pure.

pub mod addresses;
mod before;
pub mod control;
mod device;
mod dns;
pub mod ear;
mod error;
#[cfg(feature = "faults")]
mod fault;
mod follow;
pub mod guard;
pub mod machine;
pub mod marked;
pub mod names;
mod notify;
mod options;
mod place;
pub mod plan;
mod program;
mod session;
mod step;
mod strict;
mod view;
pub mod world;

pub use before::check;
pub use error::ConnectError;
pub use options::Options;
pub use session::run;
pub use view::Choice;
