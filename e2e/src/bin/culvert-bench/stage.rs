//! Where it is measured: an apiserver with Culvert's kinds, three pools, and the users.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use culvert_e2e::{ControlPlane, Scratch, bed::definitions, control_plane::Options, kubeconfig, wait};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Namespace};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{audit, bare};

/// The pool of the keys that the operator serves and no gateway does.
pub const POOL: &str = "bench-a";

/// The pool that a gateway serves.
pub const SERVED_POOL: &str = "bench-g";

/// The operator's lease.
const LEASE: &str = "culvert-operator";

/// The whole set.
pub struct Stage {
    /// A client of the user, who makes keys and looks at them.
    pub user: Client,
    /// A client of the bare client's user.
    pub bare: Client,
    /// How many keys there are.
    pub keys: usize,
    plane: ControlPlane,
    operator: PathBuf,
    folder: Scratch,
    namespaces: BTreeSet<String>,
}

impl Stage {
    /// Starts the apiserver and gives it Culvert's kinds, but no objects.
    pub async fn start() -> Result<Self> {
        eprintln!("starting a control plane …");
        let plane = ControlPlane::start_with(Options {
            audit_policy: Some(audit::POLICY.to_owned()),
            // One file, however much is written. Limits on requests in flight need no change: they are not for
            // `system:masters`.
            flags: vec!["--audit-log-maxsize=4096".to_owned()],
            ..Options::default()
        })
        .await?;
        plane.define(&definitions()).await?;
        let group = Some("system:masters");
        Ok(Self {
            user: plane.client().await?,
            bare: kubeconfig::client(&plane.kubeconfig_for(audit::BARE, group)?).await?,
            operator: plane.kubeconfig_for(audit::OPERATOR, group)?,
            keys: 0,
            folder: Scratch::new("culvert-bench-")?,
            namespaces: BTreeSet::new(),
            plane,
        })
    }

    /// How the operator finds the API.
    pub fn operator_kubeconfig(&self) -> &Path {
        &self.operator
    }

    /// Where logs go.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The end of the audit log.
    pub fn audit(&self) -> audit::Audit {
        audit::Audit::here(self.plane.audit_log())
    }

    /// Applies an object.
    pub async fn apply(&self, object: &Value) -> Result<()> {
        let text = object.to_string();
        self.plane
            .kubectl_text(&["apply", "-f", "-"], Some(&text))
            .await
            .map(drop)
    }

    /// Makes the three pools: as large as the example's, alike, clear of the cluster's own ranges.
    pub async fn make_pools(&self) -> Result<()> {
        for (name, v4, v6) in [
            (POOL, "10.64.0.0/11", "fd64:cafe:a::/64"),
            (bare::POOL, "10.128.0.0/11", "fd64:cafe:b::/64"),
            (SERVED_POOL, "10.160.0.0/11", "fd64:cafe:c::/64"),
        ] {
            self.apply(&json!({
                "apiVersion": "culvert.dev/v1alpha1",
                "kind": "IPPool",
                "metadata": { "name": name },
                "spec": { "ipv4": { "cidr": v4 }, "ipv6": { "cidr": v6 } },
            }))
            .await?;
        }
        Ok(())
    }

    /// Makes a namespace, unless it is there.
    pub async fn make_namespace(&mut self, name: &str) -> Result<()> {
        if self.namespaces.insert(name.to_owned()) {
            let mut namespace = Namespace::default();
            namespace.metadata.name = Some(name.to_owned());
            let namespaces: Api<Namespace> = Api::all(self.user.clone());
            namespaces
                .create(&PostParams::default(), &namespace)
                .await
                .context("failed to make a namespace")?;
        }
        Ok(())
    }

    /// A number for the first of `count` keys that are about to be made.
    pub fn number(&mut self, count: usize) -> Result<u64> {
        let first = u64::try_from(self.keys)?;
        self.keys += count;
        Ok(first)
    }

    /// Holds the operator's lease, so that an operator that asks for it stands by.
    pub async fn hold_lease(&self) -> Result<HeldLease> {
        let leases: Api<Lease> = Api::namespaced(self.user.clone(), "default");
        hold(&leases).await?;
        let renewal = tokio::spawn({
            let leases = leases.clone();
            async move {
                loop {
                    wait::pass(Duration::from_secs(3)).await;
                    if let Err(error) = hold(&leases).await {
                        eprintln!("unable to renew the lease: {error:#}");
                    }
                }
            }
        });
        Ok(HeldLease { leases, renewal })
    }
}

async fn hold(leases: &Api<Lease>) -> Result<()> {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": LEASE },
        "spec": { "holderIdentity": "bench", "leaseDurationSeconds": 15, "renewTime": format!("{:.6}", wait::wall()) },
    });
    let params = PatchParams::apply("culvert-bench").force();
    leases
        .patch(LEASE, &params, &Patch::Apply(lease))
        .await
        .context("failed to hold the operator's lease")?;
    Ok(())
}

/// A lease that the operator waits for.
pub struct HeldLease {
    leases: Api<Lease>,
    renewal: JoinHandle<()>,
}

impl HeldLease {
    /// Gives it up.
    pub async fn release(self) -> Result<()> {
        self.renewal.abort();
        let _ = self.renewal.await;
        let nobody = json!({ "spec": { "holderIdentity": "", "leaseDurationSeconds": 1 } });
        let params = PatchParams::default();
        self.leases
            .patch(LEASE, &params, &Patch::Merge(nobody))
            .await
            .context("failed to give the lease up")?;
        Ok(())
    }
}
