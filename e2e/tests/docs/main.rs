//! Pages, alerts, dashboard and examples: what others than a compiler read, read as they do. `cargo xtask test docs`.

mod alerts;
mod gitops;
mod metrics;
mod pages;
