//! Prometheus: what it scrapes, and what it answers.

use std::{collections::BTreeMap, fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{Program, Scratch, programs::Tool, wait};
use serde_json::Value;

const ADDRESS: &str = "127.0.0.1:9090";

/// How often it scrapes.
const INTERVAL: u64 = 10;

pub struct Prometheus {
    program: Program,
    server: String,
    _folder: Scratch,
}

/// One line of a graph.
#[derive(Debug)]
pub struct Series {
    pub labels: BTreeMap<String, String>,
    /// Seconds since 1970, and what it was.
    pub points: Vec<(f64, f64)>,
}

impl Prometheus {
    pub async fn start(logs: &Path, operator: &str, agent: &str) -> Result<Self> {
        let folder = Scratch::new("culvert-prometheus-")?;
        let configuration = folder.path().join("prometheus.yaml");
        let text = format!(
            "global: {{ scrape_interval: {INTERVAL}s }}\nscrape_configs:\n  - job_name: culvert\n    static_configs:\n      - targets: ['{operator}']\n        labels: {{ namespace: culvert-system, pod: culvert-operator-0 }}\n      - targets: ['{agent}']\n        labels: {{ namespace: culvert-system, pod: culvert-agent-0, node: gateway-1 }}\n"
        );
        fs::write(&configuration, text).context("failed to configure Prometheus")?;
        let mut command = Command::new(Tool::Prometheus.find()?);
        command
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={ADDRESS}"));
        let program = Program::start("prometheus", &command, logs)?;
        let prometheus = Self {
            program,
            server: format!("http://{ADDRESS}"),
            _folder: folder,
        };
        wait::until("both programs to be scraped", Duration::from_mins(2), || async {
            let up = query(&["instant", "-o", "json", &prometheus.server, "sum(up)"])?;
            ensure!(up[0]["value"][1] == "2", "sum(up) is {up}");
            Ok(Some(()))
        })
        .await?;
        Ok(prometheus)
    }

    /// Its clock.
    pub fn now(&self) -> Result<f64> {
        let found = query(&["instant", "-o", "json", &self.server, "time()"])?;
        // A number alone is `[time, "number"]`.
        let now = found[0].as_f64().or_else(|| found[0]["value"][0].as_f64());
        now.with_context(|| format!("Prometheus {} says no time: {found}", self.program.pid()))
    }

    /// What an expression was from one time to another.
    pub fn range(&self, expression: &str, from: f64, to: f64) -> Result<Vec<Series>> {
        let (start, end) = (format!("--start={from:.0}"), format!("--end={to:.0}"));
        let step = format!("--step={INTERVAL}s");
        let found = query(&[
            "range",
            "-o",
            "json",
            &start,
            &end,
            &step,
            &self.server,
            expression,
        ])
        .with_context(|| format!("failed to evaluate {expression}"))?;
        found.as_array().into_iter().flatten().map(series).collect()
    }

    pub async fn end(self) -> Result<()> {
        let status = self.program.terminate(Duration::from_secs(30)).await?;
        ensure!(status == 0, "Prometheus ended with status {status}");
        Ok(())
    }
}

fn query(words: &[&str]) -> Result<Value> {
    let output = Command::new(Tool::Promtool.find()?)
        .arg("query")
        .args(words)
        .output()
        .context("failed to run promtool")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "promtool says {}", said.trim_end());
    serde_json::from_slice(&output.stdout).context("promtool's answer is no JSON")
}

fn series(found: &Value) -> Result<Series> {
    let labels = found["metric"].as_object().context("a series without labels")?;
    let labels = labels
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
    let point = |point: &Value| {
        let value = point[1].as_str().and_then(|value| value.parse().ok());
        point[0].as_f64().zip(value).context("a point without a value")
    };
    let points = found["values"].as_array().into_iter().flatten().map(point);
    Ok(Series {
        labels: labels.collect(),
        points: points.collect::<Result<_>>()?,
    })
}
