//! A folder for one test's files that goes with it, also when the test process is killed or ends without running
//! destructors (those of statics never run).
//!
//! A small shell waits for the end of a pipe that this process holds, then removes the folder. `CULVERT_KEEP=1` keeps
//! the folder, for looking at what a failed test left.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// The programs that write there are killed at the same moment, so one attempt may come too early.
const SWEEP: &str = r#"read -r _; for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$0" && exit; sleep 0.3; done"#;

/// A folder that is removed with this value or with this process.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
    sweeper: Option<Child>,
}

impl Scratch {
    /// Makes one; its name begins with `prefix`.
    pub fn new(prefix: &str) -> Result<Self> {
        let mut folder = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir()
            .context("failed to create a folder")?;
        if keep() {
            folder.disable_cleanup(true);
            return Ok(Self {
                folder,
                sweeper: None,
            });
        }
        let sweeper = Command::new("sh")
            .args(["-c", SWEEP])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("failed to start the sweeper `sh`")?;
        Ok(Self {
            folder,
            sweeper: Some(sweeper),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(mut sweeper) = self.sweeper.take() {
            // Closes the pipe and waits: when this returns, the folder is gone.
            let _ = sweeper.wait();
        }
    }
}

/// Everything in a folder and below it, but folders.
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Whether the user asked to keep what tests leave.
pub fn keep() -> bool {
    env::var_os("CULVERT_KEEP").is_some_and(|value| value == "1")
}
