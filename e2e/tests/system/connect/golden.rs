//! What `connect` says from its start to its end, beside what it is to say: `golden/`.

use std::{fs, io::Write as _, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{bed::SOON, netns, process::Signal, wait};

use super::stage::{Laptop, NAME, identity, keys, start};

const PLAIN: &str = include_str!("golden/plain.txt");
const TERMINAL: &str = include_str!("golden/terminal.txt");

/// Takes away what stands on a terminal's line.
const ERASE: &str = "\r\x1b[K";

/// What Ctrl-C sends.
const INTERRUPT: &[u8] = b"\x03";

fn is(found: &str, golden: &str) -> Result<()> {
    ensure!(
        found == golden,
        "it says something else, which belongs to golden/:\n{found}"
    );
    Ok(())
}

#[tokio::test]
async fn connect_golden_in_a_journal() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    laptop.connect().await?;
    let _ = identity(&bed).await?;
    bed.plane.kill_apiserver()?;
    ensure!(laptop.rotate().is_err(), "it rotates without an apiserver");
    bed.plane.start_apiserver().await?;
    wait::until("a rotation", SOON, || async { laptop.rotate().map(Some) }).await?;
    let _ = identity(&bed).await?;
    bed.kubectl(&["delete", "wireguardkey", NAME]).await?;
    let log = laptop.log()?;
    let status = laptop.ended().await?;
    ensure!(status == 4, "it ended with status {status}");
    is(&fs::read_to_string(log)?, PLAIN)?;
    bed.finish().await
}

/// Begins to connect at a terminal, whose keyboard is a pipe.
fn at_a_terminal(laptop: &mut Laptop, keyboard: &Path) -> Result<()> {
    netns::run(Command::new("mkfifo").arg(keyboard))?;
    let inner = laptop.connecting()?;
    let words: Vec<_> = [inner.get_program()]
        .into_iter()
        .chain(inner.get_args())
        .map(|word| word.to_str().context("a word that is no text"))
        .collect::<Result<_>>()?;
    // Opened for both, so that the keyboard does not end with whoever has typed.
    let script = r#"exec script --quiet --return --command "exec $1" /dev/null <>"$2""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", &words.join(" ")]).arg(keyboard);
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    laptop.start_by(&command)
}

/// What a person has seen: each thing that was waited for before it was connected, and what has stayed.
fn seen(raw: &str) -> String {
    let mut seen: Vec<String> = Vec::new();
    let mut is_connected = false;
    for line in raw.replace("\r\n", "\n").lines() {
        let mut shown = line.split(ERASE).filter(|text| !text.is_empty()).peekable();
        while let Some(text) = shown.next() {
            let stays = shown.peek().is_none() && !line.ends_with(ERASE) && !text.starts_with('…');
            is_connected |= text.starts_with("connected as");
            if (stays || !is_connected) && seen.last().is_none_or(|last| last != text) {
                seen.push(text.to_owned());
            }
        }
    }
    seen.join("\n") + "\n"
}

#[tokio::test]
async fn connect_golden_at_a_terminal() -> Result<()> {
    let (mut bed, mut laptop) = start().await?;
    let keyboard = laptop.folder().join("keyboard");
    bed.terminate_operator().await?;
    bed.plane.kill_apiserver()?;
    at_a_terminal(&mut laptop, &keyboard)?;
    laptop.says("waiting for the apiserver").await?;
    bed.plane.start_apiserver().await?;
    laptop.says("waiting for addresses").await?;
    // Until everything else is known, however long it has paused before it asked again.
    wait::pass(Duration::from_mins(2)).await;
    bed.gateway.ip(&["link", "set", "c77", "down"])?;
    bed.start_operator()?;
    laptop.says("waiting for a gateway's answer").await?;
    bed.gateway.ip(&["link", "set", "c77", "up"])?;
    laptop.connected().await?;
    let known = identity(&bed).await?;
    laptop.rotate()?;
    laptop.says("key and addresses are new").await?;
    let log = laptop.log()?;
    fs::OpenOptions::new()
        .write(true)
        .open(&keyboard)?
        .write_all(INTERRUPT)?;
    let status = laptop.ended().await?;
    ensure!(status == 0, "it ended with status {status}");
    let mut shown = seen(&fs::read_to_string(log)?);
    for (address, word) in known.addresses.iter().zip(["ADDRESS", "SECOND-ADDRESS"]) {
        shown = shown.replace(address, word);
    }
    is(&shown, TERMINAL)?;
    laptop.is_clean()?;
    Laptop::left_no_file()?;
    ensure!(keys(&bed).await?.is_empty(), "the key is left");
    bed.finish().await
}

/// What lets the laptop's user do something, and the role that is missing without it.
const GRANTS: [(&str, &str); 2] = [
    ("rolebinding/alice", "culvert-user"),
    ("clusterrolebinding/alice", "culvert-reader"),
];

#[tokio::test]
async fn connect_without_a_role_names_it_and_leaves_nothing() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    laptop.connect().await?;
    let _ = identity(&bed).await?;
    laptop.end_by(Signal::TERM).await?;
    for (grant, role) in GRANTS {
        let text = bed
            .kubectl(&["get", grant, "-n", "default", "-o", "json"])
            .await?;
        bed.kubectl(&["delete", grant, "-n", "default"]).await?;
        laptop.start()?;
        let status = laptop.ended().await?;
        let said = laptop.output();
        ensure!(
            status == 3
                && said.contains("error: you may not ")
                && said.contains(&format!("--clusterrole={role} ")),
            "without {role}: {status} {said}"
        );
        laptop.is_clean()?;
        Laptop::left_no_file()?;
        ensure!(keys(&bed).await?.is_empty(), "a key is left");
        let mut object: serde_json::Value = serde_json::from_str(&text)?;
        let metadata = object["metadata"].as_object_mut().context("no metadata")?;
        metadata.retain(|field, _| ["name", "namespace"].contains(&field.as_str()));
        bed.apply(&object.to_string()).await?;
    }
    laptop.connect().await?;
    laptop.disconnect().await?;
    bed.finish().await
}
