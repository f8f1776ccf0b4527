//! Counts what test programs report.

use std::fmt;

/// How many tests passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
}

impl Tally {
    /// One thing that failed.
    pub fn failure() -> Self {
        Self { passed: 0, failed: 1 }
    }

    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// Counts a line such as `test result: ok. 3 passed; 0 failed; …`; every other line is nothing.
    pub fn line(&mut self, line: &str) {
        let Some(counts) = line
            .strip_prefix("test result: ")
            .and_then(|rest| Some(rest.split_once(". ")?.1))
        else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else {
                continue;
            };
            match (number.parse::<usize>(), what) {
                (Ok(number), "passed") => self.passed += number,
                (Ok(number), "failed") => self.failed += number,
                _ => {}
            }
        }
    }

    /// The count of a program that ended well or not: one that failed without a failed test counts as one.
    pub fn ended(mut self, well: bool) -> Self {
        if !well && self.failed == 0 {
            self.failed = 1;
        }
        self
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed_and_other_lines_ignored() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: what. x passed; failed",
            "9 passed; 9 failed",
        ] {
            tally.line(line);
        }
        assert_eq!(tally.to_string(), "4 passed, 2 failed");
    }

    #[test]
    fn a_failure_without_a_failed_test_counts() {
        assert_eq!(Tally { passed: 2, failed: 0 }.ended(false).failed, 1);
        assert_eq!(Tally { passed: 2, failed: 3 }.ended(false).failed, 3);
        assert_eq!(Tally { passed: 2, failed: 0 }.ended(true).failed, 0);
    }
}
