//! `key …`: one file a command.

use clap::Subcommand;

use crate::Error;
use crate::commands::Context;
use crate::exit::{self, Exit};

mod client;
mod config;
mod list;
mod new;
mod qr;
mod revoke;
mod rotate;

pub use list::rows;

const EXAMPLES: &str = "\
Examples:
  # From nothing to a tunnel through one of the gateways
  kubectl culvert key new laptop --expires 30d
  kubectl culvert key config laptop --out ./tunnels
  wg-quick up ./tunnels/gateway-1.conf

  # What there is, and the end of it
  kubectl culvert key list
  kubectl culvert key revoke laptop";

/// What to do with keys.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES, after_long_help = exit::below(EXAMPLES))]
pub enum Command {
    /// Make a key pair here, and have every gateway know the public key.
    New(new::Args),

    /// Write the configuration of a client for wg-quick, one for each gateway.
    Config(config::Args),

    /// Show the configuration of a client as a QR code, for a telephone.
    Qr(qr::Args),

    /// List keys.
    List(list::Args),

    /// Replace a key and its addresses, while the old ones still work.
    Rotate(rotate::Args),

    /// Delete keys: every gateway forgets them at once.
    Revoke(revoke::Args),
}

/// Does what was asked.
pub async fn run(command: Command, context: &Context) -> Result<Exit, Error> {
    match command {
        Command::New(args) => new::run(args, context).await,
        Command::Config(args) => config::run(args, context).await,
        Command::Qr(args) => qr::run(args, context).await,
        Command::List(args) => list::run(&args, context).await,
        Command::Rotate(args) => rotate::run(args, context).await,
        Command::Revoke(args) => revoke::run(args, context).await,
    }
}
