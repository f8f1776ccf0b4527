//! The loop: take in what changed, plan what it touches, carry out the steps, learn from the replies.
//!
//! One task owns the world; watches and steps speak to it over channels, so nothing is locked and a
//! step never sees a world that changes under it. A clean end waits for the writes under way.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use rand::RngExt;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::execute::{Events, Outcome, execute, retry::Failure};
use crate::lease::Election;
use crate::metrics::{Metrics, StepKind};
use crate::observe;
use crate::plan::{NewClaim, Plan, Promised, Step, plan};
use crate::serve::Health;
use crate::world::{Change, Kind, Target, Uid, World};

/// Changes that may wait for the loop before a watch has to.
const BACKLOG: usize = 1024;

/// Changes taken in before the next plan, so that a flood of them does not keep writes waiting.
const GULP: usize = 256;

/// How long a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest time between two beats of the loop.
const BEAT: Duration = Duration::from_secs(10);

/// How long a clean end waits for writes under way.
const GRACE: Duration = Duration::from_secs(5);

struct Done {
    target: Target,
    kind: StepKind,
    claim: Option<NewClaim>,
    outcome: Outcome,
}

struct Operator {
    client: Client,
    events: Events,
    metrics: Arc<Metrics>,
    clock: Clock,
    world: World,
    concurrency: usize,
    steps: JoinSet<Done>,
    promised: Promised,
    attempts: HashMap<Target, u32>,
    /// Keys without an address, and when they were first seen.
    unserved: HashMap<Uid, Duration>,
    /// When everything was last counted.
    counted: Duration,
}

/// What the loop is given.
pub struct Parts {
    /// The way to the apiserver.
    pub client: Client,
    /// The program's clocks.
    pub clock: Clock,
    /// How many writes may be under way at the same time.
    pub concurrency: usize,
    /// Whether this replica may write.
    pub election: Election,
    /// Where it says that it lives.
    pub health: Arc<Health>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
}

/// Runs until `stop` resolves.
pub async fn run(parts: Parts, stop: impl Future<Output = ()>) {
    let Parts {
        client,
        clock,
        concurrency,
        mut election,
        health,
        metrics,
    } = parts;
    let (sender, mut changes) = mpsc::channel(BACKLOG);
    let mut watches = observe::start(&client, &metrics, &sender);
    let mut operator = Operator {
        events: Events::new(client.clone()),
        client,
        metrics,
        clock,
        world: World::default(),
        concurrency,
        steps: JoinSet::new(),
        promised: Promised::default(),
        attempts: HashMap::new(),
        unserved: HashMap::new(),
        counted: Duration::ZERO,
    };
    let mut stop = std::pin::pin!(stop);
    let mut complete = false;
    loop {
        let now = operator.clock.now().mono;
        health.beat(now);
        operator.world.notice_serving(now);
        operator.world.wake(now);
        if operator.world.is_complete() {
            if !complete {
                complete = true;
                health.set_ready(true);
                tracing::info!("every kind has been listed, planning begins");
            }
            // Asked of the deadline, not of the election's task: that may have been frozen together with this one.
            if election.is_leading(operator.clock.now().mono) {
                operator.plan();
            }
        }
        operator.metrics.set_leading(election.is_leading(now));
        operator.count();
        let beat = now + BEAT;
        let next = operator.world.next_timer().map_or(beat, |next| next.min(beat));
        tokio::select! {
            () = &mut stop => break,
            // A watch ends with its receiver only, so this one has panicked: blind is worse than down.
            Some(Err(error)) = watches.join_next() => std::panic::resume_unwind(error.into_panic()),
            Some(change) = changes.recv() => {
                operator.take_in(change);
                for _ in 0..GULP {
                    let Ok(change) = changes.try_recv() else { break };
                    operator.take_in(change);
                }
            }
            Some(done) = operator.steps.join_next() => operator.learn(done),
            () = election.changed() => {}
            () = operator.clock.until(Some(next)) => {}
        }
    }
    watches.abort_all();
    tracing::info!(under_way = operator.steps.len(), "stopping");
    let _ = tokio::time::timeout(GRACE, async {
        while operator.steps.join_next().await.is_some() {}
    })
    .await;
    operator.steps.shutdown().await;
    // Last, when nothing of ours is under way any more.
    election.release().await;
}

impl Operator {
    fn take_in(&mut self, change: Change) {
        let now = self.clock.now().mono;
        match &change {
            Change::Key(key) if self.world.is_complete() && !self.world.has(&Target::Key(key.uid)) => {
                self.unserved.insert(key.uid, now);
            }
            Change::Gone(Kind::Key, uid) => {
                self.unserved.remove(uid);
            }
            _ => {}
        }
        self.world.apply(change, now);
    }

    /// Tells the metrics, and forgets the tries of what is no more.
    fn count(&mut self) {
        self.metrics.set_queue(self.world.due(), self.steps.len());
        let now = self.clock.now();
        if now.mono.saturating_sub(self.counted) < BEAT || !self.world.is_complete() {
            return;
        }
        self.counted = now.mono;
        let figures = self.world.figures(now);
        self.metrics.set_pools(&figures.pools);
        self.metrics.set_keys(&figures.keys);
        self.metrics.set_keys_expiring(&figures.expiring);
        self.metrics.set_oldest_unapplied(figures.oldest_unapplied);
        self.attempts.retain(|target, _| self.world.has(target));
    }

    fn plan(&mut self) {
        while self.world.has_due() && self.steps.len() < self.concurrency {
            let now = self.clock.now();
            let targets = self.world.take_due(self.concurrency - self.steps.len());
            let mut rng = UnwrapErr(SysRng);
            let Plan {
                steps,
                wakes,
                programmed,
                waiting,
            } = plan(&self.world, targets, &self.promised, now, &mut rng);
            wakes
                .into_iter()
                .for_each(|(at, target)| self.world.touch_at(at, target));
            programmed
                .iter()
                .for_each(|uid| self.world.mark_programmed(uid, now.mono));
            waiting
                .iter()
                .for_each(|(uid, queue)| self.world.wait(uid, *queue));
            for (target, step) in steps {
                self.start(target, step);
            }
        }
    }

    fn start(&mut self, target: Target, step: Step) {
        let claim = match &step {
            Step::CreateClaim(claim) => Some(claim.clone()),
            _ => None,
        };
        claim.iter().for_each(|claim| self.promised.add(claim));
        let kind = StepKind::from(&step);
        // Names stay out of logs: a claim's is an address.
        tracing::debug!(step = kind.as_str(), "writing");
        self.world.begin(&target);
        let (client, events) = (self.client.clone(), self.events.clone());
        self.steps.spawn(async move {
            let outcome = tokio::time::timeout(REQUEST_TIMEOUT, execute(&client, &events, step)).await;
            Done {
                target,
                kind,
                claim,
                outcome: outcome.unwrap_or(Err(Failure::Unclear("timeout"))),
            }
        });
    }

    fn learn(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let done = match done {
            Ok(done) => done,
            // Nothing aborts a step, so it has panicked; carrying on would leave its target locked for ever.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let now = self.clock.now().mono;
        done.claim.iter().for_each(|claim| self.promised.remove(claim));
        self.world.finish(&done.target);
        self.metrics.count_step(done.kind, (&done.outcome).into());
        if done.outcome.as_ref().map_or(true, Vec::is_empty) {
            // What it counted for is open to others again.
            done.claim
                .iter()
                .for_each(|claim| self.world.touch_waiting(&claim.pool, &claim.key.namespace));
        }
        match done.outcome {
            Ok(changes) => {
                if let (StepKind::CreateClaim, Target::Key(uid)) = (done.kind, &done.target)
                    && let Some(since) = self.unserved.remove(uid)
                {
                    self.metrics.observe_allocation(now.saturating_sub(since));
                }
                self.attempts.remove(&done.target);
                changes
                    .into_iter()
                    .for_each(|change| self.world.learn(change, now));
                self.world.touch(done.target);
            }
            Err(failure) => {
                let attempt = self.attempts.entry(done.target.clone()).or_default();
                *attempt += 1;
                if !failure.is_expected() || *attempt > 5 {
                    tracing::warn!(kind = kind(&done.target), attempt = *attempt, error = %failure, "unable to write, trying again");
                }
                let delay = failure
                    .delay(*attempt)
                    .mul_f64(UnwrapErr(SysRng).random_range(0.8..1.2));
                self.world.touch_at(now + delay, done.target);
            }
        }
    }
}

/// The kind of a target: its name could be an address.
fn kind(target: &Target) -> &'static str {
    match target {
        Target::Key(_) => "key",
        Target::Claim(_) => "claim",
        Target::Pool(_) => "pool",
        Target::Fleet => "fleet",
    }
}
