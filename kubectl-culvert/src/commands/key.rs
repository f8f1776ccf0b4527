//! `key …`: one file a command.

use clap::Subcommand;

use crate::Error;
use crate::commands::Context;
use crate::exit::Exit;

mod new;

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key pair here and have the public key served.
    New(new::Args),
}

/// Does what was asked.
pub async fn run(command: Command, context: &Context) -> Result<Exit, Error> {
    match command {
        Command::New(args) => new::run(args, context).await,
    }
}
