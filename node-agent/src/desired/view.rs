//! What one gateway wants of the peers: those of its pools, as many as its interface takes.
//!
//! Every question is about one public key and costs the same however many there are.

use std::collections::HashMap;
use std::net::IpAddr;

use culvert_wireguard::{AllowedIps, DesiredPeer, PublicKey};
use ipnet::IpNet;

use super::parse::Uid;
use super::{Claim, Desired, Place, Slot};
use crate::assignment::gateway_address;

/// What a gateway serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Ranges by the pool's number, each with the gateway's own address in it.
    pub(super) ranges: HashMap<u16, Vec<(IpNet, IpAddr)>>,
    /// Pools that it would serve if they were known.
    pub(super) absent: Vec<u16>,
    /// The gateway's own public key, as soon as it is known.
    pub own: Option<PublicKey>,
    /// The last public key that is served, by its oldest claim; `None` when there is room for all.
    pub last: Option<Place>,
}

/// What a gateway makes of one public key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The interface should hold it.
    pub is_wanted: bool,
    /// The interface should hold it if it took more peers.
    pub is_beyond: bool,
    /// How many of its claims are refused.
    pub refused: u32,
}

impl View {
    fn serves(&self, claim: &Claim) -> Option<bool> {
        let ranges = self.ranges.get(&claim.pool)?;
        let fits = |address: IpAddr| {
            ranges
                .iter()
                .any(|(range, own)| range.contains(&address) && address != *own)
        };
        Some(claim.addresses().all(fits))
    }
}

impl Desired {
    /// A view of the ranges of these pools, by name, of which some are `absent`.
    pub fn view(&mut self, ranges: &HashMap<String, Vec<IpNet>>, absent: &[String]) -> View {
        let absent = absent.iter().filter_map(|name| self.pools.number(name)).collect();
        let number = |(name, nets): (&String, &Vec<IpNet>)| {
            let nets = nets.iter().map(|net| (*net, gateway_address(net).addr()));
            Some((self.pools.number(name)?, nets.collect()))
        };
        View {
            ranges: ranges.iter().filter_map(number).collect(),
            absent,
            own: None,
            last: None,
        }
    }

    /// Whether it is known that the view has no use for a public key that it does not want: everything has been listed and
    /// none of the key's claims is of a pool that is absent, or all of them have ended.
    pub fn is_unwanted(&self, view: &View, slot: Slot) -> bool {
        let is_doubtful = |claim: &Claim| view.absent.contains(&claim.pool);
        self.is_off(slot) || self.complete && !self.claims.of(slot).any(is_doubtful)
    }

    /// Calls `each` with every claim of a public key that concerns the view, and whether it is served.
    ///
    /// Of several keys that carry one public key the first claim wins. The kernel gives an address to the last peer that
    /// names it, silently; so a shared one (possible only for the second family of a claim, with a chance of 2^-64) goes
    /// to the oldest claim.
    fn judge(&self, view: &View, slot: Slot, each: &mut dyn FnMut(&Claim, bool)) {
        let Some(first) = self.claims.of(slot).next() else {
            return;
        };
        let is_own = view.own == Some(self.claims.public_key(slot));
        let is_beyond = view.last.is_some_and(|last| first.place() > last);
        for claim in self.claims.of(slot) {
            if let Some(fits) = view.serves(claim) {
                let wins = claim.key_uid == first.key_uid && !self.claims.loses(claim);
                each(claim, fits && wins && !is_own && !is_beyond);
            }
        }
    }

    /// What an interface should hold of a public key.
    pub fn wanted(&self, view: &View, slot: Slot) -> Option<DesiredPeer> {
        let mut allowed_ips = AllowedIps::new();
        self.judge(view, slot, &mut |claim, is_served| {
            if is_served {
                allowed_ips.extend(claim.addresses().map(IpNet::from));
            }
        });
        (!allowed_ips.is_empty()).then(|| DesiredPeer {
            public_key: self.claims.public_key(slot),
            allowed_ips,
        })
    }

    /// Whether the prefixes of a public key that an interface holds, each named once, are the right ones; `None` when it
    /// should not hold it.
    pub fn should_hold(&self, view: &View, slot: Slot, prefixes: &[IpNet]) -> Option<bool> {
        let mut found = 0;
        let mut all = true;
        self.judge(view, slot, &mut |claim, is_served| {
            if is_served {
                for address in claim.addresses() {
                    found += 1;
                    all &= prefixes.contains(&IpNet::from(address));
                }
            }
        });
        (found > 0).then_some(found == prefixes.len() && all)
    }

    /// What a gateway makes of a public key.
    pub fn standing(&self, view: &View, slot: Slot) -> Standing {
        let mut standing = Standing::default();
        self.judge(view, slot, &mut |_, is_served| {
            standing.is_wanted |= is_served;
            standing.refused += u32::from(!is_served);
        });
        if let (Some(last), Some(first)) = (view.last, self.place(slot)) {
            standing.is_beyond = standing.refused > 0 && first > last;
        }
        standing
    }

    /// The claims of a public key that are refused, by rule or, when it `is_missing`, as the kernel has not got it.
    pub fn refused(&self, view: &View, slot: Slot, is_missing: bool, each: &mut dyn FnMut(Uid)) {
        self.judge(view, slot, &mut |claim, is_served| {
            if is_missing || !is_served {
                each(claim.uid);
            }
        });
    }

    /// The addresses of a public key, of all its claims.
    pub fn addresses(&self, slot: Slot) -> impl Iterator<Item = IpAddr> {
        self.claims.of(slot).flat_map(Claim::addresses)
    }

    /// Where a public key stands among all, by its oldest claim.
    pub fn place(&self, slot: Slot) -> Option<Place> {
        self.claims.of(slot).next().map(Claim::place)
    }
}
