//! The set of free addresses of one range.
//!
//! Guarantees a uniform draw: the n-th free address is found in O(log n), whatever the range is
//! filled to, so no address is more likely than another and a nearly full range costs no retries.
//! An IPv4 range keeps a bitmap with a Fenwick tree over its words; an IPv6 range is so large that a draw that hits a
//! taken address (chance below 2^-40) is repeated, and what is taken is asked of whoever knows.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rand::{Rng, RngExt};

/// Free addresses of an IPv4 range of /8 or less.
#[derive(Clone)]
pub struct FreeV4 {
    net: Ipv4Net,
    /// One bit an address, set when it is free.
    words: Vec<u64>,
    /// Fenwick tree: sums of free bits over the words.
    tree: Vec<u32>,
    free: u32,
    /// How many would be free if no key held any.
    capacity: u32,
    reserved: Vec<Ipv4Net>,
}

/// Which addresses are taken does not print.
impl fmt::Debug for FreeV4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreeV4")
            .field("net", &self.net)
            .field("free", &self.free)
            .finish_non_exhaustive()
    }
}

impl FreeV4 {
    /// The range without its network, broadcast and first host address, and without `exclude`.
    pub fn new(net: Ipv4Net, exclude: &[IpNet]) -> Self {
        let size = 1_usize << (32 - net.prefix_len());
        let mut words = vec![u64::MAX; size.div_ceil(64)];
        if let Some(last) = words.last_mut()
            && !size.is_multiple_of(64)
        {
            *last = (1 << (size % 64)) - 1;
        }
        let mut reserved: Vec<Ipv4Net> = exclude
            .iter()
            .filter_map(|e| if let IpNet::V4(e) = e { Some(*e) } else { None })
            .collect();
        reserved.extend([net.network(), net.broadcast(), gateway_v4(net)].map(Ipv4Net::from));
        let mut set = Self {
            net,
            words,
            tree: Vec::new(),
            free: 0,
            capacity: 0,
            reserved,
        };
        for range in set.reserved.clone() {
            let (Some(first), Some(last)) = (set.index(range.network()), set.index(range.broadcast())) else {
                continue;
            };
            for index in first..=last {
                set.words[index / 64] &= !(1 << (index % 64));
            }
        }
        set.build();
        set.capacity = set.free;
        set
    }

    fn build(&mut self) {
        self.tree = vec![0; self.words.len() + 1];
        for (i, word) in self.words.iter().enumerate() {
            self.tree[i + 1] += word.count_ones();
            let parent = (i + 1) + lowest_bit(i + 1);
            if parent < self.tree.len() {
                self.tree[parent] += self.tree[i + 1];
            }
        }
        self.free = self.words.iter().map(|word| word.count_ones()).sum();
    }

    fn index(&self, address: Ipv4Addr) -> Option<usize> {
        self.net
            .contains(&address)
            .then(|| (u32::from(address) - u32::from(self.net.network())) as usize)
    }

    fn is_reserved(&self, address: Ipv4Addr) -> bool {
        self.reserved.iter().any(|range| range.contains(&address))
    }

    fn set(&mut self, index: usize, free: bool) {
        let (word, bit) = (index / 64, 1_u64 << (index % 64));
        if (self.words[word] & bit != 0) == free {
            return;
        }
        self.words[word] ^= bit;
        self.free = if free { self.free + 1 } else { self.free - 1 };
        let mut node = word + 1;
        while node < self.tree.len() {
            self.tree[node] = if free {
                self.tree[node] + 1
            } else {
                self.tree[node] - 1
            };
            node += lowest_bit(node);
        }
    }

    /// The `n`-th free address, counted from 0 in numeric order.
    fn nth(&self, n: u32) -> Option<Ipv4Addr> {
        if n >= self.free {
            return None;
        }
        let mut rest = n;
        let mut node = 0;
        let mut step = self.words.len().next_power_of_two();
        while step > 0 {
            if let Some(&sum) = self.tree.get(node + step)
                && sum <= rest
            {
                node += step;
                rest -= sum;
            }
            step /= 2;
        }
        let mut word = self.words[node];
        for _ in 0..rest {
            word &= word - 1;
        }
        let index = u32::try_from(node * 64).ok()? + word.trailing_zeros();
        Some(Ipv4Addr::from(u32::from(self.net.network()) + index))
    }
}

/// Free addresses of an IPv6 range of /64 or more.
#[derive(Clone, Debug)]
pub struct FreeV6 {
    net: Ipv6Net,
    reserved: Vec<Ipv6Net>,
}

/// How often a draw from an IPv6 range is repeated before the range counts as exhausted. Only
/// excluded ranges that cover nearly everything can get this far.
const DRAWS: usize = 256;

impl FreeV6 {
    /// The range without its subnet-router anycast and first host address, and without `exclude`.
    pub fn new(net: Ipv6Net, exclude: &[IpNet]) -> Self {
        let mut reserved: Vec<Ipv6Net> = exclude
            .iter()
            .filter_map(|e| if let IpNet::V6(e) = e { Some(*e) } else { None })
            .collect();
        reserved.extend([net.network(), gateway_v6(net)].map(Ipv6Net::from));
        Self { net, reserved }
    }

    fn is_free(&self, address: Ipv6Addr) -> bool {
        self.net.contains(&address) && !self.reserved.iter().any(|range| range.contains(&address))
    }
}

/// Free addresses of one range of either family.
#[derive(Clone, Debug)]
pub enum Free {
    /// An IPv4 range.
    V4(FreeV4),
    /// An IPv6 range.
    V6(FreeV6),
}

impl Free {
    /// Draws a free address for which `elsewhere` does not hold, uniformly.
    ///
    /// `elsewhere` names addresses that are taken but not marked here: any of IPv6's, few of IPv4's.
    pub fn draw(&self, rng: &mut impl Rng, elsewhere: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        match self {
            Self::V4(set) => {
                // Ends: each round either returns or proves that a promised address was drawn, and
                // when all that is free is promised the scan below says so.
                for _ in 0..DRAWS {
                    if set.free == 0 {
                        return None;
                    }
                    let address = IpAddr::V4(set.nth(rng.random_range(0..set.free))?);
                    if !elsewhere(address) {
                        return Some(address);
                    }
                }
                let open: Vec<_> = (0..set.free)
                    .filter_map(|n| set.nth(n))
                    .map(IpAddr::V4)
                    .filter(|a| !elsewhere(*a))
                    .collect();
                (!open.is_empty()).then(|| open[rng.random_range(0..open.len())])
            }
            Self::V6(set) => {
                let hosts = 128 - set.net.prefix_len();
                let mask = u128::MAX >> (128 - u32::from(hosts));
                for _ in 0..DRAWS {
                    let bits = (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64());
                    let address = Ipv6Addr::from(u128::from(set.net.network()) | (bits & mask));
                    if set.is_free(address) && !elsewhere(IpAddr::V6(address)) {
                        return Some(IpAddr::V6(address));
                    }
                }
                None
            }
        }
    }

    /// Whether the address lies in the range and may be given to a key.
    pub fn is_free(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(set), IpAddr::V4(address)) => set
                .index(address)
                .is_some_and(|i| set.words[i / 64] & (1 << (i % 64)) != 0),
            (Self::V6(set), IpAddr::V6(address)) => set.is_free(address),
            _ => false,
        }
    }

    /// Takes an IPv4 address out; what lies outside the range is left alone.
    pub fn take(&mut self, address: IpAddr) {
        if let (Self::V4(set), IpAddr::V4(address)) = (self, address)
            && let Some(index) = set.index(address)
        {
            set.set(index, false);
        }
    }

    /// Puts an IPv4 address back; reserved addresses and those outside the range stay out.
    pub fn put_back(&mut self, address: IpAddr) {
        if let (Self::V4(set), IpAddr::V4(address)) = (self, address)
            && let Some(index) = set.index(address)
            && !set.is_reserved(address)
        {
            set.set(index, true);
        }
    }

    /// How many addresses could be given to keys if none were; saturates at 2^63 - 1.
    pub fn capacity(&self) -> i64 {
        match self {
            Self::V4(set) => i64::from(set.capacity),
            Self::V6(_) => i64::MAX,
        }
    }

    /// How many addresses could be given to keys at this moment; saturates at 2^63 - 1.
    pub fn free(&self) -> i64 {
        match self {
            Self::V4(set) => i64::from(set.free),
            Self::V6(_) => i64::MAX,
        }
    }
}

/// The first host address of an IPv4 range: the gateway's own.
pub fn gateway_v4(net: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net.network()) + 1)
}

/// The first host address of an IPv6 range: the gateway's own.
pub fn gateway_v6(net: Ipv6Net) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(net.network()) + 1)
}

fn lowest_bit(n: usize) -> usize {
    n & n.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    fn v4(net: &str, exclude: &[&str]) -> Free {
        let exclude: Vec<IpNet> = exclude.iter().map(|e| e.parse().unwrap()).collect();
        Free::V4(FreeV4::new(net.parse().unwrap(), &exclude))
    }

    #[test]
    fn network_broadcast_gateway_and_excluded_addresses_are_never_free() {
        let set = v4("10.64.0.0/24", &["10.64.0.16/28"]);
        assert_eq!(set.free(), 256 - 3 - 16);
        for taken in [
            "10.64.0.0",
            "10.64.0.1",
            "10.64.0.255",
            "10.64.0.16",
            "10.64.0.31",
        ] {
            assert!(!set.is_free(taken.parse().unwrap()), "{taken}");
        }
        assert!(set.is_free("10.64.0.2".parse().unwrap()));
        assert!(set.is_free("10.64.0.32".parse().unwrap()));
    }

    #[test]
    fn putting_back_a_reserved_address_does_not_free_it() {
        let mut set = v4("10.64.0.0/24", &[]);
        set.put_back("10.64.0.1".parse().unwrap());
        assert!(!set.is_free("10.64.0.1".parse().unwrap()));
    }

    #[test]
    fn every_free_address_of_a_nearly_full_range_is_drawn_equally_often() {
        let mut set = v4("10.64.0.0/20", &[]);
        let keep: Vec<IpAddr> = ["10.64.0.2", "10.64.7.77", "10.64.15.254", "10.64.8.0"]
            .map(|a| a.parse().unwrap())
            .into();
        for host in 0..4096_u32 {
            let address = IpAddr::V4(Ipv4Addr::from(0x0a40_0000 + host));
            if !keep.contains(&address) {
                set.take(address);
            }
        }
        let mut rng = SmallRng::seed_from_u64(1);
        let mut counts = [0; 4];
        for _ in 0..40_000 {
            let drawn = set.draw(&mut rng, |_| false).unwrap();
            counts[keep.iter().position(|a| *a == drawn).unwrap()] += 1;
        }
        // Four standard deviations of a fair draw.
        assert!(counts.iter().all(|c| (9_650..=10_350).contains(c)), "{counts:?}");
    }

    #[test]
    fn a_range_whose_last_addresses_are_promised_is_exhausted() {
        let set = v4("10.64.0.0/29", &[]);
        let mut rng = SmallRng::seed_from_u64(1);
        assert!(set.draw(&mut rng, |_| true).is_none());
        let only: IpAddr = "10.64.0.4".parse().unwrap();
        assert_eq!(set.draw(&mut rng, |a| a != only), Some(only));
    }

    #[test]
    fn an_ipv6_draw_stays_in_its_range() {
        let set = Free::V6(FreeV6::new("fd64:cafe:1::/64".parse().unwrap(), &[]));
        let mut rng = SmallRng::seed_from_u64(1);
        let net: Ipv6Net = "fd64:cafe:1::/64".parse().unwrap();
        for _ in 0..1000 {
            let Some(IpAddr::V6(address)) = set.draw(&mut rng, |_| false) else {
                panic!("no address")
            };
            assert!(net.contains(&address));
        }
    }

    proptest! {
        /// The tree agrees with counting the bits, whatever is taken and put back.
        #[test]
        fn nth_finds_each_free_address_once(prefix in 22_u8..=30, moves in prop::collection::vec((any::<bool>(), 0_u32..1024), 0..200)) {
            let net = Ipv4Net::new(Ipv4Addr::new(10, 64, 0, 0), prefix).unwrap();
            let mut set = Free::V4(FreeV4::new(net, &[]));
            for (free, host) in moves {
                let address = IpAddr::V4(Ipv4Addr::from(0x0a40_0000 + host));
                if free { set.put_back(address) } else { set.take(address) }
            }
            let Free::V4(inner) = &set else { unreachable!() };
            let by_tree: Vec<_> = (0..inner.free).map(|n| inner.nth(n).unwrap()).collect();
            let by_scan: Vec<_> = net.hosts().filter(|a| set.is_free(IpAddr::V4(*a))).collect();
            prop_assert_eq!(by_tree, by_scan);
        }
    }
}
