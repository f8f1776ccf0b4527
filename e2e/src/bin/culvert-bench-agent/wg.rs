//! wg(8), the program that everybody has, on an interface of its own.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{netns, wait::Stopwatch};

use crate::{objects::configuration, stage::Stage};

/// Its interface.
pub const INTERFACE: &str = "wgbench";

/// Makes the interface, up and with a key.
pub fn create(stage: &Stage) -> Result<()> {
    let key = stage.folder.path().join("wg.key");
    let made = netns::run(Command::new("wg").arg("genkey"))?;
    fs::write(&key, made).context("failed to write a key")?;
    for words in [
        &["ip", "link", "add", INTERFACE, "type", "wireguard"][..],
        &[
            "wg",
            "set",
            INTERFACE,
            "private-key",
            &key.display().to_string(),
            "listen-port",
            "51999",
        ],
        &["ip", "link", "set", INTERFACE, "up"],
    ] {
        netns::run(Command::new(words[0]).args(&words[1..]))?;
    }
    Ok(())
}

/// A file with these peers, and the settings that the interface has.
pub fn file(stage: &Stage, peers: std::ops::Range<u32>) -> Result<PathBuf> {
    let key = fs::read_to_string(stage.folder.path().join("wg.key")).context("failed to read a key")?;
    let path = stage.folder.path().join("wg.conf");
    let head = format!("[Interface]\nPrivateKey = {}\nListenPort = 51999\n", key.trim());
    fs::write(&path, head + &configuration(peers, false)).context("failed to write a file")?;
    Ok(path)
}

/// Runs a program and says how long it took.
pub fn timed(words: &[&str]) -> Result<Duration> {
    let (program, arguments) = words.split_first().context("nothing to run")?;
    let watch = Stopwatch::start();
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("failed to run {program}"))?;
    let took = watch.elapsed();
    ensure!(status.success(), "{words:?} failed");
    Ok(took)
}
