//! Kubeconfig files with everything embedded, so that one file is all a program under test needs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::pki::Identity;

/// How a client proves who it is.
pub enum User<'a> {
    /// Not at all: something in between does it, as [`crate::FaultProxy`].
    Anonymous,

    /// By a client certificate.
    Certificate(&'a Identity),

    /// By a service account's token.
    Token(&'a str),
}

/// Writes a kubeconfig for `server` into `path`; `authority` is the PEM of the certificate that signed the server's.
pub fn write(path: &Path, server: &str, authority: Option<&str>, user: &User<'_>) -> Result<PathBuf> {
    let mut cluster = json!({ "server": server });
    if let Some(pem) = authority {
        cluster["certificate-authority-data"] = Value::String(STANDARD.encode(pem));
    }
    let user = match user {
        User::Anonymous => json!({}),
        User::Certificate(identity) => json!({
            "client-certificate-data": STANDARD.encode(&identity.certificate),
            "client-key-data": STANDARD.encode(&identity.key),
        }),
        User::Token(token) => json!({ "token": token }),
    };
    // JSON is YAML.
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": cluster }],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "current-context": "test",
    });
    fs::write(path, format!("{config:#}\n"))
        .with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path.to_owned())
}

/// A client for a kubeconfig file. It belongs to the runtime that it is made in, and does not repeat requests by
/// itself: a test sees each answer.
pub async fn client(path: &Path) -> Result<Client> {
    let file = Kubeconfig::read_from(path).with_context(|| format!("failed to read {}", path.display()))?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("failed to use {}", path.display()))?;
    config.default_retry = false;
    Client::try_from(config).with_context(|| format!("failed to make a client for {}", path.display()))
}
