//! The loop: whatever changes, make the kernel what the API asks; every tick, forget who is stale.
//!
//! Nothing in it takes long: it hears the end, ticks, assignments and news of peers, in this order, and between any two
//! of these each gateway does one step. What asks the API runs in a task of its own, and so does what runs `nft`.
//!
//! The first act is to dump and to overwrite, on interfaces known by their mark alone: no apiserver, no
//! file and no other process is needed to keep the promise. At the end what is stale is overwritten once
//! more, and sessions are left alone: a restart is not a departure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use culvert_crds::{GatewayNode, WireGuardGateway};
use culvert_startup::memory;
use culvert_startup::serve::Health;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet, yield_now};

use crate::absence::Absence;
use crate::assign::{self, Assignments};
use crate::assignment::{Assignment, Departure, Leaving};
use crate::clock::{Clocks, sleep};
use crate::desired::Shared;
use crate::firewall::{Done, Firewall as _};
use crate::flows::Flows;
use crate::gateway::{Gateway, Ground, PassError, Step};
use crate::kernel::Kernel;
use crate::keystore::Keystore;
use crate::metrics::Metrics;
use crate::privacy::Finding;
use crate::report::{self, Report};
use crate::turns::{self, Uid};
use crate::watch as peers;

/// How long a tick is.
const TICK: Duration = Duration::from_secs(5);

/// How long a live list may take.
const PATIENCE: Duration = Duration::from_secs(2);

struct Reporter {
    reports: watch::Sender<Option<Report>>,
    task: AbortHandle,
    name: String,
}

/// What the agent is made of.
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
    /// Where addresses go whose connections are to be forgotten.
    pub flows: Flows,
    /// Told on which UDP ports clients reach the gateways.
    pub ports: watch::Sender<HashSet<u16>>,
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
    metrics: Arc<Metrics>,
    privacy: watch::Receiver<Finding>,
    flows: Flows,
    ports: watch::Sender<HashSet<u16>>,
    assignments: Assignments,
    absence: Absence,
    /// Where such a read is answered, and whether one is under way.
    answers: mpsc::Sender<Option<Present>>,
    is_asking: bool,
    /// Where it is told what came of orders for tables.
    tables: mpsc::Sender<(Uid, Done)>,
    /// The last failure of each gateway, so that a lasting one is logged once.
    failures: HashMap<Uid, String>,
}

/// The first act: forgets whoever is stale, on every interface that an earlier agent has left. It needs the kernel and
/// nothing else.
pub async fn look_through(
    kernel: &mut impl Kernel,
    keystore: &Keystore,
    metrics: &Metrics,
) -> Result<HashMap<Uid, Gateway>, culvert_wireguard::Error> {
    let mut gateways = HashMap::new();
    let desired = Shared::default();
    for interface in kernel.managed().await? {
        let uid = interface.mark.gateway.clone();
        let name = interface.link.name.clone();
        let mut gateway = Gateway::found(interface);
        let mut on = Ground {
            kernel: &mut *kernel,
            keystore,
            desired: &desired,
            metrics,
            clock: &Clocks::read,
        };
        let looked = gateway.forget(&mut on).await;
        match looked.and(gateway.close(&mut on).await) {
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
    // A gateway may have been deleted while its node was off. Without its tables nothing else says so where its key was
    // in memory only.
    let tables = kernel.firewall().gateways().await.unwrap_or_default();
    let stored = keystore.gateways().unwrap_or_else(|error| {
        tracing::warn!(
            error = chain(&error),
            "unable to look for the keys of gateways that have gone"
        );
        Vec::new()
    });
    for uid in stored.into_iter().chain(tables) {
        gateways
            .entry(uid.clone())
            .or_insert_with(|| Gateway::unasked(uid));
    }
    Ok(gateways)
}

/// Runs until `stop` resolves.
pub async fn run<K: Kernel>(parts: Parts<K>, stop: impl Future<Output = ()>) {
    let client = parts.client;
    let node = parts.node;
    let (sender, mut assignments) = watch::channel(Assignments::default());
    let (answers, mut answered) = mpsc::channel(1);
    let (tables, mut seen_to) = mpsc::channel(1);
    let desired = Shared::default();
    let standing = parts.gateways.values().map(Gateway::untold).sum();
    desired.lock().expect(standing);
    let mut tasks = JoinSet::new();
    let metrics = parts.metrics.clone();
    tasks.spawn(assign::run(client.clone(), node.clone(), metrics.clone(), sender));
    tasks.spawn(peers::run(client.clone(), metrics, desired.clone()));
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
        metrics: parts.metrics,
        privacy: parts.privacy,
        flows: parts.flows,
        ports: parts.ports,
        assignments: Assignments::default(),
        absence: Absence::default(),
        answers,
        is_asking: false,
        tables,
        failures: HashMap::new(),
    };
    let mut stop = std::pin::pin!(stop);
    let mut tick = std::pin::pin!(sleep(TICK));
    let mut told = false;
    let mut next = Step::Idle;
    loop {
        let now = Clocks::read().mono;
        agent.health.beat(now);
        let wait = match next {
            Step::Later(at) => Some(at.saturating_sub(now)),
            Step::More | Step::Idle => None,
        };
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = &mut tick => {
                tick.set(sleep(TICK));
                agent.tick(true).await;
            }
            changed = assignments.changed() => {
                if changed.is_err() {
                    break;
                }
                agent.assignments = assignments.borrow_and_update().clone();
                agent.tell_ports();
                if agent.assignments.is_nothing() && !std::mem::replace(&mut told, true) {
                    tracing::warn!(
                        node = agent.node,
                        "no gateway wants this node: is it labelled as the gateway's nodeSelector asks, and is NODE_NAME its name in `kubectl get nodes`?"
                    );
                }
                told |= agent.assignments.complete;
                agent.tick(false).await;
            }
            // A report ends with its object. Whatever else ends has panicked: blind is worse than down.
            Some(ended) = agent.tasks.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
            Some((uid, done)) = seen_to.recv() => agent.take_tables(&uid, done).await,
            Some(present) = answered.recv() => agent.leave_for_good(present).await,
            () = desired.changed() => agent.hear(),
            // An interface has gone, or a table: it is made anew at once.
            () = agent.kernel.disturbed() => agent.tick(false).await,
            () = sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            // Not at once: who never rests hears nothing.
            () = give_way(), if next == Step::More => {}
        }
        next = agent.step().await;
    }
    tracing::info!("stopping; sessions stay");
    let (gateways, mut on) = agent.ground();
    for gateway in gateways.values_mut() {
        if let Err(error) = gateway.forget(&mut on).await {
            tracing::warn!(error = chain(&error), "unable to look through an interface");
        }
    }
}

impl<K: Kernel> Agent<K> {
    /// The gateways, and what they stand on.
    fn ground(&mut self) -> (&mut HashMap<Uid, Gateway>, Ground<'_, K>) {
        let on = Ground {
            kernel: &mut self.kernel,
            keystore: &self.keystore,
            desired: &self.desired,
            metrics: &self.metrics,
            clock: &Clocks::read,
        };
        (&mut self.gateways, on)
    }

    fn tell_ports(&self) {
        let gateways = self.assignments.gateways.iter();
        let asked = gateways.map(|gateway| gateway.listen_port);
        // While somebody else has the new one a gateway keeps its old one.
        let ports = asked
            .chain(self.gateways.values().filter_map(Gateway::port))
            .collect();
        self.ports.send_if_modified(|old| {
            let is_news = *old != ports;
            *old = ports;
            is_news
        });
    }

    /// Has every gateway looked at: at a tick, and when something else is asked.
    async fn tick(&mut self, is_tick: bool) {
        let assignments = self.assignments.clone();
        if is_tick {
            self.tell_ports();
            self.flows.tick();
            self.desired.lock().pass_time(Clocks::read().boot);
            memory::give_back();
        }
        // What came before is known to a gateway that is new.
        self.hear();
        for assignment in &assignments.gateways {
            self.look_at(assignment, is_tick).await;
        }
        for leaving in &assignments.leaving {
            self.leave(leaving, is_tick).await;
        }
        self.close_unassigned().await;
        self.tick_unassigned(is_tick);
        if is_tick {
            self.metrics
                .peers(self.gateways.values().map(Gateway::peers).sum());
            let overdue = self.gateways.values().map(Gateway::overdue).max();
            self.metrics.overdue(overdue.unwrap_or_default());
        }
        self.health
            .set_ready(assignments.complete && self.has_caught_up(&assignments));
    }

    async fn look_at(&mut self, assignment: &Assignment, is_tick: bool) {
        let uid = &assignment.mark.gateway;
        if !self.gateways.contains_key(uid) {
            let mut gateway = Gateway::new(assignment.mark.clone());
            gateway.news(&self.desired.lock().known());
            self.gateways.insert(uid.clone(), gateway);
        }
        let (gateways, mut on) = self.ground();
        let Some(gateway) = gateways.get_mut(uid) else {
            return;
        };
        let order = gateway.begin_tick(&mut on, assignment, is_tick).await;
        let result = gateway.end_tick(&mut on).await;
        if let Some(order) = order {
            let (uid, tables) = (uid.clone(), self.tables.clone());
            self.tasks.spawn(async move {
                let done = order.carry_out().await;
                // Whoever gave it may have ended.
                let _ = tables.send((uid, done)).await;
            });
        }
        if result.is_err() {
            self.log(uid, result);
        }
        self.report_serving(assignment);
    }

    /// Somebody has seen to the tables of a gateway, which waits for that.
    async fn take_tables(&mut self, uid: &Uid, done: Done) {
        let (gateways, on) = self.ground();
        let Some(gateway) = gateways.get_mut(uid) else {
            return;
        };
        gateway.take_tables(&on, done);
        let Assignments {
            gateways, leaving, ..
        } = self.assignments.clone();
        if let Some(assignment) = gateways.iter().find(|asked| asked.mark.gateway == *uid) {
            self.look_at(assignment, false).await;
        }
        if let Some(leaving) = leaving.iter().find(|leaving| leaving.gateway == *uid) {
            self.leave(leaving, false).await;
        }
    }

    /// Tells every gateway what has changed among the peers.
    fn hear(&mut self) {
        let news = self.desired.lock().news();
        self.gateways.values_mut().for_each(|gateway| gateway.news(&news));
        self.flows.add(news.left);
    }

    /// One step of each gateway, and what is to follow.
    async fn step(&mut self) -> Step {
        let (gateways, mut on) = self.ground();
        let turn = turns::take(gateways, &mut on).await;
        for gateway in self.gateways.values_mut() {
            self.flows.add(gateway.take_flows());
        }
        let mut next = turn.next;
        let assignments = std::mem::take(&mut self.assignments);
        for told in turn.told {
            if let Some(outcome) = told.outcome {
                self.log(&told.uid, outcome);
            }
            let mut asked = assignments.gateways.iter();
            let Some(assignment) = asked.find(|asked| asked.mark.gateway == told.uid) else {
                continue;
            };
            if told.needs_tick {
                self.look_at(assignment, false).await;
                next = Step::More;
            } else if told.is_news {
                self.report_serving(assignment);
            }
        }
        self.assignments = assignments;
        if next == Step::Idle {
            self.recycle();
        }
        self.health
            .set_ready(self.assignments.complete && self.has_caught_up(&self.assignments));
        next
    }

    /// Lets other peers have the numbers of those that are gone.
    fn recycle(&mut self) {
        if self.gateways.values().all(Gateway::is_at_rest) {
            let slots = self.desired.lock().recycle();
            if !slots.is_empty() {
                self.gateways
                    .values_mut()
                    .for_each(|gateway| gateway.recycled(&slots));
            }
        }
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
        self.gateways
            .entry(uid.clone())
            .or_insert_with(|| Gateway::unasked(uid.clone()));
        let (gateways, mut on) = self.ground();
        if let Some(gateway) = gateways.get_mut(uid)
            && !gateway.has_left(leaving.departure)
        {
            let result = gateway.leave(&mut on, leaving.departure).await;
            if result.is_err() && is_tick {
                // It stays for now, and nobody is remembered for it.
                gateway.watch_over();
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
    fn tick_unassigned(&mut self, is_tick: bool) {
        let unassigned = self.unassigned();
        self.absence.unassigned(&unassigned);
        for uid in &unassigned {
            if let Some(gateway) = self.gateways.get_mut(uid) {
                gateway.watch_over();
            }
        }
        if !is_tick || unassigned.is_empty() || !self.assignments.complete || self.is_asking {
            return;
        }
        self.is_asking = true;
        let asking = present(self.client.clone(), self.node.clone());
        let answers = self.answers.clone();
        self.tasks.spawn(async move {
            // Whoever asked may have ended.
            let _ = answers.send(asking.await).await;
        });
    }

    /// Nobody says yet, or any more, what may pass where a gateway's tables are gone.
    async fn close_unassigned(&mut self) {
        for uid in self.unassigned() {
            let (gateways, mut on) = self.ground();
            if let Some(gateway) = gateways.get_mut(&uid) {
                let result = gateway.close(&mut on).await;
                if result.is_err() {
                    self.log(&uid, result);
                }
            }
        }
    }

    fn unassigned(&self) -> Vec<Uid> {
        let is_assigned = |uid: &Uid| {
            self.assignments.gateways.iter().any(|a| a.mark.gateway == *uid)
                || self.assignments.leaving.iter().any(|l| l.gateway == *uid)
        };
        self.gateways
            .keys()
            .filter(|uid| !is_assigned(uid))
            .cloned()
            .collect()
    }

    /// Leaves gateways of which a live list has now shown nothing for the second time. Without an answer nothing is
    /// known, and what was missing before is missing still.
    async fn leave_for_good(&mut self, present: Option<Present>) {
        self.is_asking = false;
        let Some(present) = present else {
            return;
        };
        let unassigned = self.unassigned();
        for uid in self.absence.listed(unassigned, &present.here) {
            // A node that goes by a wrong name is given nothing either.
            let departure = if present.anywhere.contains(&uid) {
                Departure::ForNow
            } else {
                Departure::ForGood
            };
            let (gateways, mut on) = self.ground();
            let Some(gateway) = gateways.get_mut(&uid) else {
                continue;
            };
            let result = gateway.leave(&mut on, departure).await;
            let has_left = result.is_ok();
            let flows = gateway.take_flows();
            self.flows.add(flows);
            self.log(&uid, result);
            if has_left {
                self.gateways.remove(&uid);
                if let Some(reporter) = self.reporters.remove(&uid) {
                    reporter.task.abort();
                }
            }
        }
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
        let report = Report::of(assignment, self.kernel.backend(), state, last);
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

/// Gateways that there are, by uid, as live lists name them.
struct Present {
    /// Those of this node.
    here: HashSet<Uid>,
    /// All.
    anywhere: HashSet<Uid>,
}

/// What live lists show of gateways; `None` when they were not answered in time.
async fn present(client: Client, node: String) -> Option<Present> {
    let nodes: Api<GatewayNode> = Api::all(client.clone());
    let of_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let gateways: Api<WireGuardGateway> = Api::all(client);
    let all = ListParams::default();
    let lists = futures::future::try_join(nodes.list(&of_node), gateways.list(&all));
    let (nodes, gateways) = tokio::time::timeout(PATIENCE, lists).await.ok()?.ok()?;
    let here = nodes.items.into_iter().map(|node| node.spec.gateway_ref.uid);
    let anywhere = gateways
        .items
        .into_iter()
        .filter_map(|gateway| gateway.metadata.uid);
    Some(Present {
        here: here.collect(),
        anywhere: anywhere.collect(),
    })
}

/// Lets others go first: tasks, and threads as well. A node may have one processor only, and there whoever has just been
/// told of a peer would wait for it until the scheduler's clock ticks, which may take 10 ms.
async fn give_way() {
    std::thread::yield_now();
    yield_now().await;
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

#[cfg(test)]
mod tests;
