//! Who is not the agent goes first. On a server the outside has processors of its own; in a machine with one it would
//! wait for the agent, and its waiting would count as the agent's.

use std::process::Command;

use anyhow::Result;
use culvert_e2e::netns;
use rustix::thread::{Pid, gettid};

/// Threads that go first as long as this lives.
pub struct First {
    threads: Vec<Pid>,
}

impl First {
    /// This thread, and another one. What they start does not go first.
    pub fn with(other: Pid) -> Result<Self> {
        let first = Self {
            threads: vec![gettid(), other],
        };
        for thread in &first.threads {
            schedule(&["--reset-on-fork", "--fifo", "--pid", "1"], *thread)?;
        }
        Ok(first)
    }
}

impl Drop for First {
    fn drop(&mut self) {
        for thread in &self.threads {
            if let Err(error) = schedule(&["--other", "--pid", "0"], *thread) {
                eprintln!("a thread goes first still: {error:#}");
            }
        }
    }
}

fn schedule(words: &[&str], thread: Pid) -> Result<()> {
    let thread = thread.as_raw_nonzero().to_string();
    netns::run(Command::new("chrt").args(words).arg(thread)).map(drop)
}
