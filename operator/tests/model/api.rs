//! The API: unique names, versions, preconditions; and the rules that must hold for every write to it.
//!
//! The rules are the model's own. They know what really happened: no allocator does.

use culvert_operator::world::status::KeyStatus;

use crate::mutation::Mutation;
use crate::objects::{Claim, Event, Key, Seconds, addresses, public_key};
use crate::request::{Reply, Request};

/// What was broken.
pub type Broken = &'static str;

pub const RELEASED: Broken = "a claim is released that a living key wants and has a right to";
pub const DELETED: Broken = "a claim is deleted that was never released";
pub const COOLING: Broken = "an address is free before its cooldown is over";
pub const BEHIND: Broken = "an address is free while a gateway still has its old peer";
pub const UNBACKED: Broken = "an address is published that no claim of the key holds";
pub const CHANGED: Broken = "a key's published address changes though nobody asked for it";
pub const PROGRAMMED: Broken = "a key is called programmed before the gateway has its peer";
pub const GIVES_WAY: Broken = "a claim is published that has to give way to an older one";
pub const FLIPPED: Broken = "the holder of a public key loses it to a later claim";

/// A claim, and what has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kept {
    pub claim: Claim,
    /// The version it was made in.
    pub made: u8,
    /// When it was released.
    pub released: u8,
    /// When it was made another one had its public key.
    pub second: bool,
    /// At some time since it was made its key had no right to it: the user wanted something else, the key was gone, or an
    /// older claim had the public key. Whoever releases it does so for a reason.
    pub lost: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Api {
    pub version: u8,
    /// The version of the last write to a claim.
    pub claims_version: u8,
    next_key: u8,
    next_claim: u8,
    pub keys: Vec<Key>,
    pub claims: Vec<Kept>,
    /// Claims that were deleted since the clock's last step.
    freed: Vec<Claim>,
}

/// What a user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Creates the key of this name with this public key.
    Create(u8, u8),
    /// Gives it another public key.
    Rotate(u8, u8),
    /// Asks for other addresses.
    Renumber(u8),
    Suspend(u8),
    Resume(u8),
    Delete(u8),
}

/// What a request meets besides the objects.
#[derive(Clone, Copy)]
pub struct Around {
    pub seconds: Seconds,
    pub mutation: Mutation,
    pub time: u8,
    /// The gateway has everything up to this version.
    pub gateway: u8,
}

/// What an accepted request does.
pub struct Done {
    pub reply: Reply,
    pub event: Option<Event>,
    pub broken: Option<Broken>,
}

impl Done {
    fn only(reply: Reply) -> Self {
        Self {
            reply,
            event: None,
            broken: None,
        }
    }
}

impl Api {
    fn bump(&mut self) -> u8 {
        self.version = self.version.checked_add(1).expect("few writes");
        self.version
    }

    /// The user's move, or nothing when it cannot be made now.
    pub fn user(&mut self, user: User, seconds: Seconds) -> Option<Event> {
        let (User::Create(name, _)
        | User::Rotate(name, _)
        | User::Renumber(name)
        | User::Suspend(name)
        | User::Resume(name)
        | User::Delete(name)) = user;
        let place = self.keys.iter().position(|key| key.name == name);
        let event = match (user, place) {
            (User::Create(name, public_key), None) => {
                let key = Key {
                    uid: self.next_key,
                    name,
                    version: self.bump(),
                    generation: 1,
                    public_key,
                    address_generation: 0,
                    suspended: false,
                    status: 0,
                };
                self.next_key += 1;
                assert!(self.next_key <= 8, "few keys");
                self.keys.push(key);
                Event::Key(key)
            }
            (User::Create(..), Some(_)) | (_, None) => return None,
            (User::Delete(_), Some(place)) => {
                self.bump();
                Event::KeyGone(self.keys.remove(place).uid)
            }
            (change, Some(place)) => {
                let before = self.keys[place];
                let mut key = before;
                match change {
                    User::Rotate(_, public_key) => key.public_key = public_key,
                    User::Renumber(_) => key.address_generation += 1,
                    User::Suspend(_) => key.suspended = true,
                    User::Resume(_) => key.suspended = false,
                    User::Create(..) | User::Delete(_) => unreachable!("handled above"),
                }
                if key == before {
                    return None;
                }
                key.generation += 1;
                key.version = self.bump();
                self.keys[place] = key;
                Event::Key(key)
            }
        };
        self.judge(seconds);
        Some(event)
    }

    /// Carries out a request. `status` reads a status by its number.
    pub fn apply<'s>(
        &mut self,
        request: Request,
        rank: u8,
        around: Around,
        status: impl Fn(u16) -> &'s KeyStatus,
    ) -> Done {
        let mut done = match request {
            Request::Create(wanted) => self.create(wanted, rank, around.seconds),
            Request::LookUp(wanted) => self.look_up(wanted.address),
            Request::PublishUnless(_, address) => self.look_up(address),
            Request::Prove(claim) | Request::Confirm(claim, _) => {
                let found = self.keys.iter().find(|key| key.name == claim.key_name);
                Done::only(found.map_or(Reply::Absent, |key| Reply::Key(*key)))
            }
            Request::Release(claim) => self.release(claim, around),
            Request::Delete(claim) => self.delete(claim, around),
            Request::Publish(key) | Request::PublishThenCreate(key, _) => self.publish(key, around, status),
        };
        if done.event.is_some() {
            self.judge(around.seconds);
            if done.broken.is_none() {
                done.broken = self.misplaced();
            }
        }
        done
    }

    /// More than a cooldown has gone by.
    pub fn tick(&mut self) {
        self.freed.clear();
    }

    fn look_up(&self, address: u8) -> Done {
        let found = self.at(address).map(|n| self.claims[n].claim);
        Done::only(found.map_or(Reply::Absent, Reply::Claim))
    }

    fn at(&self, address: u8) -> Option<usize> {
        self.claims.iter().position(|kept| kept.claim.address == address)
    }

    /// The uid that the next claim gets.
    pub fn next_claim(&self) -> u8 {
        self.next_claim
    }

    fn create(&mut self, wanted: Claim, rank: u8, seconds: Seconds) -> Done {
        if self.at(wanted.address).is_some() {
            return Done::only(Reply::Taken);
        }
        let version = self.bump();
        let claim = Claim {
            uid: self.next_claim,
            rank,
            version,
            ..wanted
        };
        self.next_claim += 1;
        assert!(self.next_claim <= 24, "few claims");
        self.claims_version = version;
        let holder = self.holder(claim.public_key, seconds);
        self.claims.push(Kept {
            claim,
            made: version,
            released: 0,
            second: false,
            lost: false,
        });
        self.claims.sort_unstable_by_key(|kept| kept.claim.address);
        let first = !self.gives_way(&claim, seconds);
        if let Some(place) = self.at(claim.address) {
            self.claims[place].second = !first;
        }
        let flipped = holder.is_some_and(|holder| {
            self.holder(claim.public_key, seconds).map(|now| now.key) != Some(holder.key)
        });
        Done {
            reply: Reply::Claim(claim),
            event: Some(Event::Claim(claim)),
            broken: flipped.then_some(FLIPPED),
        }
    }

    fn release(&mut self, claim: Claim, around: Around) -> Done {
        let Some(place) = self.at(claim.address) else {
            return Done::only(Reply::Absent);
        };
        let kept = self.claims[place];
        let same = kept.claim.uid == claim.uid && kept.claim.version == claim.version;
        if !same && around.mutation != Mutation::ReleaseWithoutPrecondition {
            return Done::only(Reply::Conflict);
        }
        let version = self.bump();
        self.claims_version = version;
        let released = Claim {
            uid: kept.claim.uid,
            rank: kept.claim.rank,
            version,
            released: true,
            ..claim
        };
        self.claims[place] = Kept {
            claim: released,
            released: if kept.claim.released {
                kept.released
            } else {
                around.time
            },
            ..kept
        };
        Done {
            reply: Reply::Claim(released),
            event: Some(Event::Claim(released)),
            broken: (!kept.claim.released && !kept.lost).then_some(RELEASED),
        }
    }

    fn delete(&mut self, claim: Claim, around: Around) -> Done {
        let Some(place) = self.at(claim.address) else {
            return Done::only(Reply::Absent);
        };
        let kept = self.claims[place];
        let same = kept.claim.uid == claim.uid && kept.claim.version == claim.version;
        if !same && around.mutation != Mutation::DeleteWithoutPrecondition {
            return Done::only(Reply::Conflict);
        }
        let broken = if !kept.claim.released {
            Some(if kept.lost { DELETED } else { RELEASED })
        } else if around.gateway < kept.claim.version {
            Some(BEHIND)
        } else if around.time <= kept.released {
            Some(COOLING)
        } else {
            None
        };
        self.claims_version = self.bump();
        self.claims.remove(place);
        self.freed.push(kept.claim);
        Done {
            reply: Reply::Deleted,
            event: Some(Event::ClaimGone(kept.claim.uid)),
            broken,
        }
    }

    fn publish<'s>(&mut self, news: Key, around: Around, status: impl Fn(u16) -> &'s KeyStatus) -> Done {
        let Some(place) = self.keys.iter().position(|key| key.name == news.name) else {
            return Done::only(Reply::Absent);
        };
        let key = self.keys[place];
        let same = key.uid == news.uid && key.version == news.version;
        if !same && around.mutation != Mutation::PublishWithoutPrecondition {
            return Done::only(Reply::Conflict);
        }
        if key.status == news.status {
            // A write that changes nothing has no version and no event.
            return Done::only(Reply::Key(key));
        }
        let broken = self.misread(key, status(key.status), status(news.status), around);
        let version = self.bump();
        let key = &mut self.keys[place];
        key.status = news.status;
        key.version = version;
        Done {
            reply: Reply::Key(*key),
            event: Some(Event::Key(*key)),
            broken,
        }
    }

    /// The rules of what is published.
    fn misread(&self, key: Key, before: &KeyStatus, after: &KeyStatus, around: Around) -> Option<Broken> {
        let shows = |status: &KeyStatus, claim: &Claim| {
            claim.key == key.uid
                && status.shown.addresses == addresses(claim.address)
                && status.shown.public_key == Some(public_key(claim.public_key))
                && status.shown.address_generation == Some(claim.address_generation.into())
        };
        if let Some(kept) = self.claims.iter().find(|kept| shows(before, &kept.claim))
            && !kept.lost
            && before.shown != after.shown
        {
            return Some(CHANGED);
        }
        if after.shown.addresses.is_empty() {
            return None;
        }
        let Some(kept) = self.claims.iter().find(|kept| shows(after, &kept.claim)) else {
            // No watch is behind and no request under way for as long as a cooldown. Less than that is put right at once.
            let just_now = self.freed.iter().any(|freed| shows(after, freed));
            return (!just_now).then_some(UNBACKED);
        };
        if kept.second
            && kept.claim.public_key == key.public_key
            && kept.claim.address_generation == key.address_generation
            && !kept.claim.released
            && self.gives_way(&kept.claim, around.seconds)
        {
            return Some(GIVES_WAY);
        }
        (after.is_programmed() && around.gateway < kept.made).then_some(PROGRAMMED)
    }

    /// The claim that has this public key: the first of those in use.
    pub fn holder(&self, public_key: u8, seconds: Seconds) -> Option<Claim> {
        let claims = self.claims.iter().map(|kept| kept.claim);
        claims
            .filter(|claim| !claim.released && claim.public_key == public_key)
            .min_by_key(|claim| claim.place(seconds))
    }

    /// Whether another key holds its public key, or an older claim is for the same.
    fn gives_way(&self, claim: &Claim, seconds: Seconds) -> bool {
        let holder = self.holder(claim.public_key, seconds);
        let older = self.claims.iter().map(|kept| kept.claim).filter(|other| {
            !other.released
                && other.key == claim.key
                && other.public_key == claim.public_key
                && other.address_generation == claim.address_generation
        });
        holder.is_some_and(|holder| holder.key != claim.key)
            || older.min_by_key(|other| other.place(seconds)) != Some(*claim)
    }

    /// Notes which claims have no right (any more).
    fn judge(&mut self, seconds: Seconds) {
        for place in 0..self.claims.len() {
            let claim = self.claims[place].claim;
            let wanted = self.keys.iter().any(|key| {
                key.uid == claim.key
                    && !key.suspended
                    && key.public_key == claim.public_key
                    && key.address_generation == claim.address_generation
            });
            if !wanted || claim.released || self.gives_way(&claim, seconds) {
                self.claims[place].lost = true;
            }
        }
    }

    /// Two claims for one address: the name forbids it, and this looks all the same.
    fn misplaced(&self) -> Option<Broken> {
        let mut pairs = self.claims.windows(2);
        pairs
            .any(|pair| pair[0].claim.address >= pair[1].claim.address)
            .then_some("two claims hold one address")
    }
}
