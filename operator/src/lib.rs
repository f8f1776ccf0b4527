//! The operator: gives every key random addresses, binds them, publishes them.
//!
//! ```text
//!            changes                    steps                      replies
//!  observe ──────────▶ world ──▶ plan ─────────▶ execute ──▶ API ─────────▶ world
//!  (one watch a kind)    ▲  queue of what changed   (bounded tasks)            │
//!                        └─────────────────────────────────────────────────────┘
//! ```
//!
//! [`world`] and [`plan`] are pure: no I/O, no clock, no random source of their own. [`run`] owns the
//! world in one task; [`observe`] feeds it from six watches over one channel; [`execute`] carries out
//! steps in bounded tasks and hands every reply back to the world.

pub mod args;
pub mod chance;
pub mod clock;
pub mod execute;
pub mod lease;
pub mod metrics;
pub mod observe;
pub mod plan;
pub mod run;
pub mod serve;
pub mod world;
