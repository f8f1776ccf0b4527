//! `report`: a bundle for whoever helps.

use std::path::PathBuf;

use crate::Error;
use crate::commands::{Context, unread};
use crate::exit::{self, Exit};
use crate::output::{self, Format};
use crate::private::{self, Existing};
use crate::{
    judge, report,
    world::{self, World},
};

const EXAMPLES: &str = "\
Examples:
  # Read it before you pass it on
  kubectl culvert report --out report.yaml";

/// Flags of `report`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::after(EXAMPLES, exit::Does::Writes))]
pub struct Args {
    /// The namespace that Culvert runs in; its agents, where they have one of their own.
    #[arg(long, default_value = "culvert-system", value_name = "NAME")]
    pub system_namespace: String,

    /// A file for it [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// JSON or YAML.
    #[arg(long, short, value_parser = output::of_data(), default_value = "yaml")]
    pub output: Format,
}

/// Writes a report.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Error> {
    let cluster = context.administered().await?;
    let World {
        server,
        ground,
        culvert,
        failures,
    } = world::world(&cluster).await?;
    let findings = judge::all(&culvert, &ground, &server, &args.system_namespace);
    let unseen = judge::unseen(&findings, &culvert, &ground, &server, &args.system_namespace);
    let report = report::report(&culvert, &ground, &server, &findings, &unseen);
    let text = output::value(args.output, &report)?;
    match &args.out {
        Some(path) => {
            private::write(path, &[text.as_bytes()], Existing::Stays)?;
            output::note(&format!(
                "the report is in {}; it has no name, key or address in it",
                path.display()
            ));
        }
        None => output::bytes(text.as_bytes())?,
    }
    unread(&failures, context.screen);
    Ok(Exit::Done)
}
