//! What the operator answers to probes and scrapes; `culvert_startup::serve` does the talking.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use culvert_startup::serve::Program;

use crate::clock::Clock;
use crate::metrics::Metrics;

/// The operator as it is asked about.
#[derive(Debug)]
pub struct Operator {
    /// By which the loop beats.
    pub clock: Clock,
    /// What it counts.
    pub metrics: Arc<Metrics>,
}

impl Program for Operator {
    fn now(&self) -> Duration {
        self.clock.now().mono
    }

    fn metrics(&self) -> Result<String, fmt::Error> {
        self.metrics.encode()
    }

    fn unready(&self) -> &'static str {
        "not every kind has been listed yet; the log says which watch fails"
    }
}
