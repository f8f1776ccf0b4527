//! The contract with a real kernel: what the netlink code relies on, seen to be so.
//!
//! Needs a kernel with WireGuard, root, a private network namespace, and the `ip` and `wg` programs as a second
//! opinion. Every test makes interfaces of its own and deletes them, so they may run side by side. Not for a time-travel
//! kernel: there no time passes while a thread works, so it never takes the processor from one of two that race.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "kernel/change.rs"]
mod change;
#[path = "kernel/client.rs"]
mod client;
#[path = "kernel/dump.rs"]
mod dump;
#[path = "kernel/harness.rs"]
mod harness;
#[path = "kernel/link.rs"]
mod link;
#[path = "kernel/looks.rs"]
mod looks;
#[path = "kernel/memory.rs"]
mod memory;
#[path = "kernel/nftables.rs"]
mod nftables;
#[path = "kernel/secrets.rs"]
mod secrets;
#[path = "kernel/session.rs"]
mod session;
