//! `cargo xtask test`: the suites, each with what it needs set up first.
//!
//! A suite that fails does not keep the next from running. The last line is `N passed, N failed`, the sum of what the
//! test programs reported; a suite that fails otherwise (a lint, a build that does not compile, a machine that does
//! not start) counts as one failed. The exit status says whether anything failed. Nothing is left running, not even
//! when this program is killed.

mod api;
pub mod artifact;
mod cluster;
mod docs;
mod isolated;
pub mod kernel;
mod lint;
pub mod system;
pub mod tally;
mod unit;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use culvert_e2e::wait::Stopwatch;

use crate::setup::{self, Need};
use tally::Tally;

/// A suite, in the order of cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Suite {
    /// Format, clippy, licences, generated files.
    Lint,
    /// Tests without privilege or network.
    Unit,
    /// Pages, alerts and examples, as those who read them do.
    Docs,
    /// Against a real kube-apiserver.
    Api,
    /// Against a kernel's WireGuard.
    Kernel,
    /// Whole programs against both, each test in a machine of its own.
    System,
    /// Installed with Helm on a cluster with real nodes.
    Cluster,
}

const ALL: [Suite; 7] = [
    Suite::Lint,
    Suite::Unit,
    Suite::Docs,
    Suite::Api,
    Suite::Kernel,
    Suite::System,
    Suite::Cluster,
];

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Which suites; all of them when none is named.
    suites: Vec<Suite>,

    /// Let time pass in the machines as it does outside: an hour of silence takes an hour.
    #[arg(long)]
    real_time: bool,

    /// Run the tests whose name contains this (further words are for the test programs).
    #[arg(last = true)]
    filter: Vec<String>,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Unit => "unit",
            Self::Docs => "docs",
            Self::Api => "api",
            Self::Kernel => "kernel",
            Self::System => "system",
            Self::Cluster => "cluster",
        }
    }

    fn needs(self) -> &'static [Need] {
        match self {
            Self::Lint => &[Need::CargoDeny, Need::Charts, Need::Readers],
            Self::Unit => &[],
            Self::Docs => &[Need::Readers],
            Self::Api => &[Need::ControlPlane, Need::Charts],
            Self::Kernel => &[Need::Machine, Need::UserspaceWireGuard],
            Self::System => &[Need::ControlPlane, Need::Machine, Need::UserspaceWireGuard],
            // Nothing is built of a cluster that somebody else runs.
            Self::Cluster if cluster::is_of_kubeconfig() => &[Need::ControlPlane, Need::Charts],
            Self::Cluster => &[
                Need::ControlPlane,
                Need::Cluster,
                Need::Charts,
                Need::Machine,
                Need::UserspaceWireGuard,
            ],
        }
    }

    fn run(self, filter: &[String], real_time: bool) -> Result<Tally> {
        setup::ensure(self.needs())?;
        match self {
            Self::Lint => lint::run(),
            Self::Unit => unit::run(filter),
            Self::Docs => docs::run(filter),
            Self::Api => api::run(filter),
            Self::Kernel => kernel::run(filter),
            Self::System => system::run(filter, real_time),
            Self::Cluster => cluster::run(filter, real_time),
        }
    }
}

pub fn main(arguments: &Arguments) -> ExitCode {
    // In order and once each, whatever was asked for. Who looks for a test by name means neither lints nor a cluster.
    let asked = |suite: &&Suite| match arguments.suites.as_slice() {
        [] => arguments.filter.is_empty() || ![Suite::Lint, Suite::Cluster].contains(suite),
        suites => suites.contains(suite),
    };
    let of_cluster = cluster::IN_EVERY_RUN.map(str::to_owned);
    let suites: Vec<&Suite> = ALL.iter().filter(asked).collect();
    // Before the first suite, so that the builds run side by side.
    let mut needs: Vec<Need> = Vec::new();
    for need in suites.iter().flat_map(|suite| suite.needs()) {
        if !needs.contains(need) {
            needs.push(*need);
        }
    }
    // What could not be set up fails the suites that need it, below; the others run.
    let start = Stopwatch::start();
    if let Err(error) = setup::ensure(&needs) {
        eprintln!("error: {error:#}");
    }
    let mut took = vec![minutes("set-up", start.elapsed())];
    let mut sum = Tally::default();
    for suite in suites {
        println!("== {} ==", suite.name());
        let start = Stopwatch::start();
        let filter = match suite {
            Suite::Cluster if arguments.suites.is_empty() => &of_cluster[..],
            _ => &arguments.filter,
        };
        let tally = suite.run(filter, arguments.real_time).unwrap_or_else(|error| {
            println!("error: {error:#}");
            Tally::failure()
        });
        took.push(minutes(suite.name(), start.elapsed()));
        sum.add(tally);
    }
    println!("minutes: {}", took.join(", "));
    if !arguments.filter.is_empty() && sum == Tally::default() {
        // A misspelt name must not pass.
        println!("error: no test fits {:?}", arguments.filter);
        sum.add(Tally::failure());
    }
    println!("{sum}");
    if sum.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn minutes(name: &str, took: Duration) -> String {
    format!("{name} {:.1}", took.as_secs_f64() / 60.0)
}
