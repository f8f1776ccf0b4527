//! What can happen next.

use super::{Actor, Model, State, promised, targets};
use crate::request::{Request, ranks};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A user's move.
    User,
    /// An allocator plans a target and sends the first request of its step.
    Plan,
    /// The API carries out a request.
    Apply,
    /// The reply arrives.
    Reply,
    /// The request never arrived, and the sender knows that something is wrong.
    Lose,
    /// The request was carried out; its reply is lost.
    LoseReply,
    /// The sender gives up; the request is still on its way.
    GiveUp,
    /// A request that was given up arrives.
    Late,
    Crash,
    ListKeys,
    ListClaims,
    SeeKey,
    SeeClaim,
    SeeWatermark,
    /// The gateway takes in what there is, and says so.
    Program,
    Tick,
}

/// One step of anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    pub deed: Deed,
    pub actor: u8,
    /// Number of the flight, the target or the move.
    pub which: u8,
    /// Which draw, or which place of the new uid.
    pub choice: u8,
}

impl Action {
    pub const TICK: Self = Self {
        deed: Deed::Tick,
        actor: 0,
        which: 0,
        choice: 0,
    };

    fn new(deed: Deed, actor: usize, which: usize, choice: usize) -> Self {
        let small = |n| u8::try_from(n).expect("small");
        Self {
            deed,
            actor: small(actor),
            which: small(which),
            choice: small(choice),
        }
    }
}

impl Model {
    /// Every action that can be taken in this state, faults and users only as far as the bounds go.
    pub fn actions(&mut self, state: &State, actions: &mut Vec<Action>) {
        actions.clear();
        for number in 0..self.bounds.users.len() {
            if state.users & 1 << number == 0 {
                actions.push(Action::new(Deed::User, 0, number, 0));
            }
        }
        for actor in 0..self.bounds.allocators {
            self.actions_of(state, actor, actions);
        }
        for (number, late) in self.lates.get(state.late).iter().enumerate() {
            for choice in 0..self.choices(state, late) {
                actions.push(Action::new(Deed::Late, 0, number, choice));
            }
        }
        if state.gateway < self.apis.get(state.api).claims_version {
            actions.push(Action::new(Deed::Program, 0, 0, 0));
        }
        if state.time < self.began + self.bounds.ticks {
            actions.push(Action::new(Deed::Tick, 0, 0, 0));
        }
    }

    fn actions_of(&mut self, state: &State, actor: usize, actions: &mut Vec<Action>) {
        let Actor { core, keys, claims } = state.actors[actor];
        let core = self.cores.get(core).clone();
        let knowledge = self.mind.known.get(core.knowledge);
        let (complete, keys_listed, claims_listed) = (
            knowledge.is_complete(),
            knowledge.keys_listed,
            knowledge.claims_listed,
        );
        let faulty = state.faults < self.bounds.faults;
        let mut add = |deed, which, choice| actions.push(Action::new(deed, actor, which, choice));
        if knowledge.is_complete() && knowledge.watermark() < state.gateway {
            add(Deed::SeeWatermark, 0, 0);
        }
        if !keys_listed {
            add(Deed::ListKeys, 0, 0);
        } else if !self.events.get(keys).is_empty() {
            add(Deed::SeeKey, 0, 0);
        }
        if !claims_listed {
            add(Deed::ListClaims, 0, 0);
        } else if !self.events.get(claims).is_empty() {
            add(Deed::SeeClaim, 0, 0);
        }
        for (number, flight) in core.flights.iter().enumerate() {
            if flight.reply.is_some() {
                add(Deed::Reply, number, 0);
                if faulty {
                    add(Deed::LoseReply, number, 0);
                }
                continue;
            }
            for choice in 0..self.choices(state, &flight.request) {
                add(Deed::Apply, number, choice);
            }
            if faulty {
                add(Deed::Lose, number, 0);
                if flight.request.is_write() {
                    add(Deed::GiveUp, number, 0);
                }
            }
        }
        if complete && state.crashes < self.bounds.crashes {
            add(Deed::Crash, 0, 0);
        }
        for target in targets(core.due) {
            let outcomes = self
                .mind
                .plan(core.knowledge, state.time, promised(&core), target)
                .len();
            (0..outcomes).for_each(|choice| {
                actions.push(Action::new(Deed::Plan, actor, target.into(), choice));
            });
        }
    }

    /// In how many ways the API can carry out a request.
    fn choices(&self, state: &State, request: &Request) -> usize {
        match request {
            Request::Create(_) => ranks(self.bounds.seconds, self.apis.get(state.api).next_claim()).len(),
            _ => 1,
        }
    }
}
