//! What Culvert's programs have in common before they differ: logs, the way to the cluster, the way to stop, and what
//! they tell whoever asks over HTTP.
//!
//! It is one place for the sake of privacy: which parts of a program may write to its log is decided here, for all of
//! them, and no flag can undo it.

pub mod cluster;
pub mod logs;
pub mod memory;
pub mod serve;
pub mod stop;
