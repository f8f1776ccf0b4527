//! What follows from what there is, besides a plan: whether it goes on, what is told, and when the next key is due.

use std::sync::Arc;
use std::time::Duration;

use culvert_crds::Reason;
use culvert_wireguard::PublicKey;
use jiff::Timestamp;

use super::Session;
use crate::chance;
use crate::clock::now;
use crate::connect::error::ConnectError;
use crate::connect::follow::KeySeen;
use crate::connect::notify;
use crate::connect::world::{Key, World};
use crate::keys::{KeyState, state};
use crate::rotate::Timetable;

impl Session {
    /// What follows from what there is, besides a plan.
    pub(super) fn judge(&mut self, world: &World) -> Result<(), ConnectError> {
        let name = || self.options.name.clone();
        if self.established && world.key == Key::Absent {
            return Err(ConnectError::Revoked(name()));
        }
        if let KeySeen::Present(object) = &self.key
            && !self.established
            && let Ok(public) = PublicKey::from_base64(&object.spec.public_key)
            && world.tunnel_of(&public).is_some()
            && let KeyState::Refused { reason, message } = state(object, &public)
            && reason != Reason::Expired.as_str()
        {
            return Err(ConnectError::Refused {
                name: name(),
                reason,
                message,
            });
        }
        if let Some(failure) = self.followed.failure.borrow().as_ref()
            && !self.established
            && !failure.may_pass()
        {
            return Err(ConnectError::Unwatched(Arc::clone(failure)));
        }
        if world.key != Key::Unknown {
            self.times.mark(self.started, "known");
        }
        if let Key::Present { addresses, .. } = &world.key
            && !addresses.is_empty()
        {
            self.times.mark(self.started, "programmed");
        }
        let leader = world.leader.and_then(|slot| world.tunnel(slot));
        let Some(public_key) = leader.and_then(|tunnel| tunnel.public_key) else {
            return Ok(());
        };
        let is_current =
            matches!(&world.key, Key::Present { public_key: of_api, .. } if *of_api == public_key);
        if !is_current {
            return Ok(());
        }
        if !self.established {
            self.established = true;
            self.times.mark(self.started, "up");
            if self.options.times {
                drop(crate::output::line(&self.times.text()));
            }
            self.tell_connected(world);
            notify::ready();
        }
        // Also after a rotation whose reply was lost, and which was counted as failed.
        if self.led.replace(public_key) != Some(public_key) {
            self.set_timetable();
        }
        if let Some(rotation) = self.rotation.take_if(|rotation| rotation.from != public_key) {
            for asked in rotation.asked {
                let _ = asked.send(Ok(()));
            }
            self.say("key and addresses are new");
        }
        Ok(())
    }

    fn tell_connected(&mut self, world: &World) {
        let leader = world.leader.and_then(|slot| world.tunnel(slot));
        let carrier = leader.and_then(|tunnel| tunnel.peers.iter().find(|peer| peer.carries));
        let gateways = self.followed.gateways.borrow().clone();
        let name = gateways
            .known
            .iter()
            .find(|known| Some(known.serving.public_key) == carrier.map(|peer| peer.key))
            .map_or_else(|| "a gateway".to_owned(), |known| known.serving.name.clone());
        let mut text = format!("connected as `{}` through {name}", self.options.name);
        // A terminal keeps nothing; a service's journal does.
        if self.screen.terminal.err
            && let Some(tunnel) = leader
        {
            let addresses: Vec<String> = tunnel.addresses.iter().map(ToString::to_string).collect();
            text = text + ", with " + &addresses.join(" and ");
        }
        self.say(&text);
    }

    fn set_timetable(&mut self) {
        let left = match &self.key {
            KeySeen::Present(object) => object.status.as_ref().and_then(|s| s.expires_at.as_ref()),
            _ => None,
        };
        let left = left.map(|time| until(now().wall, time.0));
        let draw = chance::draw().unwrap_or_default();
        self.timetable = Some(Timetable::start(
            self.options.every,
            Duration::ZERO,
            left,
            now().boot,
            draw,
        ));
    }

    /// A key that the cluster will not have, with the tunnel that leads: the API is given back the key before, which works on.
    pub(super) fn is_refused(&self, world: &World) -> Option<(PublicKey, String)> {
        let KeySeen::Present(object) = &self.key else {
            return None;
        };
        let leader = world.leader.and_then(|slot| world.tunnel(slot))?.public_key?;
        let public = PublicKey::from_base64(&object.spec.public_key).ok()?;
        match state(object, &public) {
            KeyState::Refused { reason, message } if self.established && leader != public => {
                (reason != Reason::Expired.as_str()).then_some((leader, message))
            }
            _ => None,
        }
    }
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    let seconds = then.as_second().saturating_sub(now.as_second());
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
