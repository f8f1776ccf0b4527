//! Pings that run beside a test until it stops them, and what became of each.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{Namespace, Program, process::Signal, wait};

/// Pings under way.
pub struct Pings {
    program: Program,
    interval: Duration,
}

/// What became of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// How many were answered.
    pub answered: usize,

    /// How many were not, of those sent before the last that was.
    pub lost: usize,

    /// The longest time without an answer.
    pub silence: Duration,
}

impl Pings {
    /// Begins to ping a place from another one. `name` is that of the log in the folder.
    pub fn start(
        name: &str,
        from: &Namespace,
        target: &str,
        interval: Duration,
        folder: &Path,
    ) -> Result<Self> {
        let mut ping = from.command("ping");
        ping.args(["-n", "-i", &interval.as_secs_f64().to_string(), target]);
        let program = Program::start(name, &ping, folder)?;
        Ok(Self { program, interval })
    }

    /// Waits until so many more were answered: what a test has changed has been under traffic.
    pub async fn go_on(&self, answers: usize) -> Result<()> {
        let before = self.numbers()?.len();
        wait::until("pings to be answered", super::SOON, || async {
            Ok((self.numbers()?.len() >= before + answers).then_some(()))
        })
        .await
    }

    /// Stops, and tells what became of them.
    pub async fn stop(mut self) -> Result<Report> {
        self.program.ensure_running()?;
        self.go_on(1).await?;
        self.program.signal(Signal::INT)?;
        self.program.wait(super::SOON).await?;
        report(&self.numbers()?, self.interval).context("no ping was answered")
    }

    fn numbers(&self) -> Result<BTreeSet<u64>> {
        Ok(numbers(&self.program.output()?))
    }
}

impl Report {
    /// Fails when one was lost.
    pub fn lost_none(&self) -> Result<()> {
        ensure!(self.lost == 0, "pings were lost: {self:?}");
        Ok(())
    }

    /// Fails when nothing was answered for so long.
    pub fn silent_at_most(&self, time: Duration) -> Result<()> {
        ensure!(
            self.silence <= time,
            "nothing was answered for {:?}",
            self.silence
        );
        Ok(())
    }
}

/// The numbers of the answers that `ping` shows. It counts to 65535 and begins anew.
fn numbers(output: &str) -> BTreeSet<u64> {
    let mut last = 0;
    let mut found = BTreeSet::new();
    for line in output.lines().filter(|line| line.contains("bytes from")) {
        let number = line
            .split_once("icmp_seq=")
            .and_then(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok());
        let Some(number) = number else {
            continue;
        };
        let mut whole = (last & !0xffff) + number;
        if whole + 0x8000 < last {
            whole += 0x1_0000;
        } else if whole > last + 0x8000 && whole >= 0x1_0000 {
            // A late one, of before it began anew.
            whole -= 0x1_0000;
        }
        last = last.max(whole);
        found.insert(whole);
    }
    found
}

fn report(numbers: &BTreeSet<u64>, interval: Duration) -> Option<Report> {
    let last = *numbers.last()?;
    let mut before = 0;
    let mut widest = 0;
    for number in numbers {
        widest = widest.max(number - before - 1);
        before = *number;
    }
    let answered = numbers.len();
    Some(Report {
        answered,
        lost: usize::try_from(last).ok()?.saturating_sub(answered),
        silence: interval * u32::try_from(widest).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(numbers: impl IntoIterator<Item = u64>) -> String {
        let line = |n: u64| format!("64 bytes from 10.64.0.1: icmp_seq={n} ttl=64 time=0.1 ms\n");
        numbers.into_iter().map(line).collect()
    }

    fn told(numbers: impl IntoIterator<Item = u64>) -> Report {
        report(&super::numbers(&said(numbers)), Duration::from_millis(10)).unwrap()
    }

    #[test]
    fn what_was_not_answered_before_the_last_is_lost() {
        assert_eq!(told(1..=100).lost, 0);
        let gaps = told([1, 2, 3, 7, 8, 10]);
        assert_eq!((gaps.answered, gaps.lost), (6, 4));
        assert_eq!(gaps.silence, Duration::from_millis(30));
        let first = told([4, 5]);
        assert_eq!((first.lost, first.silence), (3, Duration::from_millis(30)));
    }

    #[test]
    fn answers_out_of_order_or_twice_count_once() {
        assert_eq!(told([1, 3, 2, 2, 4]).lost, 0);
    }

    #[test]
    fn numbers_begin_anew() {
        let wrapped = (1..=65_535).chain(0..=10).chain([12]);
        assert_eq!(told(wrapped).lost, 1);
    }

    #[test]
    fn nothing_is_no_report() {
        let output = "PING 10.64.0.1 (10.64.0.1) 56(84) bytes of data.\n";
        assert_eq!(report(&numbers(output), Duration::from_millis(10)), None);
    }
}
