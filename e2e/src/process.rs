//! A program that a test started: its log, its pid, its end.
//!
//! [`Program::kill`] is a crash (SIGKILL, no chance to tidy up), [`Program::terminate`] a polite stop. Both return
//! when the process is gone, so its ports are free. Dropping kills; so does the death of the test process. The log
//! is appended to, so a program started again under the same name adds to what the first one said.

mod supervised;

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
pub use rustix::process::Signal;

pub(crate) use supervised::Supervised;

use crate::wait;

/// A running program.
#[derive(Debug)]
pub struct Program {
    name: String,
    log: PathBuf,
    process: Supervised,
}

impl Program {
    /// Starts `command`, of which program, arguments, environment and working folder count. Its output is appended
    /// to `<name>.log` in `folder`.
    pub fn start(name: &str, command: &Command, folder: &Path) -> Result<Self> {
        let log = std::path::absolute(folder)
            .with_context(|| format!("failed to resolve {}", folder.display()))?
            .join(format!("{name}.log"));
        // Whoever reads it at once finds it.
        let opened = File::options().create(true).append(true).open(&log);
        opened.with_context(|| format!("failed to create {}", log.display()))?;
        let process = Supervised::start(command, log.as_os_str(), Stdio::null()).with_context(|| {
            format!(
                "failed to start {name} ({})",
                command.get_program().to_string_lossy()
            )
        })?;
        Ok(Self {
            name: name.to_owned(),
            log,
            process,
        })
    }

    /// The process's own number, not the supervisor's.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The file with everything it printed.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Everything it printed so far.
    pub fn output(&self) -> Result<String> {
        match fs::read(&self.log) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", self.log.display())),
        }
    }

    /// The last lines that it printed, for a failure's message.
    pub fn tail(&self, lines: usize) -> String {
        let output = self.output().unwrap_or_default();
        let all: Vec<&str> = output.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// The exit status when it has ended: 128 + n for signal n.
    pub fn exited(&mut self) -> Result<Option<i32>> {
        self.process.exited()
    }

    /// Fails, with the end of the log, when the program has ended by itself.
    pub fn ensure_running(&mut self) -> Result<()> {
        match self.exited()? {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended with status {status}; log {}:\n{}",
                self.name,
                self.log.display(),
                self.tail(20)
            ),
        }
    }

    /// Sends a signal, for tests that stop and continue a program.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait().map(drop)
    }

    /// Asks it with SIGTERM to end, and gives its exit status. One that does not end in time is killed, and that is
    /// an error.
    pub async fn terminate(mut self, within: Duration) -> Result<i32> {
        self.process.signal(Signal::TERM)?;
        match self.wait(within).await {
            Ok(status) => Ok(status),
            Err(error) => {
                let tail = self.tail(20);
                self.kill()?;
                Err(error.context(format!("killed it after SIGTERM; end of its log:\n{tail}")))
            }
        }
    }

    /// Waits, for ever, until it ends by itself, and gives its exit status: for builds, which take their time.
    pub fn finish(mut self) -> Result<i32> {
        self.process.wait()
    }

    /// Waits until it ends by itself, and gives its exit status.
    pub async fn wait(&mut self, within: Duration) -> Result<i32> {
        let what = format!("{} to end", self.name);
        let process = &mut self.process;
        wait::until(&what, within, || {
            let status = process.exited();
            async move { status }
        })
        .await
    }
}

/// Runs a command to its end, hands each line of its standard output to `line`, and gives its exit status. It ends
/// with this process, and so does all that it started. Standard error is this process's.
pub fn stream(command: &Command, mut line: impl FnMut(&[u8])) -> Result<i32> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut process = Supervised::start(command, OsStr::new("-"), Stdio::inherit())?;
    if let Some(output) = process.take_output() {
        for text in BufReader::new(output).split(b'\n') {
            line(&text.with_context(|| format!("failed to read from {program}"))?);
        }
    }
    process.wait()
}

/// A program built from this workspace, whose path `cargo xtask test` passes in an environment variable such as
/// `CULVERT_OPERATOR`.
pub fn built(variable: &str) -> Result<Command> {
    let path = std::env::var_os(variable)
        .with_context(|| format!("{variable} is not set: run the suite through `cargo xtask test`"))?;
    if !Path::new(&path).is_file() {
        bail!("{variable} names no file: {}", OsStr::display(&path));
    }
    Ok(Command::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn is_alive(pid: u32) -> bool {
        // A zombie is not alive: somebody else may be slow to reap it.
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[tokio::test]
    async fn output_and_exit_status_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut program =
            Program::start("talker", &shell("echo one; echo two >&2; exit 3"), folder.path()).unwrap();
        assert_eq!(program.wait(Duration::from_secs(10)).await.unwrap(), 3);
        assert_eq!(program.output().unwrap(), "one\ntwo\n");
        assert!(
            program
                .ensure_running()
                .unwrap_err()
                .to_string()
                .contains("status 3")
        );
    }

    #[tokio::test]
    async fn a_polite_program_ends_at_sigterm() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
        let program = Program::start("polite", &shell(script), folder.path()).unwrap();
        wait::until("the trap", Duration::from_secs(10), || {
            let up = program.output().map(|output| output.contains("up").then_some(()));
            async move { up }
        })
        .await
        .unwrap();
        let log = program.log().to_owned();
        assert_eq!(program.terminate(Duration::from_secs(10)).await.unwrap(), 0);
        assert!(fs::read_to_string(log).unwrap().contains("bye"));
    }

    #[test]
    fn kill_and_drop_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let killed = Program::start("killed", &shell("exec sleep 1000"), folder.path()).unwrap();
        let dropped = Program::start("dropped", &shell("sleep 1000 & wait"), folder.path()).unwrap();
        let (first, second) = (killed.pid(), dropped.pid());
        assert!(is_alive(first) && is_alive(second));
        killed.kill().unwrap();
        drop(dropped);
        assert!(!is_alive(first) && !is_alive(second));
    }

    #[test]
    fn a_program_dies_with_the_process_that_started_it() {
        // This process plays the part of the test that is killed: a shell that holds the supervisor's input open.
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("supervisor.sh");
        fs::write(&script, include_str!("process/supervisor.sh")).unwrap();
        let pids = folder.path().join("pids");
        let starter = format!(
            "mkfifo life; setsid sh {} /dev/null sleep 1000 <life >{} & exec 9>life; exec sleep 1000",
            script.display(),
            pids.display()
        );
        let mut starter = Command::new("sh")
            .args(["-c", &starter])
            .current_dir(&folder)
            .spawn()
            .unwrap();
        let pid = wait::until_blocking("the pid", Duration::from_secs(10), || {
            Ok(fs::read_to_string(&pids)
                .unwrap_or_default()
                .trim()
                .parse::<u32>()
                .ok())
        })
        .unwrap();
        assert!(is_alive(pid));
        starter.kill().unwrap();
        starter.wait().unwrap();
        wait::until_blocking("the program's end", Duration::from_secs(10), || {
            Ok((!is_alive(pid)).then_some(()))
        })
        .unwrap();
    }
}
