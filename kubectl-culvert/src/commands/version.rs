//! `version`: of this program, of the apiserver, and whether the cluster's definitions are those that this program knows.

use serde::Serialize;

use crate::Error;
use crate::commands::{Context, unread};
use crate::exit::{self, Exit};
use crate::judge::{self, Check};
use crate::output::{self, Format};
use crate::world;

const EXAMPLES: &str = "\
Examples:
  kubectl culvert version

  # Without asking the cluster
  kubectl culvert version --client";

/// Flags of `version`.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::after(EXAMPLES, exit::Does::Reads))]
pub struct Args {
    /// Ask no cluster.
    #[arg(long)]
    pub client: bool,

    /// How to print it.
    #[arg(long, short, value_parser = output::of_data())]
    pub output: Option<Format>,
}

#[derive(Serialize)]
struct Versions {
    client: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    definitions: Option<&'static str>,
}

/// Prints versions, and warns of a skew.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Error> {
    let mut versions = Versions {
        client: env!("CARGO_PKG_VERSION"),
        server: None,
        definitions: None,
    };
    let mut failures = Vec::new();
    let data = args
        .output
        .filter(|format| matches!(format, Format::Json | Format::Yaml));
    if data.is_none() {
        // Whatever the cluster says.
        output::line(&format!("kubectl-culvert   {}", versions.client))?;
    }
    if !args.client {
        let cluster = context.administered().await?;
        let (server, ground) = futures::join!(world::server(&cluster), world::ground(&cluster));
        versions.server = Some(server?.version);
        let (ground, failed) = ground;
        failures = failed;
        failures.retain(|failure| failure.ask.resource == "customresourcedefinitions");
        versions.definitions = judge::definitions(&ground);
    }
    if let Some(format) = data {
        output::bytes(output::value(format, &versions)?.as_bytes())?;
    } else {
        if let Some(server) = &versions.server {
            output::line(&format!("apiserver         {server}"))?;
        }
        if let Some(definitions) = versions.definitions {
            output::line(&format!("definitions       {definitions}"))?;
        }
    }
    unread(&failures, context.screen);
    if versions.definitions == Some(judge::OTHER) {
        let name = Check::Definitions.words().0;
        output::note(&format!(
            "this program and the cluster are of different versions; `kubectl culvert check` says which {name} differ"
        ));
    }
    Ok(Exit::Done)
}
