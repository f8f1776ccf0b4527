//! `key config`.

use std::path::PathBuf;

use super::client::{ClientArgs, KeyArgs, Written, file_in};
use crate::Error;
use crate::commands::Context;
use crate::exit::{self, Exit};
use crate::output;
use crate::private::{self, Existing, Out, PrivateError};

const EXAMPLES: &str = "\
Examples:
  # One file for each gateway
  kubectl culvert key config laptop --out ./tunnels
  wg-quick up ./tunnels/gateway-1.conf

  # Only what the gateway opens goes through the tunnel
  kubectl culvert key config laptop --gateway gateway-1 --split --out wg0.conf";

/// Flags of `key config`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::after(EXAMPLES, exit::Does::Shows))]
pub struct Args {
    /// Whose configuration.
    #[command(flatten)]
    pub key: KeyArgs,

    /// What it says.
    #[command(flatten)]
    pub client: ClientArgs,

    /// A folder for one file each, a file whose name ends in .conf, or `-` for standard output [default: the terminal].
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,

    /// Replace files that are there.
    #[arg(long, requires = "out")]
    pub overwrite: bool,
}

/// Writes configurations.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Error> {
    let out = Out::of(args.out.as_deref(), context.screen, "a private key")?;
    let cluster = context.cluster().await?;
    let (pair, served, pool) = args.key.find(&cluster, context).await?;
    let all = args.client.write(&cluster, &pool, &pair, &served).await?;
    let existing = if args.overwrite {
        Existing::Replaced
    } else {
        Existing::Stays
    };
    match out {
        Out::Standard if args.out.is_none() => shown(&all)?,
        Out::Standard => output::secret(&[only(&all)?.text.as_bytes()])?,
        Out::Path(path) if path.extension().is_some_and(|end| end == "conf") => {
            private::write(&path, &[only(&all)?.text.as_bytes()], existing)?;
            output::note(&format!("the configuration is in {}", path.display()));
        }
        Out::Path(folder) => {
            for one in &all {
                let path = file_in(&folder, &one.gateway);
                private::write(&path, &[one.text.as_bytes()], existing)?;
                output::note(&format!(
                    "the configuration for {} is in {}",
                    one.gateway.name,
                    path.display()
                ));
            }
        }
    }
    for one in all.iter().filter(|one| !one.gateway.ready) {
        output::note(&format!("{} does not serve at present", one.gateway.name));
    }
    Ok(Exit::Done)
}

fn only(all: &[Written]) -> Result<&Written, PrivateError> {
    match all {
        [one] => Ok(one),
        all => Err(PrivateError::Several(all.len())),
    }
}

/// For a person: which gateway each is for.
fn shown(all: &[Written]) -> Result<(), Error> {
    for (n, one) in all.iter().enumerate() {
        let blank = if n > 0 { "\n" } else { "" };
        let heading = format!("{blank}# {}\n", one.gateway.name);
        output::secret(&[heading.as_bytes(), one.text.as_bytes()])?;
    }
    Ok(())
}
