//! Which pools' ranges can be used: none that overlaps an older pool's, or the cluster's own.

use culvert_crds::Reason;
use ipnet::IpNet;

use super::{Target, World};

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

impl World {
    /// Judges every pool again. The oldest of those that overlap is the one that may be used.
    pub(super) fn judge_ranges(&mut self) {
        let cluster: Vec<IpNet> = self.own_ranges().collect();
        let mut order: Vec<_> = self
            .pools
            .values()
            .map(|pool| (pool.created, pool.uid, pool.name.clone()))
            .collect();
        order.sort();
        let mut used: Vec<IpNet> = Vec::new();
        let mut turned = Vec::new();
        for (_, _, name) in order {
            let Some(pool) = self.pools.get_mut(&name) else {
                continue;
            };
            let own: Vec<IpNet> = pool.ranges.iter().flat_map(super::Ranges::each).collect();
            let meets = |all: &[IpNet]| {
                own.iter()
                    .any(|range| all.iter().any(|other| overlap(range, other)))
            };
            let refused = if meets(&cluster) {
                Some(Reason::ClusterRange)
            } else if meets(&used) {
                Some(Reason::OverlappingPool)
            } else {
                used.extend(own);
                None
            };
            if std::mem::replace(&mut pool.refused, refused) != refused {
                turned.push(name);
            }
        }
        for name in turned {
            self.touch_keys_of(&name);
            self.touch(Target::Pool(name));
        }
    }
}
