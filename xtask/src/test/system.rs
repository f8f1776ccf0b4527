//! The suite `system`: whole programs with a real apiserver and a real kernel. Each test has a machine of its own, whose
//! clock travels without regard to others.

use std::time::Duration;

use anyhow::Result;
use culvert_e2e::{
    machine::{self, Time},
    programs::Tool,
};

use super::{
    artifact,
    isolated::{self, Tests},
    kernel,
    tally::Tally,
};
use crate::soak::SOAK;

/// How the names of tests begin that set the clock: where the machine's kernel is the host's, so is its clock.
const SETS_CLOCK: [&str; 3] = ["clock::", "crowd::crowd_with_clock_steps", "check::check_clock"];

/// How the names of tests begin whose kernel has no WireGuard, which the host's own may have.
const WITHOUT_WIREGUARD: &str = "check::check_without_wireguard";

/// How the names of tests begin whose subject is load, of which there is none where processor work takes no time.
const IN_REAL_TIME: [&str; 1] = ["flood::"];

/// What a test may need of the host in its long mode.
const LONG_MEMORY: &str = "6G";

/// How large the tests' numbers are, and whose clock they go by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// For every change.
    Short,
    /// The same without time travel.
    RealTime,
    /// The numbers of the documentation's claims.
    Long,
}

pub fn run(filter: &[String], real_time: bool) -> Result<Tally> {
    let mode = if real_time { Mode::RealTime } else { Mode::Short };
    mode.run(|name| isolated::fits(name, filter))
}

/// Runs tests with large numbers: those whose names begin with one of `begin` and which `asked` wants.
pub fn soak(begin: &[&str], asked: impl Fn(&str) -> bool) -> Result<Tally> {
    Mode::Long.run(|name| begin.iter().any(|part| name.starts_with(part)) && asked(name))
}

impl Mode {
    /// Runs the tests with such names.
    fn run(self, wanted: impl Fn(&str) -> bool) -> Result<Tally> {
        let mut programs = artifact::programs()?;
        programs.push((kernel::WIREGUARD_GO, Tool::WireguardGo.find()?));
        let binary = artifact::test("system")?;
        let is_native = machine::is_native()?;
        let mut names = isolated::listed(&binary)?;
        names.retain(|name| {
            let why = if SETS_CLOCK.iter().any(|part| name.starts_with(part)) {
                Some("it would set this host's clock")
            } else {
                let lacks = name.starts_with(WITHOUT_WIREGUARD);
                lacks.then_some("this host's kernel has WireGuard")
            };
            let why = why.filter(|_| is_native && wanted(name));
            if let Some(why) = why {
                println!("test {name} ... skipped: {why}");
            }
            wanted(name) && why.is_none()
        });
        let tests = Tests {
            binary: &binary,
            logs: artifact::target()?.join("culvert-system"),
            // What a test has counted is part of its result.
            tells_all: self == Self::Long,
            machine: &|name| {
                let is_real =
                    self == Self::RealTime || IN_REAL_TIME.iter().any(|part| name.starts_with(part));
                let mut machine = kernel::machine()?
                    .time(if is_real { Time::Real } else { Time::Travels })
                    .within(self.bound(is_native));
                if name.starts_with(WITHOUT_WIREGUARD) {
                    machine = machine.without_wireguard();
                }
                if self == Self::Long {
                    machine = machine.memory(LONG_MEMORY).env(SOAK, "1");
                }
                for (variable, path) in &programs {
                    machine = machine.env(*variable, path);
                }
                Ok(machine)
            },
        };
        Ok(tests.run(&[], &names))
    }

    /// How long a test may take: an hour of silence and more, where time does not travel.
    fn bound(self, is_native: bool) -> Duration {
        let short = self == Self::Short && !is_native;
        Duration::from_secs(if short { 900 } else { 3 * 3600 })
    }
}
