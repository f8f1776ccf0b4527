//! What the agent answers to probes and scrapes; `culvert_startup::serve` does the talking.
//!
//! Being alive never depends on the apiserver: a restart would not bring that back, and would cost every gateway a new
//! session.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use culvert_startup::serve::Program;

use crate::clock::Clocks;
use crate::metrics::Metrics;

/// The agent as it is asked about.
#[derive(Debug)]
pub struct Agent {
    /// What it counts.
    pub metrics: Arc<Metrics>,
}

impl Program for Agent {
    fn now(&self) -> Duration {
        Clocks::read().mono
    }

    fn metrics(&self) -> Result<String, fmt::Error> {
        self.metrics.encode()
    }

    fn unready(&self) -> &'static str {
        "not everything has been listed yet, or a gateway of this node has not caught up; the log says which"
    }
}
