//! The plugin as users run it: the program itself, with the roles of `examples/roles.yaml`, against an apiserver that writes
//! down everything it is told, an operator, and an agent whose kernel is in memory.

mod admin;
mod denied;
mod golden;
mod keys;
mod killed;
mod migrate;
mod retire;
mod roles;
mod secret;

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    ControlPlane, FaultProxy, Program, Scratch,
    bed::{definitions, example},
    control_plane::Options,
    process, wait,
};
use serde_json::{Value, json};

use crate::{
    agent::Agent,
    fixture::{Api, SOON, examples},
};

/// Who asked what, and every word of it.
const AUDIT: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: RequestResponse
";

/// The user's namespace.
const TENANT: &str = "tenant";

/// The agent's node.
const NODE: &str = "gateway-1";

/// A cluster that serves keys, and a home from which its user asks.
struct Site {
    api: Api,
    operator: Option<Program>,
    agent: Agent,
    home: Scratch,
    user: PathBuf,
}

/// What a command said.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    /// Ensures that it went well, and gives standard output.
    fn well(self) -> Result<String> {
        ensure!(self.code == 0, "{self:?}");
        Ok(self.out)
    }
}

impl Site {
    /// One with the example's pool and gateway on one node.
    async fn start() -> Result<Self> {
        let options = Options {
            audit_policy: Some(AUDIT.to_owned()),
            ..Options::default()
        };
        let plane = ControlPlane::start_with(options).await?;
        plane.define(&definitions()).await?;
        let api = Api::of(plane).await?;
        api.kubectl(&["apply", "-f", &example("roles.yaml")], None)
            .await?;
        for file in ["pool.yaml", "gateway.yaml"] {
            api.kubectl(&["apply", "-f", &format!("{}/{file}", examples())], None)
                .await?;
        }
        api.kubectl(&["create", "namespace", TENANT], None).await?;
        let grants: [&[&str]; 2] = [
            &["rolebinding", "mine", "--clusterrole=culvert-user", "-n", TENANT],
            &["clusterrolebinding", "mine", "--clusterrole=culvert-reader"],
        ];
        for grant in grants {
            api.kubectl(&[&["create"], grant, &["--user=alice"]].concat(), None)
                .await?;
        }
        let user = api.plane.kubeconfig_for("alice", None)?;
        let operator = api.operator(&api.plane.kubeconfig())?;
        let labels = json!({ "culvert.dev/gateway": "true" });
        api.apply(
            &json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE, "labels": labels } }),
        )
        .await?;
        let status =
            json!({ "status": { "addresses": [{ "type": "ExternalIP", "address": "198.51.100.1" }] } });
        let patch = [
            "patch",
            "node",
            NODE,
            "--subresource=status",
            "--type=merge",
            "-p",
        ];
        api.kubectl(&[&patch[..], &[&status.to_string()]].concat(), None)
            .await?;
        let agent = Agent::start_as(api.plane.client().await?, 0).await?;
        api.says("gatewaynodes", "default.gateway-1", "Ready", "Ready")
            .await?;
        Ok(Self {
            api,
            operator: Some(operator),
            agent,
            home: Scratch::new("culvert-home-")?,
            user,
        })
    }

    /// The plugin, to be started as the user.
    fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = process::built("CULVERT_PLUGIN")?;
        command
            .args(words)
            .args(["--namespace", TENANT])
            .env_remove("XDG_DATA_HOME")
            .env("HOME", self.home.path())
            .env("KUBECONFIG", &self.user)
            .current_dir(self.home.path());
        Ok(command)
    }

    /// Runs the plugin to its end.
    async fn run(&self, words: &[&str]) -> Result<Said> {
        run(self.command(words)?).await
    }

    /// The user behind a proxy, by which from now on every command goes.
    async fn behind_proxy(&mut self) -> Result<FaultProxy> {
        let client = self.api.plane.client_for("alice", None).await?;
        let proxy = FaultProxy::start(client, &["leases"]).await?;
        self.user = proxy.kubeconfig();
        Ok(proxy)
    }

    /// The files of private keys below the user's home, by name.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut folders = vec![self.home.path().join(".local/share/culvert")];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// The private key in the only file of this name.
    fn private_key(&self, file: &str) -> Result<String> {
        let files = self.files()?;
        let path = files.iter().find(|path| path.ends_with(file));
        let path = path.with_context(|| format!("no {file} among {files:?}"))?;
        Ok(fs::read_to_string(path)?.trim().to_owned())
    }

    /// The key's object.
    async fn key(&self, name: &str) -> Result<Value> {
        let keys = self.api.list("wireguardkeys").await?;
        let key = keys.into_iter().find(|key| key["metadata"]["name"] == name);
        key.with_context(|| format!("there is no key {name}"))
    }

    /// Claims of peers that are not released.
    async fn peers(&self) -> Result<Vec<Value>> {
        let mut peers = self.api.list("wireguardpeers").await?;
        peers.retain(|peer| peer["spec"]["released"] != true);
        Ok(peers)
    }

    /// Waits until there are so many.
    async fn has_peers(&self, count: usize) -> Result<Vec<Value>> {
        wait::until(&format!("{count} peers"), SOON, || async {
            let peers = self.peers().await?;
            ensure!(peers.len() == count, "there are {}", peers.len());
            Ok(Some(peers))
        })
        .await
    }

    /// How long old and new addresses of a rotated key work side by side.
    async fn overlap(&self, time: &str) -> Result<()> {
        let patch = json!({ "spec": { "keyPolicy": { "overlap": time } } }).to_string();
        self.api
            .kubectl(&["patch", "ippool/default", "--type=merge", "-p", &patch], None)
            .await
            .map(drop)
    }

    async fn stop(self) -> Result<()> {
        self.agent.stop().await
    }
}

async fn run(mut command: Command) -> Result<Said> {
    let output = tokio::task::spawn_blocking(move || command.output())
        .await?
        .context("failed to run the plugin")?;
    Ok(Said {
        code: output.status.code().context("the plugin was killed")?,
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The public half of a private key, both base64.
fn public_half(private: &str) -> Result<String> {
    let key = culvert_wireguard::PrivateKey::from_base64(private)?;
    Ok(key.public_key().to_base64())
}
