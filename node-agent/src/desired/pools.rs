//! Names of pools, each kept once, and what happened to each last.

use std::collections::HashMap;

/// Pools that claims or gateways have named.
#[derive(Debug, Default)]
pub(super) struct Pools {
    numbers: HashMap<String, u16>,
    /// The last version that concerned each.
    last_change: Vec<u64>,
}

impl Pools {
    /// The number of a pool; `None` when there are too many.
    pub fn number(&mut self, name: &str) -> Option<u16> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        let number = u16::try_from(self.last_change.len()).ok()?;
        self.last_change.push(0);
        self.numbers.insert(name.to_owned(), number);
        Some(number)
    }

    pub fn changed(&mut self, pool: u16, version: u64) {
        if let Some(last) = self.last_change.get_mut(usize::from(pool)) {
            *last = version.max(*last);
        }
    }

    pub fn last_change(&self, name: &str) -> u64 {
        let number = self.numbers.get(name).copied();
        number.map_or(0, |number| self.last_change[usize::from(number)])
    }

    pub fn forget_changes(&mut self) {
        self.last_change.fill(0);
    }
}
