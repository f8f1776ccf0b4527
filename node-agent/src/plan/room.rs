//! How many peers an interface takes, as far as its refusals have told.
//!
//! WireGuard takes 2^20 peers on an interface, and says of the next one what it says without memory (`ENOMEM`), which
//! may be over in a moment. So several peers that were refused at once prove nothing, one that is refused alone does:
//! no further one is sent before others have gone, or a minute is over.

use std::time::Duration;

use culvert_crds::gateway_node::Backend;

/// How long a full interface is left alone.
const PAUSE: Duration = Duration::from_mins(1);

/// How many peers an interface takes: 2^20 in Linux, `MAX_PEERS_PER_DEVICE` in drivers/net/wireguard/messages.h.
/// wireguard-go takes 65,536, but it holds up its traffic for as long as it writes all of them down for a look, and keeps
/// some kilobytes for each.
pub fn most(backend: Backend) -> usize {
    match backend {
        Backend::Kernel => 1 << 20,
        Backend::Userspace => 10_000,
    }
}

/// What is known of an interface's room for peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// Nothing speaks against any number.
    #[default]
    Ample,
    /// Several peers were refused at once: the next one goes alone.
    Doubtful,
    /// One peer was refused alone.
    Full {
        /// Peers that were there.
        peers: usize,
        /// When it was tried; `None` until the first tick after.
        tried: Option<Duration>,
    },
}

impl Room {
    /// How many further peers may be sent at once to an interface that has so many. The time is known at ticks.
    pub fn most(&mut self, present: usize, now: Option<Duration>) -> usize {
        match self {
            Self::Ample => usize::MAX,
            Self::Doubtful => 1,
            Self::Full { peers, .. } if present < *peers => *peers - present,
            Self::Full { tried, .. } => now.map_or(0, |now| {
                let tried = *tried.get_or_insert(now);
                usize::from(now.saturating_sub(tried) >= PAUSE)
            }),
        }
    }

    /// Takes in that peers were added where so many had been.
    pub fn taken(&mut self, present: usize) {
        match *self {
            Self::Full { peers, .. } if present < peers => {}
            _ => *self = Self::Ample,
        }
    }

    /// Takes in that so many further peers were sent at once, and one of them was refused.
    pub fn refused(&mut self, sent: usize, present: usize, now: Option<Duration>) {
        *self = if sent == 1 {
            Self::Full {
                peers: present,
                tried: now,
            }
        } else {
            Self::Doubtful
        };
    }

    /// Whether a peer was refused alone.
    pub fn is_full(self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn full() -> Room {
        let mut room = Room::default();
        assert_eq!(room.most(0, None), usize::MAX);
        room.refused(9, 3, Some(at(10)));
        assert_eq!(room.most(3, Some(at(10))), 1);
        room.refused(1, 3, Some(at(10)));
        room
    }

    #[test]
    fn a_program_is_given_fewer_peers_than_the_kernel() {
        assert_eq!([Backend::Userspace, Backend::Kernel].map(most), [10_000, 1 << 20]);
    }

    #[test]
    fn a_refusal_of_many_is_doubted_and_one_of_one_is_believed() {
        let mut room = Room::default();
        room.refused(9, 3, Some(at(10)));
        assert!(!room.is_full());
        room.taken(3);
        assert_eq!(room, Room::Ample);
        assert!(full().is_full());
    }

    #[test]
    fn a_full_interface_is_tried_with_one_peer_a_minute() {
        let mut room = full();
        assert_eq!([room.most(3, Some(at(69))), room.most(3, Some(at(70)))], [0, 1]);
        assert_eq!(room.most(3, None), 0);
        room.refused(1, 3, Some(at(70)));
        assert_eq!([room.most(3, Some(at(129))), room.most(3, Some(at(130)))], [0, 1]);
        room.taken(3);
        assert_eq!(room, Room::Ample);
    }

    #[test]
    fn a_refusal_between_ticks_counts_from_the_next() {
        let mut room = Room::Full {
            peers: 3,
            tried: None,
        };
        assert_eq!(room.most(3, None), 0);
        assert_eq!([room.most(3, Some(at(50))), room.most(3, Some(at(109)))], [0, 0]);
        assert_eq!(room.most(3, Some(at(110))), 1);
    }

    #[test]
    fn whoever_goes_leaves_room_at_once() {
        let mut room = full();
        assert_eq!(room.most(1, None), 2);
        room.taken(1);
        assert!(room.is_full());
        assert_eq!(room.most(3, None), 0);
    }
}
