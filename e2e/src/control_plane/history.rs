//! What etcd remembers: snapshots, restores, compaction.
//!
//! A snapshot is a copy of etcd's folder, taken and put back while both programs are down; so a restore looks to
//! clients as a restore from a backup does: the resourceVersions are older than those they have seen, and will be given
//! a second time. Or they are raised, as Kubernetes advises for a restore: newer than all that anybody has seen, of
//! objects that are as they were.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{Client, Config};
use serde_json::{Value, json};

use super::{ControlPlane, flags, lock, take};
use crate::{process::Program, wait};

/// How long etcd may take to end or to answer.
const WITHIN: Duration = Duration::from_mins(1);

/// How far a raised restore goes beyond the newest revision that was ever given.
const BEYOND: u64 = 1_000;

/// How many writes that raise the revision are under way at once.
const AT_ONCE: usize = 16;

/// The state of a control plane at one moment; good for as long as the [`ControlPlane`] lives.
#[derive(Debug)]
pub struct Snapshot {
    folder: PathBuf,
}

impl ControlPlane {
    /// Takes a snapshot. The API is away for the seconds that it takes.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        let number = TAKEN.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder().join(format!("snapshot-{number}"));
        self.stop_both().await?;
        copy(&self.etcd_data(), &folder)?;
        self.start_both().await?;
        Ok(Snapshot { folder })
    }

    /// Starts both programs again, with what they had when they were killed.
    pub async fn start_again(&self) -> Result<()> {
        self.start_both().await
    }

    /// Puts a snapshot back, on the same ports. Everything since is forgotten.
    pub async fn restore(&self, snapshot: &Snapshot) -> Result<()> {
        self.put_back(snapshot).await?;
        self.start_both().await
    }

    /// As [`Self::restore`], with the revisions raised above all that were ever given and everything below them
    /// compacted: what `etcdutl snapshot restore --bump-revision … --mark-compacted` leaves. It is done with etcd alone,
    /// by as many writes to a key of nobody's, because envtest's programs do not have etcdutl.
    pub async fn restore_raised(&self, snapshot: &Snapshot) -> Result<()> {
        let given = self.revision().await?;
        self.put_back(snapshot).await?;
        self.start_etcd()?;
        let restored = wait::until("etcd to answer", WITHIN, || async {
            self.revision().await.map(Some)
        })
        .await?;
        ensure!(restored < given, "nothing was written since the snapshot");
        let nobodys = json!({ "key": STANDARD.encode("/raise"), "value": STANDARD.encode("") });
        stream::iter(restored..given + BEYOND)
            .map(|_| self.etcd("/v3/kv/put", &nobodys))
            .buffer_unordered(AT_ONCE)
            .try_for_each(|_| async { Ok(()) })
            .await?;
        self.compact().await?;
        self.start_apiserver().await
    }

    /// Makes etcd forget every version but the present ones. The apiserver's own memory of events is not touched:
    /// [`Self::kill_apiserver`] empties it.
    pub async fn compact(&self) -> Result<()> {
        let revision = self.revision().await?.to_string();
        let compaction = json!({ "revision": revision, "physical": true });
        self.etcd("/v3/kv/compaction", &compaction).await.map(drop)
    }

    /// The newest revision that etcd has given.
    async fn revision(&self) -> Result<u64> {
        // Any key will do: the reply's head has the revision.
        let range = json!({ "key": STANDARD.encode("/"), "limit": 1 });
        let reply = self.etcd("/v3/kv/range", &range).await?;
        let revision = reply["header"]["revision"].as_str();
        let revision = revision.context("etcd's reply has no revision")?;
        revision.parse().context("etcd's revision is no number")
    }

    /// One call of etcd's JSON gateway.
    async fn etcd(&self, path: &str, body: &Value) -> Result<Value> {
        let address = format!("http://{}:{}", self.home, self.etcd_port);
        let client =
            Client::try_from(Config::new(address.parse()?)).context("failed to make a client for etcd")?;
        let request = http::Request::post(path).body(body.to_string().into_bytes())?;
        let text = client.request_text(request).await;
        let text = text.with_context(|| format!("failed to call etcd's {path}"))?;
        serde_json::from_str(&text).with_context(|| format!("etcd's {path} answered `{text}`"))
    }

    /// The folder with what etcd keeps.
    pub fn etcd_data(&self) -> PathBuf {
        self.folder().join(flags::ETCD_DATA)
    }

    async fn stop_both(&self) -> Result<()> {
        // Its own end takes as long as its longest watch.
        self.kill_apiserver()?;
        match take(&self.etcd) {
            Some(etcd) => etcd.terminate(WITHIN).await.map(drop),
            None => Ok(()),
        }
    }

    /// Ends both programs and puts the snapshot in the place of etcd's data.
    async fn put_back(&self, snapshot: &Snapshot) -> Result<()> {
        self.stop_both().await?;
        let data = self.etcd_data();
        fs::remove_dir_all(&data).with_context(|| format!("failed to remove {}", data.display()))?;
        copy(&snapshot.folder, &data)
    }

    fn start_etcd(&self) -> Result<()> {
        let etcd = Program::start("etcd", &flags::etcd(self)?, self.folder())?;
        *lock(&self.etcd) = Some(etcd);
        Ok(())
    }

    async fn start_both(&self) -> Result<()> {
        self.start_etcd()?;
        self.start_apiserver().await
    }
}

/// Copies a folder of files and folders.
fn copy(from: &Path, to: &Path) -> Result<()> {
    copy_entries(from, to).with_context(|| format!("failed to copy {}", from.display()))
}

fn copy_entries(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_entries(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
