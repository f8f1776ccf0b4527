//! What the apiserver says that its users wrote.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::PathBuf,
};

use anyhow::{Context, Result};
use serde::Deserialize;

/// The operator's user.
pub const OPERATOR: &str = "culvert-operator";

/// The bare client's user.
pub const BARE: &str = "culvert-bare";

/// Logs the writes of both, so that both pay for it, and nobody else's.
pub const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: [culvert-operator, culvert-bare]
  verbs: [create, update, patch, delete, deletecollection]
- level: None
";

/// What is no answer to a key: a pool's and a gateway's own status (at most one in 5 s), gateway nodes, the lease.
const NOT_OF_KEYS: [&str; 5] = ["ippools", "wireguardgateways", "gatewaynodes", "leases", "events"];

/// A place in the log.
pub struct Audit {
    log: PathBuf,
    offset: u64,
}

/// How often something was written.
#[derive(Default)]
pub struct Writes {
    /// To keys and peers, also in vain.
    pub of_keys: usize,
    /// By verb and kind, everything.
    pub all: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    verb: String,
    user: User,
    object_ref: Object,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct Object {
    resource: String,
    #[serde(default)]
    subresource: String,
}

impl Audit {
    /// The end of the log, from which to count.
    pub fn here(log: PathBuf) -> Self {
        // There is none before the first write.
        let offset = log.metadata().map_or(0, |metadata| metadata.len());
        Self { log, offset }
    }

    /// What the operator has written since.
    pub fn writes(&self) -> Result<Writes> {
        let mut file = File::open(&self.log).context("failed to open the audit log")?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut writes = Writes::default();
        for line in BufReader::new(file).lines() {
            let line: Line = serde_json::from_str(&line?).context("failed to read the audit log")?;
            if line.user.username != OPERATOR {
                continue;
            }
            let Object {
                resource,
                subresource,
            } = line.object_ref;
            if !NOT_OF_KEYS.contains(&resource.as_str()) {
                writes.of_keys += 1;
            }
            *writes
                .all
                .entry(format!("{} {resource}/{subresource}", line.verb))
                .or_default() += 1;
        }
        Ok(writes)
    }
}
