//! A world out of what is known, and what is known out of a world.

use std::time::Duration;

use culvert_operator::plan::check;
use culvert_operator::world::{Change, Kind, Uid, Waiting, World};

use super::{Knowledge, Mind, Seen, due};
use crate::mutation::Mutation;
use crate::objects::{Claim, Key, claim_uid, gateway, gateway_node, key_uid, mono, pool, time};
use crate::request::ranks;

impl Mind {
    /// The real world that knows this, with an empty queue.
    pub(super) fn world(&self, knowledge: &Knowledge, now: u8) -> World {
        let mut world = World::default();
        let at = mono(now);
        let cooldown = self.mutation != Mutation::DeleteBeforeCooldown;
        let applied = match self.mutation {
            Mutation::DeleteBeforeGateways => u8::MAX,
            _ => knowledge.watermark,
        };
        // First: an event that is behind a reply may have brought one of them back.
        let gone = (0..32).filter(|target| knowledge.gone & 1 << target != 0);
        for target in gone {
            if target < 8 {
                world.apply(Change::Gone(Kind::Key, key_uid(target)), at);
            } else {
                self.gone_uids(target - 8)
                    .for_each(|uid| world.apply(Change::Gone(Kind::Claim, uid), at));
            }
        }
        for kind in Kind::ALL {
            world.apply(Change::ListBegins(kind, 0), at);
            match kind {
                Kind::Key => knowledge.keys.iter().for_each(|key| {
                    let key = key.to_world(*self.status(key.status));
                    world.apply(Change::Key(Box::new(key)), at);
                }),
                Kind::Claim => knowledge
                    .claims
                    .iter()
                    .filter(|seen| knowledge.ahead & 1 << (8 + seen.claim.uid) == 0)
                    .for_each(|seen| self.recall(&mut world, *seen, World::apply)),
                Kind::Pool => {
                    world.apply(Change::Pool(Box::new(pool(self.addresses, cooldown))), at);
                }
                Kind::Gateway => world.apply(Change::Gateway(Box::new(gateway())), at),
                Kind::GatewayNode => world.apply(Change::GatewayNode(Box::new(gateway_node(applied))), at),
                Kind::Node | Kind::ServiceRange | Kind::Apiserver => {}
            }
            let listed = match kind {
                Kind::Key => knowledge.keys_listed,
                Kind::Claim => knowledge.claims_listed,
                _ => true,
            };
            if listed {
                world.apply(Change::ListComplete(kind), at);
            }
        }
        let ahead = knowledge.claims.iter();
        ahead
            .filter(|seen| knowledge.ahead & 1 << (8 + seen.claim.uid) != 0)
            .for_each(|seen| {
                self.recall(&mut world, *seen, |world, change, at| {
                    world.learn(change, at);
                });
            });
        for key in 0..8 {
            if knowledge.waiting & 1 << key != 0 {
                world.wait(&key_uid(key), Waiting::Address);
            }
        }
        world.wake(at);
        due(&mut world);
        world
    }

    /// The uids that the claim of this number can have.
    fn gone_uids(&self, uid: u8) -> impl Iterator<Item = Uid> {
        let ranks = ranks(self.seconds, uid);
        ranks.into_iter().map(move |rank| {
            let claim = Claim {
                address: 0,
                uid,
                rank,
                version: 0,
                public_key: 0,
                key: 0,
                key_name: 0,
                address_generation: 0,
                released: false,
            };
            claim_uid(&claim)
        })
    }

    fn recall(&self, world: &mut World, seen: Seen, take: impl Fn(&mut World, Change, Duration)) {
        let claim = seen.claim.to_world(self.seconds);
        let uid = claim.uid;
        take(world, Change::Claim(Box::new(claim)), mono(seen.since));
        if let Some(programmed) = seen.programmed {
            world.mark_programmed(&uid, mono(programmed));
        }
    }

    pub(super) fn read(&mut self, world: &World, before: &Knowledge) -> Knowledge {
        let mut keys: Vec<Key> = Vec::with_capacity(before.keys.len() + 1);
        for view in world.keys() {
            let status = self.number_status(view.status);
            keys.push(Key::of(&view, status));
        }
        keys.sort_unstable_by_key(|key| key.uid);
        let mut claims: Vec<Seen> = world
            .claims()
            .map(|view| Seen {
                claim: Claim::of_view(&view),
                since: time(view.since),
                // Nobody asks it of a released one.
                programmed: view.programmed.filter(|_| !view.released).map(time),
            })
            .collect();
        claims.sort_unstable_by_key(|seen| seen.claim.uid);
        let ahead = claims
            .iter()
            .filter(|seen| world.is_ahead(&claim_uid(&seen.claim)));
        Knowledge {
            ahead: ahead.fold(0, |all, seen| all | 1 << (8 + seen.claim.uid)),
            keys,
            claims,
            ..*before
        }
    }

    /// What the checker that belongs to the operator says of a world that knows this.
    pub fn check(&self, knowledge: &Knowledge, now: u8) -> Vec<check::Broken> {
        check::check(&self.world(knowledge, now))
    }
}
