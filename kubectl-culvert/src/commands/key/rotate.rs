//! `key rotate`, once or for ever.

use std::path::PathBuf;
use std::time::Duration;

use culvert_wireguard::PublicKey;

use super::client::{ClientArgs, file_in};
use crate::Error;
use crate::cluster::Cluster;
use crate::commands::Context;
use crate::connect::{ConnectError, control};
use crate::exit::Exit;
use crate::keys::{self, Pair, Served, Store, StoreError};
use crate::output::{self, Progress};
use crate::private::{self, Existing};
use crate::rotate::{Every, Holder, Timetable, rotate};
use crate::{chance, clock, duration};

const EXAMPLES: &str = "\
Examples:
  # Once; the old key works until the pool's overlap is over
  kubectl culvert key rotate laptop

  # Every day, until it is told to stop; configurations are written anew each time
  kubectl culvert key rotate laptop --every 24h --out ./tunnels";

/// Flags of `key rotate`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The name of the key.
    pub name: String,

    /// Go on, and rotate each time the key has this age, from 24h to 30d; a little earlier, by chance.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "24h", value_parser = Every::parse)]
    pub every: Option<Every>,

    /// How long gateways may take to have the new key.
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = duration::parse)]
    pub wait: Duration,

    /// A folder in which the configurations are written anew.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,

    /// What the configurations say.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Files that hold the pair.
struct Files {
    store: Store,
    name: String,
}

impl Holder for Files {
    type Error = Error;

    fn look(&mut self) -> Result<(PublicKey, Option<PublicKey>), Error> {
        let next = self.store.read_next(&self.name)?.map(|pair| pair.public);
        Ok((self.store.read(&self.name)?.public, next))
    }

    fn keep(&mut self, next: Pair) -> Result<(), Error> {
        match self.store.create_next(&self.name, &next) {
            Err(StoreError::Exists(_)) => Ok(()),
            done => Ok(done?),
        }
    }

    async fn switch(&mut self, _served: &Served) -> Result<(), Error> {
        Ok(self.store.switch(&self.name)?)
    }
}

/// Rotates a key.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Error> {
    let cluster = context.cluster().await?;
    // Who is connected with the key on this machine has its private half, and makes the next.
    if args.every.is_none()
        && let Some(asked) = control::rotate(&cluster.namespace, &args.name, args.wait).await
    {
        asked.map_err(ConnectError::from)?;
        output::line(&format!(
            "key {} has new addresses; the old ones work until the pool's overlap is over",
            args.name
        ))?;
        return Ok(Exit::Done);
    }
    let store = Store::default_for(&cluster)?;
    let mut files = Files {
        store,
        name: args.name.clone(),
    };
    match args.every {
        None => once(&cluster, &args, &mut files, context, true)
            .await
            .map(|_| Exit::Done),
        Some(every) => forever(&cluster, &args, &mut files, context, every).await,
    }
}

/// One rotation, if it is due or was begun already.
async fn once(
    cluster: &Cluster,
    args: &Args,
    files: &mut Files,
    context: &Context,
    due: bool,
) -> Result<Option<Served>, Error> {
    let mut progress = Progress::new(context.screen);
    let say = |text: &str| progress.show(text);
    let served = rotate(cluster, &args.name, files, due, args.wait, say).await?;
    progress.end();
    let Some(served) = served else { return Ok(None) };
    if let Some(folder) = &args.out {
        let pair = files.store.read(&args.name)?;
        let pool = keys::get(cluster, &args.name).await?.spec.pool_ref.name;
        for one in args.client.write(cluster, &pool, &pair, &served).await? {
            private::write(
                &file_in(folder, &one.gateway),
                &[one.text.as_bytes()],
                Existing::Replaced,
            )?;
        }
    }
    output::line(&format!(
        "key {} has {} now; the old addresses work until the pool's overlap is over",
        args.name,
        served.addresses_text()
    ))?;
    Ok(Some(served))
}

/// Rotations for ever. It may be ended at any moment: the next run goes on where this one was.
async fn forever(
    cluster: &Cluster,
    args: &Args,
    files: &mut Files,
    context: &Context,
    every: Every,
) -> Result<Exit, Error> {
    let key = keys::get(cluster, &args.name).await?;
    let ends = key.status.and_then(|status| status.expires_at).map(|end| end.0);
    let now = clock::now();
    let age = files.store.age(&args.name, now.wall)?;
    let mut table = Timetable::start(every, age, left(ends, now), now.boot, draw()?);
    // One that was begun is brought to its end first.
    let mut due = table.due() <= now.boot;
    loop {
        match once(cluster, args, files, context, due).await {
            Ok(Some(served)) => {
                let now = clock::now();
                table.succeeded(now.boot, left(served.expires, now), draw()?);
            }
            Ok(None) => {}
            Err(error) if error.may_pass() => {
                table.failed(clock::now().boot, draw()?);
                crate::error::print(&error, context.screen);
                let pause = table.due().saturating_sub(clock::now().boot);
                output::note(&format!(
                    "the old key works as before; tried again in {}",
                    duration::text(pause)
                ));
            }
            Err(error) => return Err(error),
        }
        clock::until(table.due()).await;
        due = true;
    }
}

fn left(ends: Option<jiff::Timestamp>, now: clock::Now) -> Option<Duration> {
    let seconds = ends?.as_second().saturating_sub(now.wall.as_second());
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

fn draw() -> Result<u64, Error> {
    chance::draw().map_err(|error| StoreError::Chance(error).into())
}
