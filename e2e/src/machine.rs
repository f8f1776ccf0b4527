//! Runs a command as root where WireGuard is in the kernel: in a User-Mode Linux kernel with this machine's files as
//! its root, or, where the host's own kernel has WireGuard, in new namespaces of the host.
//!
//! The command sees every file of the host at its place. In a test kernel it may write anywhere, and all of it is
//! gone afterwards but for what is below a shared folder; natively it has its own network, process numbers, `/run`
//! and `/sys`, and nothing else keeps it from the host's files. Time travels in a test kernel only ([`Time`]): there
//! `CULVERT_TIME_TRAVEL` is 1, sleeping costs no real time, and neither does processor work cost machine time, so a
//! bound met there says nothing about load, and a test that keeps the kernel busy without a pause starves it of the
//! time for its deferred work. It is `sleep` where processor work takes its time.
//!
//! Output is streamed line by line, unchanged; kernel messages are kept apart. Nothing outlives the machine, nor the
//! machine this process. A machine that does not get as far as running the command is an error, never a status.

mod host;
mod output;
mod processor;
mod script;

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{process::Supervised, programs::Tool, scratch::Scratch};

pub use host::has_wireguard;
use processor::Processor;

/// The machine's own address, on an uplink that leads nowhere.
pub const UPLINK: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 2);

/// Whose kernel runs the command.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kernel {
    Native,
    Test(PathBuf),
}

/// How time passes in a machine with a test kernel. A native machine's is the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// As it does outside.
    Real,
    /// Sleeping costs no real time.
    SkipsSleep,
    /// Sleeping costs no real time, and processor work no machine time. Threads that wait for each other in a loop, as those
    /// of some Go programs do, wait for ever: no clock interrupts them.
    Travels,
}

/// A machine to run one command in.
#[derive(Debug, Clone)]
pub struct Machine {
    kernel: Kernel,
    memory: String,
    time: Time,
    environment: Vec<(OsString, OsString)>,
    shares: Vec<PathBuf>,
    has_wireguard: bool,
    within: Duration,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its exit status, 128 + n for signal n.
    pub status: i32,

    /// The test kernel's last messages, if any: they explain a command that was killed for want of memory.
    pub messages: String,
}

/// Whether [`Machine::new`] uses the host's kernel: `CULVERT_MACHINE` is `native` or `uml`, or unset, and then the
/// host is asked.
pub fn is_native() -> Result<bool> {
    match env::var_os("CULVERT_MACHINE").as_deref().and_then(OsStr::to_str) {
        Some("native") => Ok(true),
        Some("uml") => Ok(false),
        None | Some("") => Ok(has_wireguard()),
        Some(other) => bail!("CULVERT_MACHINE is `native` or `uml`, not `{other}`"),
    }
}

impl Machine {
    /// A machine with 2 GB of memory, time that does not travel, and ten real minutes to live.
    pub fn new() -> Result<Self> {
        let kernel = if is_native()? {
            Kernel::Native
        } else {
            Kernel::Test(Tool::Kernel.find()?)
        };
        Ok(Self::with(kernel))
    }

    fn with(kernel: Kernel) -> Self {
        Self {
            kernel,
            memory: "2G".to_owned(),
            time: Time::Real,
            environment: Vec::new(),
            shares: Vec::new(),
            has_wireguard: true,
            within: Duration::from_mins(10),
        }
    }

    /// The host's own kernel, whatever it has.
    pub fn of_host() -> Self {
        Self::with(Kernel::Native)
    }

    /// Sets the memory, as in `512M`. A native machine has all there is.
    #[must_use]
    pub fn memory(mut self, memory: &str) -> Self {
        memory.clone_into(&mut self.memory);
        self
    }

    /// Sets how time passes.
    #[must_use]
    pub fn time(mut self, time: Time) -> Self {
        self.time = time;
        self
    }

    /// Sets a variable of the command's environment, which otherwise holds PATH, HOME and `CULVERT_TIME_TRAVEL`.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Passes a variable of this process on, when it is set.
    #[must_use]
    pub fn pass_env(self, name: &str) -> Self {
        match env::var_os(name) {
            Some(value) => self.env(name, value),
            None => self,
        }
    }

    /// Lets the command write to a folder of the host, at the same path.
    #[must_use]
    pub fn share(mut self, folder: impl Into<PathBuf>) -> Self {
        self.shares.push(folder.into());
        self
    }

    /// Takes WireGuard out of a test kernel, as in a node's that was built without it. A native machine keeps it.
    #[must_use]
    pub fn without_wireguard(mut self) -> Self {
        self.has_wireguard = false;
        self
    }

    /// Sets how long the whole run may take in real time.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// Runs a command to its end (program, arguments, environment and working folder count), and hands each line of
    /// its output to `line`, without its end.
    pub fn run(&self, command: &Command, mut line: impl FnMut(&[u8])) -> Result<Outcome> {
        let folder = Scratch::new("culvert-machine-")?;
        let name = folder
            .path()
            .file_name()
            .map(OsStr::to_string_lossy)
            .unwrap_or_default()
            .into_owned();
        self.write_files(command, folder.path())?;
        let (start, processor) = match &self.kernel {
            Kernel::Native => (host::command(folder.path()), None),
            Kernel::Test(kernel) => (self.boot(kernel, folder.path()), Processor::take()),
        };
        let boot = || Supervised::start(&start, OsStr::new("-"), Stdio::piped());
        let mut process = match &processor {
            Some(processor) => processor.on(boot)?,
            None => boot()?,
        };
        let output = process.take_output().context("the machine has no output")?;
        let messages = Arc::new(Mutex::new(Vec::new()));
        let reader = process
            .take_errors()
            .map(|errors| output::keep(errors, &messages));
        let status = output::follow(output, &name, self.within, &mut line)?;
        // Stops what is left of it; after that there are no more messages.
        drop(process);
        if let Some(Ok(reader)) = reader {
            let _ = reader.join();
        }
        let messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
        match status {
            output::End::Exit(status) => Ok(Outcome {
                status,
                messages: output::tail(&messages),
            }),
            output::End::Overdue => bail!(
                "the machine did not end within {} s and was stopped; kernel messages: {}",
                self.within.as_secs(),
                output::tail(&messages)
            ),
            output::End::Gone => {
                bail!(
                    "the machine ended before the command did; kernel messages: {}",
                    output::tail(&messages)
                )
            }
        }
    }

    fn boot(&self, kernel: &Path, folder: &Path) -> Command {
        let mut command = Command::new(kernel);
        command.arg(format!("mem={}", self.memory));
        command.args(match self.time {
            Time::Real => None,
            Time::SkipsSleep => Some("time-travel"),
            Time::Travels => Some("time-travel=inf-cpu"),
        });
        // The second console, standard output here, is the command's; the first has the kernel's messages.
        command.args([
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            "con=null",
            "con0=null,fd:2",
            "con1=null,fd:1",
        ]);
        if !self.has_wireguard {
            command.arg("initcall_blacklist=wg_mod_init");
        }
        command.arg("quiet").arg("umid=machine");
        command
            .arg(with_prefix("uml_dir=", folder, "/uml/"))
            .arg(with_prefix("init=", folder, "/init.sh"));
        command
    }

    fn write_files(&self, command: &Command, folder: &Path) -> Result<()> {
        let write = |name: &str, content: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))
        };
        let time = match (&self.kernel, self.time) {
            (Kernel::Native, _) | (_, Time::Real) => "0",
            (_, Time::SkipsSleep) => "sleep",
            (_, Time::Travels) => "1",
        };
        let mut environment: Vec<(OsString, OsString)> = ["PATH", "HOME"]
            .into_iter()
            .filter_map(|name| Some((name.into(), env::var_os(name)?)))
            .collect();
        environment.push(("CULVERT_TIME_TRAVEL".into(), time.into()));
        environment.extend(self.environment.iter().cloned());
        write("command", &script::command(command, &environment)?)?;
        write("shares", &script::shares(&self.shares)?)?;
        write("inner.sh", include_bytes!("../machine/inner.sh"))?;
        let init = include_str!("../machine/init.sh").replace("FOLDER", &folder.to_string_lossy());
        write("init.sh", init.as_bytes())?;
        script::make_executable(&folder.join("init.sh"))
    }
}

fn with_prefix(prefix: &str, folder: &Path, suffix: &str) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(folder);
    text.push(suffix);
    text
}
