//! The project's own chores.
//!
//! ```text
//! cargo xtask demo             shows the main job, from end to end
//! cargo xtask setup            builds what the suites need, once, into a cache outside the checkout
//! cargo xtask test [SUITE…]    runs the suites, setting up what they lack
//! cargo xtask soak [FILTER…]   runs the proofs of all suites in their long mode
//! cargo xtask bench SUBJECT    measures the operator or the agent, with its goals, into the target folder's `bench`
//! cargo xtask image            writes the container images as archives, into the target folder's `images`
//! cargo xtask crds [--check]   writes, or compares, the generated custom resource definitions
//! cargo xtask chart [--check]  writes, or compares, what of the chart is generated
//! cargo xtask dashboard        draws the dashboard's picture, from numbers that were scraped
//! cargo xtask docs [--check]   writes, or compares, the generated reference; `--site FOLDER` builds the site
//! ```
//!
//! A chore that fails exits with 1 and says what to do; nothing is left running or half-built.

mod bench;
mod chart;
mod crds;
mod dashboard;
mod demo;
mod docs;
mod generated;
mod image;
mod run;
mod setup;
mod soak;
mod test;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    bin_name = "cargo xtask",
    about = "Culvert's own chores",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Show the main job from end to end: a key, a tunnel, a client that is forgotten.
    Demo,

    /// Build the programs and the kernel that the tests need, unless they are there.
    Setup(setup::Arguments),

    /// Run test suites, setting up first what they need.
    Test(test::Arguments),

    /// Run the fault proofs with large numbers: hundreds of kills, thousands of keys.
    Soak(soak::Arguments),

    /// Measure programs as they are shipped, each figure with its goal.
    Bench(bench::Arguments),

    /// Write the container images.
    Image(image::Arguments),

    /// Write the custom resource definitions as YAML.
    Crds(crds::Arguments),

    /// Write what of the chart is generated: values, their schema, definitions, rules of roles.
    Chart(chart::Arguments),

    /// Draw the dashboard's picture.
    Dashboard,

    /// Write the reference, and build the site.
    Docs(docs::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().chore {
        Chore::Demo => demo::main(),
        Chore::Setup(arguments) => setup::main(&arguments),
        Chore::Test(arguments) => Ok(test::main(&arguments)),
        Chore::Soak(arguments) => soak::main(&arguments),
        Chore::Bench(arguments) => bench::main(&arguments),
        Chore::Image(arguments) => image::main(&arguments),
        Chore::Crds(arguments) => crds::main(&arguments),
        Chore::Chart(arguments) => chart::main(&arguments),
        Chore::Dashboard => dashboard::main(),
        Chore::Docs(arguments) => docs::main(&arguments),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The checkout that this program was built from.
fn checkout() -> Result<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("xtask has no parent folder")?.to_owned())
}
