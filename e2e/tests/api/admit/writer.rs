//! Who may write what. A role may grant every ordinary verb on everything of Culvert's: claims and statuses stay the
//! operator's.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{CREATE, allowed, attempt, forbidden, plane, rule, user};
use crate::fixture::{key, public_key};

const ORDINARY: &[&str] = &[
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
];

/// A tenant whose role lists every verb there is, on every resource, subresources included.
async fn tenant(name: &str) -> Result<PathBuf> {
    user(name, &[rule(&["*", "*/status"], ORDINARY)]).await
}

/// A claim of an address that nobody else here uses.
fn claim(address: &str) -> Value {
    json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "WireGuardPeer",
        "metadata": { "name": address },
        "spec": {
            "publicKey": public_key(60),
            "addresses": [address],
            "poolRef": { "name": "default" },
            "keyRef": { "namespace": "default", "name": "k", "uid": "u" },
            "addressGeneration": 0,
        },
    })
}

/// Stores an object with all rights.
async fn stored(object: &Value) -> Result<()> {
    plane()
        .await?
        .kubectl_text(&["apply", "-f", "-"], Some(&object.to_string()))
        .await
        .map(drop)
}

/// An object as it is stored.
async fn read(object: &str) -> Result<Value> {
    let text = plane()
        .await?
        .kubectl_text(&["get", object, "-o=json"], None)
        .await?;
    Ok(serde_json::from_str(&text)?)
}

fn pool(name: &str) -> Value {
    json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "IPPool",
        "metadata": { "name": name },
        "spec": { "ipv4": { "cidr": "10.64.0.0/11" } },
    })
}

fn gateway(name: &str) -> Value {
    json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "WireGuardGateway",
        "metadata": { "name": name },
        "spec": { "poolRefs": [{ "name": "default" }] },
    })
}

#[tokio::test]
async fn admit_lets_no_tenant_write_claims() -> Result<()> {
    let because = "WireGuardPeers are made by Culvert's operator; apply a WireGuardKey instead";
    let tenant = tenant("admit-claims-tenant").await?;
    stored(&claim("10.65.1.1")).await?;
    let none = Value::Null;
    forbidden(&tenant, CREATE, &claim("10.65.1.2"), because).await?;
    forbidden(&tenant, &["create", "-f", "-"], &claim("10.65.1.2"), because).await?;
    for arguments in [
        &[
            "patch",
            "wgp/10.65.1.1",
            "--type=merge",
            "-p",
            r#"{"spec":{"released":true}}"#,
        ][..],
        &["label", "wgp/10.65.1.1", "a=b"],
        &["delete", "wgp/10.65.1.1"],
        // All of them at once.
        &["delete", "--raw", "/apis/culvert.dev/v1alpha1/wireguardpeers"],
    ] {
        forbidden(&tenant, arguments, &none, because).await?;
    }
    let claim = read("wgp/10.65.1.1").await?;
    ensure!(
        claim["spec"]["released"] == false && claim["metadata"].get("labels").is_none(),
        "{claim}"
    );
    Ok(())
}

#[tokio::test]
async fn admit_lets_whoever_may_claim_write_claims() -> Result<()> {
    let operator = user(
        "admit-claims-operator",
        &[
            rule(&["wireguardpeers"], ORDINARY),
            rule(&["wireguardpeers"], &["claim"]),
        ],
    )
    .await?;
    let none = Value::Null;
    allowed(&operator, &["create", "-f", "-"], &claim("10.65.2.1")).await?;
    for arguments in [
        &[
            "patch",
            "wgp/10.65.2.1",
            "--type=merge",
            "-p",
            r#"{"spec":{"released":true}}"#,
        ][..],
        &["delete", "wgp/10.65.2.1"],
    ] {
        allowed(&operator, arguments, &none).await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_lets_no_tenant_forge_a_status() -> Result<()> {
    let because = "this status is written by Culvert's operator";
    let tenant = tenant("admit-status-tenant").await?;
    stored(&key("admit-status", &public_key(61))).await?;
    stored(&pool("admit-status")).await?;
    stored(&gateway("admit-status")).await?;
    for kind in ["wgk", "wgpool", "wgw"] {
        let object = format!("{kind}/admit-status");
        let before = read(&object).await?;
        // A victim's address, should it be believed.
        let patch = if kind == "wgk" {
            json!({ "status": { "observedGeneration": 1, "addresses": ["10.64.0.9"], "publicKey": public_key(61) } })
        } else {
            json!({ "status": { "observedGeneration": 1 } })
        };
        forbidden(
            &tenant,
            &[
                "patch",
                &object,
                "--subresource=status",
                "--type=merge",
                "-p",
                &patch.to_string(),
            ],
            &Value::Null,
            because,
        )
        .await?;
        let mut whole = before.clone();
        whole["status"] = patch["status"].clone();
        forbidden(
            &tenant,
            &["replace", "--subresource=status", "-f", "-"],
            &whole,
            because,
        )
        .await?;
        ensure!(read(&object).await? == before, "{object} has changed");
    }
    Ok(())
}

#[tokio::test]
async fn admit_ignores_a_status_in_the_object_itself() -> Result<()> {
    let tenant = tenant("admit-inline-tenant").await?;
    let mut object = key("admit-inline", &public_key(62));
    object["status"] = json!({ "observedGeneration": 1, "addresses": ["10.64.0.9"] });
    allowed(&tenant, &["create", "-f", "-"], &object).await?;
    let stored = read("wgk/admit-inline").await?;
    ensure!(stored["status"]["addresses"].is_null(), "{stored}");
    Ok(())
}

#[tokio::test]
async fn admit_lets_all_of_a_namespace_publish_nothing() -> Result<()> {
    // `*` within a namespace covers the verb `publish` there, and is what its administrators have.
    let plane = plane().await?;
    let name = "admit-namespace-owner";
    let owner = plane.kubeconfig_for(name, None)?;
    for arguments in [
        &[
            "create",
            "role",
            name,
            "--verb=*",
            "--resource=*.culvert.dev,wireguardkeys.culvert.dev/status",
        ][..],
        &[
            "create",
            "rolebinding",
            name,
            &format!("--role={name}"),
            &format!("--user={name}"),
        ],
    ] {
        plane.kubectl_text(arguments, None).await?;
    }
    stored(&key(name, &public_key(63))).await?;
    forbidden(
        &owner,
        &[
            "patch",
            &format!("wgk/{name}"),
            "--subresource=status",
            "--type=merge",
            "-p",
            r#"{"status":{"observedGeneration":1}}"#,
        ],
        &Value::Null,
        "in a cluster role",
    )
    .await
}

#[tokio::test]
async fn admit_lets_whoever_may_publish_write_statuses() -> Result<()> {
    let kinds = ["wireguardkeys", "ippools", "wireguardgateways"];
    let statuses = kinds.map(|kind| format!("{kind}/status"));
    let operator = user(
        "admit-status-operator",
        &[
            rule(
                &statuses.each_ref().map(String::as_str),
                &["get", "update", "patch"],
            ),
            rule(&kinds, &["get", "publish"]),
        ],
    )
    .await?;
    stored(&key("admit-publish", &public_key(64))).await?;
    stored(&pool("admit-publish")).await?;
    stored(&gateway("admit-publish")).await?;
    for kind in kinds {
        let object = format!("{kind}/admit-publish");
        allowed(
            &operator,
            &[
                "patch",
                &object,
                "--subresource=status",
                "--type=merge",
                "-p",
                r#"{"status":{"observedGeneration":1}}"#,
            ],
            &Value::Null,
        )
        .await?;
        ensure!(
            read(&object).await?["status"]["observedGeneration"] == 1,
            "{object}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn admit_lets_each_publish_what_its_verb_names() -> Result<()> {
    // The verb on one kind says nothing of another.
    let name = "admit-pools-operator";
    let operator = user(
        name,
        &[
            rule(&["*", "*/status"], ORDINARY),
            rule(&["ippools"], &["publish"]),
        ],
    )
    .await?;
    let patch = r#"{"status":{"observedGeneration":1}}"#;
    stored(&key(name, &public_key(65))).await?;
    stored(&pool(name)).await?;
    let arguments = |object: &'static str| {
        [
            "patch",
            object,
            "--subresource=status",
            "--type=merge",
            "-p",
            patch,
        ]
    };
    allowed(&operator, &arguments("wgpool/admit-pools-operator"), &Value::Null).await?;
    let (taken, said) = attempt(
        plane().await?,
        &operator,
        &arguments("wgk/admit-pools-operator"),
        &Value::Null,
    )
    .await?;
    ensure!(
        !taken && said.contains("this status is written by Culvert's operator"),
        "{said}"
    );
    Ok(())
}

/// In all the ways in which a migrator of storage versions writes an object as it is.
async fn rewritten(migrator: &Path, object: &str) -> Result<()> {
    let mut before = read(object).await?;
    allowed(migrator, &["replace", "-f", "-"], &before).await?;
    // What the API's defaults add to an object is stored with it the first time: that is another version of the same.
    let stored = read(object).await?;
    before["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"].clone();
    ensure!(stored == before, "{object} has changed: {stored}");
    allowed(migrator, &["replace", "-f", "-"], &before).await?;
    allowed(
        migrator,
        &["patch", object, "--type=merge", "-p", "{}"],
        &Value::Null,
    )
    .await?;
    let mut apply = json!({ "apiVersion": before["apiVersion"], "kind": before["kind"], "metadata": {} });
    for field in ["name", "uid", "resourceVersion"] {
        apply["metadata"][field] = before["metadata"][field].clone();
    }
    let words = [
        "apply",
        "--server-side",
        "--validate=false",
        "--field-manager=migrator",
        "-f",
        "-",
    ];
    allowed(migrator, &words, &apply).await?;
    ensure!(read(object).await? == before, "{object} has changed");
    Ok(())
}

#[tokio::test]
async fn admit_lets_a_migrator_write_what_is_there_and_nothing_else() -> Result<()> {
    let migrator = user(
        "admit-migrator",
        &[rule(&["*"], &["get", "list", "update", "patch"])],
    )
    .await?;
    let node = json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "GatewayNode",
        "metadata": { "name": "admit-migrator" },
        "spec": { "gatewayRef": { "name": "g", "uid": "u" }, "nodeName": "n" },
    });
    let admin = plane().await?.kubeconfig();
    for object in [&claim("10.65.3.1"), &node] {
        // Not applied: kubectl's own record of that is what its `replace` would change.
        allowed(&admin, &["create", "-f", "-"], object).await?;
    }
    for (object, because, spec) in [
        (
            "wgp/10.65.3.1",
            "WireGuardPeers are made by Culvert's operator",
            json!({ "released": true }),
        ),
        (
            "wgn/admit-migrator",
            "GatewayNodes are made by Culvert's operator",
            json!({ "drain": true }),
        ),
    ] {
        rewritten(&migrator, object).await?;
        let before = read(object).await?;
        for change in [
            json!({ "spec": spec }),
            json!({ "metadata": { "labels": { "a": "b" } } }),
            json!({ "metadata": { "annotations": { "culvert.dev/leaving": "true" } } }),
            json!({ "metadata": { "finalizers": ["example.com/held"] } }),
            json!({ "metadata": { "ownerReferences": [
                { "apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u" },
            ] } }),
            // Nothing of it means anything, and yet it is another version.
            json!({ "metadata": { "managedFields": [{}] } }),
        ] {
            let patch = change.to_string();
            let words = ["patch", object, "--type=merge", "-p", &patch];
            forbidden(&migrator, &words, &Value::Null, because).await?;
        }
        ensure!(read(object).await? == before, "{object} has changed");
    }
    Ok(())
}
