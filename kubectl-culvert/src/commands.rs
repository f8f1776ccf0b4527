//! One file a command.

pub mod connect;
pub mod key;
pub mod version;

use crate::Error;
use crate::args::{Cli, Command};
use crate::cluster::{Cluster, ClusterArgs};
use crate::exit::Exit;
use crate::output::Screen;

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
        Command::Version(args) => version::run(&args),
    }
}
