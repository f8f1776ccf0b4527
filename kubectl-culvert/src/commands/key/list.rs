//! `key list`.

use culvert_crds::{ConditionType, WireGuardKey};
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::Error;
use crate::commands::Context;
use crate::exit::{self, Exit};
use crate::keys::{self, Store};
use crate::output::{self, Format};
use crate::{clock, duration};

const EXAMPLES: &str = "\
Examples:
  kubectl culvert key list

  # Of all namespaces, with pool and public key
  kubectl culvert key list -A -o wide";

/// Flags of `key list`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::after(EXAMPLES, exit::Does::Writes))]
pub struct Args {
    /// Keys of all namespaces.
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,

    /// Keys with these labels.
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    pub selector: Option<String>,

    /// How to print them.
    #[arg(long, short, value_enum)]
    pub output: Option<Format>,
}

/// Which columns there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// The usual ones.
    Narrow,
    /// Those and pool and public key.
    Wide,
}

/// Lists keys.
pub async fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let cluster = context.cluster().await?;
    let keys = keys::list(&cluster, args.all_namespaces, args.selector.as_deref()).await?;
    let store = Store::default_for(&cluster).ok();
    // A store has the keys of one namespace.
    let is_here = |key: &WireGuardKey| {
        let ours = key.namespace().as_ref() == Some(&cluster.namespace);
        store
            .as_ref()
            .is_some_and(|store| ours && store.path(&key.name_any()).exists())
    };
    let text = match args.output {
        Some(format @ (Format::Json | Format::Yaml)) => output::list(format, &keys)?,
        Some(Format::Name) => names(&keys).concat(),
        shape => {
            if keys.is_empty() {
                let place = if args.all_namespaces {
                    String::new()
                } else {
                    format!(" in namespace {}", cluster.namespace)
                };
                output::note(&format!(
                    "no keys{place}; `kubectl culvert key new NAME` makes one"
                ));
                return Ok(Exit::Done);
            }
            let here: Vec<bool> = keys.iter().map(is_here).collect();
            let width = if shape == Some(Format::Wide) {
                Width::Wide
            } else {
                Width::Narrow
            };
            let now = clock::now().wall;
            if args.all_namespaces {
                everywhere(&keys, &here, width, now)
            } else {
                table(&keys, &here, width, now)
            }
        }
    };
    output::bytes(text.as_bytes())?;
    Ok(Exit::Done)
}

fn names(keys: &[WireGuardKey]) -> Vec<String> {
    let name = |key: &WireGuardKey| format!("wireguardkey.culvert.dev/{}\n", key.name_any());
    keys.iter().map(name).collect()
}

const NARROW: [&str; 7] = [
    "NAME",
    "ADDRESSES",
    "READY",
    "REASON",
    "EXPIRES",
    "AGE",
    "PRIVATE-KEY",
];
const WIDE: [&str; 2] = ["POOL", "PUBLIC-KEY"];

/// The table of keys of one namespace; `here` says of each whether its private key is on this machine.
pub fn table(keys: &[WireGuardKey], here: &[bool], width: Width, now: Timestamp) -> String {
    let mut headings = NARROW.to_vec();
    if width == Width::Wide {
        headings.extend(WIDE);
    }
    output::table(&headings, &rows(keys, here, width, now))
}

/// The same with a column for the namespace.
fn everywhere(keys: &[WireGuardKey], here: &[bool], width: Width, now: Timestamp) -> String {
    let mut headings = vec!["NAMESPACE"];
    headings.extend(NARROW);
    if width == Width::Wide {
        headings.extend(WIDE);
    }
    let mut rows = rows(keys, here, width, now);
    for (row, key) in rows.iter_mut().zip(keys) {
        row.insert(0, key.namespace().unwrap_or_default());
    }
    output::table(&headings, &rows)
}

/// One row a key.
pub fn rows(keys: &[WireGuardKey], here: &[bool], width: Width, now: Timestamp) -> Vec<Vec<String>> {
    let row = |(key, is_here): (&WireGuardKey, &bool)| {
        let status = key.status.clone().unwrap_or_default();
        let ready = status
            .conditions
            .iter()
            .find(|c| c.type_ == ConditionType::Ready.as_str());
        let is_here = if *is_here { "here" } else { "" };
        let mut row = vec![
            key.name_any(),
            status.addresses.join(","),
            ready.map(|c| c.status.clone()).unwrap_or_default(),
            ready.map(|c| c.reason.clone()).unwrap_or_default(),
            status
                .expires_at
                .as_ref()
                .map(|end| until(now, end.0))
                .unwrap_or_default(),
            key.metadata
                .creation_timestamp
                .as_ref()
                .map(|time| since(time.0, now))
                .unwrap_or_default(),
            is_here.to_owned(),
        ];
        if width == Width::Wide {
            row.extend([key.spec.pool_ref.name.clone(), key.spec.public_key.clone()]);
        }
        row
    };
    keys.iter().zip(here).map(row).collect()
}

/// How long ago.
pub fn since(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second());
    duration::text(std::time::Duration::from_secs(
        u64::try_from(seconds).unwrap_or(0),
    ))
}

fn until(now: Timestamp, end: Timestamp) -> String {
    if end <= now {
        "now".to_owned()
    } else {
        format!("in {}", since(now, end))
    }
}
