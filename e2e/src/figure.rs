//! What a benchmark has measured.

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

/// The value that so large a share of some measurements does not exceed.
pub fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (number(values.len()) * share).ceil().max(1.0);
    (1..)
        .zip(&values)
        .find(|(place, _)| f64::from(*place) >= rank)
        .map_or(f64::NAN, |(_, value)| *value)
}

/// In milliseconds.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A count as a number to divide by.
pub fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "what was put in comes out")]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(quantile(values.clone(), 0.99), 198.0);
        assert_eq!(quantile(values.clone(), 1.0), 200.0);
        assert_eq!(quantile(values, 0.0), 1.0);
        assert!(quantile(Vec::new(), 0.5).is_nan());
    }
}
