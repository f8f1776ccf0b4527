//! The audit policy that `docs/privacy.md` recommends: what users do with their keys leaves no record, and what
//! administrators do does.

use std::fs;

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    ControlPlane,
    bed::{definitions, example},
    control_plane::Options,
    wait,
};

use crate::fixture::{Api, SOON, key, public_key, quick_pool};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_policy_of_the_examples_keeps_keys_out_of_the_log() -> Result<()> {
    let policy = example("apiserver/audit-policy.yaml");
    let options = Options {
        audit_policy: Some(fs::read_to_string(policy).context("failed to read the example")?),
        ..Options::default()
    };
    let plane = ControlPlane::start_with(options).await?;
    plane.define(&definitions()).await?;
    let api = Api::of(plane).await?;
    let operator = api.operator(&api.plane.kubeconfig())?;
    api.apply(&quick_pool()).await?;
    let (name, public_key) = ("nobody-else-has-this-name", public_key(1));
    api.apply(&key(name, &public_key)).await?;
    let shown = api.addressed(name).await.with_context(|| operator.tail(20))?;
    let mut secrets = vec![name.to_owned(), public_key];
    let addresses = shown["status"]["addresses"].as_array().into_iter().flatten();
    secrets.extend(addresses.filter_map(|address| address.as_str().map(str::to_owned)));
    ensure!(secrets.len() == 4, "not an address of each family: {shown}");
    // A word about it, too, which becomes an Event.
    let patch = r#"{"spec":{"poolRef":{"name":"nowhere"}}}"#;
    api.kubectl(
        &["patch", &format!("wgk/{name}"), "--type=merge", "-p", patch],
        None,
    )
    .await?;
    api.says("wgk", name, "Ready", "PoolNotFound").await?;
    api.kubectl(&["get", "wgk", name, "-o", "yaml"], None).await?;
    api.kubectl(&["delete", "wgk", name], None).await?;
    api.no_peers().await?;
    api.kubectl(&["annotate", "ippool/default", "culvert.dev/last=yes"], None)
        .await?;

    // Records are in order, so the last one says that there is nothing more to wait for.
    let log = wait::until("the administrator's last act", SOON, || async {
        let log = fs::read_to_string(api.plane.audit_log()).context("failed to read the audit log")?;
        Ok(log.contains("culvert.dev/last").then_some(log))
    })
    .await?;
    for secret in &secrets {
        let line = log.lines().find(|line| line.contains(secret.as_str()));
        ensure!(line.is_none(), "`{secret}` is in the audit log: {line:?}");
    }
    operator.terminate(SOON).await.map(drop)
}
