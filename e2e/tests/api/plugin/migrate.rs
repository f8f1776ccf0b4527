//! `migrate`: beside an operator and an agent that go on in the old version, with an apiserver that then takes it away.

use anyhow::{Context, Result, ensure};
use culvert_e2e::wait;
use serde_json::{Value, json};

use super::{Said, Site};
use crate::{
    fixture::SOON,
    load::{KINDS, Load, fresh_key},
};

const OLD: &str = "v1alpha1";
const NEW: &str = "v1alpha2";

/// More than the plugin asks for at a time.
const KEYS: u32 = 520;

/// What kubectl gives as JSON.
async fn read(site: &Site, words: &[&str]) -> Result<Value> {
    let text = site
        .api
        .kubectl(&[&["get"], words, &["-o", "json"]].concat(), None)
        .await?;
    Ok(serde_json::from_str(&text)?)
}

async fn definition(site: &Site, kind: &str) -> Result<Value> {
    read(site, &[&format!("crd/{kind}.culvert.dev")]).await
}

/// Defines every kind in another version beside the old one, which is the one that is stored from now on.
async fn upgrade(site: &Site) -> Result<()> {
    for (_, kind) in KINDS {
        let definition = definition(site, kind).await?;
        let mut versions = definition["spec"]["versions"].clone();
        let mut new = versions[0].clone();
        new["name"] = json!(NEW);
        versions[0]["storage"] = json!(false);
        versions.as_array_mut().context("no list")?.push(new);
        write(site, kind, &versions).await?;
        wait::until(&format!("{NEW} of {kind} to be stored"), SOON, || async {
            Ok((stored(site, kind).await? == [OLD, NEW]).then_some(()))
        })
        .await?;
    }
    Ok(())
}

async fn write(site: &Site, kind: &str, versions: &Value) -> Result<()> {
    let name = format!("crd/{kind}.culvert.dev");
    let patch = json!({ "spec": { "versions": versions } }).to_string();
    let words = ["patch", &name, "--type=merge", "-p", &patch];
    site.api.kubectl(&words, None).await.map(drop)
}

/// Takes the old version of a kind away.
async fn take_away(site: &Site, kind: &str) -> Result<()> {
    let definition = definition(site, kind).await?;
    let versions = definition["spec"]["versions"].as_array().context("no list")?;
    let kept: Vec<&Value> = versions.iter().filter(|version| version["name"] != OLD).collect();
    write(site, kind, &json!(kept)).await
}

/// The versions that objects of a kind may be stored in.
async fn stored(site: &Site, kind: &str) -> Result<Vec<String>> {
    let definition = definition(site, kind).await?;
    serde_json::from_value(definition["status"]["storedVersions"].clone()).context("no versions")
}

/// Every object of a kind, in the version that is preferred.
async fn objects(site: &Site, kind: &str) -> Result<Vec<Value>> {
    let list = read(site, &[&format!("{kind}.culvert.dev"), "-A"]).await?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

const REFUSAL: &str = "somebody else's policy";

/// Has a policy refuse every change of one key.
async fn refuse(site: &Site, name: &str) -> Result<()> {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": name },
        "spec": {
            "matchConstraints": { "resourceRules": [{
                "apiGroups": ["culvert.dev"],
                "apiVersions": ["*"],
                "operations": ["UPDATE"],
                "resources": ["wireguardkeys"],
            }] },
            "validations": [{ "expression": format!("object.metadata.name != '{name}'"), "message": REFUSAL }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": name },
        "spec": { "policyName": name, "validationActions": ["Deny"] },
    });
    site.api.apply(&policy).await?;
    site.api.apply(&binding).await?;
    is_refused(site, name, true).await
}

/// Takes the policy away again.
async fn allow(site: &Site, name: &str) -> Result<()> {
    let binding = format!("validatingadmissionpolicybinding/{name}");
    let policy = format!("validatingadmissionpolicy/{name}");
    site.api.kubectl(&["delete", &binding, &policy], None).await?;
    is_refused(site, name, false).await
}

/// Waits until the apiserver knows whether the key may be changed.
async fn is_refused(site: &Site, name: &str, expected: bool) -> Result<()> {
    let key = format!("wgk/{name}");
    let change = json!({ "metadata": { "labels": { "a": "b" } } }).to_string();
    let patch = [
        "patch",
        &key,
        "-n",
        "default",
        "--dry-run=server",
        "--type=merge",
        "-p",
        &change,
    ];
    wait::until("the policy to be known", SOON, || async {
        let refused = site.api.kubectl(&patch, None).await.is_err();
        Ok((refused == expected).then_some(()))
    })
    .await
}

async fn migrate(site: &mut Site, user: &str, words: &[&str]) -> Result<Said> {
    let kubeconfig = if user == "admin" {
        site.api.plane.kubeconfig()
    } else {
        site.api.plane.kubeconfig_for(user, None)?
    };
    let own = std::mem::replace(&mut site.user, kubeconfig);
    let said = site.run(&[&["migrate"], words].concat()).await;
    site.user = own;
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_migrates_objects_so_that_an_old_version_may_go() -> Result<()> {
    let mut site = Site::start().await?;
    site.run(&["key", "new", "laptop"]).await?.well()?;
    let said = migrate(&mut site, "admin", &[]).await?.well()?;
    ensure!(said.matches("nothing to do").count() == KINDS.len(), "{said}");
    let load = Load::new(&site.api.plane).await?;
    load.create_all((0..KEYS).map(|n| (format!("key-{n}"), fresh_key(n))))
        .await?;
    site.has_peers(usize::try_from(KEYS)? + 1).await?;

    upgrade(&site).await?;
    for (_, kind) in KINDS {
        let error = take_away(&site, kind).await.err();
        let error = error.with_context(|| format!("{OLD} of {kind} may go already"))?;
        ensure!(format!("{error:#}").contains("storedVersions"), "{error:#}");
    }
    let said = migrate(&mut site, "alice", &[]).await?;
    ensure!(
        said.code == 3
            && said
                .err
                .contains("you may not get customresourcedefinition `ippools.culvert.dev`")
            && said.err.contains("whoever installs Culvert"),
        "{said:?}"
    );
    let said = migrate(&mut site, "admin", &["--dry-run"]).await?.well()?;
    let to_do = format!("to be written again as {NEW}, so that {OLD} may go");
    ensure!(said.matches(&to_do).count() == KINDS.len(), "{said}");
    ensure!(
        stored(&site, "wireguardkeys").await? == [OLD, NEW],
        "a dry run has done it"
    );

    refuse(&site, "key-7").await?;
    let said = migrate(&mut site, "admin", &[]).await?;
    ensure!(
        said.code == 6
            && said.err.contains("wireguardkey `key-7` in namespace `default`")
            && said.err.contains(REFUSAL)
            && !said.err.contains("key-8"),
        "{said:?}"
    );
    let left = format!("wireguardkeys      could not all be written again; {OLD} may not go yet");
    ensure!(said.out.contains(&left), "{said:?}");
    ensure!(stored(&site, "wireguardkeys").await? == [OLD, NEW], "{said:?}");
    for kind in ["ippools", "wireguardpeers", "gatewaynodes"] {
        ensure!(stored(&site, kind).await? == [NEW], "{kind} was left out");
    }
    allow(&site, "key-7").await?;

    let before = site.key("laptop").await?;
    let said = migrate(&mut site, "admin", &[]).await?.well()?;
    let done = format!("written again as {NEW}; {OLD} may go");
    ensure!(said.contains(&format!("{} {done}", KEYS + 1)), "{said}");
    ensure!(said.matches("nothing to do").count() == KINDS.len() - 1, "{said}");
    let after = site.key("laptop").await?;
    for field in ["/spec", "/status", "/metadata/uid", "/metadata/generation"] {
        ensure!(
            before.pointer(field) == after.pointer(field),
            "{field}: {before} {after}"
        );
    }
    let said = migrate(&mut site, "admin", &[]).await?.well()?;
    ensure!(said.matches("nothing to do").count() == KINDS.len(), "{said}");

    // Nobody speaks the old version any more; what was stored in it could not be read.
    drop(site.operator.take());
    site.agent.halt().await?;
    for (_, kind) in KINDS {
        ensure!(stored(&site, kind).await? == [NEW], "{kind}");
        take_away(&site, kind).await?;
    }
    for (_, kind) in KINDS {
        let found = wait::until(&format!("{kind} in {NEW} alone"), SOON, || async {
            let found = objects(&site, kind).await?;
            let is_new = |object: &Value| object["apiVersion"] == format!("culvert.dev/{NEW}");
            Ok(found.iter().all(is_new).then_some(found))
        })
        .await?;
        let expected = if kind.starts_with("wireguardk") || kind.starts_with("wireguardp") {
            usize::try_from(KEYS)? + 1
        } else {
            1
        };
        ensure!(found.len() == expected, "there are {} {kind}", found.len());
    }
    Ok(())
}
