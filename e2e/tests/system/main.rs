//! Whole programs against a real apiserver and a real kernel, each test in a machine of its own:
//! `cargo xtask test system`. Where the machine's time travels, an hour of silence costs nothing.

mod agent;
mod backend;
mod change;
mod check;
mod clock;
mod connect;
mod control;
mod crowd;
mod drain;
mod drift;
mod egress;
mod fixture;
mod flood;
mod gateways;
mod harness;
mod hostile;
mod peer;
mod plugin;
mod privacy;
mod privacy_node;
mod process;
mod purge;
mod scale;
mod start;
