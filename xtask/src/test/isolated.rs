//! One test in a machine of its own: its output goes to a log, what it has counted to whoever asks.

use std::{fs::File, io::Write, path::Path};

use anyhow::{Context, Result, bail};
use culvert_e2e::Machine;

use super::{artifact::Artifact, kernel, tally::Tally};

/// How a line begins that tells what a test has counted; the first of a test stands behind its name.
const COUNTED: &str = "counted: ";

/// Runs one test of a program.
pub fn run(
    machine: &Machine,
    binary: &Artifact,
    name: &str,
    log: &Path,
    mut counted: impl FnMut(&str),
) -> Result<Tally> {
    let mut file = File::create(log).with_context(|| format!("failed to create {}", log.display()))?;
    let mut command = kernel::command(binary);
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    let mut tally = Tally::default();
    let outcome = machine.run(&command, |line| {
        // A full disk must not turn a passed test into a failed one.
        let _ = file.write_all(line).and_then(|()| file.write_all(b"\n"));
        let text = String::from_utf8_lossy(line);
        if let Some((_, words)) = text.split_once(COUNTED) {
            counted(words);
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
