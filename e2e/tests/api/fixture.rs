//! What the tests of this suite share: definitions, an operator, and objects to give it.

use anyhow::{Context, Result, bail};
use culvert_e2e::{
    ControlPlane, Program, Scratch,
    bed::{definitions, example},
    process, wait,
};
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

/// A control plane that knows Culvert's kinds.
pub struct Api {
    pub plane: ControlPlane,
    folder: Scratch,
}

impl Api {
    /// One of its own.
    pub async fn start() -> Result<Self> {
        let plane = ControlPlane::start().await?;
        plane.define(&definitions()).await?;
        Self::of(plane)
    }

    /// One that is there, and knows Culvert's kinds.
    pub fn of(plane: ControlPlane) -> Result<Self> {
        Ok(Self {
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
        let text = self.kubectl(&["get", kind, "-A", "-o=json"], None).await?;
        let list: Value = serde_json::from_str(&text)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
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
