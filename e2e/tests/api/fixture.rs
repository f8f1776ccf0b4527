//! What the tests of this suite share: definitions, an operator, and objects to give it.

use anyhow::{Context, Result, bail, ensure};
use culvert_e2e::{
    ControlPlane, Program, Scratch,
    bed::{definitions, example},
    process, wait,
};
use kube::Client;
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

/// Longer than anything takes.
pub const SOON: Duration = Duration::from_secs(60);

/// Public keys of nobody in particular, all different.
pub fn public_key(n: u8) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mut bytes = [9; 32];
    bytes[1] = n;
    STANDARD.encode(bytes)
}

/// A key as a user applies it.
pub fn key(name: &str, public_key: &str) -> Value {
    json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "WireGuardKey",
        "metadata": { "name": name },
        "spec": { "publicKey": public_key },
    })
}

/// A pool whose released addresses are free again at once.
pub fn quick_pool() -> Value {
    json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "IPPool",
        "metadata": { "name": "default" },
        "spec": { "ipv4": { "cidr": "10.64.0.0/11" }, "ipv6": { "cidr": "fd64:cafe:1::/64" }, "cooldown": "0s" },
    })
}

/// What tests list, by its plural or Culvert's short name, and where it is in the API.
const KINDS: [(&[&str], &str); 8] = [
    (&["wireguardkeys", "wgk"], "culvert.dev/v1alpha1/wireguardkeys"),
    (&["wireguardpeers", "wgp"], "culvert.dev/v1alpha1/wireguardpeers"),
    (&["ippools", "wgpool"], "culvert.dev/v1alpha1/ippools"),
    (
        &["wireguardgateways", "wgw"],
        "culvert.dev/v1alpha1/wireguardgateways",
    ),
    (&["gatewaynodes", "wgn"], "culvert.dev/v1alpha1/gatewaynodes"),
    (&["events.events.k8s.io"], "events.k8s.io/v1/events"),
    (&["clusterroles"], "rbac.authorization.k8s.io/v1/clusterroles"),
    (&["roles"], "rbac.authorization.k8s.io/v1/roles"),
];

/// A control plane that knows Culvert's kinds.
pub struct Api {
    pub plane: ControlPlane,
    /// For what tests read again and again: each kubectl costs a slow machine half a second.
    client: Client,
    folder: Scratch,
}

impl Api {
    /// One of its own.
    pub async fn start() -> Result<Self> {
        let plane = ControlPlane::start().await?;
        plane.define(&definitions()).await?;
        Self::of(plane).await
    }

    /// One that is there, and knows Culvert's kinds.
    pub async fn of(plane: ControlPlane) -> Result<Self> {
        Ok(Self {
            client: plane.client().await?,
            plane,
            folder: Scratch::new("culvert-operator-")?,
        })
    }

    /// Starts an operator that speaks to the apiserver as `kubeconfig` says.
    pub fn operator(&self, kubeconfig: &Path) -> Result<Program> {
        self.operator_with("operator", kubeconfig, &[])
    }

    /// Starts an operator of this name, which is its log's, with arguments.
    pub fn operator_with(&self, name: &str, kubeconfig: &Path, arguments: &[&str]) -> Result<Program> {
        let mut command = process::built("CULVERT_OPERATOR")?;
        command
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .env("POD_NAME", name)
            .env("RUST_LOG", "debug");
        Program::start(name, &command, self.folder.path())
    }

    /// kubectl with all rights; its output.
    pub async fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        self.plane.kubectl_text(arguments, input).await
    }

    pub async fn apply(&self, object: &Value) -> Result<()> {
        self.kubectl(&["apply", "-f", "-"], Some(&object.to_string()))
            .await
            .map(drop)
    }

    /// Objects of a kind in all namespaces.
    pub async fn list(&self, kind: &str) -> Result<Vec<Value>> {
        let found = KINDS.iter().find(|(names, _)| names.contains(&kind));
        let (_, path) = found.with_context(|| format!("{kind} is in no table of these tests"))?;
        // What has just been defined is "(re)initializing" for a moment, and kubectl, too, would ask again.
        let list = wait::until(&format!("the list of {kind}"), SOON, || async {
            let request = http::Request::get(format!("/apis/{path}")).body(Vec::new())?;
            Ok(Some(self.client.request::<Value>(request).await?))
        })
        .await?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// The reason of an object's condition; nothing where it has no such condition.
    pub async fn reason(&self, kind: &str, name: &str, condition: &str) -> Result<String> {
        let all = self.list(kind).await?;
        let object = all.iter().find(|object| object["metadata"]["name"] == name);
        let object = object.with_context(|| format!("there is no {name}"))?;
        let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        let found = conditions.find(|found| found["type"] == condition);
        let reason = found.and_then(|found| found["reason"].as_str());
        Ok(reason.unwrap_or_default().to_owned())
    }

    /// Waits until an object's condition has this reason.
    pub async fn says(&self, kind: &str, name: &str, condition: &str, expected: &str) -> Result<()> {
        let what = format!("{name} to be {expected}");
        wait::until(&what, SOON * 2, || async {
            let found = self.reason(kind, name, condition).await?;
            ensure!(found == expected, "it is {found}");
            Ok(Some(()))
        })
        .await
    }

    /// Waits until a key shows addresses, and gives the key.
    pub async fn addressed(&self, name: &str) -> Result<Value> {
        wait::until(&format!("addresses of {name}"), SOON, || async {
            let keys = self.list("wireguardkeys").await?;
            let key = keys
                .into_iter()
                .find(|key| key["metadata"]["name"] == name)
                .context("no such key")?;
            if key["status"]["addresses"]
                .as_array()
                .is_some_and(|addresses| !addresses.is_empty())
            {
                return Ok(Some(key));
            }
            bail!("its status is {}", key["status"])
        })
        .await
    }

    /// Waits until there is no peer any more.
    pub async fn no_peers(&self) -> Result<()> {
        wait::until("all peers to go", SOON, || async {
            Ok(self.list("wireguardpeers").await?.is_empty().then_some(()))
        })
        .await
    }
}

/// The examples' folder.
pub fn examples() -> String {
    example("")
}
