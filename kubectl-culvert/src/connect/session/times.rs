//! How long each part of a first connection took.

use std::time::Duration;

use crate::clock::now;

/// When what was first so, since the start.
#[derive(Debug, Default)]
pub struct Times(Vec<(&'static str, Duration)>);

impl Times {
    /// Notes that this is so now, unless it was noted before.
    pub fn mark(&mut self, start: Duration, name: &'static str) {
        if self.0.iter().all(|(known, _)| *known != name) {
            self.0.push((name, now().boot.saturating_sub(start)));
        }
    }

    /// Milliseconds since the start, as JSON.
    pub fn text(&self) -> String {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(name, time)| format!("\"{name}\":{:.3}", time.as_secs_f64() * 1e3))
            .collect();
        format!("{{{}}}", parts.join(","))
    }
}
