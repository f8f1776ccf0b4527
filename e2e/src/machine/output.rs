//! The command's output: lines as they come, and the report of its exit status, which is no line of the command's.

use std::{
    io::{self, BufRead, BufReader, Read},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::wait::Stopwatch;

/// The kernel looks for a disk, and needs none.
const NO_DISK: &str = "Failed to initialize ubd device";

/// How a machine ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The command ended with this status.
    Exit(i32),
    /// There was no report within the time.
    Overdue,
    /// The output ended without a report.
    Gone,
}

/// Hands on every line until the report, which starts with `mark`.
pub(super) fn follow(
    output: impl Read + Send + 'static,
    mark: &str,
    within: Duration,
    line: &mut impl FnMut(&[u8]),
) -> Result<End> {
    let (sender, lines) = mpsc::channel();
    thread::Builder::new()
        .name("machine output".to_owned())
        .spawn(move || {
            for line in BufReader::new(output).split(b'\n') {
                if line.is_err() || line.is_ok_and(|line| sender.send(line).is_err()) {
                    break;
                }
            }
        })
        .context("failed to start a thread")?;
    let watch = Stopwatch::start();
    let mut held = 0;
    loop {
        match lines.recv_timeout(within.saturating_sub(watch.elapsed())) {
            // The report comes after a line end of its own, so an empty line waits until it is known to be another.
            Ok(text) if text.is_empty() => held += 1,
            Ok(text) => {
                let report = status(&text, mark);
                for _ in usize::from(report.is_some())..held {
                    line(b"");
                }
                held = 0;
                if let Some(status) = report {
                    return Ok(End::Exit(status));
                }
                line(&text);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => return Ok(End::Overdue),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(End::Gone),
        }
    }
}

fn status(text: &[u8], mark: &str) -> Option<i32> {
    std::str::from_utf8(text)
        .ok()?
        .strip_prefix(mark)?
        .strip_prefix(" exit ")?
        .trim_end()
        .parse()
        .ok()
}

/// Keeps what the kernel says, for a failure's message.
pub(super) fn keep(
    mut errors: impl Read + Send + 'static,
    place: &Arc<Mutex<Vec<u8>>>,
) -> io::Result<JoinHandle<()>> {
    let place = Arc::clone(place);
    thread::Builder::new()
        .name("machine messages".to_owned())
        .spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = errors.read(&mut buffer) {
                place
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(&buffer[..length]);
            }
        })
}

/// The last kernel messages, line by line.
pub(super) fn tail(messages: &[u8]) -> String {
    let text = String::from_utf8_lossy(messages);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty() && !line.starts_with(NO_DISK))
        .collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(output: &'static str) -> (End, Vec<String>) {
        let mut lines = Vec::new();
        let end = follow(
            output.as_bytes(),
            "mark",
            Duration::from_secs(10),
            &mut |line: &[u8]| {
                lines.push(String::from_utf8(line.to_vec()).unwrap());
            },
        );
        (end.unwrap(), lines)
    }

    #[test]
    fn lines_are_the_commands_own() {
        assert_eq!(
            followed("a\r\n\n\nb\n\nmark exit 3\n"),
            (End::Exit(3), ["a\r", "", "", "b"].map(Into::into).into())
        );
        assert_eq!(
            followed("a\n\n\nmark exit 0\n"),
            (End::Exit(0), ["a", ""].map(Into::into).into())
        );
        assert_eq!(
            followed("no end\nmark exit 0\n"),
            (End::Exit(0), vec!["no end".to_owned()])
        );
        assert_eq!(followed("\nmark exit 0\n"), (End::Exit(0), vec![]));
    }

    #[test]
    fn a_machine_without_report_is_gone() {
        assert_eq!(followed("mark exit\nother exit 0\n").0, End::Gone);
    }
}
