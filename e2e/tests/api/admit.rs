//! What the apiserver refuses by itself: no operator runs in these tests.

mod agent;
mod egress;
mod gateway;
mod key;
mod metadata;
mod peer;
mod pool;
mod writer;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use culvert_e2e::{ControlPlane, bed::definitions, wait};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::fixture::{SOON, examples};

async fn plane() -> Result<&'static ControlPlane> {
    static DEFINED: OnceCell<()> = OnceCell::const_new();
    let plane = ControlPlane::shared().await?;
    DEFINED.get_or_try_init(|| define(plane)).await?;
    Ok(plane)
}

/// Gives an apiserver the definitions and policies, in one go, and waits until all of them are in force.
async fn define(plane: &ControlPlane) -> Result<()> {
    plane.define(&definitions()).await?;
    // The apiserver takes up policies and bindings in the order in which they were stored, and this one is the last.
    wait::until("the policies to be in force", SOON, || async {
        let (taken, said) = attempt(plane, &plane.kubeconfig(), CREATE, &metadata::labelled(33)).await?;
        ensure!(!taken && said.contains("at most 32 labels"), "{said}");
        Ok(Some(()))
    })
    .await
}

/// Creates what is given on standard input, without storing it.
const CREATE: &[&str] = &["create", "--dry-run=server", "-f", "-"];

/// Runs kubectl as somebody; whether it succeeded, and what it complained about.
async fn attempt(
    plane: &ControlPlane,
    kubeconfig: &Path,
    arguments: &[&str],
    input: &Value,
) -> Result<(bool, String)> {
    let output = plane
        .kubectl_as(kubeconfig, arguments, Some(&input.to_string()))
        .await?;
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

/// What the API says to an object, and whether it was taken: what kubectl would hear, which takes a slow machine half a
/// second for it. Nothing is stored.
async fn offer(object: &Value) -> Result<(bool, String)> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let path = match kind {
        "WireGuardKey" => "namespaces/default/wireguardkeys",
        "WireGuardPeer" => "wireguardpeers",
        "IPPool" => "ippools",
        "WireGuardGateway" => "wireguardgateways",
        "GatewayNode" => "gatewaynodes",
        _ => bail!("{kind} is no kind of ours"),
    };
    let path = format!("/apis/culvert.dev/v1alpha1/{path}?dryRun=All&fieldValidation=Strict");
    let request = http::Request::post(path)
        .header("Content-Type", "application/json")
        .body(object.to_string().into_bytes())?;
    match plane().await?.client().await?.request::<Value>(request).await {
        Ok(_) => Ok((true, String::new())),
        Err(kube::Error::Api(status)) => Ok((false, status.message)),
        Err(error) => Err(error).context("failed to offer an object"),
    }
}

async fn refuses(object: &Value, because: &str, unsaid: &str) -> Result<()> {
    let (taken, said) = offer(object).await?;
    ensure!(!taken, "{object} was taken");
    ensure!(said.contains(because), "{object} was refused with {said}");
    ensure!(
        unsaid.is_empty() || !said.contains(unsaid),
        "the refusal repeats the value: {said}"
    );
    // An expression that fails instead of answering would speak of itself.
    ensure!(!said.contains("evaluation error"), "{said}");
    Ok(())
}

async fn takes(object: &Value) -> Result<()> {
    let (taken, said) = offer(object).await?;
    ensure!(taken, "{object} was refused: {said}");
    Ok(())
}

/// A rule of a role of `culvert.dev`.
fn rule(resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": ["culvert.dev"], "resources": resources, "verbs": verbs })
}

/// Gives a subject these rights in the whole cluster.
async fn grant(name: &str, subject: &Value, rules: &[Value]) -> Result<()> {
    let rbac = "rbac.authorization.k8s.io";
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": format!("{rbac}/v1"),
            "kind": "ClusterRole",
            "metadata": { "name": name },
            "rules": rules,
        },
        {
            "apiVersion": format!("{rbac}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": { "name": name },
            "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": name },
            "subjects": [subject],
        },
    ] });
    plane()
        .await?
        .kubectl_text(&["apply", "-f", "-"], Some(&list.to_string()))
        .await
        .map(drop)
}

/// A user with these rights in the whole cluster.
async fn user(name: &str, rules: &[Value]) -> Result<PathBuf> {
    grant(name, &json!({ "kind": "User", "name": name }), rules).await?;
    plane().await?.kubeconfig_for(name, None)
}

/// Waits until the user's rights are known, and ensures that a policy says no all the same.
async fn forbidden(kubeconfig: &Path, arguments: &[&str], input: &Value, because: &str) -> Result<()> {
    let plane = plane().await?;
    let (taken, said) = wait::until("the user's rights", SOON, || async {
        let (taken, said) = attempt(plane, kubeconfig, arguments, input).await?;
        // RBAC's own refusal: not yet.
        ensure!(!said.contains("cannot "), "{said}");
        Ok(Some((taken, said)))
    })
    .await?;
    ensure!(!taken, "{arguments:?} was let through");
    ensure!(
        said.contains("ValidatingAdmissionPolicy") && said.contains("(Forbidden)") && said.contains(because),
        "{arguments:?} was refused with {said}"
    );
    Ok(())
}

/// Waits until the user's rights are known, those included that the policies ask for, and what they asked is done.
async fn allowed(kubeconfig: &Path, arguments: &[&str], input: &Value) -> Result<()> {
    let plane = plane().await?;
    wait::until("the user's rights", SOON, || async {
        let (taken, said) = attempt(plane, kubeconfig, arguments, input).await?;
        ensure!(taken, "{said}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn admit_takes_every_example() -> Result<()> {
    let plane = plane().await?;
    // In which some of them are: what is tried and not stored holds nothing.
    plane
        .kubectl_text(&["create", "namespace", "culvert-system"], None)
        .await?;
    let output = plane
        .kubectl(&["apply", "--dry-run=server", "-f", &examples()], None)
        .await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[tokio::test]
async fn admit_explains_every_field() -> Result<()> {
    for part in [
        "wireguardkeys.spec",
        "wireguardkeys.status",
        "ippools.spec",
        "ippools.status",
        "wireguardgateways.spec",
        "wireguardgateways.status",
        "wireguardpeers.spec",
        "gatewaynodes.spec",
        "gatewaynodes.status",
    ] {
        // The API's own description of a new kind comes a moment after the kind.
        let text = wait::until(&format!("the description of {part}"), SOON, || async {
            let output = plane().await?.kubectl(&["explain", part], None).await?;
            ensure!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
        })
        .await?;
        ensure!(
            !text.contains("<no description>"),
            "{part} has a field without text:\n{text}"
        );
    }
    Ok(())
}
