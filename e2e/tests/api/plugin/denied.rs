//! What a refusal says.

use anyhow::{Result, ensure};
use culvert_e2e::process;

use super::{Site, TENANT};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_names_the_verb_and_the_role_to_ask_for() -> Result<()> {
    let mut site = Site::start().await?;
    site.user = site.api.plane.kubeconfig_for("mallory", None)?;
    let said = site.run(&["key", "new", "laptop"]).await?;
    ensure!(said.code == 3, "{said:?}");
    for words in [
        &*format!("you may not create wireguardkey `laptop` in namespace `{TENANT}`"),
        "role `culvert-user`",
        &format!("--clusterrole=culvert-user --user=USER -n {TENANT}"),
    ] {
        ensure!(said.err.contains(words), "{words}: {said:?}");
    }
    ensure!(site.files()?.is_empty(), "a private key of nothing was left");
    // What the hint says is what helps.
    let grant = [
        "create",
        "rolebinding",
        "hers",
        "--clusterrole=culvert-user",
        "--user=mallory",
        "-n",
        TENANT,
    ];
    site.api.kubectl(&grant, None).await?;
    site.run(&["key", "new", "laptop"]).await?.well()?;
    let said = site.run(&["key", "config", "laptop", "--out", "-"]).await?;
    ensure!(
        said.code == 3 && said.err.contains("role `culvert-reader`"),
        "{said:?}"
    );
    let grant = [
        "create",
        "clusterrolebinding",
        "hers",
        "--clusterrole=culvert-reader",
        "--user=mallory",
    ];
    site.api.kubectl(&grant, None).await?;
    site.run(&["key", "config", "laptop", "--out", "-"])
        .await?
        .well()?;
    site.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_says_why_a_key_is_not_served_and_what_to_do() -> Result<()> {
    let site = Site::start().await?;
    let said = site.run(&["key", "new", "laptop", "--pool", "nowhere"]).await?;
    ensure!(said.code == 6 && said.err.contains("PoolNotFound"), "{said:?}");
    let said = site.run(&["key", "new", "UPPER"]).await?;
    ensure!(
        said.code == 6 && said.err.contains("is no name for a key") && said.err.contains("next: "),
        "{said:?}"
    );
    // What this program takes for a name, the apiserver does too.
    let longest = ["a".repeat(63), "0-z".to_owned(), "b".repeat(185)].join(".");
    site.run(&["key", "new", &longest]).await?.well()?;
    let said = site.run(&["key", "list", "-l", "a b"]).await?;
    ensure!(
        said.code == 6 && said.err.contains("next: ") && said.err.contains("selector"),
        "{said:?}"
    );
    // Who may do everything is not refused in a namespace that is not there.
    let mut command = process::built("CULVERT_PLUGIN")?;
    command
        .args(["key", "new", "laptop", "--namespace", "nowhere"])
        .env("KUBECONFIG", site.api.plane.kubeconfig())
        .env("HOME", site.home.path());
    let said = super::run(command).await?;
    ensure!(
        said.code == 4 && said.err.contains("there is no such namespace") && said.err.contains("next: "),
        "{said:?}"
    );
    let said = site.run(&["key", "rotate", "nobody"]).await?;
    ensure!(said.code == 4, "{said:?}");
    let said = site.run(&["key", "list", "--context", "elsewhere"]).await?;
    ensure!(
        said.code == 1 && said.err.contains("no context `elsewhere`"),
        "{said:?}"
    );
    site.stop().await
}
