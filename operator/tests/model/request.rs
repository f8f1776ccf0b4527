//! Requests: what the operator's executor sends for each step, and what it makes of the answers.

use crate::mind::News;
use crate::mutation::Mutation;
use crate::objects::{Claim, Event, Key, Seconds};

/// A request to the API, as it was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Request {
    /// POST of a claim.
    Create(Claim),
    /// GET of the claim that has the wanted one's name.
    LookUp(Claim),
    /// GET of the key that this claim belongs to.
    Prove(Claim),
    /// GET of the key of this claim, which has no right to it if this is its version.
    Confirm(Claim, u8),
    /// PUT of this claim, released.
    Release(Claim),
    /// DELETE of this claim.
    Delete(Claim),
    /// PUT of this key's status.
    Publish(Key),
    /// GET of the claim of an address that it takes back.
    PublishUnless(Key, u8),
    /// The same, and a POST after it: wrong.
    PublishThenCreate(Key, Claim),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reply {
    Claim(Claim),
    Key(Key),
    Deleted,
    Taken,
    Absent,
    Conflict,
}

/// A step under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flight {
    pub target: u8,
    pub request: Request,
    /// `None` while the request is on its way to the API.
    pub reply: Option<Reply>,
}

/// An address and a public key of each claim that is being made: bit 0 for the first address with public key 0, bit 8 for
/// the first with public key 1.
pub type Promises = u16;

/// How an executor goes on after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Send(Request),
    /// The step has ended, and has taught this.
    Learn(Option<News>),
    /// The step has failed; it is planned again.
    Fail,
}

impl Flight {
    /// The claim that is being made.
    pub fn claim(&self) -> Option<Claim> {
        match self.request {
            Request::Create(claim) | Request::LookUp(claim) | Request::PublishThenCreate(_, claim) => {
                Some(claim)
            }
            _ => None,
        }
    }

    /// What nobody else in the same program may count on.
    pub fn promises(&self) -> Promises {
        self.claim()
            .map_or(0, |claim| 1 << (claim.address + 8 * claim.public_key))
    }

    /// What `execute/claim.rs` does with the reply.
    pub fn next(&self, reply: Reply, mutation: Mutation) -> Next {
        let learn = |event| Next::Learn(Some(News::Reply(event)));
        match (self.request, reply) {
            (Request::Create(wanted), Reply::Taken) => Next::Send(Request::LookUp(wanted)),
            (Request::LookUp(_), Reply::Absent) => Next::Learn(None),
            (Request::LookUp(wanted), Reply::Claim(found)) => {
                let adopted = Claim {
                    uid: found.uid,
                    rank: found.rank,
                    version: found.version,
                    ..wanted
                };
                let own = match mutation {
                    Mutation::AdoptByUidAlone => found.key == wanted.key,
                    Mutation::AdoptBlindly => true,
                    _ => false,
                };
                learn(Event::Claim(if own { adopted } else { found }))
            }
            (Request::Prove(claim), Reply::Key(key)) if key.uid == claim.key => learn(Event::Key(key)),
            (Request::Prove(claim), Reply::Key(_) | Reply::Absent) => Next::Send(Request::Release(claim)),
            (Request::Confirm(claim, version), Reply::Key(key))
                if key.uid == claim.key && key.version != version =>
            {
                learn(Event::Key(key))
            }
            (Request::Confirm(claim, _), Reply::Key(_) | Reply::Absent) => {
                Next::Send(Request::Release(claim))
            }
            (Request::PublishUnless(news, _), Reply::Claim(claim))
                if claim.key == news.uid && !claim.released =>
            {
                learn(Event::Claim(claim))
            }
            (Request::PublishUnless(news, _), Reply::Claim(_) | Reply::Absent) => {
                Next::Send(Request::Publish(news))
            }
            (Request::Delete(claim), Reply::Deleted | Reply::Absent) => learn(Event::ClaimGone(claim.uid)),
            (Request::PublishThenCreate(_, claim), Reply::Key(_)) => Next::Send(Request::Create(claim)),
            (_, Reply::Claim(claim)) => learn(Event::Claim(claim)),
            (_, Reply::Key(key)) => learn(Event::Key(key)),
            (_, Reply::Taken | Reply::Absent | Reply::Conflict | Reply::Deleted) => Next::Fail,
        }
    }
}

impl Request {
    /// Whether it changes something when it arrives late.
    pub fn is_write(&self) -> bool {
        !matches!(
            self,
            Self::LookUp(_) | Self::Prove(_) | Self::Confirm(..) | Self::PublishUnless(..)
        )
    }
}

/// The places that the uid of a new claim can take among those of the same second.
pub fn ranks(seconds: Seconds, uid: u8) -> Vec<u8> {
    match seconds {
        Seconds::Apart => vec![128],
        // After all that were there before, or ahead of them.
        Seconds::Same => vec![128 + uid, 127 - uid],
    }
}
