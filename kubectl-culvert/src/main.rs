//! `kubectl-culvert`, which kubectl finds on the PATH as `kubectl culvert`.

use std::process::ExitCode;

use clap::Parser as _;
use kubectl_culvert::args::Cli;
use kubectl_culvert::{commands, error};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let screen = cli.screen.look();
    match commands::run(cli).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            error::print(&error, screen);
            error.exit().into()
        }
    }
}
