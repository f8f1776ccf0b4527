//! Tests that need a real kube-apiserver and no kernel of their own: `cargo xtask test api`.

mod admit;
mod claim;
mod crash;
mod fixture;
mod fleet;
mod harness;
mod lease;
mod probe;
