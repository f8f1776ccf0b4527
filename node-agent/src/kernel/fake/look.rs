//! An open look: what the kernel has written of it, and where it goes on.
//!
//! As `wg_get_device_dump` has it, a datagram is written when the one before it is read. What is changed in between
//! cuts the rest of a peer's prefixes, and ends the look early when the last peer shown is gone.

use std::ops::Bound;

use culvert_wireguard::{ObservedPeer, PeerPart, Progress, Refusal, Settings};
use ipnet::IpNet;

use super::device::Device;

/// An open look.
pub(super) struct Look {
    pub(super) ifindex: u32,
    settings: Settings,
    /// The last peer that was shown whole, by its number.
    cursor: Option<u64>,
    rest: Option<Rest>,
    /// The interface's generation when the last datagram was written.
    generation: u64,
    coherent: bool,
    written: Result<Datagram, Refusal>,
}

/// A peer that goes on in the next datagram.
struct Rest {
    peer: u64,
    /// The first of its prefixes that was not shown.
    at: usize,
    /// What the prefixes were when it began.
    prefixes: u64,
}

/// What one read hands over.
#[derive(Default)]
pub(super) struct Datagram {
    parts: Vec<Part>,
    last: bool,
}

struct Part {
    peer: ObservedPeer,
    begins: bool,
    allowed_ips: Vec<IpNet>,
}

impl Datagram {
    pub(super) fn hand_over(&self, each: &mut dyn FnMut(PeerPart<'_>)) {
        for part in &self.parts {
            let peer = &part.peer;
            let more = PeerPart::more(&peer.public_key, &part.allowed_ips);
            if !part.begins {
                each(more);
                continue;
            }
            each(PeerPart {
                begins: true,
                endpoint: peer.endpoint,
                last_handshake: peer.last_handshake,
                rx_bytes: peer.rx_bytes,
                tx_bytes: peer.tx_bytes,
                persistent_keepalive: peer.persistent_keepalive,
                has_preshared_key: peer.has_preshared_key,
                ..more
            });
        }
    }
}

impl Look {
    /// Begins a look: the first datagram is written now. `room` is how many peers and prefixes one holds.
    pub(super) fn begin(ifindex: u32, device: Option<&Device>, room: usize) -> Self {
        let mut look = Self {
            ifindex,
            settings: device.map(Device::settings).unwrap_or_default(),
            cursor: None,
            rest: None,
            generation: device.map_or(0, |device| device.generation),
            coherent: true,
            written: Err(Refusal::NotFound),
        };
        if device.is_some() {
            look.written = Ok(look.write(device, room));
        }
        look
    }

    /// Somebody's change ends it early: of the datagram that is written half is left out, and all that would come after.
    pub(super) fn interrupt(&mut self) {
        self.coherent = false;
        if let Ok(datagram) = &mut self.written {
            datagram.parts.truncate(datagram.parts.len() / 2);
            datagram.last = true;
        }
    }

    /// Takes the datagram that is written, and has the next one written. Without a look it was the last.
    pub(super) fn next(
        mut self,
        device: Option<&Device>,
        room: usize,
    ) -> Result<(Datagram, Progress, Option<Self>), Refusal> {
        let datagram = std::mem::replace(&mut self.written, Err(Refusal::NotFound))?;
        if datagram.last {
            let done = Progress::Done {
                settings: self.settings,
                coherent: self.coherent,
            };
            return Ok((datagram, done, None));
        }
        self.written = Ok(self.write(device, room));
        Ok((datagram, Progress::More, Some(self)))
    }

    fn write(&mut self, device: Option<&Device>, room: usize) -> Datagram {
        let mut datagram = Datagram {
            last: true,
            ..Datagram::default()
        };
        let Some(device) = device else {
            self.coherent = false;
            return datagram;
        };
        self.coherent &= self.generation == device.generation;
        self.generation = device.generation;
        if self.cursor.is_some_and(|id| !device.peers().contains_key(&id)) {
            return datagram;
        }
        let mut room = room;
        let after = self.cursor.map_or(Bound::Unbounded, Bound::Excluded);
        for (id, peer) in device.peers().range((after, Bound::Unbounded)) {
            if room == 0 {
                datagram.last = false;
                break;
            }
            room -= 1;
            let rest = self.rest.take();
            let prefixes = peer.seen.allowed_ips.as_slice();
            let prefixes = match &rest {
                None => prefixes,
                Some(rest) if rest.prefixes == device.prefixes => &prefixes[rest.at..],
                Some(_) => &[],
            };
            let (shown, left) = prefixes.split_at(room.min(prefixes.len()));
            room -= shown.len();
            // The peer after one that was to go on and is gone: nothing of it began.
            if rest.as_ref().is_none_or(|rest| rest.peer == *id) {
                datagram.parts.push(Part {
                    peer: peer.seen.clone(),
                    begins: rest.is_none(),
                    allowed_ips: shown.to_vec(),
                });
            }
            if !left.is_empty() {
                self.rest = Some(Rest {
                    peer: *id,
                    at: peer.seen.allowed_ips.len() - left.len(),
                    prefixes: device.prefixes,
                });
                datagram.last = false;
                break;
            }
            self.cursor = Some(*id);
        }
        datagram
    }
}
