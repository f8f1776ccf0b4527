//! The tunnel addresses of one key: one of each family that its pool has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use culvert_crds::peer::peer_name;

/// At most one address of each family. The unspecified address, which no pool can hold, stands for none.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Addresses {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl Addresses {
    /// No address.
    pub const NONE: Self = Self {
        v4: Ipv4Addr::UNSPECIFIED,
        v6: Ipv6Addr::UNSPECIFIED,
    };

    /// Of the given addresses, in any order; `None` when two are of one family or one is unspecified.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Option<Self> {
        let mut all = Self::NONE;
        for address in addresses {
            let free = match address {
                IpAddr::V4(v4) => std::mem::replace(&mut all.v4, v4).is_unspecified(),
                IpAddr::V6(v6) => std::mem::replace(&mut all.v6, v6).is_unspecified(),
            };
            if !free || address.is_unspecified() {
                return None;
            }
        }
        Some(all)
    }

    /// IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let v4 = (!self.v4.is_unspecified()).then_some(IpAddr::V4(self.v4));
        let v6 = (!self.v6.is_unspecified()).then_some(IpAddr::V6(self.v6));
        v4.into_iter().chain(v6)
    }

    /// The one that a claim is named by.
    pub fn first(&self) -> Option<IpAddr> {
        self.iter().next()
    }

    /// The name of a claim of them, which is an address: it goes into requests, and nowhere else.
    pub fn claim_name(&self) -> String {
        self.first().map(peer_name).unwrap_or_default()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }
}

impl Default for Addresses {
    fn default() -> Self {
        Self::NONE
    }
}

/// Addresses are class C: they stay out of logs, and so out of what is printed by mistake.
impl std::fmt::Debug for Addresses {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} addresses", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Option<Addresses> {
        Addresses::new(texts.iter().map(|text| text.parse::<IpAddr>().unwrap()))
    }

    #[test]
    fn one_of_each_family_ipv4_first() {
        let both = of(&["fd64::9", "10.64.0.9"]).unwrap();
        let texts: Vec<_> = both.iter().map(|a| a.to_string()).collect();
        assert_eq!(texts, ["10.64.0.9", "fd64::9"]);
        assert_eq!((both.len(), both.is_empty()), (2, false));
        assert_eq!(of(&[]), Some(Addresses::NONE));
    }

    #[test]
    fn two_of_a_family_or_an_unspecified_one_are_nothing() {
        assert_eq!(of(&["10.64.0.9", "10.64.0.10"]), None);
        assert_eq!(of(&["0.0.0.0"]), None);
        assert_eq!(of(&["10.64.0.9", "::"]), None);
    }
}
