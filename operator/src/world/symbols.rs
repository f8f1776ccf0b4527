//! Names that many records share, such as namespaces and pools, each kept once.
//!
//! A name is counted, and forgotten with its last user: who may write a key may name any pool, and must not be able to
//! fill the memory with names.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

/// A name, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Symbol(u32);

#[derive(Debug, Default)]
pub(super) struct Symbols {
    names: Slab<(Arc<str>, usize)>,
    numbers: HashMap<Arc<str>, Symbol>,
}

impl Symbols {
    /// The number of a name, with one user more.
    pub fn hold(&mut self, name: &str) -> Symbol {
        if let Some(known) = self.find(name) {
            self.names[known.0 as usize].1 += 1;
            return known;
        }
        let name: Arc<str> = name.into();
        let number = self.names.insert((name.clone(), 1));
        let symbol = Symbol(u32::try_from(number).unwrap_or(u32::MAX));
        self.numbers.insert(name, symbol);
        symbol
    }

    /// One user less.
    pub fn drop(&mut self, symbol: Symbol) {
        let users = &mut self.names[symbol.0 as usize].1;
        *users -= 1;
        if *users == 0 {
            let (name, _) = self.names.remove(symbol.0 as usize);
            self.numbers.remove(&name);
        }
    }

    /// The number of a name that somebody uses.
    pub fn find(&self, name: &str) -> Option<Symbol> {
        self.numbers.get(name).copied()
    }

    pub fn name(&self, symbol: Symbol) -> &Arc<str> {
        &self.names[symbol.0 as usize].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_forgotten_with_its_last_user() {
        let mut symbols = Symbols::default();
        let one = symbols.hold("default");
        assert_eq!(symbols.hold("default"), one);
        symbols.drop(one);
        assert_eq!(symbols.find("default"), Some(one));
        assert_eq!(&**symbols.name(one), "default");
        symbols.drop(one);
        assert_eq!(symbols.find("default"), None);
        assert!(symbols.names.is_empty());
    }
}
