//! Starts a program below a supervisor, a few lines of shell in their own process group.
//!
//! The guarantee: the program does not outlive this process, even one killed with SIGKILL, when no destructor runs.
//! `PR_SET_PDEATHSIG` would need unsafe code between fork and exec, and follows the thread, not the process. The
//! supervisor holds a pipe from us; its end of file is our death. What is not covered is a supervisor killed alone.

use std::{
    ffi::OsStr,
    io::Read,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

const SCRIPT: &str = include_str!("supervisor.sh");

/// A running program with its supervisor.
#[derive(Debug)]
pub(crate) struct Supervised {
    supervisor: Child,
    /// Held open as a sign of life.
    life: Option<ChildStdin>,
    pid: Pid,
    /// The program whatever becomes of its number; `None` when it had already ended as we looked.
    handle: Option<OwnedFd>,
}

impl Supervised {
    /// Starts `command`; `log` is a file for its output, or `-`: then [`Self::take_output`] reads its standard
    /// output, and its standard error is `errors`.
    pub(crate) fn start(command: &Command, log: &OsStr, errors: Stdio) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", SCRIPT, "supervisor"])
            .arg(log)
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        let mut supervisor = shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .process_group(0)
            .spawn()
            .context("failed to start the supervisor `sh`")?;
        let life = supervisor.stdin.take();
        let pid = supervisor
            .stdout
            .as_mut()
            .context("the supervisor has no output")
            .and_then(read_pid)?;
        // The number stays the program's until the supervisor has reaped it.
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok();
        Ok(Self {
            supervisor,
            life,
            pid,
            handle,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// The program's standard output, once, when it was started with the log `-`.
    pub(crate) fn take_output(&mut self) -> Option<ChildStdout> {
        self.supervisor.stdout.take()
    }

    /// What it and its supervisor say on standard error, once, when it was started with a pipe for that.
    pub(crate) fn take_errors(&mut self) -> Option<ChildStderr> {
        self.supervisor.stderr.take()
    }

    /// Sends a signal to the program itself; one that is gone already is no error.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        match self
            .handle
            .as_ref()
            .map(|handle| pidfd_send_signal(handle, signal))
        {
            None | Some(Ok(()) | Err(rustix::io::Errno::SRCH)) => Ok(()),
            Some(Err(error)) => {
                Err(error).with_context(|| format!("failed to signal process {}", self.pid()))
            }
        }
    }

    /// The program's exit status when it has ended.
    pub(crate) fn exited(&mut self) -> Result<Option<i32>> {
        let status = self
            .supervisor
            .try_wait()
            .context("failed to ask for the exit status")?;
        Ok(status.map(|status| status.code().unwrap_or(-1)))
    }

    /// Waits until the program has ended.
    pub(crate) fn wait(&mut self) -> Result<i32> {
        // `Child::wait` closes the child's input first, and that would kill; but the pipe is ours, in `life`.
        let status = self
            .supervisor
            .wait()
            .context("failed to wait for the supervisor")?;
        Ok(status.code().unwrap_or(-1))
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // End of file: the supervisor kills the whole group. Waiting makes the ports and files free again.
        drop(self.life.take());
        let _ = self.supervisor.wait();
    }
}

/// The first line, byte by byte: what follows it is the program's own output.
fn read_pid(output: &mut ChildStdout) -> Result<Pid> {
    let mut line = String::new();
    let mut byte = [0];
    while output.read(&mut byte).context("failed to read the pid")? == 1 && byte[0] != b'\n' {
        line.push(char::from(byte[0]));
    }
    let number = line
        .parse()
        .with_context(|| format!("the supervisor reported no pid but `{line}`"))?;
    Pid::from_raw(number).context("the supervisor reported pid 0")
}
