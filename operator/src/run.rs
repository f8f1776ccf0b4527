//! The loop: take in what changed, plan what it touches, carry out the steps, learn from the replies.
//!
//! One task owns the world; watches and steps speak to it over channels, so nothing is locked and a
//! step never sees a world that changes under it. A clean end waits for the writes under way.

use std::borrow::Cow;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use culvert_startup::memory;
use culvert_startup::serve::Health;
use kube::Client;
use rand::RngExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::clock::Clock;
use crate::execute::{Events, Outcome, execute, retry, retry::Failure};
use crate::lease::Election;
use crate::metrics::{Metrics, StepKind};
use crate::observe;
use crate::plan::{NewClaim, Plan, Promised, Step, plan};
use crate::world::{Change, Kind, Target, Uid, World};

#[cfg(test)]
mod tests;

/// Changes that may wait for the loop before a watch has to.
const BACKLOG: usize = 1024;

/// Changes taken in before the next plan, so that a flood of them does not keep writes waiting.
const GULP: usize = 256;

/// How long a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest time between two beats of the loop.
const BEAT: Duration = Duration::from_secs(10);

/// How long the list of a namespace may take.
const LIST_TIMEOUT: Duration = Duration::from_mins(10);

/// When there may be room for more writes.
const LATER: Duration = Duration::from_millis(100);

/// How long a clean end waits for writes under way.
const GRACE: Duration = Duration::from_secs(5);

struct Done {
    target: Target,
    kind: StepKind,
    /// What it wrote to, of the fleet.
    object: Option<(StepKind, String)>,
    /// The namespace that was listed.
    listed: Option<String>,
    claim: Option<NewClaim>,
    outcome: Outcome,
}

/// What is tried again: a target, and of the fleet each write by itself.
type Trial = (Target, Option<(StepKind, String)>);

/// What has failed.
#[derive(Default)]
struct Tries {
    count: u32,
    /// When the next one is due.
    next: Duration,
}

struct Operator {
    client: Client,
    events: Events,
    metrics: Arc<Metrics>,
    clock: Clock,
    chance: Chance,
    world: World,
    concurrency: usize,
    steps: JoinSet<Done>,
    promised: Promised,
    attempts: HashMap<Trial, Tries>,
    /// Keys without an address, and when they were first seen.
    unserved: HashMap<Uid, Duration>,
    /// When everything was last counted.
    counted: Duration,
    /// How many of the cluster's ranges no gateway's status has room for.
    left_out: usize,
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
    let mut operator = Operator::new(client, clock, concurrency, metrics);
    let mut stop = std::pin::pin!(stop);
    while operator.live(&mut election, &health, stop.as_mut()).await == End::Rewound {
        tracing::warn!(
            "the API's history has gone back, as after a restore from a backup; everything is listed again"
        );
        // What is under way was planned for a world that never was.
        operator.steps.shutdown().await;
        operator.forget();
        health.set_ready(false);
    }
    tracing::info!(under_way = operator.steps.len(), "stopping");
    let _ = tokio::time::timeout(GRACE, async {
        while operator.steps.join_next().await.is_some() {}
    })
    .await;
    operator.steps.shutdown().await;
    // Last, when nothing of ours is under way any more.
    election.release().await;
}

/// Why a life has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The program is asked to stop.
    Stopped,
    /// What the world knows has not happened.
    Rewound,
}

impl Operator {
    fn new(client: Client, clock: Clock, concurrency: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            events: Events::new(client.clone()),
            client,
            metrics,
            clock,
            chance: Chance::new(),
            world: World::default(),
            concurrency,
            steps: JoinSet::new(),
            promised: Promised::default(),
            attempts: HashMap::new(),
            unserved: HashMap::new(),
            counted: Duration::ZERO,
            left_out: 0,
        }
    }

    /// From the first list until the world is of no use any more.
    async fn live(
        &mut self,
        election: &mut Election,
        health: &Health,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> End {
        let (sender, mut changes) = mpsc::channel(BACKLOG);
        // They end when they are dropped.
        let mut watches = observe::start(&self.client, &self.metrics, &sender);
        let (mut complete, mut led) = (false, true);
        loop {
            let now = self.clock.now().mono;
            health.beat(now);
            self.world.notice_silence(now);
            self.world.wake(now);
            if self.world.is_complete() {
                if !std::mem::replace(&mut complete, true) {
                    health.set_ready(true);
                    tracing::info!("every kind has been listed, planning begins");
                }
                // Asked of the deadline, not of the election's task: that may have been frozen together with this one.
                let leads = election.is_leading(self.clock.now().mono);
                if leads && !std::mem::replace(&mut led, true) {
                    self.world.touch_everything();
                }
                if leads {
                    self.plan();
                } else {
                    // What is due is the leader's. The day this one leads, it looks at everything.
                    led = false;
                    self.world.leave_due();
                    self.unserved.clear();
                }
            }
            if self.world.is_rewound() {
                return End::Rewound;
            }
            self.metrics.set_leading(election.is_leading(now));
            self.count();
            let beat = now + BEAT;
            let next = self.world.next_timer().map_or(beat, |next| next.min(beat));
            tokio::select! {
                () = &mut stop => return End::Stopped,
                // A watch ends with its receiver only, so this one has panicked: blind is worse than down.
                Some(Err(error)) = watches.join_next() => std::panic::resume_unwind(error.into_panic()),
                Some(change) = changes.recv() => {
                    let more = std::iter::from_fn(|| changes.try_recv().ok());
                    for change in std::iter::once(change).chain(more.take(GULP)) {
                        if matches!(change, Change::Rewound) {
                            return End::Rewound;
                        }
                        self.take_in(change);
                    }
                }
                Some(done) = self.steps.join_next() => self.learn(done),
                () = election.changed() => {}
                () = self.clock.until(Some(next)) => {}
            }
        }
    }

    fn forget(&mut self) {
        self.world = World::default();
        self.promised = Promised::default();
        self.attempts.clear();
        self.unserved.clear();
    }

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
        memory::give_back();
        let figures = self.world.figures(now);
        self.metrics.set_pools(&figures.pools);
        self.metrics.set_keys(&figures.keys);
        self.metrics.set_keys_expiring(&figures.expiring);
        self.metrics.set_oldest_unapplied(figures.oldest_unapplied);
        self.attempts.retain(|(target, object), tries| {
            // Of the fleet what is still wanted has been tried again by now.
            self.world.has(target) && (object.is_none() || now.mono < tries.next + BEAT)
        });
        let left_out = self.world.ranges_left_out();
        self.metrics.set_ranges_left_out(left_out);
        if std::mem::replace(&mut self.left_out, left_out) != left_out && left_out > 0 {
            tracing::warn!(
                left_out,
                "the cluster has more ranges of its own than a gateway's status can hold: name those that clients must not reach in the gateways' spec.egress.deny, by ranges that cover them"
            );
        }
        self.promised.forget(|key| self.world.has(&Target::Key(*key)));
        self.world.forget_proofs(now.mono);
    }

    fn plan(&mut self) {
        while self.world.has_due() && self.steps.len() < self.concurrency {
            for (target, step) in self.planned() {
                self.start(target, step);
            }
        }
    }

    /// What to start now, of what is due.
    fn planned(&mut self) -> Vec<(Target, Step)> {
        let now = self.clock.now();
        let room = self.concurrency - self.steps.len();
        let targets = self.world.take_due(room);
        let Plan {
            mut steps,
            wakes,
            programmed,
            waiting,
        } = plan(&self.world, &targets, &self.promised, now, &mut self.chance);
        wakes
            .into_iter()
            .for_each(|(at, target)| self.world.touch_at(at, target));
        programmed
            .iter()
            .for_each(|uid| self.world.mark_programmed(uid, now.mono));
        waiting
            .iter()
            .for_each(|(uid, queue)| self.world.wait(uid, *queue));
        // What has failed of the fleet is not tried again for the sake of the rest.
        steps.retain(|(target, step)| {
            let trial = (target.clone(), fleet_object(target, step));
            let next = self.attempts.get(&trial).map(|tries| tries.next);
            let later = next.filter(|next| trial.1.is_some() && *next > now.mono);
            later
                .into_iter()
                .for_each(|at| self.world.touch_at(at, target.clone()));
            later.is_none()
        });
        // Of a fleet there may be more than there is room for.
        for (target, _) in steps.drain(room.min(steps.len())..) {
            self.world.touch_at(now.mono + LATER, target);
        }
        steps
    }

    fn start(&mut self, target: Target, step: Step) {
        let claim = match &step {
            Step::CreateClaim(claim) => Some(claim.clone()),
            _ => None,
        };
        claim.iter().for_each(|claim| self.promised.add(claim));
        let (listed, timeout) = match &step {
            // Its pages have timeouts of their own.
            Step::ProveGone { namespace, .. } => (Some(namespace.clone()), LIST_TIMEOUT),
            _ => (None, REQUEST_TIMEOUT),
        };
        listed
            .iter()
            .for_each(|namespace| self.world.prove(namespace, true));
        let kind = StepKind::from(&step);
        let object = fleet_object(&target, &step);
        // Names stay out of logs: a claim's is an address.
        tracing::debug!(step = kind.as_str(), "writing");
        self.world.begin(&target);
        let (client, events) = (self.client.clone(), self.events.clone());
        self.steps.spawn(async move {
            let outcome = tokio::time::timeout(timeout, execute(&client, &events, step)).await;
            Done {
                target,
                kind,
                object,
                listed,
                claim,
                outcome: outcome.unwrap_or(Err(Failure::Unclear("timeout"))),
            }
        });
    }

    /// Whether this is a claim that has not been released.
    fn holds(&self, target: &Target) -> bool {
        let Target::Claim(uid) = target else { return false };
        self.world.claim(uid).is_some_and(|claim| !claim.released)
    }

    fn learn(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let done = match done {
            Ok(done) => done,
            // Nothing aborts a step, so it has panicked; carrying on would leave its target locked for ever.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let now = self.clock.now().mono;
        let trial = (done.target.clone(), done.object);
        if let Some(claim) = &done.claim {
            self.promised.remove(claim);
            // Another key may have waited to see what becomes of its public key, and be the only one by now.
            self.world.touch_carriers(Some(claim.public_key));
        }
        done.listed
            .iter()
            .for_each(|namespace| self.world.prove(namespace, false));
        self.world.finish(&done.target);
        self.metrics.count_step(done.kind, (&done.outcome).into());
        if let Some(claim) = &done.claim {
            match &done.outcome {
                Err(failure) if failure.is_unclear() => self.promised.doubt(claim.clone()),
                _ => self.promised.settle(&claim.key),
            }
        }
        let learned = done.outcome.and_then(|changes| {
            let own = |change: &Change| {
                matches!((change, &done.target), (Change::Claim(claim), Target::Key(uid)) if claim.key == *uid)
            };
            let own = changes.iter().any(own);
            let news = changes
                .into_iter()
                .fold(false, |news, change| self.world.learn(change, now) | news);
            // Another try at once would find what this one has found, which was known before.
            let idle = match done.kind {
                StepKind::CreateClaim => !news && !own,
                StepKind::DeleteClaim | StepKind::DeleteGatewayNode => !news,
                StepKind::ReleaseOrphan | StepKind::ReleaseClaim => !news && self.holds(&done.target),
                _ => false,
            };
            if idle { Err(Failure::Conflict) } else { Ok(()) }
        });
        match learned {
            Ok(()) => {
                if let (StepKind::CreateClaim, Target::Key(uid)) = (done.kind, &done.target)
                    && let Some(since) = self.unserved.remove(uid)
                {
                    self.metrics.observe_allocation(now.saturating_sub(since));
                }
                self.attempts.remove(&trial);
                self.world.touch(done.target);
            }
            Err(failure) => {
                // What it counted for is open to others again.
                done.claim
                    .iter()
                    .for_each(|claim| self.world.touch_waiting(&claim.pool, &claim.namespace));
                let tries = self.attempts.entry(trial).or_default();
                tries.count += 1;
                let attempt = tries.count;
                if !retry::is_expected(&failure) || attempt > 5 {
                    let kind = kind(&done.target, done.kind);
                    tracing::warn!(%kind, attempt, error = %failure, "unable to write, trying again");
                }
                let delay = retry::delay(&failure, attempt).mul_f64(self.chance.random_range(0.8..1.2));
                tries.next = now + failure.after() + delay;
                self.world.touch_at(tries.next, done.target.clone());
                if done.target == Target::Fleet {
                    // The rest of it does not wait for that.
                    self.world.touch(done.target);
                }
            }
        }
    }
}

/// What a step of the fleet writes to.
fn fleet_object(target: &Target, step: &Step) -> Option<(StepKind, String)> {
    let name = match step {
        _ if *target != Target::Fleet => return None,
        Step::CreateGatewayNode(new) => &new.name,
        Step::MoveGatewayNode { name, .. }
        | Step::DrainGatewayNode { name, .. }
        | Step::DeleteGatewayNode { name, .. }
        | Step::PublishGateway { name, .. } => name,
        _ => return None,
    };
    Some((StepKind::from(step), name.clone()))
}

/// The kind of what a step writes to: its name could be an address.
fn kind(target: &Target, step: StepKind) -> Cow<'static, str> {
    observe::name(match target {
        Target::Key(_) => Kind::Key,
        Target::Claim(_) => Kind::Claim,
        Target::Pool(_) => Kind::Pool,
        Target::Fleet if step == StepKind::PublishGateway => Kind::Gateway,
        Target::Fleet => Kind::GatewayNode,
    })
}
