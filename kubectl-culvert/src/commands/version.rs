//! `version`.

use crate::Error;
use crate::exit::Exit;
use crate::output;

/// Flags of `version`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}

/// Prints versions.
pub fn run(_args: &Args) -> Result<Exit, Error> {
    output::line(&format!("kubectl-culvert {}", env!("CARGO_PKG_VERSION")))?;
    Ok(Exit::Done)
}
