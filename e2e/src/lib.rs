//! The test bed: what the suites above plain unit tests stand on.
//!
//! A test uses the least of it that can fail:
//!
//! ```text
//! 1 functions and properties    cargo test                  no privilege, nothing from here
//! 2 a real kube-apiserver       ControlPlane, FaultProxy    tests/api
//! 3 a real kernel WireGuard     Machine                     the crates' own kernel tests
//! 4 both                        Machine + ControlPlane      tests/system, one machine a test
//!                                 + netns + Program
//! 5 and nodes with pods         Machine + Cluster           tests/cluster
//! ```
//!
//! `cargo xtask setup` builds what is missing once into a [`cache`] outside the checkout, [`programs`] finds it
//! again, and [`recipes`] pins what is built. `cargo xtask test` runs the suites.
//!
//! Three guarantees hold for all of it:
//!
//! - **Nothing is left running.** Every [`process::Program`] dies with the process that started it, also when that
//!   one is killed with SIGKILL: a supervisor notices and kills it.
//! - **Nothing passes for want of a tool.** A program or kernel that is missing is an error that says what to run.
//! - **Nobody sleeps.** A test waits for a condition with a deadline ([`wait`]); clocks are read there only.

pub mod bed;
pub mod cache;
pub mod chart;
pub mod client;
pub mod cluster;
pub mod control_plane;
pub mod documents;
pub mod figure;
pub mod kubeconfig;
pub mod laptop;
pub mod leaks;
pub mod listen;
pub mod machine;
pub mod memory;
pub mod netns;
pub mod node;
pub mod packet;
pub mod pki;
pub mod probe;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod recipes;
pub mod replay;
pub mod router;
pub mod scratch;
pub mod sinks;
pub mod surroundings;
pub mod tunnel;
pub mod wait;
pub mod wire;

pub use bed::Bed;
pub use client::Client;
pub use cluster::Cluster;
pub use control_plane::ControlPlane;
pub use machine::Machine;
pub use netns::Namespace;
pub use process::Program;
pub use proxy::{Chance, Fault, FaultProxy, Mishap, Reading, Spoilt};
pub use replay::Replay;
pub use router::Router;
pub use scratch::Scratch;
pub use sinks::Sink;
