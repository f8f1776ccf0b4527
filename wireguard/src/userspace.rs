//! A WireGuard that runs as a program beside us, wireguard-go above all, over its text protocol (UAPI).
//!
//! `line` and `write` are pure.
//!
//! A set is not atomic: the first line that is refused ends it, and what stood before it is done. So after any error,
//! look again.

pub mod line;
pub mod write;

/// Ends an operation and its answer: an empty line.
const END: &[u8] = b"\n\n";
