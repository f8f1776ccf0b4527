//! Every expression of alerts and dashboard asks for what the programs export: names, labels and the values of labels.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use culvert_e2e::documents::{checkout, read};
use serde_json::Value;

/// What Prometheus itself adds, or the chart's monitors do.
const ADDED: &[&str] = &["namespace", "pod", "node", "le"];

/// A metric's labels, each with the values that were seen.
type Labels = BTreeMap<String, BTreeSet<String>>;

/// What both programs say of themselves, by metric.
fn exported() -> Result<BTreeMap<String, Labels>> {
    let operator = culvert_operator::metrics::Metrics::new("0.0.0");
    let pool = culvert_operator::metrics::PoolFigures {
        allocated: 1,
        free: 1,
        serving: 1,
        expected: 1,
    };
    operator.set_pools(&BTreeMap::from([("default".to_owned(), pool)]));
    let agent = culvert_node_agent::metrics::Metrics::new("0.0.0");
    let mut metrics: BTreeMap<String, Labels> = BTreeMap::new();
    for text in [operator.encode()?, agent.encode()?] {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, _) = line
                .rsplit_once(' ')
                .with_context(|| format!("no value in {line}"))?;
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let metric = metrics.entry(name.to_owned()).or_default();
            for label in labels
                .trim_end_matches('}')
                .split(',')
                .filter(|label| !label.is_empty())
            {
                let (label, value) = label
                    .split_once('=')
                    .with_context(|| format!("no label in {line}"))?;
                let values = metric.entry(label.to_owned()).or_default();
                values.insert(value.trim_matches('"').to_owned());
            }
        }
    }
    Ok(metrics)
}

/// A label, and the values that it may have.
type Matcher = (String, Vec<String>);

/// What an expression asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    /// Metrics, each with its matchers.
    metrics: Vec<(String, Vec<Matcher>)>,
    /// Labels that it groups by.
    grouped: Vec<String>,
}

impl Asked {
    fn of(expression: &str) -> Self {
        let mut asked = Self::default();
        let mut rest = expression;
        while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic()) {
            rest = &rest[at..];
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after;
            if word == "by" || word == "on" {
                let list = inside(after, '(', ')');
                asked
                    .grouped
                    .extend(list.split(',').map(|label| label.trim().to_owned()));
                rest = after.split_once(')').map_or("", |(_, rest)| rest);
            } else if word.starts_with("culvert_") {
                let matchers = if after.starts_with('{') {
                    inside(after, '{', '}')
                } else {
                    ""
                };
                if after.starts_with('{') {
                    rest = after.split_once('}').map_or("", |(_, rest)| rest);
                }
                let matchers = matchers.split(',').filter_map(|matcher| {
                    let (label, value) = matcher.split_once(['=', '!'])?;
                    let values = value.trim_start_matches(['~', '=']).trim_matches('"');
                    Some((
                        label.trim().to_owned(),
                        values.split('|').map(str::to_owned).collect(),
                    ))
                });
                asked.metrics.push((word.to_owned(), matchers.collect()));
            }
        }
        asked
    }
}

/// The text between the next two brackets.
fn inside(text: &str, open: char, close: char) -> &str {
    text.split_once(open)
        .and_then(|(_, text)| text.split_once(close))
        .map_or("", |(text, _)| text)
}

/// What is wrong with an expression.
fn wrong(expression: &str, exported: &BTreeMap<String, Labels>) -> Vec<String> {
    let asked = Asked::of(expression);
    let mut wrong = Vec::new();
    if asked.metrics.is_empty() {
        wrong.push("it asks for no metric of Culvert's".to_owned());
    }
    let mut labels: BTreeSet<&str> = ADDED.iter().copied().collect();
    for (metric, matchers) in &asked.metrics {
        let Some(known) = exported.get(metric) else {
            wrong.push(format!("{metric} is not exported"));
            continue;
        };
        labels.extend(known.keys().map(String::as_str));
        for (label, values) in matchers {
            match known.get(label) {
                None => wrong.push(format!("{metric} has no label {label}")),
                Some(known) => {
                    let unknown = values.iter().filter(|value| !known.contains(*value));
                    wrong.extend(unknown.map(|value| format!("{metric} has no {label}=\"{value}\"")));
                }
            }
        }
    }
    let unknown = asked
        .grouped
        .iter()
        .filter(|label| !labels.contains(label.as_str()));
    wrong.extend(unknown.map(|label| format!("nothing in it has the label {label}")));
    wrong
}

/// Every `expr` below a value, with what stands beside it for a name.
fn expressions(value: &Value, name: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| expressions(item, name, found)),
        Value::Object(fields) => {
            let own = ["alert", "title"]
                .iter()
                .find_map(|field| fields.get(*field)?.as_str());
            let name = own.unwrap_or(name);
            if let Some(expression) = fields.get("expr").and_then(Value::as_str) {
                found.push((name.to_owned(), expression.to_owned()));
            }
            fields.values().for_each(|field| expressions(field, name, found));
        }
        _ => {}
    }
}

fn check(file: &str, least: usize) -> Result<()> {
    let text = read(&checkout().join("charts/culvert/files").join(file))?;
    // JSON is YAML.
    let document: Value = serde_saphyr::from_str(&text).with_context(|| format!("failed to read {file}"))?;
    let mut found = Vec::new();
    expressions(&document, file, &mut found);
    ensure!(found.len() >= least, "{file} has {} expressions", found.len());
    let exported = exported()?;
    let wrong: Vec<String> = found
        .iter()
        .flat_map(|(name, expression)| {
            wrong(expression, &exported)
                .into_iter()
                .map(move |what| format!("{name}: {what}"))
        })
        .collect();
    ensure!(wrong.is_empty(), "{file}:\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn alerts_ask_for_exported_metrics() -> Result<()> {
    check("alerts.yaml", 18)
}

#[test]
fn dashboard_asks_for_exported_metrics() -> Result<()> {
    check("dashboard.json", 25)
}

#[test]
fn metrics_that_are_not_there_are_found() -> Result<()> {
    let exported = exported()?;
    for (expression, what) in [
        (
            "sum(culvert_operator_steps)",
            "culvert_operator_steps is not exported",
        ),
        (
            "culvert_operator_steps_total{results=\"ok\"}",
            "culvert_operator_steps_total has no label results",
        ),
        (
            "culvert_operator_steps_total{result=~\"ok|lost\"}",
            "culvert_operator_steps_total has no result=\"lost\"",
        ),
        (
            "sum by (kind) (culvert_operator_queue_depth)",
            "nothing in it has the label kind",
        ),
        ("up == 0", "it asks for no metric of Culvert's"),
    ] {
        ensure!(wrong(expression, &exported) == [what], "{expression}");
    }
    let fine = "histogram_quantile(0.9, sum by (le) (rate(culvert_agent_look_seconds_bucket[5m])))";
    ensure!(wrong(fine, &exported).is_empty(), "{:?}", wrong(fine, &exported));
    Ok(())
}

#[test]
fn every_metric_is_shown() -> Result<()> {
    let dashboard = read(&checkout().join("charts/culvert/files/dashboard.json"))?;
    let hidden: Vec<String> = exported()?
        .into_keys()
        .filter(|metric| !dashboard.contains(metric.as_str()))
        // Of a histogram the buckets are enough.
        .filter(|metric| !metric.ends_with("_sum") && !metric.ends_with("_count"))
        .collect();
    ensure!(
        hidden.is_empty(),
        "the dashboard does not show {}",
        hidden.join(", ")
    );
    Ok(())
}
