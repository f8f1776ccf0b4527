//! One file a command.

pub mod check;
pub mod complete;
pub mod connect;
pub mod gateway;
pub mod install;
pub mod key;
pub mod logs;
pub mod migrate;
pub mod report;
pub mod status;
pub mod version;

use std::collections::BTreeSet;

use crate::Error;
use crate::args::{Cli, Command};
use crate::cluster::{Cluster, ClusterArgs};
use crate::exit::Exit;
use crate::output::{self, Screen};
use crate::request::{Failure, Role};

/// What every command is given.
#[derive(Clone, Debug)]
pub struct Context {
    /// kubectl's flags.
    pub args: ClusterArgs,

    /// Where output goes.
    pub screen: Screen,
}

impl Context {
    /// The cluster; nothing is asked of it yet.
    pub async fn cluster(&self) -> Result<Cluster, Error> {
        Ok(Cluster::find(&self.args).await?)
    }

    /// The same for what an administrator asks: one role lets him do all of it.
    pub async fn administered(&self) -> Result<Cluster, Error> {
        let cluster = self.cluster().await?;
        Ok(cluster.for_role(Role::Admin))
    }
}

/// Does what was asked.
pub async fn run(cli: Cli) -> Result<Exit, Error> {
    let context = Context {
        args: cli.cluster,
        screen: cli.screen.look(),
    };
    match cli.command {
        Command::Key(command) => key::run(command, &context).await,
        Command::Connect(args) => connect::run(args, &context).await,
        Command::Completion(args) => complete::script(args),
        Command::Complete(words) => complete::answer(&words.words).await,
        Command::Status(args) => status::run(args, &context).await,
        Command::Check(args) => check::run(args, &context).await,
        Command::Report(args) => report::run(args, &context).await,
        Command::Gateway(command) => gateway::run(command, &context).await,
        Command::Install(command) => install::run(command, &context).await,
        Command::Logs(args) => logs::run(args, &context).await,
        Command::Migrate(args) => migrate::run(args, &context).await,
        Command::Version(args) => version::run(args, &context).await,
    }
}

/// Says what could not be read, and what to do about it, each once.
fn unread(failures: &[Failure], screen: Screen) {
    for failure in failures {
        output::note(&format!("not looked at: {failure}"));
    }
    let hints: BTreeSet<String> = failures.iter().filter_map(Failure::hint).collect();
    for hint in hints {
        output::note(&output::next(&hint, screen.colour_err));
    }
}
