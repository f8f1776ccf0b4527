//! The world in numbers, for metrics: nothing of one key.

use std::collections::BTreeMap;
use std::time::Duration;

use culvert_crds::Reason;

use super::World;
use crate::clock::Now;
use crate::metrics::{Expires, PoolFigures};
use crate::world::status::seconds;

/// What there is, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Pools by name.
    pub pools: BTreeMap<String, PoolFigures>,
    /// Keys by the reason of their Ready condition; those without an answer count as pending.
    pub keys: BTreeMap<Reason, usize>,
    /// Keys that hold addresses by the time they have left.
    pub expiring: BTreeMap<Expires, usize>,
    /// Age of the oldest claim or release that a serving gateway has not applied.
    pub oldest_unapplied: Duration,
}

impl World {
    /// Counts everything: costs a look at each key.
    pub fn figures(&self, now: Now) -> Figures {
        let mut figures = Figures {
            oldest_unapplied: self.oldest_unapplied(now.mono),
            ..Figures::default()
        };
        for key in self.keys() {
            let reason = key.status.ready().unwrap_or(Reason::Pending);
            *figures.keys.entry(reason).or_default() += 1;
            if !key.status.shown.addresses.is_empty() {
                let left = |end: u32| Duration::from_secs(end.saturating_sub(seconds(now.wall)).into());
                let expires = Expires::of(key.status.expires_at.map(left));
                *figures.expiring.entry(expires).or_default() += 1;
            }
        }
        for pool in self.pools() {
            let counted = PoolFigures {
                allocated: u128::try_from(self.allocated(&pool.name)).unwrap_or(0),
                free: u128::try_from(pool.available()).unwrap_or(0),
                serving: self.serving(&pool.name, now.mono).count(),
                expected: self.nodes_of_pool(&pool.name).count(),
            };
            figures.pools.insert(pool.name.clone(), counted);
        }
        figures
    }

    fn oldest_unapplied(&self, now: Duration) -> Duration {
        let waiting = self.pools.keys().filter_map(|pool| {
            // Without a gateway there is nobody to wait for.
            let applied = self.watermark(pool, now)?;
            self.oldest_awaiting(pool, applied)
        });
        waiting
            .min()
            .map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }
}
