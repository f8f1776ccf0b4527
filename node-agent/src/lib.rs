//! The node agent: what the API asks stands in the kernel, and nothing else stays there.
//!
//! ```text
//!  watch  (peers)    ──▶ desired ─┐
//!  assign (gateways) ──▶ assignment ─┤ run ──▶ gateway ──▶ plan/sync, plan/purge ──▶ kernel
//!  tick, clock       ──▶ ages ────┘   │                        ▲                       │
//!                                     ▼                        └──────── whole dump ───┘
//!                                  report ──▶ GatewayNode.status
//! ```
//!
//! [`run`] is the only task that touches the kernel; its gateways take [`turns`]. [`watch`] drains the peers' socket into a shared
//! map and wakes it; [`assign`] hands over whole assignments; [`report`] writes one status a gateway
//! from a task of its own, so that a slow apiserver slows nothing down. [`ages`], [`assignment`],
//! [`desired`], [`interface`] and [`plan`] are pure. [`kernel`] is a trait: Linux over netlink, wireguard-go, and one in memory for
//! tests (feature `fake`).

pub mod absence;
pub mod ages;
#[cfg(test)]
mod apiserver;
pub mod args;
pub mod assign;
pub mod assignment;
pub mod clock;
pub mod conntrack;
pub mod desired;
pub mod execute;
pub mod gateway;
pub mod harden;
pub mod interface;
pub mod kernel;
pub mod keystore;
pub mod metrics;
pub mod observed;
pub mod plan;
pub mod privacy;
pub mod report;
pub mod run;
pub mod serve;
pub mod turns;
pub mod watch;
