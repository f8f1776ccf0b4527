//! Pools that the node cannot serve, as it has another route to a part of them.
//!
//! They are as good as not asked for: their peers would be let in, and what is for them go another way, in the clear.

use ipnet::IpNet;

use super::{Gateway, Ground, PassError};
use crate::assignment::Assignment;
use crate::kernel::Kernel;
use crate::plan::route;

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Withheld {
    /// Its name.
    pool: String,
    /// One of its ranges.
    range: IpNet,
    /// What the other route leads to.
    other: IpNet,
}

impl Withheld {
    pub fn error(&self) -> PassError {
        PassError::Routed {
            range: self.range,
            other: self.other,
        }
    }
}

impl Gateway {
    /// Finds out which pools cannot be served, when something new is asked and until there are none. A pool whose address
    /// the interface has is served: a route that comes later takes nobody's tunnel away.
    pub(super) async fn withhold<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        assignment: &Assignment,
    ) -> Result<(), PassError> {
        let Some(interface) = &self.interface else {
            return Ok(());
        };
        if self.shaped.as_ref() == Some(assignment) {
            return Ok(());
        }
        let present = on.kernel.addresses(interface).await?;
        let is_present = |range: &IpNet| present.iter().any(|address| address.trunc() == range.trunc());
        let new = assignment.ranges.iter();
        let mut new: Vec<_> = new.filter(|(_, ranges)| !ranges.iter().any(is_present)).collect();
        new.sort_unstable();
        let routes = if new.is_empty() {
            Vec::new()
        } else {
            on.kernel.routes().await?
        };
        let conflict = |range: &IpNet| {
            let other = route::conflict(&routes, interface.link.ifindex, range, &assignment.excluded);
            Some((*range, other?.destination))
        };
        let withheld = new.into_iter().filter_map(|(pool, ranges)| {
            let (range, other) = ranges.iter().find_map(conflict)?;
            Some(Withheld {
                pool: pool.clone(),
                range,
                other,
            })
        });
        self.withheld = withheld.collect();
        Ok(())
    }

    /// What is asked, without what cannot be served.
    pub(super) fn served(&self, assignment: &Assignment) -> Assignment {
        let mut served = assignment.clone();
        let is_withheld = |pool: &String| self.withheld.iter().any(|withheld| withheld.pool == *pool);
        served.ranges.retain(|pool, _| !is_withheld(pool));
        served
    }
}
