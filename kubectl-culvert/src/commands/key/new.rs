//! `key new`.

use std::time::Duration;

use crate::Error;
use crate::commands::Context;
use crate::duration;
use crate::exit::Exit;
use crate::keys::{self, NewKey, Pair, Store};
use crate::output::{self, Progress};
use crate::request::Failure;

/// Flags of `key new`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The name of the key.
    pub name: String,

    /// The pool that the addresses come from.
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub pool: String,

    /// When the key ends, counted from now, as in 7d [default: when the pool says so].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub expires: Option<Duration>,

    /// How long to wait for every gateway to have the key; 0 not to wait.
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = duration::parse_timeout)]
    pub wait: Duration,
}

/// Makes a key.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Error> {
    let cluster = context.cluster().await?;
    let store = Store::default_for(&cluster)?;
    let pair = Pair::draw()?;
    let path = store.create(&args.name, &pair)?;
    let key = NewKey {
        name: args.name.clone(),
        pool: args.pool,
        expire_after: args.expires,
        labels: Vec::new(),
    };
    if let Err(failure) = keys::create(&cluster, &key, &pair.public).await {
        forget_unused(&store, &args.name, &failure)?;
        return Err(failure.into());
    }
    output::note(&format!("the private key is in {}", path.display()));
    if args.wait.is_zero() {
        return Ok(Exit::Done);
    }
    let mut progress = Progress::new(context.screen);
    let served = keys::wait_served(&cluster, &args.name, &pair.public, args.wait, |text| {
        progress.show(text);
    })
    .await?;
    progress.end();
    output::line(&format!("{} has {}", args.name, served.addresses_text()))?;
    Ok(Exit::Done)
}

/// A private key whose public half the cluster has surely not taken is of no use.
fn forget_unused(store: &Store, name: &str, failure: &Failure) -> Result<(), Error> {
    if failure.is_unclear() {
        return Ok(());
    }
    Ok(store.remove(name)?)
}
