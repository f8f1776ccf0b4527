//! The loop: whatever changes, make the kernel what the API asks; every tick, forget who is stale.
//!
//! The first act is to dump and to overwrite, on interfaces known by their mark alone: no apiserver, no
//! file and no other process is needed to keep the promise. At the end what is stale is overwritten once
//! more, and sessions are left alone: a restart is not a departure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use culvert_crds::GatewayNode;
use culvert_startup::serve::Health;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::assign::{self, Assignments};
use crate::assignment::{Assignment, Leaving};
use crate::clock::{Clocks, sleep};
use crate::gateway::{Gateway, PassError};
use crate::interface::{Mark, SHORTEST_WINDOW};
use crate::kernel::Kernel;
use crate::keystore::Keystore;
use crate::metrics::Metrics;
use crate::privacy::Finding;
use crate::report::{self, Report};
use crate::watch::{self as peers, Shared};

/// How long a tick is.
const TICK: Duration = Duration::from_secs(5);

/// How long a live list may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Uid of a gateway.
pub type Uid = String;

struct Reporter {
    reports: watch::Sender<Option<Report>>,
    task: AbortHandle,
    name: String,
}

/// What the agent is made of.
#[derive(Debug)]
pub struct Parts<K> {
    /// The way to the cluster.
    pub client: Client,
    /// Name of the node.
    pub node: String,
    /// Where gateways' keys are kept.
    pub keystore: Keystore,
    /// What the gateways stand on.
    pub kernel: K,
    /// What [`look_through`] has found.
    pub gateways: HashMap<Uid, Gateway>,
    /// Told that the loop turns, and whether every gateway has caught up.
    pub health: Arc<Health>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What the node itself can write down, for every report.
    pub privacy: watch::Receiver<Finding>,
}

struct Agent<K> {
    client: Client,
    node: String,
    kernel: K,
    keystore: Keystore,
    gateways: HashMap<Uid, Gateway>,
    reporters: HashMap<Uid, Reporter>,
    tasks: JoinSet<()>,
    desired: Shared,
    health: Arc<Health>,
    privacy: watch::Receiver<Finding>,
    /// Gateways of which nothing was found at the last tick, in a live read of everything.
    missing: Vec<Uid>,
    /// The last failure of each gateway, so that a lasting one is logged once.
    failures: HashMap<Uid, String>,
}

/// The first act: forgets whoever is stale, on every interface that an earlier agent has left. It needs the kernel and
/// nothing else.
pub async fn look_through(
    kernel: &mut impl Kernel,
) -> Result<HashMap<Uid, Gateway>, culvert_wireguard::Error> {
    let mut gateways = HashMap::new();
    for interface in kernel.managed().await? {
        let uid = interface.mark.gateway.clone();
        let name = interface.link.name.clone();
        let mut gateway = Gateway::found(interface);
        match gateway.forget(kernel, Clocks::read()) {
            Ok(()) => tracing::info!(interface = name, "interface found and looked through"),
            Err(error) => {
                tracing::warn!(
                    interface = name,
                    error = chain(&error),
                    "unable to look through the interface"
                );
            }
        }
        gateways.insert(uid, gateway);
    }
    Ok(gateways)
}

/// Runs until `stop` resolves.
pub async fn run<K: Kernel>(parts: Parts<K>, stop: impl Future<Output = ()>) {
    let client = parts.client;
    let node = parts.node;
    let (sender, mut assignments) = watch::channel(Assignments::default());
    let desired = Shared::default();
    let mut tasks = JoinSet::new();
    tasks.spawn(assign::run(client.clone(), node.clone(), sender));
    tasks.spawn(peers::run(client.clone(), desired.clone()));
    let mut agent = Agent {
        client,
        node,
        kernel: parts.kernel,
        keystore: parts.keystore,
        gateways: parts.gateways,
        reporters: HashMap::new(),
        tasks,
        desired: desired.clone(),
        health: parts.health,
        privacy: parts.privacy,
        missing: Vec::new(),
        failures: HashMap::new(),
    };
    let mut stop = std::pin::pin!(stop);
    let mut tick = std::pin::pin!(sleep(TICK));
    let mut told = false;
    loop {
        agent.health.beat(Clocks::read().mono);
        let is_tick = tokio::select! {
            () = &mut stop => break,
            () = &mut tick => true,
            changed = assignments.changed() => { if changed.is_err() { break } false }
            // A report ends with its object. Whatever else ends has panicked: blind is worse than down.
            Some(ended) = agent.tasks.join_next() => match ended {
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                _ => false,
            },
            () = desired.changed() => false,
        };
        if is_tick {
            tick.set(sleep(TICK));
        }
        let now = assignments.borrow_and_update().clone();
        if now.complete
            && !std::mem::replace(&mut told, true)
            && now.gateways.is_empty()
            && now.leaving.is_empty()
        {
            tracing::warn!(
                node = agent.node,
                "no gateway wants this node: is it labelled as the gateway's nodeSelector asks, and is NODE_NAME its name in `kubectl get nodes`?"
            );
        }
        agent.pass(&now, is_tick).await;
    }
    tracing::info!("stopping; sessions stay");
    for gateway in agent.gateways.values_mut() {
        if let Err(error) = gateway.forget(&mut agent.kernel, Clocks::read()) {
            tracing::warn!(error = chain(&error), "unable to look through an interface");
        }
    }
}

impl<K: Kernel> Agent<K> {
    async fn pass(&mut self, assignments: &Assignments, is_tick: bool) {
        for assignment in &assignments.gateways {
            let uid = &assignment.mark.gateway;
            let new = || Gateway::new(assignment.mark.clone());
            let gateway = self.gateways.entry(uid.clone()).or_insert_with(new);
            let clocks = is_tick.then(Clocks::read);
            let result = gateway
                .pass(
                    &mut self.kernel,
                    &self.keystore,
                    assignment,
                    &self.desired,
                    clocks,
                )
                .await;
            self.log(uid, result);
            self.report_serving(assignment);
        }
        for leaving in &assignments.leaving {
            self.leave(leaving, is_tick).await;
        }
        if is_tick {
            self.tick_unassigned(assignments).await;
        }
        self.health
            .set_ready(assignments.complete && self.has_caught_up(assignments));
    }

    /// Whether every gateway that is to serve has all its peers, or says which it has not.
    fn has_caught_up(&self, assignments: &Assignments) -> bool {
        assignments.gateways.iter().all(|assignment| {
            let gateway = self.gateways.get(&assignment.mark.gateway);
            gateway.is_some_and(|gateway| gateway.state().applied.is_some())
        })
    }

    async fn leave(&mut self, leaving: &Leaving, is_tick: bool) {
        let uid = &leaving.gateway;
        let mark = Mark {
            gateway: uid.clone(),
            window: SHORTEST_WINDOW,
        };
        let gateway = self
            .gateways
            .entry(uid.clone())
            .or_insert_with(|| Gateway::new(mark));
        if !gateway.state().drained {
            let mut result = gateway.drain(&mut self.kernel).await;
            if result.is_err() && is_tick {
                // It stays for now, and nobody is remembered for it.
                result = gateway.forget(&mut self.kernel, Clocks::read()).and(result);
            }
            self.log(uid, result);
        }
        let Some(gateway) = self.gateways.get(uid) else {
            return;
        };
        let report = Report {
            name: leaving.name.clone(),
            generation: leaving.generation,
            endpoint: None,
            listen_port: None,
            backend: self.kernel.backend(),
            state: gateway.state().clone(),
            nodes: 1,
            news: 0,
        };
        self.report(uid, report);
    }

    /// Interfaces of ours that nobody asks for: their clients are forgotten all the same, and when two ticks in a row
    /// a live list shows no trace of the gateway, it is left for good.
    async fn tick_unassigned(&mut self, assignments: &Assignments) {
        let assigned = |uid: &Uid| {
            assignments.gateways.iter().any(|a| a.mark.gateway == *uid)
                || assignments.leaving.iter().any(|l| l.gateway == *uid)
        };
        let unassigned: Vec<Uid> = self
            .gateways
            .keys()
            .filter(|uid| !assigned(uid))
            .cloned()
            .collect();
        for uid in &unassigned {
            let Some(gateway) = self.gateways.get_mut(uid) else {
                continue;
            };
            let result = gateway.forget(&mut self.kernel, Clocks::read());
            self.log(uid, result);
        }
        if unassigned.is_empty() || !assignments.complete {
            return;
        }
        // Without an answer nothing is known, and what was missing before is missing still.
        let Some(present) = self.present().await else {
            return;
        };
        let missing: Vec<Uid> = unassigned
            .into_iter()
            .filter(|uid| !present.contains(uid))
            .collect();
        for uid in missing
            .iter()
            .filter(|uid| self.missing.contains(uid))
            .cloned()
            .collect::<Vec<_>>()
        {
            let Some(gateway) = self.gateways.get_mut(&uid) else {
                continue;
            };
            let result = gateway.drain(&mut self.kernel).await;
            let drained = result.is_ok();
            self.log(&uid, result);
            if drained {
                self.gateways.remove(&uid);
                if let Some(reporter) = self.reporters.remove(&uid) {
                    reporter.task.abort();
                }
            }
        }
        self.missing = missing;
    }

    /// The gateways that a live list gives this node, by uid. It must not keep the next tick waiting.
    async fn present(&self) -> Option<HashSet<Uid>> {
        let nodes: Api<GatewayNode> = Api::all(self.client.clone());
        let of_node = ListParams::default().fields(&format!("spec.nodeName={}", self.node));
        let list = tokio::time::timeout(PATIENCE, nodes.list(&of_node))
            .await
            .ok()?
            .ok()?;
        Some(
            list.items
                .into_iter()
                .map(|node| node.spec.gateway_ref.uid)
                .collect(),
        )
    }

    fn report_serving(&mut self, assignment: &Assignment) {
        let uid = &assignment.mark.gateway;
        let Some(gateway) = self.gateways.get(uid) else {
            return;
        };
        let state = gateway.state().clone();
        let last = self
            .desired
            .lock()
            .last_change(assignment.ranges.keys().map(String::as_str));
        let report = Report {
            name: assignment.name.clone(),
            generation: assignment.generation,
            endpoint: assignment.endpoint(),
            listen_port: Some(assignment.listen_port),
            backend: self.kernel.backend(),
            news: last.min(state.applied.unwrap_or(0)),
            nodes: assignment.nodes,
            state,
        };
        self.report(uid, report);
    }

    fn report(&mut self, uid: &str, report: Report) {
        let name = report.name.clone();
        let stale = self
            .reporters
            .get(uid)
            .is_some_and(|r| r.name != name || r.task.is_finished());
        if stale && let Some(old) = self.reporters.remove(uid) {
            old.task.abort();
        }
        if let Some(reporter) = self.reporters.get(uid) {
            reporter.reports.send_if_modified(|old| {
                let changed = old.as_ref() != Some(&report);
                *old = Some(report);
                changed
            });
            return;
        }
        let (reports, receiver) = watch::channel(Some(report));
        let privacy = self.privacy.clone();
        let reporting = report::run(self.client.clone(), name.clone(), receiver, privacy);
        let task = self.tasks.spawn(reporting);
        self.reporters
            .insert(uid.to_owned(), Reporter { reports, task, name });
    }

    fn log(&mut self, uid: &str, result: Result<(), PassError>) {
        match result {
            Ok(()) => {
                if self.failures.remove(uid).is_some() {
                    tracing::info!(gateway = uid, "gateway works again");
                }
            }
            Err(error) => {
                let text = chain(&error);
                if self.failures.get(uid) != Some(&text) {
                    tracing::warn!(
                        gateway = uid,
                        error = text,
                        "unable to program the gateway, trying again"
                    );
                    self.failures.insert(uid.to_owned(), text);
                }
            }
        }
    }
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
