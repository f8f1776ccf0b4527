//! A WireGuard that runs as a program beside us, wireguard-go above all, over its text protocol (UAPI).
//!
//! `line` and `write` are pure; `socket` does the talking, and `look` keeps an answer to be read part by part.
//!
//! A set is not atomic: the first line that is refused ends it, and what stood before it is done. So after any error,
//! look again.

pub mod line;
mod look;
mod socket;
pub mod write;

pub use look::Look;
pub use socket::Uapi;

/// Ends an operation and its answer: an empty line.
const END: &[u8] = b"\n\n";
