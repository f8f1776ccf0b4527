//! A rotation: begun, given up, and who has asked for it is told.

use std::time::Duration;

use culvert_wireguard::PublicKey;

use super::{Session, TICK};
use crate::chance;
use crate::clock::{now, pause};
use crate::connect::control::Asked;
use crate::connect::follow::KeySeen;

/// A rotation under way.
pub(super) struct Rotation {
    pub(super) from: PublicKey,
    pub(super) asked: Vec<Asked>,
}

impl Session {
    pub(super) fn begin_rotation(&mut self, asked: Option<Asked>) {
        let from = match &self.key {
            KeySeen::Present(object) if self.established => {
                PublicKey::from_base64(&object.spec.public_key).ok()
            }
            _ => None,
        };
        let Some(from) = from else {
            if let Some(asked) = asked {
                let _ = asked.send(Err("it is not connected yet".to_owned()));
            }
            return;
        };
        self.patient_until = Duration::ZERO;
        let rotation = self.rotation.get_or_insert(Rotation {
            from,
            asked: Vec::new(),
        });
        rotation.asked.extend(asked);
    }

    /// The old key works on; the timetable says when to try again.
    pub(super) fn rotation_failed(&mut self, why: &str) {
        let Some(rotation) = self.rotation.take() else {
            return;
        };
        let draw = chance::draw().unwrap_or_default();
        if let Some(timetable) = &mut self.timetable {
            timetable.failed(now().boot, draw);
        }
        for asked in rotation.asked {
            let _ = asked.send(Err(why.to_owned()));
        }
    }

    /// Puts the key before into the object again.
    pub(super) async fn give_back(&mut self, before: &PublicKey, why: &str) {
        self.rotation_failed(why);
        self.say(&format!("the new key is refused: {why}; the old one goes on"));
        if self.put_through(before).await.is_err() {
            self.have_patience();
            pause(TICK).await;
        }
    }
}
