//! What to change in the kernel: a function of what is wanted, what a whole dump showed, and ages.

pub mod batch;
pub mod drift;
pub mod link;
pub mod purge;
pub mod room;
pub mod route;
pub mod sync;
