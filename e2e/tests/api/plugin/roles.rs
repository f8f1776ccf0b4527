//! Each command with the roles of `examples/roles.yaml` that it needs, and without each of them. The audit log says what was
//! asked and refused, whatever the command makes of it. (`connect` needs a kernel: see the suite `system`.)

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{NODE, Said, Site, TENANT};

const USER: &str = "culvert-user";
const READER: &str = "culvert-reader";
const ADMIN: &str = "culvert-admin";

/// A command, and the roles that it needs and no others. Each is run after those above it.
const COMMANDS: [(&[&str], &[&str]); 19] = [
    (&["key", "new", "one"], &[USER]),
    (&["key", "new", "two", "--private-key", "two.key"], &[USER]),
    (&["key", "list"], &[USER]),
    (&["key", "list", "-o", "yaml"], &[USER]),
    (&["key", "config", "one", "--out", "-"], &[USER, READER]),
    (&["key", "qr", "one", "--out", "-"], &[USER, READER]),
    (&["key", "rotate", "one"], &[USER]),
    (&["key", "rotate", "one", "--out", "tunnels"], &[USER, READER]),
    (&["key", "revoke", "one"], &[USER]),
    (&["key", "list", "--all-namespaces"], &[ADMIN]),
    (&["status"], &[ADMIN]),
    (&["check"], &[ADMIN]),
    (&["report"], &[ADMIN]),
    (&["version"], &[ADMIN]),
    (&["gateway", "purge", NODE], &[ADMIN]),
    (&["gateway", "purge", "--all"], &[ADMIN]),
    (&["gateway", "drain", NODE], &[ADMIN]),
    (&["gateway", "drain", NODE, "--undo"], &[ADMIN]),
    (&["install", "generate"], &[]),
];

/// Grants a role to a user, where such roles are granted.
async fn grant(site: &Site, role: &str, user: &str) -> Result<()> {
    let kind = if role == USER {
        "rolebinding"
    } else {
        "clusterrolebinding"
    };
    let (name, of, to) = (
        format!("{user}-{role}"),
        format!("--clusterrole={role}"),
        format!("--user={user}"),
    );
    let mut words = vec!["create", kind, &name, &of, &to];
    if role == USER {
        words.extend(["-n", TENANT]);
    }
    site.api.kubectl(&words, None).await.map(drop)
}

/// A user with these roles and no others.
async fn user(site: &Site, roles: &[&str], known: &mut Vec<String>) -> Result<String> {
    let name = format!("with-{}", roles.join("-"));
    if !known.contains(&name) {
        for role in roles {
            grant(site, role, &name).await?;
        }
        known.push(name.clone());
    }
    Ok(name)
}

/// What a user was refused so far, as `list wireguardkeys`.
fn refused(site: &Site, user: &str) -> Result<Vec<String>> {
    let log = fs::read_to_string(site.api.plane.audit_log()).context("failed to read the audit log")?;
    // The last line may be half written.
    let events = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let refused = events
        .filter(|event| event["user"]["username"] == user && event["responseStatus"]["code"] == 403)
        .map(|event| format!("{} {}", event["verb"], event["objectRef"]["resource"]));
    Ok(refused.collect())
}

/// Runs a command as this user; what it said, and how much it was refused.
async fn run_as(site: &mut Site, user: &str, words: &[&str]) -> Result<(Said, Vec<String>)> {
    let before = refused(site, user)?.len();
    let own = std::mem::replace(&mut site.user, site.api.plane.kubeconfig_for(user, None)?);
    let said = site.run(words).await;
    site.user = own;
    Ok((said?, refused(site, user)?.split_off(before)))
}

/// Ensures that a refusal is told, and that this role is named and no other.
fn is_told(words: &[&str], missing: &str, said: &Said) -> Result<()> {
    for other in [USER, READER, ADMIN].iter().filter(|role| **role != missing) {
        ensure!(!said.err.contains(other), "it names `{other}`");
    }
    if words == ["version"] {
        // What can be told is told.
        ensure!(said.code == 0 && said.err.contains("you may not list customresourcedefinitions"));
        return Ok(());
    }
    ensure!(said.code == 3, "the exit code");
    for text in [
        "error: you may not ".to_owned(),
        format!("role `{missing}`"),
        format!("--clusterrole={missing} "),
    ] {
        ensure!(said.err.contains(&text), "it does not say `{text}`");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_commands_go_well_with_their_roles_and_name_the_one_that_is_missing() -> Result<()> {
    let mut site = Site::start().await?;
    let mut known = Vec::new();
    for (words, roles) in COMMANDS {
        let line = words.join(" ");
        for missing in roles {
            // Who is no administrator has both of the others, or none.
            let others: Vec<&str> = [USER, READER]
                .into_iter()
                .filter(|role| role != missing && (roles.contains(role) || *missing == ADMIN))
                .collect();
            let without = if *missing == ADMIN {
                vec![others, Vec::new()]
            } else {
                vec![others]
            };
            for others in without {
                let user = user(&site, &others, &mut known).await?;
                let (said, refused) = run_as(&mut site, &user, words).await?;
                is_told(words, missing, &said)
                    .with_context(|| format!("`{line}` with {others:?}: {said:?}"))?;
                ensure!(
                    !refused.is_empty(),
                    "`{line}` with {others:?} was refused nothing"
                );
            }
        }
        let user = user(&site, roles, &mut known).await?;
        let (said, refused) = run_as(&mut site, &user, words).await?;
        ensure!(
            refused.is_empty(),
            "`{line}` with {roles:?} was refused {refused:?}"
        );
        // What they find is another matter.
        let is_a_look = ["status", "check"].contains(&words[0]);
        ensure!(
            said.code == 0 || (is_a_look && said.code == 7),
            "`{line}` with {roles:?}: {said:?}"
        );
    }
    println!(
        "counted: plugin: {} commands with their roles and without",
        COMMANDS.len()
    );
    site.stop().await
}
