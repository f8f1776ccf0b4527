//! One active operator at a time, by a Lease. For speed: two that are active collide and both go on, never wrongly.
//!
//! [`election`] decides; here is who carries it out: one task with its own clock readings and request timeouts, which
//! goes on renewing whatever the rest of the program does. It says at once when it gains or loses the lease. Should
//! the whole program have been frozen, nobody said anything in time; so whoever is about to act on leading asks
//! [`Election::is_leading`], which goes by the deadline.

pub mod election;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client};
use rand::RngExt;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::execute::FIELD_MANAGER;
use crate::execute::retry::Failure;
use election::{Act, Candidate, Exchange, Reply};

/// How long giving the lease up may take in all; after that it runs out by itself.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which lease, and who asks for it.
#[derive(Clone, Debug)]
pub struct Config {
    /// The namespace of the lease.
    pub namespace: String,
    /// The name of the lease.
    pub name: String,
    /// The name of this replica, like no other's: see [`identity`].
    pub identity: String,
}

/// This replica's part in the election. Dropping it ends the part without giving the lease up.
#[derive(Debug)]
pub struct Election {
    leading: watch::Receiver<bool>,
    until: Arc<AtomicU64>,
    task: JoinSet<()>,
    stop: Option<oneshot::Sender<()>>,
}

/// Takes part from now on.
pub fn start(client: Client, clock: Clock, config: Config) -> Election {
    let (told, leading) = watch::channel(false);
    let (stop, stopped) = oneshot::channel();
    let until = Arc::new(AtomicU64::new(0));
    let part = Part {
        leases: Api::namespaced(client, &config.namespace),
        clock,
        candidate: Candidate::new(config.name.clone(), config.identity),
        name: config.name,
        told,
        until: Arc::clone(&until),
        failing: false,
    };
    let mut task = JoinSet::new();
    task.spawn(part.play(stopped));
    Election {
        leading,
        until,
        task,
        stop: Some(stop),
    }
}

impl Election {
    /// No election: leads for ever.
    pub fn uncontested() -> Self {
        // The receiver keeps the value after its sender is gone.
        let (_, leading) = watch::channel(true);
        Self {
            leading,
            until: Arc::new(AtomicU64::new(u64::MAX)),
            task: JoinSet::new(),
            stop: None,
        }
    }

    /// Waits until this replica has gained or lost the lease since the last call.
    ///
    /// # Panics
    ///
    /// When the election's task has: a program that cannot know whether it leads is better down.
    pub async fn changed(&mut self) {
        if self.leading.changed().await.is_ok() {
            return;
        }
        match self.task.join_next().await {
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => std::future::pending().await,
        }
    }

    /// Whether this replica leads at `now`, also when nothing has run since its deadline.
    pub fn is_leading(&self, now: Duration) -> bool {
        milliseconds(now) < self.until.load(Ordering::Acquire)
    }

    /// Stops leading and gives the lease up, so that another can take it at once. To be called when no write that
    /// leading allowed is under way any more.
    pub async fn release(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        while self.task.join_next().await.is_some() {}
    }
}

/// A name for this replica: its pod's, or its host's, and something random, so that a restarted one is another.
pub fn identity() -> String {
    let pod = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    let name = pod.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let random: u64 = UnwrapErr(SysRng).random();
    format!("{name}_{random:016x}")
}

struct Part {
    leases: Api<Lease>,
    clock: Clock,
    candidate: Candidate,
    name: String,
    told: watch::Sender<bool>,
    until: Arc<AtomicU64>,
    failing: bool,
}

impl Part {
    async fn play(mut self, mut stopped: oneshot::Receiver<()>) {
        loop {
            let now = self.clock.now();
            self.tell(now.mono);
            match self.candidate.act(now) {
                Act::Leave => return,
                Act::Wait(until) => tokio::select! {
                    stop = &mut stopped => {
                        if stop.is_ok() {
                            self.leave().await;
                        }
                        return;
                    }
                    () = self.clock.until(Some(until)) => {}
                },
                act => self.carry_out(act).await,
            }
        }
    }

    async fn leave(&mut self) {
        let begun = self.clock.now().mono;
        self.candidate.leave(begun);
        self.tell(begun);
        let clock = self.clock;
        tokio::select! {
            () = clock.until(Some(begun + RELEASE_TIMEOUT)) => {
                tracing::warn!("unable to release the lease in time, it runs out by itself");
            }
            () = async {
                loop {
                    match self.candidate.act(clock.now()) {
                        Act::Leave => break,
                        Act::Wait(until) => clock.until(Some(until)).await,
                        act => self.carry_out(act).await,
                    }
                }
            } => {}
        }
    }

    /// Says whether this replica leads: the deadline first, because it is what counts.
    fn tell(&self, now: Duration) {
        let until = self.candidate.leads_until().map_or(0, milliseconds);
        self.until.store(until, Ordering::Release);
        let leads = self.candidate.leads(now);
        let changed = self
            .told
            .send_if_modified(|told| std::mem::replace(told, leads) != leads);
        match (changed, leads) {
            (true, true) => tracing::info!("this replica leads"),
            (true, false) if self.candidate.is_leaving() => tracing::info!("this replica gives the lease up"),
            (true, false) => tracing::warn!("this replica leads no more: it has lost the lease"),
            (false, _) => {}
        }
    }

    async fn carry_out(&mut self, act: Act) {
        let replaces = matches!(act, Act::Replace(_));
        let sent = self.clock.now().mono;
        let asked = tokio::time::timeout(self.candidate.patience(sent), self.ask(act));
        let asked = asked.await.unwrap_or(Err(Failure::Unclear("timeout")));
        let received = self.clock.now().mono;
        let (reply, failure) = match asked {
            Ok(reply) => (reply, None),
            Err(Failure::AlreadyExists | Failure::Conflict) => (Reply::Outdated, None),
            // Somebody has deleted it.
            Err(Failure::NotFound) if replaces => (Reply::Outdated, None),
            Err(failure @ Failure::Unclear(_)) => (Reply::Unclear, Some(failure)),
            Err(failure) => (Reply::Failed, Some(failure)),
        };
        let outdated = reply == Reply::Outdated;
        let pace = UnwrapErr(SysRng).random_range(0.8..=1.0);
        self.candidate.learn(reply, Exchange { sent, received, pace });
        match failure {
            // Once an outage; the election goes on in silence.
            Some(error) if !std::mem::replace(&mut self.failing, true) => {
                let advice = advice(&error);
                tracing::warn!(%error, advice, "unable to take part in the election of a leader, trying again");
            }
            // To read alone is no success while there is something to write.
            None if self.failing && !outdated && !self.candidate.owes_write() => {
                self.failing = false;
                tracing::info!("taking part in the election of a leader again");
            }
            _ => {}
        }
    }

    async fn ask(&self, act: Act) -> Result<Reply, Failure> {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let reply = match act {
            Act::Create(lease) => self.leases.create(&params, &lease).await.map(Reply::Written),
            Act::Replace(lease) => {
                let replaced = self.leases.replace(&self.name, &params, &lease).await;
                replaced.map(Reply::Written)
            }
            Act::Look | Act::Wait(_) | Act::Leave => {
                let found = self.leases.get_opt(&self.name).await;
                found.map(|found| found.map_or(Reply::Absent, Reply::Found))
            }
        };
        reply.map_err(Failure::of)
    }
}

/// What a person can do about an election that fails.
fn advice(failure: &Failure) -> &'static str {
    match failure {
        Failure::NotFound => "create the namespace of --lease-namespace, or name another",
        Failure::Refused(401 | 403) => {
            "grant this identity get, create and update on leases.coordination.k8s.io in the namespace of --lease-namespace"
        }
        Failure::Refused(_) => "see whether --lease-namespace and --lease-name are valid names",
        _ => "see whether the apiserver can be reached with this kubeconfig",
    }
}

/// Rounded down on both sides of a comparison, so a deadline never comes out later than it is.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
