//! The suite `system`: whole programs with a real apiserver and a real kernel. Each test has a machine of its own, so
//! that none can leave anything to the next, and its clock travels without regard to others. Two run at a time.
//!
//! A test's output goes to a log in the target folder, and its end to the terminal when the test fails. What tests have
//! counted (lines that begin with `counted: `) is told when all are done.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use culvert_e2e::{
    machine::{self, Time},
    programs::Tool,
    wait::Stopwatch,
};

use super::{
    artifact::{self, Artifact},
    isolated, kernel,
    tally::Tally,
};
use crate::{run, soak::SOAK};

/// One machine has one processor.
const AT_A_TIME: usize = 2;

/// How the names of tests begin that set the clock: where the machine's kernel is the host's, so is its clock.
const SETS_CLOCK: [&str; 2] = ["clock::", "crowd::crowd_with_clock_steps"];

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

struct Plan {
    mode: Mode,
    binary: Artifact,
    programs: Vec<(&'static str, PathBuf)>,
    logs: PathBuf,
    counted: Mutex<Vec<String>>,
}

pub fn run(filter: &[String], real_time: bool) -> Result<Tally> {
    let plan = Plan::new(if real_time { Mode::RealTime } else { Mode::Short })?;
    let names = plan.tests(filter)?;
    Ok(plan.run(&names))
}

/// Runs tests with large numbers: those whose names begin with one of `begin` and which `asked` wants.
pub fn soak(begin: &[&str], asked: impl Fn(&str) -> bool) -> Result<Tally> {
    let plan = Plan::new(Mode::Long)?;
    let mut names = plan.tests(&[])?;
    names.retain(|name| begin.iter().any(|part| name.starts_with(part)) && asked(name));
    Ok(plan.run(&names))
}

impl Plan {
    fn new(mode: Mode) -> Result<Self> {
        let mut programs = artifact::programs()?;
        programs.push((kernel::WIREGUARD_GO, Tool::WireguardGo.find()?));
        Ok(Self {
            mode,
            programs,
            binary: artifact::test("system")?,
            logs: artifact::target()?.join("culvert-system"),
            counted: Mutex::default(),
        })
    }

    /// Runs these tests, two at a time.
    fn run(&self, names: &[String]) -> Tally {
        if names.is_empty() {
            return Tally::default();
        }
        println!(
            "running {} tests, each in its own machine; logs: {}",
            names.len(),
            self.logs.display()
        );
        let next = AtomicUsize::new(0);
        let sum = Mutex::new(Tally::default());
        thread::scope(|scope| {
            for _ in 0..AT_A_TIME {
                scope.spawn(|| {
                    while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let tally = self.report(name);
                        sum.lock().unwrap_or_else(PoisonError::into_inner).add(tally);
                    }
                });
            }
        });
        for line in self.counted().drain(..) {
            println!("{line}");
        }
        sum.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self) -> MutexGuard<'_, Vec<String>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of the tests to run.
    fn tests(&self, filter: &[String]) -> Result<Vec<String>> {
        let mut names = listed(&self.binary, filter)?;
        if machine::is_native()? {
            names.retain(|name| {
                let skipped = SETS_CLOCK.iter().any(|part| name.starts_with(part));
                if skipped {
                    println!("test {name} ... skipped: it would set this host's clock");
                }
                !skipped
            });
        }
        Ok(names)
    }

    /// How long a test may take: an hour of silence and more, where time does not travel.
    fn bound(&self) -> Result<Duration> {
        let short = self.mode == Mode::Short && !machine::is_native()?;
        Ok(Duration::from_secs(if short { 900 } else { 3 * 3600 }))
    }

    /// Runs one test and says how it went.
    fn report(&self, name: &str) -> Tally {
        let folder = self.logs.join(name.replace("::", "."));
        let watch = Stopwatch::start();
        let result = self.one(name, &folder);
        let seconds = watch.elapsed().as_secs();
        let log = folder.join("log");
        match result {
            Ok(tally) if tally.failed == 0 => {
                println!("test {name} ... ok ({seconds} s)");
                // What a test has counted is part of its result.
                if self.mode == Mode::Long {
                    println!("{}", tail(&log));
                }
                tally
            }
            Ok(tally) => {
                println!(
                    "test {name} ... FAILED ({seconds} s); log: {}\n{}",
                    log.display(),
                    tail(&log)
                );
                tally
            }
            Err(error) => {
                println!(
                    "test {name} ... FAILED ({seconds} s): {error:#}; log: {}\n{}",
                    log.display(),
                    tail(&log)
                );
                Tally::failure()
            }
        }
    }

    fn one(&self, name: &str, folder: &Path) -> Result<Tally> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("failed to remove {}", folder.display()))?;
        }
        let out = folder.join("out");
        fs::create_dir_all(&out).with_context(|| format!("failed to create {}", out.display()))?;
        let is_real = self.mode == Mode::RealTime || IN_REAL_TIME.iter().any(|part| name.starts_with(part));
        let mut machine = kernel::machine()?
            .time(if is_real { Time::Real } else { Time::Travels })
            .within(self.bound()?)
            .share(&out)
            .env("CULVERT_OUT", &out);
        if self.mode == Mode::Long {
            machine = machine.memory(LONG_MEMORY).env(SOAK, "1");
        }
        for (variable, path) in &self.programs {
            machine = machine.env(*variable, path);
        }
        isolated::run(&machine, &self.binary, name, &folder.join("log"), |counted| {
            self.counted().push(counted.to_owned());
        })
    }
}

/// The names of a program's tests that fit the filter and are not ignored.
pub fn listed(binary: &Artifact, filter: &[String]) -> Result<Vec<String>> {
    let list = |words: &[&str]| -> Result<Vec<String>> {
        let text = run::output(Command::new(&binary.executable).args(words))?;
        Ok(text
            .lines()
            .filter_map(|line| line.strip_suffix(": test").map(str::to_owned))
            .collect())
    };
    let ignored = list(&["--list", "--format=terse", "--ignored"])?;
    Ok(list(&["--list", "--format=terse"])?
        .into_iter()
        .filter(|name| !ignored.contains(name))
        .filter(|name| filter.is_empty() || filter.iter().any(|part| name.contains(part)))
        .collect())
}

/// Whether a line belongs to a backtrace, which is long and in the log.
fn is_frame(line: &str) -> bool {
    let text = line.trim_start();
    let number = text
        .split_once(": ")
        .is_some_and(|(number, _)| number.parse::<u32>().is_ok());
    line.starts_with(' ') && (number || text.starts_with("at "))
}

/// The end of a log, set off from the runner's own lines.
pub fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !is_frame(line)).collect();
    let shown: Vec<String> = lines[lines.len().saturating_sub(40)..]
        .iter()
        .map(|line| format!("  | {line}"))
        .collect();
    shown.join("\n")
}
