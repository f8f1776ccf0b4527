//! `key revoke`.

use std::time::Duration;

use crate::Error;
use crate::cluster::Cluster;
use crate::commands::Context;
use crate::duration;
use crate::exit::{self, Exit};
use crate::keys::{self, Revoked, Store};
use crate::output;
use crate::request::{Ask, Failure};

const EXAMPLES: &str = "\
Examples:
  # At once, on every gateway; the private key goes as well, where `key new` has kept it
  kubectl culvert key revoke laptop";

/// Flags of `key revoke`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::after(EXAMPLES, exit::Does::Writes))]
pub struct Args {
    /// The names of the keys.
    #[arg(required = true)]
    pub names: Vec<String>,

    /// Keep the files of the private keys below ~/.local/share/culvert. One that `key new` has put elsewhere stays in any case.
    #[arg(long)]
    pub keep_private_key: bool,

    /// How long to wait for the objects to be gone; 0 not to wait.
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration::parse_timeout)]
    pub wait: Duration,
}

/// Revokes keys: the others, too, where one fails.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Error> {
    let cluster = context.cluster().await?;
    let mut first = None;
    for name in &args.names {
        if let Err(error) = one(&cluster, name, &args).await {
            if first.is_none() {
                first = Some(error);
            } else {
                crate::error::print(&error, context.screen);
            }
        }
    }
    match first {
        Some(error) => Err(error),
        None => Ok(Exit::Done),
    }
}

async fn one(cluster: &Cluster, name: &str, args: &Args) -> Result<(), Error> {
    let store = Store::default_for(cluster)?;
    let was_here = store.path(name).exists() || store.next_path(name).exists();
    let revoked = keys::revoke(cluster, name, None).await?;
    if revoked == Revoked::Before && !was_here {
        let ask = Ask::within("delete", "wireguardkeys", &cluster.namespace).named(name);
        return Err(Failure::of_absence(ask).into());
    }
    if revoked == Revoked::Now && !args.wait.is_zero() {
        keys::wait_gone(cluster, name, args.wait).await?;
    }
    if !args.keep_private_key {
        store.remove(name)?;
    }
    let said = match revoked {
        Revoked::Now => format!("key {name} is revoked; gateways drop it at once"),
        Revoked::Before => format!("key {name} was not in the cluster any more"),
    };
    Ok(output::line(&said)?)
}
