//! What a command says that made or rotated a key, beside what it is to say: `tests/api/snapshots/api__plugin__golden__*.snap`.
//!
//! `INSTA_UPDATE=always` in front of `cargo xtask test api -- golden` writes them anew; the change is then reviewed as any
//! other.

use anyhow::{Context, Result, ensure};

use super::{Said, Site};

/// The folder in which keys of this apiserver's are.
fn apiserver(site: &Site) -> Result<String> {
    let files = site.files()?;
    let below = files.iter().filter_map(|file| {
        let path = file.strip_prefix(site.home.path().join(".local/share/culvert"));
        path.ok()?.components().next()
    });
    let folder = below.map(|part| part.as_os_str().to_string_lossy().into_owned());
    folder.last().context("no private key is kept")
}

/// What a command said, with a word in place of what is another each time: addresses, keys, times, folders.
async fn shown(site: &Site, name: &str, words: &[&str], said: Said) -> Result<String> {
    let key = site.key(name).await?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let addresses = key["status"]["addresses"].as_array().context("no addresses")?;
    ensure!(addresses.len() == 2, "{key}");
    let mut drawn = vec![
        (text(&addresses[0]), "ADDRESS"),
        (text(&addresses[1]), "SECOND-ADDRESS"),
        (text(&key["spec"]["publicKey"]), "PUBLIC-KEY"),
        (site.home.path().display().to_string(), "~"),
        (apiserver(site)?, "APISERVER"),
    ];
    if let Some(end) = key["status"]["expiresAt"].as_str() {
        drawn.push((end.to_owned(), "END"));
    }
    let masked = |said: &str| {
        drawn
            .iter()
            .fold(said.to_owned(), |said, (drawn, word)| said.replace(drawn, word))
    };
    let shown = format!(
        "$ kubectl culvert {}\n{}--- standard error\n{}--- exit code {}\n",
        words.join(" "),
        masked(&said.out),
        masked(&said.err),
        said.code
    );
    Ok(shown)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_golden_keys_that_are_made_and_rotated() -> Result<()> {
    let site = Site::start().await?;
    for (golden, name, words) in [
        ("new", "laptop", &["key", "new", "laptop"][..]),
        ("new-expires", "week", &["key", "new", "week", "--expires", "7d"]),
        ("new-name", "named", &["key", "new", "named", "-o", "name"]),
        (
            "new-file",
            "phone",
            &["key", "new", "phone", "--private-key", "phone.key"],
        ),
        ("rotate", "laptop", &["key", "rotate", "laptop"]),
        (
            "rotate-folder",
            "laptop",
            &["key", "rotate", "laptop", "--out", "tunnels"],
        ),
    ] {
        let said = site.run(words).await?;
        insta::assert_snapshot!(golden, shown(&site, name, words, said).await?);
    }
    let words = ["key", "new", "handed-on", "--private-key", "-"];
    let mut said = site.run(&words).await?;
    let private = said.out.trim().to_owned();
    let key = site.key("handed-on").await?;
    ensure!(key["spec"]["publicKey"] == *super::public_half(&private)?);
    said.out = said.out.replace(&private, "PRIVATE-KEY");
    insta::assert_snapshot!("new-handed-on", shown(&site, "handed-on", &words, said).await?);
    site.stop().await
}
