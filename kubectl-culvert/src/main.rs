//! `kubectl-culvert`, which kubectl finds on the PATH as `kubectl culvert`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use kubectl_culvert::args::Cli;
use kubectl_culvert::commands::complete::ASKED_AS;
use kubectl_culvert::{commands, error};

// It waits for others, and threads take longer to start than it has work for them.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = asked(std::env::args_os());
    let screen = cli.screen.look();
    match commands::run(cli).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            error::print(&error, screen);
            error.exit().into()
        }
    }
}

/// The command line. kubectl asks for completions by another name of this program.
fn asked(words: impl Iterator<Item = OsString>) -> Cli {
    let mut words: Vec<OsString> = words.collect();
    let name = words
        .first()
        .and_then(|word| Path::new(word).file_name().map(ToOwned::to_owned));
    if name.is_some_and(|name| name == ASKED_AS) {
        words.insert(1, "__complete".into());
    }
    // What is completed is nothing of this line.
    if words.get(1).is_some_and(|word| word == "__complete") {
        words.insert(2, "--".into());
    }
    Cli::parse_from(words)
}
