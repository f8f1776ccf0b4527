//! `key new`: a pair is drawn and kept, the cluster is told its public half, and every gateway has it.
//!
//! Killed in the middle, the same command goes on with the pair that it kept: `<name>.next` becomes `<name>.key` when the
//! cluster has surely taken it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use culvert_crds::WireGuardKey;
use culvert_wireguard::PublicKey;

use crate::Error;
use crate::cluster::Cluster;
use crate::commands::Context;
use crate::duration;
use crate::exit::{self, Exit};
use crate::keys::{self, NewKey, Pair, Served, Store, StoreError};
use crate::output::{self, Format, Progress};
use crate::private;
use crate::request::{Failure, Why};

const EXAMPLES: &str = "\
Examples:
  # A key that lasts a week; its private half is kept in ~/.local/share/culvert
  kubectl culvert key new laptop --expires 7d

  # The private key is handed on, and kept nowhere here
  kubectl culvert key new laptop --private-key - > laptop.key";

/// Flags of `key new`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::after(EXAMPLES, exit::Does::Writes))]
pub struct Args {
    /// The name of the key.
    pub name: String,

    /// The pool that the addresses come from.
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub pool: String,

    /// When the key ends, counted from its first addresses, as in 7d [default: when the pool says so].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub expires: Option<Duration>,

    /// How long to wait for every gateway to have the key; 0 not to wait.
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = duration::parse_timeout)]
    pub wait: Duration,

    /// Where the private key goes, `-` for standard output [default: a file below ~/.local/share/culvert]. A file of your
    /// choice stays yours: `key revoke` leaves it alone.
    #[arg(long, value_name = "FILE")]
    pub private_key: Option<PathBuf>,

    /// How to print the key's object.
    #[arg(long, short, value_enum)]
    pub output: Option<Format>,
}

/// Makes a key.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Error> {
    keys::check_name(&args.name)?;
    let cluster = context.cluster().await?;
    let key = NewKey {
        name: args.name.clone(),
        pool: args.pool.clone(),
        expire_after: args.expires,
        labels: Vec::new(),
    };
    let hands_on = args.private_key.as_deref() == Some(Path::new("-"));
    let (public, place) = match args.private_key.as_deref() {
        None => kept(&cluster, &key).await?,
        Some(_) if hands_on => (handed_on(&cluster, &key).await?, None),
        Some(path) => (in_file(&cluster, &key, path).await?, Some(path.to_owned())),
    };
    if let Some(place) = &place {
        output::note(&format!("the private key is in {}", place.display()));
    }
    let served = served(&cluster, &args, &public, context).await?;
    // Standard output is the private key's where that was asked for.
    if hands_on {
        return Ok(Exit::Done);
    }
    match args.output {
        Some(format) => print(&cluster, &args, format).await?,
        None => output::line(&said(&args.name, served.as_ref()))?,
    }
    if args.output.is_none() && args.private_key.is_none() {
        let name = &args.name;
        output::note(&format!(
            "`kubectl culvert key config {name}` or `key qr {name}` has what a client needs"
        ));
    }
    Ok(Exit::Done)
}

async fn served(
    cluster: &Cluster,
    args: &Args,
    public: &PublicKey,
    context: &Context,
) -> Result<Option<Served>, Error> {
    if args.wait.is_zero() {
        return Ok(None);
    }
    let mut progress = Progress::new(context.screen);
    let served =
        keys::wait_served(cluster, &args.name, public, args.wait, |text| progress.show(text)).await?;
    progress.end();
    Ok(Some(served))
}

fn said(name: &str, served: Option<&Served>) -> String {
    let Some(served) = served else {
        return format!("key {name} is made; `kubectl culvert key list` says when every gateway has it");
    };
    let end = served.expires.map(|end| format!(", until {end}"));
    format!(
        "key {name} has {}{}; every gateway knows it",
        served.addresses_text(),
        end.unwrap_or_default()
    )
}

async fn print(cluster: &Cluster, args: &Args, format: Format) -> Result<(), Error> {
    let name = &args.name;
    let key = keys::get(cluster, name).await?;
    let text = match format {
        Format::Name => format!("wireguardkey.culvert.dev/{name}\n"),
        Format::Wide => {
            let here = [args.private_key.is_none()];
            super::list::table(&[key], &here, super::list::Width::Wide, crate::clock::now().wall)
        }
        format => output::value(format, &key)?,
    };
    Ok(output::bytes(text.as_bytes())?)
}

/// Keeps the private key in the store.
async fn kept(cluster: &Cluster, key: &NewKey) -> Result<(PublicKey, Option<PathBuf>), Error> {
    let store = Store::default_for(cluster)?;
    let path = store.path(&key.name);
    if store.read_opt(&key.name)?.is_some() {
        return Err(StoreError::Exists(path).into());
    }
    // One that is there is from a run that came to no end.
    let left = store.read_next(&key.name)?;
    let is_left = left.is_some();
    let pair = if let Some(pair) = left {
        let next = store.next_path(&key.name);
        output::note(&format!(
            "going on with the private key that an earlier run has left in {}",
            next.display()
        ));
        pair
    } else {
        let pair = Pair::draw()?;
        store.create_next(&key.name, &pair)?;
        pair
    };
    match created(cluster, key, &pair.public).await {
        Ok(()) => store.switch(&key.name)?,
        Err(failure) => {
            // What the earlier run left may be in the cluster, unless the object there is another's.
            if failure.is_unclear() || (is_left && !matches!(failure.why, Why::AlreadyExists)) {
                output::note(&format!(
                    "the private key is kept in {}, as the cluster may have taken its public half: the same command goes on with it, and `kubectl culvert key revoke {}` removes it",
                    store.next_path(&key.name).display(),
                    key.name
                ));
            } else {
                store.remove_next(&key.name)?;
            }
            return Err(failure.into());
        }
    }
    Ok((pair.public, Some(path)))
}

/// Keeps the private key in a file of the user's choice.
async fn in_file(cluster: &Cluster, key: &NewKey, path: &Path) -> Result<PublicKey, Error> {
    private::is_free(path)?;
    let pair = Pair::draw()?;
    keys::write_private(path, &pair)?;
    if let Err(failure) = created(cluster, key, &pair.public).await {
        if failure.is_unclear() {
            output::note(&format!(
                "the private key is left in {}, as the cluster may have taken its public half: `kubectl culvert key list` says whether it has; if not, remove the file and run the command again",
                path.display()
            ));
        } else {
            private::remove(path)?;
        }
        return Err(failure.into());
    }
    Ok(pair.public)
}

/// Prints the private key.
async fn handed_on(cluster: &Cluster, key: &NewKey) -> Result<PublicKey, Error> {
    let pair = Pair::draw()?;
    created(cluster, key, &pair.public).await?;
    output::secret(&[pair.private.to_base64().as_bytes(), b"\n"])?;
    Ok(pair.public)
}

/// Makes the object. One that has this very public key is our own: the reply to an earlier request was lost.
async fn created(cluster: &Cluster, key: &NewKey, public: &PublicKey) -> Result<(), Failure> {
    let is_ours = |found: &WireGuardKey| found.spec.public_key == public.to_base64();
    match keys::create(cluster, key, public).await {
        Ok(_) => Ok(()),
        Err(failure) if matches!(failure.why, Why::AlreadyExists) => {
            match keys::get(cluster, &key.name).await {
                Ok(found) if is_ours(&found) => Ok(()),
                Ok(_) => Err(failure),
                // Whose it is remains unclear.
                Err(second) => Err(second),
            }
        }
        Err(failure) => Err(failure),
    }
}
