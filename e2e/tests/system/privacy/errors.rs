//! What goes wrong between programs and the API, and whose error texts repeat names: a claim that is there already, a key
//! that somebody else has, a write that is refused.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom},
};

use anyhow::{Result, ensure};
use culvert_e2e::{
    Bed, Client, Fault, Namespace,
    bed::{AGENT_USER, SOON, said},
    leaks::Canary,
    wait,
};
use http::Method;
use serde_json::json;

use super::story::Story;

/// What an apiserver says to whom it refuses a write.
const ANSWER: &str = "an answer that nobody repeats";

/// All of it, one after the other.
pub async fn provoke(story: &mut Story) -> Result<()> {
    lose_a_reply(story).await?;
    imitate(story).await?;
    refuse(story).await
}

/// A client that only has a key.
fn silent(bed: &Bed, name: &str, outer: &str) -> Result<Client> {
    Client::placed(bed, name, Namespace::new(name)?, outer.parse()?)
}

/// The operator hears in no way that its claim was made, makes it again, and is told that it exists.
async fn lose_a_reply(story: &Story) -> Result<()> {
    let bed = &story.bed;
    let mut tablet = silent(bed, "tablet", "198.51.100.79")?;
    let from = length(story)?;
    story.proxy.stall_watches_of("wireguardpeers");
    let struck = story.proxy.arm(Fault::CutAfter(1));
    bed.kubectl_with(&["apply", "-f", "-"], Some(&tablet.manifest()))
        .await?;
    let call = struck.wait(SOON).await?;
    ensure!(
        (call.method, &*call.kind) == (Method::POST, "wireguardpeers"),
        "a reply to something else was lost"
    );
    logged(story, from, &["\"code\":409", "wireguardpeers", "already exists"]).await?;
    story.proxy.cut_watches();
    bed.key_ready("tablet").await?;
    tablet.read_addresses(bed).await
}

/// Somebody applies a key that another has.
async fn imitate(story: &Story) -> Result<()> {
    let key = json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "WireGuardKey",
        "metadata": { "name": "imitator" },
        "spec": { "publicKey": story.laptop.public_key },
    });
    let bed = &story.bed;
    bed.kubectl_with(&["apply", "-f", "-"], Some(&key.to_string()))
        .await?;
    wait::until("the imitator to be refused", SOON, || async {
        let accepted = said(&bed.key("imitator").await?.conditions, "Accepted");
        Ok((accepted == "False DuplicateKey").then_some(()))
    })
    .await
}

/// Both programs are refused a write, with a text of somebody else's.
async fn refuse(story: &Story) -> Result<()> {
    let bed = &story.bed;
    bed.secret(Canary::answer("the apiserver's answer", ANSWER));
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": "refuse" },
        "spec": {
            "matchConstraints": { "resourceRules": [
                { "apiGroups": ["culvert.dev"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["wireguardpeers"] },
                { "apiGroups": ["culvert.dev"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["gatewaynodes/status"] },
            ] },
            "validations": [{ "expression": "false", "message": ANSWER }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": "refuse" },
        "spec": { "policyName": "refuse", "validationActions": ["Deny"] },
    });
    let from = length(story)?;
    let both = format!("{policy}\n---\n{binding}");
    bed.kubectl_with(&["apply", "-f", "-"], Some(&both)).await?;
    // The agent's next report tells that it is in force.
    let agent = format!("\"username\":\"{AGENT_USER}\"");
    logged(story, from, &[ANSWER, "\"subresource\":\"status\"", &agent]).await?;
    let mut watch = silent(bed, "watch", "198.51.100.80")?;
    bed.kubectl_with(&["apply", "-f", "-"], Some(&watch.manifest()))
        .await?;
    logged(
        story,
        from,
        &[ANSWER, "\"verb\":\"create\"", "\"resource\":\"wireguardpeers\""],
    )
    .await?;
    bed.kubectl_with(&["delete", "-f", "-"], Some(&both)).await?;
    bed.key_ready("watch").await?;
    watch.read_addresses(bed).await
}

/// How long the audit log is.
fn length(story: &Story) -> Result<u64> {
    Ok(fs::metadata(story.bed.plane.audit_log())?.len())
}

/// Waits until one line of the audit log has all of these words, from this byte on.
async fn logged(story: &Story, from: u64, words: &[&str]) -> Result<()> {
    let what = format!("a request with {words:?}");
    wait::until(&what, SOON, || async {
        let mut log = File::open(story.bed.plane.audit_log())?;
        log.seek(SeekFrom::Start(from))?;
        let log = io::read_to_string(log)?;
        let found = log
            .lines()
            .any(|line| words.iter().all(|word| line.contains(word)));
        Ok(found.then_some(()))
    })
    .await
}
