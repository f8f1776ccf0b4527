//! One step of a plan, done.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use culvert_wireguard::{Endpoint, PublicKey};
use kube::ResourceExt as _;

use super::error::ConnectError;
use super::follow::{KeySeen, Known};
use super::machine::Effect;
use super::names::interface;
use super::plan::Step;
use super::session::{LABEL, OTHERS, SLOW, Session};
use super::world::World;
use crate::clock::pause;
use crate::keys::{self, NewKey, Revoked};
use crate::request::{Ask, Failure, Why};

/// MTU of a tunnel whose gateway has said none: WireGuard's own.
const MTU: u32 = 1420;

/// How long the apiserver may take while a tunnel is to be looked after.
const SOON: Duration = Duration::from_secs(8);

/// How often a change is tried that somebody else's has come before.
const TRIES: u32 = 5;

/// The rotations that a key outlives whose client is gone.
const LIVES: u32 = 3;

impl Session {
    /// Does it.
    pub(super) async fn step(&mut self, step: &Step, world: &World) -> Result<(), ConnectError> {
        #[cfg(feature = "faults")]
        super::fault::step();
        match step {
            Step::Make { slot } => self.act(Effect::Make { slot: *slot }).await,
            Step::Publish { slot } => self.publish(*slot, world).await,
            Step::Furnish { slot, addresses } => {
                let mtu = self.known().iter().map(|known| known.serving.mtu).min();
                self.act(Effect::Furnish {
                    slot: *slot,
                    addresses: addresses.clone(),
                    mtu: mtu.unwrap_or(MTU),
                })
                .await
            }
            Step::Meet { slot, gateways } => {
                let gateways = gateways.iter().filter_map(|key| self.place_of(key)).collect();
                self.act(Effect::Meet {
                    slot: *slot,
                    gateways,
                })
                .await
            }
            Step::Settle { slot, gateway } => {
                // One that the API has not named answers where it is known to be: nothing is to be changed.
                let Some(gateway) = self.place_of(gateway) else {
                    // It is planned until the API names it.
                    pause(SLOW).await;
                    return Ok(());
                };
                self.act(Effect::Settle { slot: *slot, gateway }).await
            }
            Step::Close => self.act(Effect::Close).await,
            Step::Open => self.act(Effect::Open).await,
            Step::Lead { slot } => self.act(Effect::Lead { slot: *slot }).await,
            Step::Unlead => self.act(Effect::Unlead).await,
            Step::Remove { slot } => self.act(Effect::Remove { slot: *slot }).await,
            Step::Resolve { slot } => self.resolve(*slot, world).await,
            Step::Unresolve => {
                self.dns.restore().await?;
                self.resolves = None;
                self.resolvers.clear();
                Ok(())
            }
            Step::Revoke => self.revoke().await,
        }
    }

    async fn act(&self, effect: Effect) -> Result<(), ConnectError> {
        Ok(self.place.act(effect).await?)
    }

    fn known(&self) -> Vec<Known> {
        let gateways = self.followed.gateways.borrow();
        let wanted = gateways
            .known
            .iter()
            .filter(|known| self.options.gateway.fits(known));
        wanted.cloned().collect()
    }

    /// A gateway with the place where it is.
    fn place_of(&self, key: &PublicKey) -> Option<(PublicKey, Endpoint)> {
        let gateways = self.followed.gateways.borrow();
        let known = gateways
            .known
            .iter()
            .find(|known| known.serving.public_key == *key)?;
        Some((*key, Endpoint::new(known.address?)))
    }

    /// Tells the API a tunnel's public key, in the one object there is.
    async fn publish(&mut self, slot: u8, world: &World) -> Result<(), ConnectError> {
        let public = world.tunnel(slot).and_then(|tunnel| tunnel.public_key);
        match public {
            Some(public) => self.put_through(&public).await,
            None => Ok(()),
        }
    }

    /// Puts a public key into the object, whoever else changes it meanwhile.
    pub(super) async fn put_through(&mut self, public: &PublicKey) -> Result<(), ConnectError> {
        let mut tries = 0;
        let answer = loop {
            tries += 1;
            // Until there is an answer, whatever ends this.
            self.is_unclear = true;
            let answer = tokio::time::timeout(SOON, self.put(public)).await;
            let answer = answer.unwrap_or_else(|_| Err(self.too_late().into()));
            let Err(ConnectError::Request(failure)) = &answer else {
                self.is_unclear = false;
                break answer;
            };
            let is_behind = matches!(failure.why, Why::Conflict | Why::AlreadyExists);
            if is_behind || failure.is_unclear() {
                // What there is, or has become of it, is to be seen.
                self.is_unclear = !self.look_again().await;
            } else {
                self.is_unclear = false;
            }
            if !is_behind || tries >= TRIES {
                break answer;
            }
        };
        self.key = KeySeen::Present(Arc::new(answer?));
        Ok(())
    }

    fn too_late(&self) -> Failure {
        Failure {
            ask: Box::new(
                Ask::within("patch", "wireguardkeys", &self.cluster.namespace).named(&self.options.name),
            ),
            why: Why::TimedOut,
        }
    }

    async fn put(&self, public: &PublicKey) -> Result<culvert_crds::WireGuardKey, ConnectError> {
        let KeySeen::Present(seen) = &self.key else {
            let new = NewKey {
                name: self.options.name.clone(),
                pool: self.options.pool.clone(),
                expire_after: Some(self.options.every.duration() * LIVES),
                labels: vec![(LABEL.to_owned(), self.options.machine.clone())],
            };
            return Ok(keys::create(&self.cluster, &new, public).await?);
        };
        if seen.labels().get(LABEL) != Some(&self.options.machine) {
            return Err(ConnectError::Foreign(self.options.name.clone()));
        }
        if seen.spec.public_key == public.to_base64() {
            return Ok(culvert_crds::WireGuardKey::clone(seen));
        }
        Ok(keys::replace(&self.cluster, seen, public).await?)
    }

    /// Reads the object, in case the watch is behind; whether the apiserver has said what there is.
    pub(super) async fn look_again(&mut self) -> bool {
        let read = keys::get(&self.cluster, &self.options.name);
        self.key = match tokio::time::timeout(SOON, read).await {
            Ok(Ok(object)) => KeySeen::Present(Arc::new(object)),
            Ok(Err(Failure {
                why: Why::NotFound, ..
            })) => KeySeen::Absent,
            _ => return false,
        };
        true
    }

    async fn resolve(&mut self, slot: u8, world: &World) -> Result<(), ConnectError> {
        if let Some(resolvers) = self.resolvers_of(slot, world) {
            self.dns.resolve(&interface(slot), &resolvers).await?;
            self.resolves = Some(slot);
            self.resolvers = resolvers;
        }
        Ok(())
    }

    /// What the gateway that carries a tunnel has clients resolve names by; none when the API has not named that gateway.
    fn resolvers_of(&self, slot: u8, world: &World) -> Option<Vec<IpAddr>> {
        let carrier = world.tunnel(slot)?.peers.iter().find(|peer| peer.carries)?;
        let gateways = self.followed.gateways.borrow();
        let known = gateways
            .known
            .iter()
            .find(|known| known.serving.public_key == carrier.key);
        known.map(|known| known.serving.dns.clone())
    }

    /// The slot for whose gateway names are resolved, as that gateway has it now.
    pub(super) fn resolves_for(&self, world: &World) -> Option<u8> {
        let leader = world.leader?;
        match self.resolvers_of(leader, world) {
            // What is in place stays until more is known.
            None => Some(leader),
            Some(wanted) if self.resolves.is_some() && wanted != self.resolvers => Some(OTHERS),
            Some(_) => self.resolves,
        }
    }

    async fn revoke(&mut self) -> Result<(), ConnectError> {
        if self.is_unclear || matches!(self.key, KeySeen::Unknown) {
            let got = tokio::time::timeout(SOON, keys::get(&self.cluster, &self.options.name)).await;
            self.key = match got {
                Ok(Ok(found)) => KeySeen::Present(Arc::new(found)),
                Ok(Err(Failure {
                    why: Why::NotFound, ..
                })) => KeySeen::Absent,
                Ok(Err(failure)) => return Err(failure.into()),
                Err(_) => return Err(ConnectError::NotRevoked(self.options.name.clone())),
            };
            self.is_unclear = false;
        }
        let KeySeen::Present(seen) = &self.key else {
            return Ok(());
        };
        if seen.labels().get(LABEL) != Some(&self.options.machine) {
            self.key = KeySeen::Absent;
            return Ok(());
        }
        let uid = seen.uid();
        let revoked = keys::revoke(&self.cluster, &self.options.name, uid.as_deref());
        match tokio::time::timeout(SOON, revoked).await {
            Ok(Ok(Revoked::Now | Revoked::Before)) => {
                self.key = KeySeen::Absent;
                Ok(())
            }
            Ok(Err(failure)) => Err(failure.into()),
            Err(_) => Err(ConnectError::NotRevoked(self.options.name.clone())),
        }
    }
}
