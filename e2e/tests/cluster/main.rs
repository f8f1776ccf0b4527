//! Culvert on a real cluster, installed with Helm: `cargo xtask test cluster`. Each test is a whole life of a cluster, with
//! many facts in it, because a cluster takes longer to start than most of them to check.

mod access;
mod any;
mod bare;
mod faults;
mod kernel;
mod logs;
mod traffic;
mod uninstall;
mod userspace;
mod world;
mod written;
