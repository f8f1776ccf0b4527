//! Tests that need a real kube-apiserver and no kernel of their own: `cargo xtask test api`. Those whose names begin with
//! `soak`, `outage`, `restore` and `crowd` have a long mode, too: `cargo xtask soak`.

mod admit;
mod agent;
mod agent_outage;
mod agent_report;
mod agent_restore;
mod allocator;
mod audit;
mod chart;
mod churn;
mod claim;
mod crash;
mod crowd;
mod documents;
mod fixture;
mod fleet;
mod harness;
mod invariants;
mod lease;
mod load;
mod outage;
mod owners;
mod plugin;
mod probe;
mod proxy;
mod ranges;
mod restore;
mod roles;
mod scale;
mod scrape;
mod soak;
mod stale;
mod states;
