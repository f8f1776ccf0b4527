//! Tests that have a machine each, so that none can leave anything to the next. Two run at a time.
//!
//! A test's output goes to a log, and its end to the terminal when the test fails. What tests have counted (lines that begin
//! with `counted: `) is told when all are done.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, bail};
use culvert_e2e::{Machine, wait::Stopwatch};

use super::{artifact::Artifact, kernel, tally::Tally};
use crate::run;

/// How a line begins that tells what a test has counted; the first of a test stands behind its name.
const COUNTED: &str = "counted: ";

/// The tests of a program.
pub struct Tests<'suite> {
    pub binary: &'suite Artifact,
    /// Where each test has a folder.
    pub logs: PathBuf,
    /// Whether the end of every test's log is told, not only of those that fail.
    pub tells_all: bool,
    /// The machine of the test with this name.
    pub machine: &'suite (dyn Fn(&str) -> Result<Machine> + Sync),
}

impl Tests<'_> {
    /// Runs these, two at a time, which is what two processors allow: a machine has one. Of those of `one_by_one` no two
    /// run at a time.
    pub fn run(&self, one_by_one: &[String], others: &[String]) -> Tally {
        let count = one_by_one.len() + others.len();
        if count == 0 {
            return Tally::default();
        }
        println!(
            "running {count} tests, each in its own machine; logs: {}",
            self.logs.display()
        );
        let next = AtomicUsize::new(0);
        let (sum, counted) = (Mutex::new(Tally::default()), Mutex::new(Vec::new()));
        let run = |name: &String| {
            let tally = self.report(name, &counted);
            locked(&sum).add(tally);
        };
        let run_others = || {
            while let Some(name) = others.get(next.fetch_add(1, Ordering::Relaxed)) {
                run(name);
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                one_by_one.iter().for_each(run);
                run_others();
            });
            scope.spawn(run_others);
        });
        for line in locked(&counted).drain(..) {
            println!("{line}");
        }
        *locked(&sum)
    }

    /// Runs one test and says how it went.
    fn report(&self, name: &str, counted: &Mutex<Vec<String>>) -> Tally {
        let folder = self.logs.join(name.replace("::", "."));
        let watch = Stopwatch::start();
        let result = self.one(name, &folder, counted);
        let seconds = watch.elapsed().as_secs();
        let log = folder.join("log");
        let told = |error: &str| {
            println!(
                "test {name} ... FAILED ({seconds} s){error}; log: {}\n{}",
                log.display(),
                tail(&log)
            );
        };
        match result {
            Ok(tally) if tally.failed == 0 => {
                println!("test {name} ... ok ({seconds} s)");
                if self.tells_all {
                    println!("{}", tail(&log));
                }
                tally
            }
            Ok(tally) => {
                told("");
                tally
            }
            Err(error) => {
                told(&format!(": {error:#}"));
                Tally::failure()
            }
        }
    }

    fn one(&self, name: &str, folder: &Path, counted: &Mutex<Vec<String>>) -> Result<Tally> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("failed to remove {}", folder.display()))?;
        }
        let out = folder.join("out");
        fs::create_dir_all(&out).with_context(|| format!("failed to create {}", out.display()))?;
        let machine = (self.machine)(name)?.share(&out).env("CULVERT_OUT", &out);
        let log = folder.join("log");
        let mut file = File::create(&log).with_context(|| format!("failed to create {}", log.display()))?;
        let mut command = kernel::command(self.binary);
        command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
        let mut tally = Tally::default();
        let outcome = machine.run(&command, |line| {
            // A full disk must not turn a passed test into a failed one.
            let _ = file.write_all(line).and_then(|()| file.write_all(b"\n"));
            let text = String::from_utf8_lossy(line);
            if let Some((_, words)) = text.split_once(COUNTED) {
                locked(counted).push(words.to_owned());
            }
            tally.line(&text);
        })?;
        if outcome.status >= 128 {
            bail!(
                "the test program was killed (status {}); kernel messages: {}",
                outcome.status,
                outcome.messages
            );
        }
        if outcome.status == 0 && tally.passed != 1 {
            bail!("the test program ran {} tests", tally.passed);
        }
        Ok(tally.ended(outcome.status == 0))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The names of a program's tests that are not ignored.
pub fn listed(binary: &Artifact) -> Result<Vec<String>> {
    let list = |words: &[&str]| -> Result<Vec<String>> {
        let text = run::output(Command::new(&binary.executable).args(words))?;
        Ok(text
            .lines()
            .filter_map(|line| line.strip_suffix(": test").map(str::to_owned))
            .collect())
    };
    let ignored = list(&["--list", "--format=terse", "--ignored"])?;
    let mut names = list(&["--list", "--format=terse"])?;
    names.retain(|name| !ignored.contains(name));
    Ok(names)
}

/// Whether a name has one of these words in it, or nothing is asked for.
pub fn fits(name: &str, filter: &[String]) -> bool {
    filter.is_empty() || filter.iter().any(|part| name.contains(part))
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
fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !is_frame(line)).collect();
    let shown: Vec<String> = lines[lines.len().saturating_sub(40)..]
        .iter()
        .map(|line| format!("  | {line}"))
        .collect();
    shown.join("\n")
}
