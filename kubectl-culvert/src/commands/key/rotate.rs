//! `key rotate`, once or for ever.

use std::path::PathBuf;
use std::time::Duration;

use culvert_wireguard::PublicKey;

use super::client::{ClientArgs, file_in};
use crate::Error;
use crate::cluster::Cluster;
use crate::commands::Context;
use crate::connect::{ConnectError, control};
use crate::exit::{self, Exit};
use crate::keys::{self, KeyFailure, Pair, Served, Store, StoreError};
use crate::output::{self, Progress};
use crate::private::{self, Existing};
use crate::rotate::{Every, Holder, RotateError, Timetable, rotate};
use crate::{chance, clock, duration};

const EXAMPLES: &str = "\
Examples:
  # Once; the old key works until the pool's overlap is over
  kubectl culvert key rotate laptop

  # Every day, until it is told to stop; configurations are written anew each time
  kubectl culvert key rotate laptop --every 24h --out ./tunnels";

/// Flags of `key rotate`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::after(EXAMPLES, exit::Does::Writes))]
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

/// Longer than any pause between two tries.
const FOREVER: Duration = Duration::from_hours(24);

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
        None => once(&cluster, &args, &mut files, context).await,
        Some(every) => forever(&cluster, &args, &mut files, context, every).await,
    }
}

/// One rotation. Where the new key is not served in time, the object is given the old one again.
async fn once(cluster: &Cluster, args: &Args, files: &mut Files, context: &Context) -> Result<Exit, Error> {
    let rotated = rotated(cluster, args, files, context, true).await;
    if let Err(Error::Rotate(RotateError::Key(KeyFailure::TimedOut { .. } | KeyFailure::Refused { .. }))) =
        &rotated
        && let Err(error) = restore(cluster, files).await
    {
        crate::error::print(&error, context.screen);
        output::note(
            "the cluster asks for the new key still: run the command again before the gateways have it and the pool's overlap is over",
        );
    }
    if let Some(served) = rotated? {
        write(cluster, args, files, &served).await?;
    }
    Ok(Exit::Done)
}

/// Rotates, if it is due or was begun already.
async fn rotated(
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
    if let Some(served) = &served {
        output::line(&format!(
            "key {} has {} now; the old addresses work until the pool's overlap is over",
            args.name,
            served.addresses_text()
        ))?;
    }
    Ok(served)
}

/// Has the cluster ask for the pair in use again, and forgets the one that was to take its place.
async fn restore(cluster: &Cluster, files: &mut Files) -> Result<(), Error> {
    let (current, next) = files.look()?;
    let key = keys::get(cluster, &files.name).await?;
    if next.is_some_and(|next| key.spec.public_key == next.to_base64()) {
        keys::replace(cluster, &key, &current).await?;
    }
    Ok(files.store.remove_next(&files.name)?)
}

/// Writes the configurations of the pair in use, where that was asked for.
async fn write(cluster: &Cluster, args: &Args, files: &Files, served: &Served) -> Result<(), Error> {
    let Some(folder) = &args.out else { return Ok(()) };
    let pair = files.store.read(&args.name)?;
    let pool = keys::get(cluster, &args.name).await?.spec.pool_ref.name;
    for one in args.client.write(cluster, &pool, &pair, served).await? {
        private::write(
            &file_in(folder, &one.gateway),
            &[one.text.as_bytes()],
            Existing::Replaced,
        )?;
    }
    Ok(())
}

/// Rotations for ever. It may be ended at any moment: the next run goes on where this one was.
async fn forever(
    cluster: &Cluster,
    args: &Args,
    files: &mut Files,
    context: &Context,
    every: Every,
) -> Result<Exit, Error> {
    let ends = match keys::get(cluster, &args.name).await {
        Ok(key) => key.status.and_then(|status| status.expires_at).map(|end| end.0),
        // It is asked again below, and waited for.
        Err(failure) if failure.may_pass() => None,
        Err(failure) => return Err(failure.into()),
    };
    let now = clock::now();
    let age = files.store.age(&args.name, now.wall)?;
    let mut table = Timetable::start(every, age, left(ends, now), now.boot, draw()?);
    // Whoever ended the last run may have done so before the files were written.
    let mut is_written = false;
    loop {
        // One that was begun is brought to its end in any case.
        let due = table.due() <= clock::now().boot;
        match rotated(cluster, args, files, context, due).await {
            Ok(Some(served)) => {
                let now = clock::now();
                table.succeeded(now.boot, left(served.expires, now), draw()?);
                is_written = false;
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
        if !is_written {
            is_written = written(cluster, args, files, context).await;
        }
        tokio::select! {
            () = clock::until(table.due()) => {}
            () = caught_up(cluster, files) => {}
        }
    }
}

/// Writes the configurations of what is served now; the next time is soon enough for what fails.
async fn written(cluster: &Cluster, args: &Args, files: &mut Files, context: &Context) -> bool {
    let done = async {
        let (current, next) = files.look()?;
        if args.out.is_none() || next.is_some() {
            return Ok(next.is_none());
        }
        let served = keys::wait_served(cluster, &args.name, &current, args.wait, |_| ()).await?;
        write(cluster, args, files, &served).await?;
        Ok(true)
    };
    done.await.unwrap_or_else(|error: Error| {
        crate::error::print(&error, context.screen);
        false
    })
}

/// Ends when every gateway has the pair that the cluster was told of, where the rotation itself could not wait so long: the
/// old peer's overlap begins then, whatever the timetable says.
async fn caught_up(cluster: &Cluster, files: &mut Files) {
    if let Ok((_, Some(next))) = files.look()
        && keys::wait_served(cluster, &files.name, &next, FOREVER, |_| ())
            .await
            .is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

fn left(ends: Option<jiff::Timestamp>, now: clock::Now) -> Option<Duration> {
    let seconds = ends?.as_second().saturating_sub(now.wall.as_second());
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

fn draw() -> Result<u64, Error> {
    chance::draw().map_err(|error| StoreError::Chance(error).into())
}
