//! One gateway on this node: its interface, its peers, its ages, and what there is to report of it.
//!
//! Guarantees: nothing is changed on an interface without our mark; a peer counts as programmed only when a look has
//! shown it; whatever fails is tried again, from a look on, and what has been reported stays true meanwhile.
//!
//! [`Gateway::news`] and [`Gateway::tick`] say what is to be done, [`Gateway::step`] does a little of it: one message, or
//! one datagram of a look. So a bulk of peers keeps neither a single one waiting, nor forgetting, nor the end of the
//! agent. A tick looks at the whole interface; what a single peer needs, needs no look before it.
//!
//! [`ensure`] finds the interface · [`guard`] keeps its clients where they belong · [`look`] reads what it holds · [`settings`] gives it key, port and shape · [`scan`]
//! finds what is missing · [`program`] sends messages · [`proof`] says how far all that has got.

mod ensure;
mod guard;
mod look;
mod program;
mod proof;
mod route;
mod scan;
mod settings;
mod step;

use std::net::IpAddr;
use std::time::Duration;

use culvert_crds::Reason;
use culvert_crds::gateway_node::Refused;
use culvert_wireguard::{Error, ErrorClass, PrivateKey, PublicKey, Refusal};
use ipnet::IpNet;
use rand::RngExt;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

use crate::ages::Ages;
use crate::assignment::{Assignment, Departure};
use crate::clock::{Clocks, sleep};
use crate::desired::{News, Shared, Slot, Slots, View};
use crate::execute::Work;
use crate::execute::pace::Pace;
use crate::firewall::{Firewall as _, FirewallError, Order, rules};
use crate::interface::{Managed, Mark, SHORTEST_WINDOW};
use crate::kernel::Kernel;
use crate::keystore::{Keystore, KeystoreError};
use crate::metrics::Metrics;
use crate::plan::room::Room;
use guard::Guard;
use proof::Proof;
use route::Withheld;
use step::{Round, Stage};

/// More public keys than this at once are no news of single peers.
const BULK: usize = 256;

/// What there is to report of a gateway. Nothing in it depends on what clients do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// New at each start, each creation of the interface, and whenever the API's history went back.
    pub session: String,
    /// The public key of the interface.
    pub public_key: Option<PublicKey>,
    /// Every peer up to this version is in the kernel or refused.
    pub applied: Option<u64>,
    /// The pools that this speaks for.
    pub pools: Vec<String>,
    /// Peers that are not.
    pub refused: Option<Refused>,
    /// The interface is gone, as asked.
    pub drained: bool,
    /// The `purgeGeneration` for which every client has been forgotten. It outlives sessions and interfaces.
    pub purged: i64,
    /// What is wrong.
    pub failure: Option<Reason>,
    /// Whether what clients send gets out: `Ready`, or what it lacks; `None` while that is unknown.
    pub egress: Option<Reason>,
    /// The smallest MTU of the links that default routes lead to.
    pub uplink_mtu: Option<u32>,
}

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The kernel.
    #[error("the kernel's answer stops the gateway")]
    Kernel(#[from] Error),
    /// The private key.
    #[error("the gateway has no private key")]
    Key(#[from] KeystoreError),
    /// An interface of that name belongs to somebody else.
    #[error("interface `{0}` exists and does not carry our mark; choose another spec.interface")]
    Foreign(String),
    /// A pool cannot be reached from this node, or would take others' traffic.
    #[error(
        "the node has a route to {other} already, so a gateway cannot serve {range}; choose another pool, or remove the route"
    )]
    Routed {
        /// The gateway's address and its range.
        range: IpNet,
        /// What the other route leads to.
        other: IpNet,
    },
    /// Its clients could go anywhere.
    #[error("the gateway has no table that keeps its clients where they belong, so it stays down")]
    Firewall(#[source] FirewallError),
    /// Some peers are missing.
    #[error("the kernel has no room for more peers on the interface")]
    TooManyPeers,
}

impl PassError {
    fn reason(&self) -> Reason {
        match self {
            Self::Foreign(_) => Reason::InterfaceConflict,
            Self::TooManyPeers => Reason::TooManyPeers,
            Self::Firewall(_) => Reason::FirewallError,
            Self::Routed { .. } => Reason::Conflict,
            Self::Kernel(error) => match error.refusal() {
                Some(Refusal::NotSupported) => Reason::Unsupported,
                Some(Refusal::PortInUse) => Reason::Conflict,
                _ => Reason::KernelError,
            },
            Self::Key(_) => Reason::KernelError,
        }
    }

    /// Whether the next try may succeed with nothing changed outside.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Kernel(error) if error.class() == ErrorClass::Retry)
    }

    /// Whether only something outside can make the next try succeed.
    fn is_lasting(&self) -> bool {
        match self {
            Self::Kernel(error) => matches!(
                error.refusal(),
                Some(Refusal::PortInUse | Refusal::NotSupported | Refusal::Permission)
            ),
            _ => true,
        }
    }

    /// The interface is not there any more.
    fn is_of_no_interface(&self) -> bool {
        matches!(self, Self::Kernel(error) if error.refusal() == Some(Refusal::NotFound))
    }
}

/// What a gateway's steps act on.
pub struct Ground<'a, K> {
    /// The node's WireGuard and links.
    pub kernel: &'a mut K,
    /// Where keys are kept.
    pub keystore: &'a Keystore,
    /// The peers.
    pub desired: &'a Shared,
    /// What is counted.
    pub metrics: &'a Metrics,
    /// What time it is.
    pub clock: &'a (dyn Fn() -> Clocks + Sync),
}

/// What is left to do after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something, at once.
    More,
    /// Something, not before this time on the monotonic clock.
    Later(Duration),
    /// Nothing before there is news or a tick.
    Idle,
}

impl Step {
    /// The sooner of two.
    #[must_use]
    pub fn sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::More, _) | (_, Self::More) => Self::More,
            (Self::Later(one), Self::Later(two)) => Self::Later(one.min(two)),
            (Self::Idle, other) => other,
            (later, Self::Idle) => later,
        }
    }
}

/// A purge of everybody, which was asked for.
#[derive(Debug)]
struct Purging {
    generation: i64,
    /// Peers that have been reinstated for it.
    done: Slots,
}

/// How far the API has been followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    version: u64,
    complete: bool,
    history: u64,
}

/// A gateway on this node.
#[derive(Debug)]
pub struct Gateway {
    mark: Mark,
    interface: Option<Managed>,
    /// What is asked of it; `None` while nobody asks anything but to forget.
    assignment: Option<Assignment>,
    /// What the interface was last shaped after, so that addresses are left alone when nothing has changed.
    shaped: Option<Assignment>,
    state: State,
    /// The state of which somebody has taken notice.
    told: State,
    /// How it has left the node, while it has.
    left: Option<Departure>,
    guard: Guard,
    /// Between the halves of a tick: whether the interface is there, and has its name.
    ensured: Option<Result<bool, PassError>>,
    /// The UDP port that the interface was last seen to have.
    port: Option<u16>,
    /// Pools that the gateway cannot serve, as the node has other routes to parts of them.
    withheld: Vec<Withheld>,
    /// The key, where the interface has the only other copy: it must outlive what others do to that.
    key: Option<PrivateKey>,
    ages: Ages,
    purging: Option<Purging>,
    /// Addresses of peers that were purged, or removed without having left the API, since this was last asked.
    flows: Vec<IpAddr>,
    /// Peers that were reinstated since the last tick's look.
    reinstated: Slots,
    /// How long an endpoint has stood beyond its window, at most, in the last tick's look.
    overdue: Duration,
    view: View,
    known: Known,
    room: Room,
    /// Peers that the interface has, as far as is known.
    held: Slots,
    /// And others.
    foreign: usize,
    /// Peers that somebody gave a preshared key.
    keyed: Slots,
    work: Work,
    pace: Pace,
    proof: Proof,
    stage: Stage,
    round: Round,
}

impl Gateway {
    /// A gateway whose interface, if it has one, is yet to be found.
    pub fn new(mark: Mark) -> Self {
        Self {
            mark,
            interface: None,
            assignment: None,
            shaped: None,
            told: State::new(),
            left: None,
            guard: Guard::default(),
            ensured: None,
            port: None,
            withheld: Vec::new(),
            state: State::new(),
            key: None,
            ages: Ages::default(),
            purging: None,
            flows: Vec::new(),
            reinstated: Slots::default(),
            overdue: Duration::ZERO,
            view: View::default(),
            known: Known::default(),
            room: Room::default(),
            held: Slots::default(),
            foreign: 0,
            keyed: Slots::default(),
            work: Work::default(),
            pace: Pace::default(),
            proof: Proof::default(),
            stage: Stage::default(),
            round: Round::default(),
        }
    }

    /// A gateway that nobody asks for, of which this node may still have something.
    pub fn unasked(gateway: String) -> Self {
        Self::new(Mark {
            gateway,
            window: SHORTEST_WINDOW,
        })
    }

    /// A gateway whose interface an earlier agent has left.
    pub fn found(interface: Managed) -> Self {
        Self {
            interface: Some(interface.clone()),
            ..Self::new(interface.mark)
        }
    }

    /// What there is to report.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether there is something to report that was not there when this was last asked.
    pub fn take_news(&mut self) -> bool {
        let is_news = self.told != self.state;
        if is_news {
            self.told.clone_from(&self.state);
        }
        is_news
    }

    /// Addresses whose connections are to be forgotten, of peers that are gone from the interface or were made anew.
    pub fn take_flows(&mut self) -> Vec<IpAddr> {
        std::mem::take(&mut self.flows)
    }

    /// The UDP port on which clients were last seen to reach it.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// How many peers the interface is to have.
    pub fn peers(&self) -> usize {
        self.proof.wanted()
    }

    /// How many peers the interface has of which the API has not told yet, as far as is known.
    pub fn untold(&self) -> usize {
        self.foreign
    }

    /// How long an endpoint has stood beyond its window, at most, at the last tick.
    pub fn overdue(&self) -> Duration {
        self.overdue
    }

    /// What keeps the gateway from being as asked though everything is done that can be.
    pub fn outcome(&self) -> Result<(), PassError> {
        let Some(assignment) = &self.assignment else {
            return Ok(());
        };
        if self.round.is_misnamed {
            return Err(PassError::Foreign(assignment.interface.clone()));
        }
        if let Some(withheld) = self.withheld.first() {
            return Err(withheld.error());
        }
        if self.proof.is_short() {
            return Err(PassError::TooManyPeers);
        }
        Ok(())
    }

    /// How the round that has just come to rest went, told once: nothing while it still fails.
    pub fn settled(&mut self) -> Option<Result<(), PassError>> {
        let is_over = self.round.is_new && !self.round.has_failed;
        (is_over && std::mem::take(&mut self.round.is_new)).then(|| self.outcome())
    }

    /// Takes in what has changed among the peers.
    pub fn news(&mut self, news: &News) {
        if news.history != self.known.history {
            // Versions mean something else from now on.
            self.state.session = session();
            self.state.applied = None;
            self.proof.forget_versions();
            if let Stage::Looking(look) = &mut self.stage {
                look.forget_versions();
            }
        }
        let was_complete = self.known.complete;
        self.known = Known {
            version: news.version,
            complete: news.complete,
            history: news.history,
        };
        if self.assignment.is_none() {
            // Nobody asks anything of it: whatever it holds stays, and is looked at when somebody does.
            return;
        }
        let is_first = news.complete && !was_complete;
        if is_first {
            // What it holds besides may be removed from now on, and what it holds already needs no sending.
            self.look_anew();
        }
        let slots = if news.complete && !is_first {
            &news.slots
        } else {
            // The look finds what is missing. Who was told to go, goes.
            &news.off
        };
        // Who goes, goes first: an address that moves is free before another peer takes it.
        let Work {
            urgent, remove, put, ..
        } = &mut self.work;
        if slots.len() > BULK {
            news.off.iter().for_each(|slot| remove.push(*slot));
            let rest = slots.iter().filter(|slot| !remove.contains(**slot));
            rest.for_each(|slot| put.push(*slot));
        } else {
            news.off.iter().chain(slots).for_each(|slot| urgent.push(*slot));
        }
    }

    /// Finds or makes the interface, and has it looked at: for a tick, also at ages. To be called every few seconds, and
    /// when something else is asked of the gateway; what follows is done in steps. Waits for the gateway's tables, which is
    /// for those who have nothing else to do meanwhile.
    pub async fn tick<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        assignment: &Assignment,
        is_tick: bool,
    ) -> Result<(), PassError> {
        if let Some(order) = self.begin_tick(on, assignment, is_tick).await {
            let done = order.carry_out().await;
            self.take_tables(on, done);
        }
        self.end_tick(on).await
    }

    /// The first half of a tick: finds or makes the interface. What it gives is to be carried out and told to
    /// [`Gateway::take_tables`], after which another tick is due; [`Gateway::end_tick`] does not wait for it.
    pub async fn begin_tick<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        assignment: &Assignment,
        is_tick: bool,
    ) -> Option<Order<K::Firewall>> {
        self.mark.window = assignment.mark.window;
        if self.left.take().is_some() {
            // It has come back, whatever is found of it.
            self.state = State {
                purged: self.state.purged,
                ..State::new()
            };
        }
        self.begin_round(is_tick);
        let before = self.interface.clone();
        let ensured = self.ensure(on, assignment).await;
        let number = |interface: &Managed| interface.link.ifindex;
        if let Some(before) = before
            && self.interface.as_ref().map(number) != Some(number(&before))
        {
            // Whoever deletes it does not wait for this agent.
            on.kernel.give_up(&before);
        }
        let ensured = match ensured {
            Ok(is_named) => self.withhold(on, assignment).await.map(|()| is_named),
            Err(error) => Err(error),
        };
        // Until it is known which pools can be served, what was asked before is asked.
        if ensured.is_ok() || self.interface.is_none() {
            self.assign(on, &self.served(assignment));
        }
        // Whatever else fails, its clients stay where they belong; what comes of it is said when nothing else is.
        let (ensured, order) = match (ensured, self.order(on).await) {
            (ensured, Ok(order)) => (ensured, order),
            (Ok(_), Err(error)) => (Err(error), None),
            (ensured, Err(_)) => (ensured, None),
        };
        self.ensured = Some(ensured);
        order
    }

    /// The other half, with what is known of the tables by then.
    pub async fn end_tick<K: Kernel>(&mut self, on: &mut Ground<'_, K>) -> Result<(), PassError> {
        let Some(ensured) = self.ensured.take() else {
            return Ok(());
        };
        let guarded = self.guard(on).await;
        let ensured = ensured.and_then(|is_named| Ok((is_named, guarded?)));
        self.round.is_look_due = self.interface.is_some();
        match ensured {
            Ok((is_named, is_guarded)) => {
                self.round.is_shape_due = true;
                self.round.is_misnamed = !is_named;
                self.round.is_lost = false;
                if !is_guarded {
                    self.round.forgets_only = true;
                    self.stay_down();
                }
                Ok(())
            }
            Err(error) => {
                // Whatever else fails, nobody is remembered for it.
                self.round.forgets_only = true;
                self.round.has_failed = true;
                if matches!(error, PassError::Firewall(_)) {
                    self.stay_down();
                }
                // The next try that is as good as this one comes with the next tick.
                self.round.tries = self.round.tries.saturating_sub(1);
                if !error.is_passing() {
                    self.state.failure = Some(error.reason());
                }
                Err(error)
            }
        }
    }

    /// What is under way may not set the link up.
    fn stay_down(&mut self) {
        self.round.is_shape_due = false;
        if matches!(self.stage, Stage::Settling(..)) {
            self.stage = Stage::Rest;
        }
    }

    /// A tick without any wish of the API: has whoever is stale forgotten, and leaves all else.
    pub fn watch_over(&mut self) {
        self.begin_round(true);
        self.work.give_up();
        self.assignment = None;
        self.round.forgets_only = true;
        self.round.is_synced = false;
        self.round.is_look_due = self.interface.is_some();
    }

    /// The same, to its end.
    pub async fn forget<K: Kernel>(&mut self, on: &mut Ground<'_, K>) -> Result<(), PassError> {
        self.stage = Stage::Rest;
        self.watch_over();
        let mut first = Ok(());
        loop {
            match self.step(on).await {
                Ok(Step::More) => {}
                Ok(_) => return first,
                Err(error) => first = first.and(Err(error)),
            }
        }
    }

    /// All that follows from the news there are and from a look, to its end; the first failure on the way. For those
    /// who have nothing else to do meanwhile.
    pub async fn pass<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        assignment: &Assignment,
        is_tick: bool,
    ) -> Result<(), PassError> {
        let news = on.desired.lock().news();
        self.news(&news);
        let mut first = self.tick(on, assignment, is_tick).await;
        loop {
            match self.step(on).await {
                Ok(Step::More) => {}
                Ok(Step::Later(at)) => sleep(at.saturating_sub((on.clock)().mono)).await,
                Ok(Step::Idle) if self.needs_tick() => {
                    first = first.and(self.tick(on, assignment, false).await);
                }
                Ok(Step::Idle) => return first.and_then(|()| self.outcome()),
                Err(error) => first = first.and(Err(error)),
            }
        }
    }

    /// Whether it has left the node at least like that.
    pub fn has_left(&self, departure: Departure) -> bool {
        self.left >= Some(departure)
    }

    /// Leaves the node: removes every peer, then the interface; for good, also the key, which would tell from recorded
    /// traffic who came from where. Whatever carries the gateway's mark goes, also what was made and never answered for.
    pub async fn leave<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        departure: Departure,
    ) -> Result<(), PassError> {
        for interface in on.kernel.managed().await? {
            if self.is_ours(&interface) {
                on.kernel.delete(&interface).await?;
                tracing::info!(interface = interface.link.name, "interface drained and deleted");
            }
        }
        // Whatever else fails: the key is what would tell most.
        if departure == Departure::ForGood {
            on.keystore.forget(&self.mark.gateway)?;
        }
        {
            let table = on.desired.lock();
            let held = self.held.iter().flat_map(|slot| table.addresses(slot));
            self.flows.extend(held);
        }
        if self.is_guarded_by_another() {
            // It would make them anew.
            return Err(PassError::Firewall(FirewallError::Late));
        }
        match on
            .kernel
            .firewall()
            .apply(&rules::deletion(&self.mark.gateway))
            .await
        {
            // Where no table was ever made there is none to delete.
            Err(FirewallError::Missing(_)) if self.is_open(on) => {}
            result => result.map_err(PassError::Firewall)?,
        }
        let flows = self.take_flows();
        let state = State {
            drained: true,
            failure: Some(Reason::Draining),
            purged: self.state.purged,
            ..State::new()
        };
        *self = Self {
            state,
            left: Some(departure),
            flows,
            ..Self::new(self.mark.clone())
        };
        Ok(())
    }

    /// Whether the interface was lost and is to be looked for at once, without waiting for the next tick.
    pub fn needs_tick(&self) -> bool {
        self.round.is_lost && self.round.tries > 0
    }

    /// Whether nothing holds a slot: no look is open, and nothing is to be done.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.stage, Stage::Rest) && self.work.is_empty()
    }

    /// Takes in that these slots will be others'. To be called at rest.
    pub fn recycled(&mut self, slots: &[Slot]) {
        self.ages.recycled(slots);
        self.proof.recycled(slots);
        for slot in slots {
            self.held.remove(*slot);
            self.keyed.remove(*slot);
            self.reinstated.remove(*slot);
            if let Some(purging) = &mut self.purging {
                purging.done.remove(*slot);
            }
        }
    }

    /// Everything is to be looked at and gone through from the beginning.
    fn look_anew(&mut self) {
        self.stage = Stage::Rest;
        self.round.is_synced = false;
        self.round.is_look_due = self.interface.is_some();
    }

    /// Takes in what is asked.
    fn assign<K: Kernel>(&mut self, on: &Ground<'_, K>, assignment: &Assignment) {
        let ranges = |old: &Assignment| old.ranges == assignment.ranges && old.absent == assignment.absent;
        if !self.assignment.as_ref().is_some_and(ranges) {
            self.view = on.desired.lock().view(&assignment.ranges, &assignment.absent);
            self.view.own = self.state.public_key;
            self.look_anew();
        }
        if self.assignment.as_ref() != Some(assignment) {
            self.assignment = Some(assignment.clone());
        }
        // An earlier agent's purge is done.
        self.state.purged = self.state.purged.max(assignment.purged_generation);
        let generation = assignment.purge_generation;
        let is_new = |purging: &Purging| purging.generation != generation;
        if generation > self.state.purged && self.purging.as_ref().is_none_or(is_new) {
            self.purging = Some(Purging {
                generation,
                done: Slots::default(),
            });
        }
    }

    /// Begins anew with this interface. What is asked, and what outlives an interface, stays.
    fn begin_anew(&mut self, interface: Option<Managed>) {
        let new = Self::new(self.mark.clone());
        let old = std::mem::replace(self, new);
        self.state.failure = old.state.failure;
        self.state.purged = old.state.purged;
        self.state.egress = old.state.egress;
        self.state.uplink_mtu = old.state.uplink_mtu;
        self.view = old.view;
        self.view.own = None;
        self.round = Round {
            is_synced: false,
            is_tick_due: true,
            clocks: None,
            ..old.round
        };
        self.interface = interface;
        self.guard = old.guard.anew();
        self.assignment = old.assignment;
        self.key = old.key;
        self.known = old.known;
        self.purging = old.purging;
        self.pace = old.pace;
    }
}

impl State {
    fn new() -> Self {
        Self {
            session: session(),
            public_key: None,
            applied: None,
            pools: Vec::new(),
            refused: None,
            drained: false,
            purged: 0,
            failure: None,
            egress: None,
            uplink_mtu: None,
        }
    }
}

fn session() -> String {
    let session: u64 = UnwrapErr(SysRng).random();
    format!("{session:016x}")
}

#[cfg(test)]
mod tests;
