//! The dashboard's file, as Grafana reads it.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::prometheus::{Prometheus, Series};

/// How much of the past is shown, in seconds.
pub const SPAN: f64 = 900.0;

/// What a panel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A heading.
    Row,
    /// A large number.
    Stat,
    /// Lines over time.
    Graph,
}

#[derive(Debug)]
pub struct Panel {
    pub title: String,
    pub kind: Kind,
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
    pub unit: String,
    pub stacked: bool,
    /// From which value on which colour.
    pub steps: Vec<(f64, String)>,
    targets: Vec<(String, String)>,
}

impl Panel {
    pub fn all(dashboard: &str) -> Result<Vec<Self>> {
        let dashboard: Value = serde_json::from_str(dashboard).context("the dashboard is no JSON")?;
        let panels = dashboard["panels"]
            .as_array()
            .context("a dashboard without panels")?;
        panels.iter().map(Self::one).collect()
    }

    fn one(panel: &Value) -> Result<Self> {
        let place = |name: &str| panel["gridPos"][name].as_f64().context("a panel without a place");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let defaults = &panel["fieldConfig"]["defaults"];
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let steps = list(&defaults["thresholds"]["steps"]).into_iter().map(|step| {
            let from = step["value"].as_f64().unwrap_or(f64::NEG_INFINITY);
            (from, text(&step["color"]))
        });
        let targets = list(&panel["targets"])
            .into_iter()
            .map(|target| (text(&target["expr"]), text(&target["legendFormat"])));
        Ok(Self {
            title: text(&panel["title"]),
            kind: match panel["type"].as_str() {
                Some("row") => Kind::Row,
                Some("stat") => Kind::Stat,
                _ => Kind::Graph,
            },
            x: place("x")?,
            y: place("y")?,
            width: place("w")?,
            height: place("h")?,
            unit: text(&defaults["unit"]),
            stacked: defaults["custom"]["stacking"]["mode"] == "normal",
            steps: steps.collect(),
            targets: targets.collect(),
        })
    }

    /// What the panel's expressions were, each line with its legend.
    pub fn ask(&self, prometheus: &Prometheus, end: f64) -> Result<Vec<(String, Series)>> {
        let mut found = Vec::new();
        for (expression, legend) in &self.targets {
            for series in prometheus.range(expression, end - SPAN, end)? {
                let mut words = legend.clone();
                for (label, value) in &series.labels {
                    words = words.replace(&format!("{{{{{label}}}}}"), value);
                }
                found.push((words, series));
            }
        }
        Ok(found)
    }
}
