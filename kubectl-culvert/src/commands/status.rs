//! `status`: how many of everything, and what is wrong.

use std::collections::BTreeMap;

use culvert_crds::{ConditionType, WireGuardKey};
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde::Serialize;

use super::check::{exit, page};
use crate::Error;
use crate::commands::Context;
use crate::exit::{self, Exit};
use crate::judge::{self, Finding, Weight};
use crate::output::{self, Format, Mood, paint};
use crate::world::{self, Culvert};

const EXAMPLES: &str = "\
Examples:
  # What is wrong, and what to do about it; exit code 7 when something is
  kubectl culvert status

  # For a program
  kubectl culvert status -o json";

/// Flags of `status`.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::after(EXAMPLES, exit::Does::Looks))]
pub struct Args {
    /// How to print it.
    #[arg(long, short, value_parser = output::of_data())]
    pub output: Option<Format>,
}

/// What there is, in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Gateways, by name: nodes that serve, of those selected.
    pub gateways: BTreeMap<String, Share>,

    /// Pools, by name.
    pub pools: BTreeMap<String, Pool>,

    /// Keys, by the reason of their condition `Ready`.
    pub keys: BTreeMap<String, usize>,
}

/// Some of many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Some.
    pub serving: usize,

    /// All.
    pub selected: usize,
}

/// A pool in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// Addresses that are held or cool down.
    pub allocated: i64,

    /// Addresses there are.
    pub capacity: i64,
}

/// Counts.
pub fn summary(culvert: &Culvert, now: Timestamp) -> Summary {
    let mut gateways = BTreeMap::new();
    for gateway in &culvert.gateways {
        let mut share = Share {
            serving: 0,
            selected: 0,
        };
        for node in &culvert.nodes {
            if Some(&node.spec.gateway_ref.uid) != gateway.metadata.uid.as_ref() {
                continue;
            }
            share.selected += 1;
            let status = node.status.clone().unwrap_or_default();
            let is_ready = status
                .conditions
                .iter()
                .any(|c| c.type_ == ConditionType::Ready.as_str() && c.status == "True");
            share.serving += usize::from(is_ready && judge::is_heard(node, now) && !node.spec.drain);
        }
        gateways.insert(gateway.name_any(), share);
    }
    let pools = culvert.pools.iter().map(|pool| {
        let status = pool.status.clone().unwrap_or_default();
        let numbers = Pool {
            allocated: status.allocated.unwrap_or(0),
            capacity: status.capacity.unwrap_or(0),
        };
        (pool.name_any(), numbers)
    });
    let mut keys = BTreeMap::new();
    for key in &culvert.keys {
        *keys.entry(state(key)).or_default() += 1;
    }
    Summary {
        gateways,
        pools: pools.collect(),
        keys,
    }
}

fn state(key: &WireGuardKey) -> String {
    let conditions = key.status.iter().flat_map(|status| &status.conditions);
    let mut ready = conditions.filter(|condition| condition.type_ == ConditionType::Ready.as_str());
    ready
        .next()
        .map_or_else(|| "Unanswered".to_owned(), |condition| condition.reason.clone())
}

#[derive(Serialize)]
struct Whole<'a> {
    version: &'a str,
    server: &'a str,
    #[serde(flatten)]
    summary: &'a Summary,
    findings: &'a [Finding],
}

/// Prints it.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Error> {
    let cluster = context.administered().await?;
    let (server, culvert) = futures::try_join!(world::server(&cluster), world::culvert(&cluster))?;
    let summary = summary(&culvert, server.there);
    let findings = judge::objects(&culvert, server.there);
    let text = match args.output {
        Some(format @ (Format::Json | Format::Yaml)) => {
            let whole = Whole {
                version: env!("CARGO_PKG_VERSION"),
                server: &server.version,
                summary: &summary,
                findings: &findings,
            };
            output::value(format, &whole)?
        }
        _ => text(&summary, &findings, &server.version, context.screen.colour),
    };
    output::bytes(text.as_bytes())?;
    Ok(exit(&findings))
}

fn text(summary: &Summary, findings: &[Finding], server: &str, colour: bool) -> String {
    let mut rows = Vec::new();
    let mut row = |what: &str, name: &str, says: String| rows.push(format!("{what:<9} {name:<20} {says}\n"));
    for (name, share) in &summary.gateways {
        let mood = if share.serving < share.selected || share.selected == 0 {
            Mood::Bad
        } else {
            Mood::Good
        };
        let says = format!("{}/{} nodes serve", share.serving, share.selected);
        row("gateway", name, paint(colour, mood, &says));
    }
    for (name, pool) in &summary.pools {
        row(
            "pool",
            name,
            format!(
                "{} of {} addresses held or cooling down",
                pool.allocated, pool.capacity
            ),
        );
    }
    for (reason, count) in &summary.keys {
        row("keys", reason, count.to_string());
    }
    row("version", "kubectl-culvert", env!("CARGO_PKG_VERSION").to_owned());
    row("version", "apiserver", server.to_owned());
    for finding in findings {
        let sign = match finding.weight {
            Weight::Bad => paint(colour, Mood::Bad, "wrong"),
            Weight::Odd => paint(colour, Mood::Odd, "look"),
        };
        rows.push(format!(
            "{sign}: {}: {}{}\n",
            finding.about,
            finding.what,
            page(finding)
        ));
    }
    if findings.is_empty() {
        rows.push("nothing is wrong\n".to_owned());
    }
    rows.concat()
}
