//! `connect`: the whole tunnel on a Linux client.

use std::time::Duration;

use crate::Error;
use crate::commands::Context;
use crate::duration;
use crate::exit::Exit;

/// Flags of `connect`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The gateway to use, by the name of its node or its own, or `nearest` for the one that answers first.
    #[arg(long, default_value = "nearest", value_name = "NAME|nearest")]
    pub gateway: String,

    /// The pool that the addresses come from.
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub pool: String,

    /// How often key and addresses are replaced, from 1d to 30d.
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = duration::parse)]
    pub rotate_every: Duration,

    /// The network namespace to put the tunnel in.
    #[arg(long, value_name = "NAME")]
    pub netns: Option<String>,

    /// Let nothing leave outside of the tunnel while it is up.
    #[arg(long)]
    pub kill_switch: bool,
}

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// This version has none.
    #[error("`connect` is not there yet")]
    NotThereYet,
}

impl ConnectError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        Exit::Failed
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(
            "use `kubectl culvert key new NAME`, then `kubectl culvert key config NAME` with wg-quick"
                .to_owned(),
        )
    }
}

/// Opens a tunnel and keeps it until it is told to stop.
#[expect(clippy::unused_async, reason = "it will wait for much")]
pub async fn run(_args: Args, _context: &Context) -> Result<Exit, Error> {
    Err(ConnectError::NotThereYet.into())
}
