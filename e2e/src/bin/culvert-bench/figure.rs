//! What was measured.

use std::time::Duration;

use serde_json::{Value, json};

/// Figures in the order in which they are shown.
#[derive(Default)]
pub struct Figures(Vec<Value>);

impl Figures {
    /// Adds one. `goal` begins with `<=` or `>=`; without one the figure explains another.
    pub fn add(&mut self, name: &str, value: f64, unit: &str, goal: &str) {
        eprintln!("  {name}: {value:.3} {unit} {goal}");
        self.0
            .push(json!({ "name": name, "value": value, "unit": unit, "goal": goal }));
    }

    /// All of them.
    pub fn json(self) -> Value {
        Value::Array(self.0)
    }
}

/// The middle one of some measurements.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// In milliseconds.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A count as a number to divide by.
pub fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
