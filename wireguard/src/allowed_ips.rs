//! Allowed IPs: the prefixes one peer may send from and is sent to.
//!
//! The set is always sorted, free of duplicates and made of network prefixes (host bits cleared, as the kernel
//! does), so equality means that the kernel would do the same. A gateway holds one or two prefixes for each of
//! very many peers: up to two need no heap. Tunnel addresses identify clients, so `Debug` prints only a count.

use std::fmt;
use std::net::IpAddr;
use std::slice;

use ipnet::IpNet;

/// The prefixes of one peer, sorted and each once.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllowedIps(Prefixes);

/// Each length has one shape, so that derived comparison is comparison of the sets.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Prefixes {
    #[default]
    None,
    One(IpNet),
    Two([IpNet; 2]),
    Many(Box<[IpNet]>),
}

impl AllowedIps {
    /// No prefix: the peer may send nothing.
    pub const fn new() -> Self {
        Self(Prefixes::None)
    }

    /// The host prefix of one address: /32 or /128.
    pub fn host(address: IpAddr) -> Self {
        Self(Prefixes::One(address.into()))
    }

    /// The host prefixes of several addresses.
    pub fn hosts(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        addresses.into_iter().map(IpNet::from).collect()
    }

    /// The prefixes in order.
    pub fn as_slice(&self) -> &[IpNet] {
        match &self.0 {
            Prefixes::None => &[],
            Prefixes::One(prefix) => slice::from_ref(prefix),
            Prefixes::Two(prefixes) => prefixes,
            Prefixes::Many(prefixes) => prefixes,
        }
    }

    /// The prefixes in order.
    pub fn iter(&self) -> slice::Iter<'_, IpNet> {
        self.as_slice().iter()
    }

    /// How many prefixes there are.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there is no prefix.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Whether exactly this prefix (host bits aside) is in the set.
    pub fn contains(&self, prefix: &IpNet) -> bool {
        self.as_slice().binary_search(&prefix.trunc()).is_ok()
    }
}

impl FromIterator<IpNet> for AllowedIps {
    fn from_iter<I: IntoIterator<Item = IpNet>>(prefixes: I) -> Self {
        let mut prefixes = prefixes.into_iter().map(|prefix| prefix.trunc()).fuse();
        let (first, second, third) = (prefixes.next(), prefixes.next(), prefixes.next());
        Self(match (first, second, third) {
            (None, ..) => Prefixes::None,
            (Some(one), None, _) => Prefixes::One(one),
            (Some(one), Some(two), None) if one == two => Prefixes::One(one),
            (Some(one), Some(two), None) => Prefixes::Two([one.min(two), one.max(two)]),
            (Some(one), Some(two), Some(three)) => {
                let mut all: Vec<_> = [one, two, three].into_iter().chain(prefixes).collect();
                all.sort_unstable();
                all.dedup();
                match *all {
                    [one] => Prefixes::One(one),
                    [one, two] => Prefixes::Two([one, two]),
                    _ => Prefixes::Many(all.into_boxed_slice()),
                }
            }
        })
    }
}

impl Extend<IpNet> for AllowedIps {
    fn extend<I: IntoIterator<Item = IpNet>>(&mut self, prefixes: I) {
        let before = std::mem::take(self);
        *self = before.iter().copied().chain(prefixes).collect();
    }
}

impl<'a> IntoIterator for &'a AllowedIps {
    type Item = &'a IpNet;
    type IntoIter = slice::Iter<'a, IpNet>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for AllowedIps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AllowedIps({} prefixes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use ipnet::{Ipv4Net, Ipv6Net};
    use proptest::prelude::*;

    use super::*;

    fn set(texts: &[&str]) -> AllowedIps {
        texts.iter().map(|text| text.parse::<IpNet>().unwrap()).collect()
    }

    fn any_prefix() -> impl Strategy<Value = IpNet> {
        prop_oneof![
            // Few values, so that duplicates happen.
            (0_u32..8, 0_u8..=32)
                .prop_map(|(bits, len)| Ipv4Net::new(Ipv4Addr::from(bits), len).unwrap().into()),
            (any::<u128>(), 0_u8..=128)
                .prop_map(|(bits, len)| Ipv6Net::new(Ipv6Addr::from(bits), len).unwrap().into()),
        ]
    }

    #[test]
    fn order_duplicates_and_host_bits_do_not_matter() {
        let one = set(&["10.0.0.7/24", "fd00::1/128", "10.0.0.0/24"]);
        let two = set(&["fd00::1/128", "10.0.0.0/24"]);
        assert_eq!(one, two);
        assert_eq!(one.len(), 2);
        assert!(one.contains(&"10.0.0.200/24".parse().unwrap()));
        assert!(!one.contains(&"10.0.0.0/25".parse().unwrap()));
    }

    #[test]
    fn hosts_are_whole_addresses() {
        let addresses: [IpAddr; 2] = ["fd00::9".parse().unwrap(), "10.64.0.9".parse().unwrap()];
        assert_eq!(
            AllowedIps::hosts(addresses),
            set(&["10.64.0.9/32", "fd00::9/128"])
        );
        assert_eq!(AllowedIps::host(addresses[1]), set(&["10.64.0.9/32"]));
    }

    #[test]
    fn allowed_ips_print_only_their_count() {
        assert_eq!(format!("{:?}", set(&["10.64.0.9/32"])), "AllowedIps(1 prefixes)");
    }

    #[test]
    fn a_set_takes_no_more_room_than_five_words() {
        assert!(size_of::<AllowedIps>() <= 40);
    }

    proptest! {
        #[test]
        fn it_is_the_ordered_set_of_networks(prefixes in proptest::collection::vec(any_prefix(), 0..12)) {
            let expected: Vec<_> =
                prefixes.iter().map(IpNet::trunc).collect::<BTreeSet<_>>().into_iter().collect();
            let at_once: AllowedIps = prefixes.iter().copied().collect();
            let mut one_by_one = AllowedIps::new();
            for prefix in prefixes {
                one_by_one.extend([prefix]);
            }
            prop_assert!(at_once.as_slice() == expected);
            prop_assert!(at_once == one_by_one);
        }
    }
}
