//! What comes next: one step at a time, the most urgent first.
//!
//! Single peers and forgetting take turns and come before everything, also between the datagrams of a look. Then a look
//! that is open goes on; a tick's look begins before a bulk goes on, as whoever is stale waits for it.

use std::time::Duration;

use culvert_wireguard::Settings;

use super::look::Look;
use super::scan::Scan;
use super::{Gateway, Ground, PassError, Step};
use crate::clock::Clocks;
use crate::execute::pace::Kind;
use crate::interface::Managed;
use crate::kernel::Kernel;

/// How often a round begins again after a failure, before the next tick.
const TRIES: u32 = 3;

/// How long forgetting waits for a look that shows the whole of an interface as long as nobody changes it.
const WAIT: Duration = Duration::from_secs(1);

/// What is under way.
#[derive(Debug, Default)]
pub(super) enum Stage {
    /// Nothing.
    #[default]
    Rest,
    /// A look is open.
    Looking(Box<Look>),
    /// A look has ended; the interface's own settings are to be settled.
    Settling(Settings, Box<Scan>),
    /// The table is gone through for what the look has not shown.
    Scanning(Box<Scan>),
}

/// How far a round has got, and what is to follow.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Round {
    /// Failures until the next tick that are followed by another try.
    pub tries: u32,
    /// No more is tried before the next tick.
    pub is_stalled: bool,
    /// Something has failed since the tick.
    pub has_failed: bool,
    /// Nothing but forgetting is asked for.
    pub forgets_only: bool,
    /// A look is to begin.
    pub is_look_due: bool,
    /// That look is a tick's.
    pub is_tick_due: bool,
    /// After it, the link's shape is to be compared.
    pub is_shape_due: bool,
    /// Everything that a look has not shown as it should be is in the queues, and every change since.
    pub is_synced: bool,
    /// Somebody else's interface has the name.
    pub is_misnamed: bool,
    /// The interface is gone.
    pub is_lost: bool,
    /// A look has ended since whoever asks was told how it went.
    pub is_new: bool,
    /// Looks in a row that were interrupted, since the tick.
    pub interruptions: u32,
    /// What the last tick's look goes by.
    pub clocks: Option<Clocks>,
    /// Until when peers may be reinstated for what the last look has shown.
    pub reinstate_until: Duration,
}

impl Gateway {
    pub(super) fn begin_round(&mut self, is_tick: bool) {
        let round = &mut self.round;
        round.is_stalled = false;
        round.forgets_only = false;
        if is_tick {
            round.tries = TRIES;
            round.has_failed = false;
            round.is_tick_due = true;
            round.interruptions = 0;
        }
    }

    /// Does a little of what is to be done. After an error the gateway looks again before it does anything else, at
    /// once a few times, then at the next tick.
    pub async fn step<K: Kernel>(&mut self, on: &mut Ground<'_, K>) -> Result<Step, PassError> {
        let Some(interface) = self.interface.clone() else {
            return Ok(Step::Idle);
        };
        let now = (on.clock)().mono;
        match self.hurry(on, &interface, now) {
            Ok(true) => return Ok(Step::More),
            Ok(false) => {}
            Err(error) => {
                self.fail(&error);
                return Err(error);
            }
        }
        let result = self.try_step(on, &interface, now).await;
        match &result {
            // What could not be settled is in nobody's way: the rest goes on.
            Err(error) if matches!(self.stage, Stage::Scanning(_)) => self.note_failure(error),
            Err(error) => self.fail(error),
            Ok(_) => {}
        }
        result
    }

    async fn try_step<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        interface: &Managed,
        now: Duration,
    ) -> Result<Step, PassError> {
        match std::mem::take(&mut self.stage) {
            Stage::Rest => return self.go_on(on, interface, now),
            Stage::Looking(look) => self.read(on, interface, look)?,
            Stage::Settling(settings, scan) => {
                let settled = self.settle(on, interface, settings).await;
                // Peers come and go also where an address or the port is in somebody's way.
                let goes_on = |error: &PassError| self.view.own.is_some() && !error.is_of_no_interface();
                if scan.is_coherent && settled.as_ref().err().is_none_or(goes_on) {
                    self.stage = Stage::Scanning(scan);
                }
                settled?;
            }
            Stage::Scanning(scan) => self.scan(on, scan),
        }
        Ok(Step::More)
    }

    /// Sends what cannot wait; whether there was any.
    fn hurry<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        interface: &Managed,
        now: Duration,
    ) -> Result<bool, PassError> {
        let (may_send, may_forget) = match &self.stage {
            Stage::Looking(look) if look.holds_writes => (false, false),
            // A message would interrupt it, and it is soon over.
            Stage::Looking(look) => (
                true,
                look.is_disturbed() || now.saturating_sub(look.begun) >= WAIT,
            ),
            _ => (true, true),
        };
        // After a failure a look comes before anything else.
        let is_sure = self.round.is_synced || !self.round.is_look_due;
        let may_forget = may_forget && !(self.round.has_failed && self.round.is_look_due);
        let forgets = may_forget && !self.work.forget.is_empty() && !self.round.is_lost;
        let is_asked = !self.round.forgets_only && !self.round.is_stalled;
        let sends = may_send && is_sure && is_asked && !self.work.urgent.is_empty();
        if forgets && !(sends && self.work.has_forgotten) {
            self.work.has_forgotten = true;
            self.send_forget(on, interface)?;
            return Ok(true);
        }
        self.work.has_forgotten = false;
        if sends {
            let slots = self.work.urgent.take(self.pace.size(Kind::Put));
            self.program(on, interface, slots)?;
        }
        Ok(sends)
    }

    /// Goes on where nothing is under way.
    fn go_on<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        interface: &Managed,
        now: Duration,
    ) -> Result<Step, PassError> {
        if self.round.is_stalled || self.round.is_lost {
            return Ok(Step::Idle);
        }
        if self.round.is_look_due {
            self.begin_look(on, interface)?;
            return Ok(Step::More);
        }
        if self.round.forgets_only {
            return Ok(Step::Idle);
        }
        if !self.work.surplus.is_empty() {
            self.send_surplus(on, interface)?;
            return Ok(Step::More);
        }
        let size = self.pace.size(Kind::Put);
        let mut slots = self.work.remove.take(size);
        if slots.is_empty() {
            slots = self.work.put.take(size);
        }
        if !slots.is_empty() {
            self.program(on, interface, slots)?;
            return Ok(Step::More);
        }
        if !self.work.reinstate.is_empty() {
            self.send_reinstate(on, interface, now)?;
            return Ok(Step::More);
        }
        self.finish_round(on);
        match self.proof.look_at() {
            Some(at) if at <= now => {
                self.begin_look(on, interface)?;
                Ok(Step::More)
            }
            Some(at) => Ok(Step::Later(at)),
            None => Ok(Step::Idle),
        }
    }

    /// Everything is done that was to be done.
    fn finish_round<K: Kernel>(&mut self, on: &Ground<'_, K>) {
        if !self.round.is_synced || self.round.has_failed {
            return;
        }
        if !self.proof.is_short() {
            // Nobody waits: the next one finds out anew whether there is room.
            self.room = crate::plan::room::Room::default();
        }
        self.state.failure = self.outcome().err().map(|error| error.reason());
        self.advance(on);
    }

    /// Whatever has failed, and whatever of it was done: the next look tells.
    pub(super) fn fail(&mut self, error: &PassError) {
        self.stage = Stage::Rest;
        self.work.give_up();
        self.note_failure(error);
        self.round.is_lost |= error.is_of_no_interface();
        if !self.round.is_look_due && !self.needs_tick() {
            self.round.is_stalled = true;
            // Not even forgetting goes on for ever.
            self.work.forget.clear();
        }
    }

    /// A failure that keeps nothing from going on; another look follows when it may be over by then.
    pub(super) fn note_failure(&mut self, error: &PassError) {
        self.round.has_failed = true;
        self.round.is_synced = false;
        if !error.is_passing() {
            self.state.failure = Some(error.reason());
        }
        if self.round.tries > 0 && !error.is_lasting() {
            self.round.tries -= 1;
            self.round.is_look_due = true;
        }
    }
}
