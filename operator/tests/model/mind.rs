//! What an allocator knows, and the real world and planner that it knows it with.
//!
//! A [`Knowledge`] is everything in a `World` that its behaviour depends on, save its queue. It is turned into a `World`,
//! the world takes in a change or is planned, and what has become of it is read back. Both are functions of their
//! arguments, so each is asked once and remembered.

mod recall;

use std::time::Duration;

use culvert_operator::clock::Now;
use culvert_operator::plan::{NewClaim, Plan, Promised, Step, plan};
use culvert_operator::world::status::KeyStatus;
use culvert_operator::world::{Change, Kind, Target, Waiting, World};
use hashbrown::HashMap;
use jiff::Timestamp;

use crate::draw::Fixed;
use crate::intern::{Intern, Mix};
use crate::mutation::Mutation;
use crate::objects::{
    Claim, Event, Key, Seconds, WALL, address, addresses, claim_uid, gateway_node, key_uid, mono,
    name_number, number, public_key,
};
use crate::request::{Promises, Request};

/// Targets, as a set: keys from bit 0, claims from bit 8.
pub type Targets = u32;

/// A claim, when it was first seen (or seen released), and when seen programmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seen {
    pub claim: Claim,
    pub since: u8,
    pub programmed: Option<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Knowledge {
    pub keys: Vec<Key>,
    pub claims: Vec<Seen>,
    pub keys_listed: bool,
    pub claims_listed: bool,
    gone: Targets,
    /// Claims that only a reply has shown.
    ahead: Targets,
    waiting: Targets,
    watermark: u8,
}

impl Knowledge {
    /// That there is nothing.
    pub fn nothing() -> Self {
        Self {
            keys_listed: true,
            claims_listed: true,
            ..Self::default()
        }
    }

    pub fn is_complete(&self) -> bool {
        self.keys_listed && self.claims_listed
    }

    /// Keys that wait for an address wait no more.
    pub fn wake_waiting(&mut self) -> Targets {
        std::mem::take(&mut self.waiting)
    }

    /// The other keys with the public key of a claim.
    pub fn rivals(&self, claim: &Claim) -> Targets {
        let carry = |key: &&Key| key.public_key == claim.public_key && key.uid != claim.key;
        let rivals = self.keys.iter().filter(carry);
        rivals.fold(0, |rivals, key| rivals | 1 << key.uid)
    }

    pub fn watermark(&self) -> u8 {
        self.watermark
    }

    pub fn see_watermark(&mut self, watermark: u8) {
        self.watermark = watermark;
    }

    /// A list of the keys, whole.
    pub fn list_keys(&mut self, keys: &[Key]) {
        self.keys = keys.to_vec();
        self.keys.sort_unstable_by_key(|key| key.uid);
        self.keys_listed = true;
    }

    /// A list of the claims, whole.
    pub fn list_claims(&mut self, claims: impl Iterator<Item = Claim>, now: u8) {
        self.claims = claims
            .map(|claim| Seen {
                claim,
                since: now,
                programmed: None,
            })
            .collect();
        self.claims.sort_unstable_by_key(|seen| seen.claim.uid);
        self.claims_listed = true;
    }

    /// Everything there is.
    pub fn everything(&self) -> Targets {
        let keys = self.keys.iter().map(|key| key.uid);
        let claims = self.claims.iter().map(|seen| 8 + seen.claim.uid);
        keys.chain(claims).fold(0, |all, target| all | 1 << target)
    }
}

/// Where a change comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum News {
    /// A watch.
    Watch(Event),
    /// The reply to a write.
    Reply(Event),
    /// The gateway's report.
    Watermark(u8),
}

/// What a plan of one target has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub step: Option<Request>,
    pub knowledge: u32,
    pub due: Targets,
    pub timers: Targets,
}

pub struct Mind {
    pub seconds: Seconds,
    pub mutation: Mutation,
    addresses: u8,
    statuses: Vec<KeyStatus>,
    pub known: Intern<Knowledge>,
    absorbed: HashMap<(u32, u8, News), (u32, Targets), Mix>,
    planned: HashMap<(u32, u8, Promises, u8), u32, Mix>,
    outcomes: Vec<Vec<Outcome>>,
}

impl Mind {
    pub fn new(addresses: u8, seconds: Seconds, mutation: Mutation) -> Self {
        Self {
            seconds,
            mutation,
            addresses,
            statuses: vec![KeyStatus::default()],
            known: Intern::default(),
            absorbed: HashMap::default(),
            planned: HashMap::default(),
            outcomes: Vec::new(),
        }
    }

    pub fn status(&self, number: u16) -> &KeyStatus {
        &self.statuses[usize::from(number)]
    }

    pub fn number_status(&mut self, status: KeyStatus) -> u16 {
        let found = self.statuses.iter().position(|known| *known == status);
        let number = found.unwrap_or_else(|| {
            self.statuses.push(status);
            self.statuses.len() - 1
        });
        u16::try_from(number).expect("few statuses")
    }

    /// How many different things the world and the planner were asked.
    pub fn asked(&self) -> (usize, usize) {
        (self.absorbed.len(), self.planned.len())
    }

    /// Takes in news: what is known then, and what that makes due.
    pub fn absorb(&mut self, knowledge: u32, now: u8, news: News) -> (u32, Targets) {
        if let Some(known) = self.absorbed.get(&(knowledge, now, news)) {
            return *known;
        }
        let before = self.known.get(knowledge).clone();
        let mut world = self.world(&before, now);
        let change = match news {
            News::Watch(event) | News::Reply(event) => self.change(event, &before),
            News::Watermark(applied) => Change::GatewayNode(Box::new(gateway_node(applied))),
        };
        match news {
            News::Reply(event) => {
                world.learn(change, mono(now));
                if let (Event::Claim(claim), Mutation::TrustReplies) = (event, self.mutation)
                    && world.claim(&claim_uid(&claim)).is_some()
                {
                    world.apply(Change::Claim(Box::new(claim.to_world(self.seconds))), mono(now));
                }
            }
            News::Watch(_) | News::Watermark(_) => world.apply(change, mono(now)),
        }
        let mut after = self.read(&world, &before);
        match news {
            News::Watch(Event::KeyGone(uid)) | News::Reply(Event::KeyGone(uid)) => after.gone |= 1 << uid,
            News::Watch(Event::ClaimGone(uid)) | News::Reply(Event::ClaimGone(uid)) => {
                after.gone |= 1 << (8 + uid);
            }
            News::Watermark(applied) => after.watermark = applied,
            _ => {}
        }
        let due = if after.is_complete() { due(&mut world) } else { 0 };
        after.waiting &= !due;
        let result = (self.known.put(after), due);
        self.absorbed.insert((knowledge, now, news), result);
        result
    }

    fn change(&self, event: Event, before: &Knowledge) -> Change {
        match event {
            Event::Key(key) => Change::Key(Box::new(key.to_world(*self.status(key.status)))),
            Event::KeyGone(uid) => Change::Gone(Kind::Key, key_uid(uid)),
            Event::Claim(claim) => Change::Claim(Box::new(claim.to_world(self.seconds))),
            Event::ClaimGone(uid) => {
                let known = before.claims.iter().find(|seen| seen.claim.uid == uid);
                // One that is not known has no place in any index.
                let uid = known.map_or(key_uid(u8::MAX), |seen| claim_uid(&seen.claim));
                Change::Gone(Kind::Claim, uid)
            }
        }
    }

    /// Plans one target, for every draw that the random source could make.
    pub fn plan(&mut self, knowledge: u32, now: u8, promised: Promises, target: u8) -> &[Outcome] {
        let question = (knowledge, now, promised, target);
        let known = self.planned.get(&question).copied();
        let number = known.unwrap_or_else(|| {
            let outcomes = self.plan_anew(knowledge, now, promised, target);
            let number = u32::try_from(self.outcomes.len()).expect("fewer than 2^32 plans");
            self.outcomes.push(outcomes);
            self.planned.insert(question, number);
            number
        });
        &self.outcomes[number as usize]
    }

    fn plan_anew(&mut self, knowledge: u32, now: u8, promised: Promises, target: u8) -> Vec<Outcome> {
        let before = self.known.get(knowledge).clone();
        let mut promises = Promised::default();
        for bit in (0..16).filter(|bit| promised & 1 << bit != 0) {
            let claimed = match self.mutation {
                Mutation::PromiseAddressesAlone => u8::MAX,
                _ => bit / 8,
            };
            promises.add(&promise(bit % 8, claimed));
        }
        let mut outcomes: Vec<Outcome> = Vec::new();
        for draw in Fixed::all() {
            let mut world = self.world(&before, now);
            let outcome = self.plan_with(&mut world, &before, now, &promises, target, draw);
            let drawn = matches!(
                outcome.step,
                Some(Request::Create(_) | Request::PublishThenCreate(..))
            );
            if !outcomes.contains(&outcome) {
                outcomes.push(outcome);
            }
            if !drawn {
                break;
            }
        }
        outcomes
    }

    fn plan_with(
        &mut self,
        world: &mut World,
        before: &Knowledge,
        now: u8,
        promises: &Promised,
        target: u8,
        mut draw: Fixed,
    ) -> Outcome {
        let asked = if target < 8 {
            Target::Key(key_uid(target))
        } else {
            let seen = before.claims.iter().find(|seen| seen.claim.uid == target - 8);
            Target::Claim(claim_uid(&seen.expect("a known claim").claim))
        };
        // Later than what has just been seen, so that the gateways' answer is waited for no more: a plan that waits is
        // one that is made later.
        let clock = Now {
            mono: mono(now) + Duration::from_secs(1),
            wall: Timestamp::from_second(WALL.into()).expect("a time"),
        };
        let Plan {
            mut steps,
            wakes,
            programmed,
            waiting,
        } = plan(world, &[asked], promises, clock, &mut draw);
        assert!(steps.len() <= 1, "one step a target");
        let mut timers = 0;
        for (at, target) in &wakes {
            assert!(*at > clock.mono && *at <= mono(now + 1), "a tick is long enough");
            timers |= bit(target);
        }
        programmed
            .iter()
            .for_each(|uid| world.mark_programmed(uid, clock.mono));
        let mut after = self.read(world, before);
        for (uid, queue) in &waiting {
            assert_eq!(*queue, Waiting::Address, "nothing is limited but the pool");
            after.waiting |= 1 << number(*uid);
        }
        let step = steps.pop().map(|(_, step)| self.request(step, before, target));
        let due = due(world);
        after.waiting &= !due;
        Outcome {
            step,
            knowledge: self.known.put(after),
            due,
            timers,
        }
    }

    /// The first request of a step.
    fn request(&mut self, step: Step, before: &Knowledge, target: u8) -> Request {
        match step {
            Step::CreateClaim(new) => {
                let key = *before
                    .keys
                    .iter()
                    .find(|key| key.uid == target)
                    .expect("a known key");
                let claim = Claim {
                    address: address(&new.addresses).expect("one address"),
                    uid: 0,
                    rank: 0,
                    version: 0,
                    public_key: new.public_key.as_bytes()[0],
                    key: key.uid,
                    key_name: name_number(&new.name),
                    address_generation: u8::try_from(new.address_generation).expect("small"),
                    released: false,
                };
                if self.mutation == Mutation::PublishBeforeClaim {
                    let mut status = *self.status(key.status);
                    status.shown.addresses = new.addresses;
                    status.shown.public_key = Some(new.public_key);
                    status.shown.address_generation = Some(new.address_generation);
                    let status = self.number_status(status);
                    return Request::PublishThenCreate(Key { status, ..key }, claim);
                }
                Request::Create(claim)
            }
            Step::PublishKey(news) => {
                let key = *before
                    .keys
                    .iter()
                    .find(|key| key.uid == target)
                    .expect("a known key");
                assert_eq!(u64::from(key.version), news.resource_version);
                let news_held = news.unless_held;
                let status = self.number_status(news.status);
                let news = Key { status, ..key };
                match news_held {
                    Some(held) if self.mutation != Mutation::TakeBackUnread => {
                        Request::PublishUnless(news, address(&held).expect("one address"))
                    }
                    _ => Request::Publish(news),
                }
            }
            Step::ReleaseOrphan(claim) if self.mutation == Mutation::NoLiveRead => {
                Request::Release(Claim::of(&claim))
            }
            Step::ReleaseOrphan(claim) => Request::Prove(Claim::of(&claim)),
            Step::ReleaseClaim { claim, .. } if self.mutation == Mutation::DeleteAtOnce => {
                Request::Delete(Claim::of(&claim))
            }
            Step::ReleaseClaim { claim, key_version } => match key_version {
                Some(version) if self.mutation != Mutation::ReleaseUnread => {
                    Request::Confirm(Claim::of(&claim), u8::try_from(version).expect("small"))
                }
                _ => Request::Release(Claim::of(&claim)),
            },
            Step::DeleteClaim { uid, .. } => {
                let seen = before.claims.iter().find(|seen| seen.claim.uid == number(uid));
                Request::Delete(seen.expect("a known claim").claim)
            }
            other => unreachable!("no step of a key or a claim in so small a world: {other:?}"),
        }
    }
}

/// Takes what is due of keys and claims out of the queue.
fn due(world: &mut World) -> Targets {
    let mut due = 0;
    while world.has_due() {
        due |= world
            .take_due(usize::MAX)
            .iter()
            .fold(0, |due, target| due | bit(target));
    }
    due
}

fn bit(target: &Target) -> Targets {
    match target {
        Target::Key(uid) => 1 << number(*uid),
        Target::Claim(uid) => 1 << (8 + number(*uid)),
        Target::Pool(_) | Target::Fleet => 0,
    }
}

fn promise(address: u8, claimed: u8) -> NewClaim {
    NewClaim {
        key: key_uid(u8::MAX),
        namespace: "tenant".into(),
        name: "promise".to_owned(),
        public_key: public_key(claimed),
        pool: "default".into(),
        addresses: addresses(address),
        address_generation: 0,
    }
}
