//! One state of everything: the API, two allocators, what is on the wire between them, a gateway, and what may still
//! happen. And every way on from it.

mod moves;

use crate::api::{Api, Around, Broken};
use crate::bounds::Bounds;
use crate::intern::Intern;
use crate::mind::{Knowledge, Mind, News, Targets};
use crate::mutation::Mutation;
use crate::objects::Event;
use crate::request::{Flight, Next, Promises, Request, ranks};
use crate::rest;
pub use moves::{Action, Deed};

/// One allocator's process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Core {
    pub knowledge: u32,
    pub due: Targets,
    timers: Targets,
    pub flights: Vec<Flight>,
}

/// An allocator, and what its watches have not brought yet. All by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Actor {
    pub core: u32,
    pub keys: u32,
    pub claims: u32,
}

/// Forty bytes: its parts are kept once, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub api: u32,
    pub actors: [Actor; 2],
    /// Requests whose sender has given them up, and that may still arrive.
    pub late: u32,
    /// Moves made, one bit each.
    users: u16,
    pub time: u8,
    /// The gateway has everything up to this version.
    pub gateway: u8,
    crashes: u8,
    faults: u8,
}

/// A state after an action.
pub struct After {
    pub state: State,
    pub broken: Option<Broken>,
    /// The two allocators have changed places: which of them is which makes no difference.
    pub swapped: bool,
}

pub struct Model {
    pub bounds: Bounds,
    /// When what was before is over.
    began: u8,
    pub mind: Mind,
    pub apis: Intern<Api>,
    pub cores: Intern<Core>,
    pub events: Intern<Vec<Event>>,
    pub lates: Intern<Vec<Request>>,
}

impl Model {
    pub fn new(bounds: Bounds, mutation: Mutation) -> Self {
        Self {
            mind: Mind::new(bounds.addresses, bounds.seconds, mutation),
            bounds,
            began: 0,
            apis: Intern::default(),
            cores: Intern::default(),
            events: Intern::default(),
            lates: Intern::default(),
        }
    }

    /// Where everything begins: nothing exists, both allocators know it, and then came what was before.
    pub fn first(&mut self) -> State {
        let mut state = self.nothing();
        for user in self.bounds.before {
            let mut api = self.apis.get(state.api).clone();
            let event = api
                .user(*user, self.bounds.seconds)
                .expect("a move that can be made");
            state.api = self.apis.put(api);
            self.tell(&mut state, event);
            state = rest::come_to_rest(self, state)
                .expect("all is well before it begins")
                .0;
        }
        self.began = state.time;
        state
    }

    fn nothing(&mut self) -> State {
        let knowledge = self.mind.known.put(Knowledge::nothing());
        let core = self.cores.put(Core {
            knowledge,
            ..Core::default()
        });
        let events = self.events.put(Vec::new());
        let actor = Actor {
            core,
            keys: events,
            claims: events,
        };
        State {
            api: self.apis.put(Api::default()),
            actors: [actor; 2],
            late: self.lates.put(Vec::new()),
            users: 0,
            time: 0,
            gateway: 0,
            crashes: 0,
            faults: 0,
        }
    }

    /// How many parts its states are made of.
    pub fn size(&self) -> String {
        let (absorbed, planned) = self.mind.asked();
        let (cores, apis) = (self.cores.len(), self.apis.len());
        format!(
            "{cores} allocators, {apis} APIs; {absorbed} changes and {planned} plans asked of the operator"
        )
    }

    /// The state after an action; `None` when it changes nothing.
    #[expect(clippy::too_many_lines, reason = "an arm for each deed")]
    pub fn after(&mut self, before: &State, action: Action) -> Option<After> {
        let mut state = *before;
        let actor = usize::from(action.actor);
        let which = usize::from(action.which);
        let mut core = self.cores.get(state.actors[actor].core).clone();
        let mut broken = None;
        match action.deed {
            Deed::User => {
                let mut api = self.apis.get(state.api).clone();
                let event = api.user(self.bounds.users[which], self.bounds.seconds)?;
                state.users |= 1 << which;
                state.api = self.apis.put(api);
                self.tell(&mut state, event);
                return Some(self.settled(state, None));
            }
            Deed::Plan => {
                let outcomes = self
                    .mind
                    .plan(core.knowledge, state.time, promised(&core), action.which);
                let outcome = outcomes[usize::from(action.choice)].clone();
                core.due &= !(1 << action.which);
                core.knowledge = outcome.knowledge;
                core.timers |= outcome.timers;
                if let Some(request) = outcome.step {
                    core.flights.push(Flight {
                        target: action.which,
                        request,
                        reply: None,
                    });
                }
                touch(&mut core, outcome.due);
            }
            Deed::Apply => {
                let request = core.flights[which].request;
                let (reply, found) = self.carry_out(&mut state, request, action.choice);
                core.flights[which].reply = Some(reply);
                broken = found;
            }
            Deed::Reply => self.take_reply(&mut core, which, state.time),
            Deed::Lose | Deed::LoseReply => {
                state.faults += 1;
                self.fail(&mut core, which);
            }
            Deed::GiveUp => {
                state.faults += 1;
                let request = core.flights[which].request;
                self.keep_late(&mut state, [request]);
                self.fail(&mut core, which);
            }
            Deed::Late => {
                let mut lates = self.lates.get(state.late).clone();
                let request = lates.remove(which);
                state.late = self.lates.put(lates);
                (_, broken) = self.carry_out(&mut state, request, action.choice);
                return Some(self.settled(state, broken));
            }
            Deed::Crash => {
                state.crashes += 1;
                let under_way = core.flights.iter().filter(|flight| flight.reply.is_none());
                let writes: Vec<Request> = under_way
                    .map(|flight| flight.request)
                    .filter(Request::is_write)
                    .collect();
                self.keep_late(&mut state, writes);
                let nothing = self.events.put(Vec::new());
                (state.actors[actor].keys, state.actors[actor].claims) = (nothing, nothing);
                core = Core {
                    knowledge: self.mind.known.put(Knowledge::default()),
                    ..Core::default()
                };
            }
            Deed::ListKeys | Deed::ListClaims => self.list(&mut core, &state, action.deed),
            Deed::SeeKey | Deed::SeeClaim => {
                let queue = match action.deed {
                    Deed::SeeKey => &mut state.actors[actor].keys,
                    _ => &mut state.actors[actor].claims,
                };
                let mut events = self.events.get(*queue).clone();
                let event = events.remove(0);
                *queue = self.events.put(events);
                self.learn(&mut core, state.time, News::Watch(event));
            }
            Deed::SeeWatermark => self.learn(&mut core, state.time, News::Watermark(state.gateway)),
            Deed::Program => {
                state.gateway = self.apis.get(state.api).claims_version;
                return Some(self.settled(state, None));
            }
            Deed::Tick => {
                state.time += 1;
                let mut api = self.apis.get(state.api).clone();
                api.tick();
                state.api = self.apis.put(api);
                for actor in 0..2 {
                    let mut core = self.cores.get(state.actors[actor].core).clone();
                    let timers = std::mem::take(&mut core.timers);
                    touch(&mut core, timers);
                    self.put_core(&mut state, actor, core);
                }
                return Some(self.settled(state, None));
            }
        }
        self.put_core(&mut state, actor, core);
        Some(self.settled(state, broken))
    }

    /// Which of the two is which makes no difference.
    fn settled(&mut self, mut state: State, broken: Option<Broken>) -> After {
        let swapped = self.bounds.allocators == 2 && state.actors[1] < state.actors[0];
        if swapped {
            state.actors.swap(0, 1);
        }
        After {
            state,
            broken,
            swapped,
        }
    }

    /// A plan that comes to nothing is made at once: it is the allocator's own affair.
    fn put_core(&mut self, state: &mut State, actor: usize, mut core: Core) {
        let mut idle = true;
        while idle {
            idle = false;
            for target in targets(core.due) {
                let knowledge = self.mind.known.get(core.knowledge);
                if knowledge.everything() & 1 << target == 0 {
                    core.due &= !(1 << target);
                    continue;
                }
                let outcomes = self
                    .mind
                    .plan(core.knowledge, state.time, promised(&core), target);
                let [only] = outcomes else { continue };
                if only.step.is_some() {
                    continue;
                }
                let only = only.clone();
                core.due &= !(1 << target);
                core.knowledge = only.knowledge;
                core.timers |= only.timers;
                touch(&mut core, only.due);
                idle = true;
            }
        }
        core.timers &= self.mind.known.get(core.knowledge).everything();
        core.flights.sort_unstable();
        state.actors[actor].core = self.cores.put(core);
    }

    fn carry_out(
        &mut self,
        state: &mut State,
        request: Request,
        choice: u8,
    ) -> (crate::request::Reply, Option<Broken>) {
        let mut api = self.apis.get(state.api).clone();
        let rank = ranks(self.bounds.seconds, api.next_claim())
            .get(usize::from(choice))
            .copied()
            .unwrap_or(0);
        let around = Around {
            seconds: self.bounds.seconds,
            mutation: self.mind.mutation,
            time: state.time,
            gateway: state.gateway,
        };
        let done = api.apply(request, rank, around, |number| self.mind.status(number));
        state.api = self.apis.put(api);
        if let Some(event) = done.event {
            self.tell(state, event);
        }
        (done.reply, done.broken)
    }

    /// Puts an event into the watches that have begun.
    fn tell(&mut self, state: &mut State, event: Event) {
        for actor in &mut state.actors[..self.bounds.allocators] {
            let knowledge = self.mind.known.get(self.cores.get(actor.core).knowledge);
            let (listed, queue) = match event {
                Event::Key(_) | Event::KeyGone(_) => (knowledge.keys_listed, &mut actor.keys),
                Event::Claim(_) | Event::ClaimGone(_) => (knowledge.claims_listed, &mut actor.claims),
            };
            if listed {
                let mut events = self.events.get(*queue).clone();
                events.push(event);
                *queue = self.events.put(events);
            }
        }
    }

    fn keep_late(&mut self, state: &mut State, requests: impl IntoIterator<Item = Request>) {
        let mut lates = self.lates.get(state.late).clone();
        lates.extend(requests);
        lates.sort_unstable();
        state.late = self.lates.put(lates);
    }

    fn list(&mut self, core: &mut Core, state: &State, deed: Deed) {
        let api = self.apis.get(state.api);
        let mut knowledge = self.mind.known.get(core.knowledge).clone();
        if deed == Deed::ListKeys {
            knowledge.list_keys(&api.keys);
        } else {
            knowledge.list_claims(api.claims.iter().map(|kept| kept.claim), state.time);
        }
        if knowledge.is_complete() {
            core.due = knowledge.everything();
        }
        core.knowledge = self.mind.known.put(knowledge);
    }

    fn learn(&mut self, core: &mut Core, time: u8, news: News) {
        let (knowledge, due) = self.mind.absorb(core.knowledge, time, news);
        core.knowledge = knowledge;
        touch(core, due);
    }

    /// A step has failed: its target is planned again, sooner or later, and what it counted on is open to others.
    fn fail(&mut self, core: &mut Core, which: usize) {
        let flight = core.flights.remove(which);
        self.wake_rivals(core, &flight);
        if flight.promises() != 0 {
            let mut knowledge = self.mind.known.get(core.knowledge).clone();
            let waiting = knowledge.wake_waiting();
            core.knowledge = self.mind.known.put(knowledge);
            touch(core, waiting);
        }
        touch(core, 1 << flight.target);
    }

    /// Another key may have waited to see what becomes of its public key.
    fn wake_rivals(&self, core: &mut Core, ended: &Flight) {
        let known = self.mind.known.get(core.knowledge);
        let rivals = ended.claim().map_or(0, |claim| known.rivals(&claim));
        touch(core, rivals);
    }

    fn take_reply(&mut self, core: &mut Core, which: usize, time: u8) {
        let flight = core.flights[which];
        let Some(reply) = flight.reply else { return };
        match flight.next(reply, self.mind.mutation) {
            Next::Send(request) => {
                core.flights[which] = Flight {
                    request,
                    reply: None,
                    ..flight
                };
            }
            Next::Learn(Some(news)) => {
                core.flights.remove(which);
                self.wake_rivals(core, &flight);
                self.learn(core, time, news);
                touch(core, 1 << flight.target);
            }
            Next::Learn(None) | Next::Fail => self.fail(core, which),
        }
    }
}

/// What has a step under way is planned again when that has ended, and not before.
fn touch(core: &mut Core, due: Targets) {
    let under_way = core
        .flights
        .iter()
        .fold(0, |all, flight| all | 1 << flight.target);
    core.due |= due & !under_way;
}

fn promised(core: &Core) -> Promises {
    core.flights.iter().fold(0, |all, flight| all | flight.promises())
}

fn targets(set: Targets) -> impl Iterator<Item = u8> {
    (0..32).filter(move |target| set & 1 << target != 0)
}
