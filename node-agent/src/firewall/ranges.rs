//! Which destinations are whose, and where a client may go, as ranges that do not overlap.
//!
//! nftables takes no set of ranges that overlap, and gives none up in a transaction; so they are joined here, and what several
//! lists say of an address is settled before a packet asks for it: one search finds its verdict.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::egress::Egress;

/// What no client ever reaches: this host, links, groups, and the metadata services of clouds.
const NEVER: [&str; 23] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    // Links, and on them the metadata services of most clouds.
    "169.254.0.0/16",
    // Protocols' own (RFC 6890), and the metadata service of one cloud.
    "192.0.0.0/24",
    // A cloud's platform service.
    "168.63.129.16/32",
    // A cloud's metadata service, which lies among shared addresses that `allow` may name.
    "100.100.100.200/32",
    "224.0.0.0/4",
    // Reserved, and all hosts.
    "240.0.0.0/4",
    // Unspecified, this host, and IPv4 in other words.
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    // IPv4 in IPv6: tunnels that would lead past every other rule.
    "2001::/32",
    "2002::/16",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    // Metadata services among the private addresses that `allow` may name.
    "fd00:ec2::/32",
    "fd20:ce::254/128",
    "fd00:42::42/128",
    "fd00:c1::a9fe:a9fe/128",
    "fd00:100::100:200/128",
    "fd00:a9fe:a9fe::1/128",
];

/// What no client reaches unless it is allowed to.
const PRIVATE: [&str; 6] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    // Shared with a carrier, or a network plugin's own.
    "100.64.0.0/10",
    // Benchmarks of networks.
    "198.18.0.0/15",
    "fc00::/7",
];

/// Where an IPv4 address stands in an IPv6 one that a NAT64 understands (RFC 6052).
const NAT64: u128 = 0x0064_ff9b << 96;

/// Destinations of one family, each list joined and in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    /// Never.
    pub never: Vec<IpNet>,
    /// Of the cluster, and allowed by name.
    pub named: Vec<IpNet>,
    /// Of the cluster.
    pub cluster: Vec<IpNet>,
    /// Allowed.
    pub allowed: Vec<IpNet>,
    /// Allowed, and not so wide that the cluster is in it: a service's address there is meant, whatever it leads to.
    pub meant: Vec<IpNet>,
    /// Private.
    pub private: Vec<IpNet>,
}

/// What becomes of the packets to some addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    /// The first of them.
    pub first: IpAddr,
    /// The last.
    pub last: IpAddr,
    /// Whether a client reaches them.
    pub is_open: bool,
}

impl Ranges {
    /// Those of IPv4 and those of IPv6.
    pub fn of(egress: &Egress) -> [Self; 2] {
        let private = parse(&PRIVATE);
        let within = |range: &&IpNet| egress.cluster.iter().any(|cluster| cluster.contains(*range));
        let named: Vec<IpNet> = egress.allow.iter().filter(within).copied().collect();
        let is_wide = |range: &&IpNet| egress.cluster.iter().any(|cluster| range.contains(cluster));
        let meant: Vec<IpNet> = egress
            .allow
            .iter()
            .filter(|range| !is_wide(range))
            .copied()
            .collect();
        let mut never = parse(&NEVER);
        never.extend(&egress.deny);
        // A NAT64 on the way would take the long way round to each of them.
        let closed = never.iter().chain(&private).chain(&egress.cluster);
        let behind: Vec<IpNet> = closed.filter_map(behind_nat64).collect();
        never.extend(behind);
        [true, false].map(|is_v4| Self {
            never: joined(&never, is_v4),
            named: joined(&named, is_v4),
            cluster: joined(&egress.cluster, is_v4),
            allowed: joined(&egress.allow, is_v4),
            meant: joined(&meant, is_v4),
            private: joined(&private, is_v4),
        })
    }

    /// Whether the addresses of each range are reached, in order, with the pools of clients closed as well. No two overlap,
    /// and what none of the lists names is in none: the internet.
    pub fn judged(&self, pools: &[IpNet]) -> Vec<Judged> {
        // The first that has an address decides.
        let lists = [
            (&self.never[..], false),
            (pools, false),
            (&self.named, true),
            (&self.cluster, false),
            (&self.allowed, true),
            (&self.private, false),
        ];
        let ranges = || lists.iter().flat_map(|(list, _)| list.iter());
        // What is said changes where a range begins and after one ends, and nowhere else.
        let begins = ranges().map(|range| number(range.network()));
        let ends = ranges().filter_map(|range| number(range.broadcast()).checked_add(1));
        let places: BTreeSet<u128> = begins.chain(ends).collect();
        let is_v4 = ranges().next().is_some_and(|range| range.addr().is_ipv4());
        let last = if is_v4 { u128::from(u32::MAX) } else { u128::MAX };
        let mut judged: Vec<Judged> = Vec::new();
        let mut places = places.into_iter().filter(|place| *place <= last).peekable();
        while let Some(place) = places.next() {
            let first = address(place, is_v4);
            let Some((_, is_open)) = lists.iter().find(|(list, _)| holds(list, first)) else {
                continue;
            };
            let end = places.peek().map_or(last, |next| next - 1);
            match judged.last_mut() {
                Some(before) if before.is_open == *is_open && number(before.last) + 1 == place => {
                    before.last = address(end, is_v4);
                }
                _ => judged.push(Judged {
                    first,
                    last: address(end, is_v4),
                    is_open: *is_open,
                }),
            }
        }
        judged
    }
}

/// Whether one of the ranges, which are in order and do not overlap, holds the address.
fn holds(ranges: &[IpNet], address: IpAddr) -> bool {
    let after = ranges.partition_point(|range| range.network() <= address);
    after > 0 && ranges[after - 1].contains(&address)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The address of this number, which fits its family.
fn address(number: u128, is_v4: bool) -> IpAddr {
    match u32::try_from(number) {
        Ok(number) if is_v4 => IpAddr::from(number.to_be_bytes()),
        _ => IpAddr::from(number.to_be_bytes()),
    }
}

fn parse(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// The ranges of one family, without any that another holds.
pub(super) fn joined(ranges: &[IpNet], is_v4: bool) -> Vec<IpNet> {
    let v4 = ranges.iter().filter_map(|range| match range {
        IpNet::V4(range) => Some(range.trunc()),
        IpNet::V6(_) => None,
    });
    let v6 = ranges.iter().filter_map(|range| match range {
        IpNet::V6(range) => Some(range.trunc()),
        IpNet::V4(_) => None,
    });
    if is_v4 {
        let joined = Ipv4Net::aggregate(&v4.collect());
        joined.into_iter().map(IpNet::V4).collect()
    } else {
        let joined = Ipv6Net::aggregate(&v6.collect());
        joined.into_iter().map(IpNet::V6).collect()
    }
}

fn behind_nat64(range: &IpNet) -> Option<IpNet> {
    let IpNet::V4(range) = range else {
        return None;
    };
    let address = Ipv6Addr::from(NAT64 | u128::from(u32::from(range.network())));
    IpNet::new(IpAddr::V6(address), 96 + range.prefix_len()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOLS: [&str; 2] = ["10.64.0.0/11", "fd64:cafe:1::/64"];

    fn egress(allow: &[&str], deny: &[&str], cluster: &[&str]) -> Egress {
        Egress {
            allow: parse(allow),
            deny: parse(deny),
            cluster: parse(cluster),
            ..Egress::default()
        }
    }

    fn reaches(allow: &[&str], deny: &[&str], cluster: &[&str], address: &str) -> bool {
        let address: IpAddr = address.parse().unwrap();
        let ranges = &Ranges::of(&egress(allow, deny, cluster))[usize::from(address.is_ipv6())];
        let judged = ranges.judged(&joined(&parse(&POOLS), address.is_ipv4()));
        let found = judged
            .iter()
            .find(|one| (one.first..=one.last).contains(&address));
        found.is_none_or(|judged| judged.is_open)
    }

    #[test]
    fn every_constant_is_a_range() {
        assert_eq!(parse(&NEVER).len(), NEVER.len());
        assert_eq!(parse(&PRIVATE).len(), PRIVATE.len());
    }

    #[test]
    fn clients_reach_the_internet_and_nothing_private() {
        for open in ["1.1.1.1", "203.0.113.9", "2606:4700::1111", "2001:db8::1"] {
            assert!(reaches(&[], &[], &[], open), "{open}");
        }
        for shut in [
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "224.0.0.1",
            "255.255.255.255",
            "0.0.0.0",
            "fd00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
        ] {
            assert!(!reaches(&[], &[], &[], shut), "{shut}");
        }
        assert!(
            reaches(&[], &[], &[], "64:ff9b::101:101"),
            "the internet behind a NAT64"
        );
    }

    #[test]
    fn what_is_allowed_is_reached_and_metadata_never() {
        let allow = [
            "10.20.0.0/16",
            "100.64.0.0/10",
            "169.254.0.0/16",
            "fc00::/7",
            "0.0.0.0/0",
        ];
        assert!(reaches(&allow, &[], &[], "10.20.1.1"));
        assert!(reaches(&allow, &[], &[], "100.64.0.1"));
        assert!(reaches(&allow, &[], &[], "fd12::1"));
        for metadata in [
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
        ] {
            assert!(!reaches(&allow, &[], &[], metadata), "{metadata}");
        }
    }

    #[test]
    fn what_is_denied_is_not_reached_whatever_is_allowed() {
        assert!(!reaches(&["10.0.0.0/8"], &["10.9.0.0/16"], &[], "10.9.1.1"));
        assert!(!reaches(&[], &["203.0.113.0/24"], &[], "203.0.113.9"));
        assert!(!reaches(&[], &["203.0.113.0/24"], &[], "64:ff9b::cb00:7109"));
    }

    #[test]
    fn the_clusters_ranges_are_reached_by_name_alone() {
        let cluster = ["10.96.0.0/12", "203.0.113.0/28"];
        assert!(!reaches(&["10.0.0.0/8"], &[], &cluster, "10.96.0.10"));
        assert!(reaches(&["10.96.0.10/32"], &[], &cluster, "10.96.0.10"));
        assert!(!reaches(&["10.96.0.10/32"], &[], &cluster, "10.96.0.11"));
        assert!(reaches(&["10.96.0.0/12"], &[], &cluster, "10.96.0.11"));
        assert!(
            !reaches(&[], &[], &cluster, "203.0.113.4"),
            "a node with a public address"
        );
        assert!(reaches(&[], &[], &cluster, "203.0.113.40"));
    }

    #[test]
    fn clients_do_not_reach_each_other_whatever_is_allowed() {
        for (allow, client) in [
            ("10.0.0.0/8", "10.71.3.9"),
            ("10.71.3.9/32", "10.71.3.9"),
            ("fd00::/8", "fd64:cafe:1::9"),
        ] {
            assert!(!reaches(&[allow], &[], &[], client), "{allow} {client}");
        }
    }

    /// nft refuses a set with two ranges that overlap.
    #[test]
    fn what_is_judged_is_in_order_and_overlaps_nowhere() {
        let allow = [
            "0.0.0.0/0",
            "10.96.0.10/32",
            "192.168.0.0/24",
            "255.255.255.255/32",
            "::/0",
        ];
        let cluster = [
            "10.96.0.0/12",
            "10.244.0.0/16",
            "192.0.2.4/32",
            "192.0.2.5/32",
            "fd00::/48",
        ];
        let ranges = Ranges::of(&egress(&allow, &["203.0.113.0/24"], &cluster));
        for (ranges, is_v4) in ranges.iter().zip([true, false]) {
            let judged = ranges.judged(&joined(&parse(&POOLS), is_v4));
            assert!(judged.iter().all(|one| one.first <= one.last), "{judged:#?}");
            for pair in judged.windows(2) {
                assert!(pair[0].last < pair[1].first, "{pair:#?}");
                let is_next = number(pair[0].last) + 1 == number(pair[1].first);
                assert!(!is_next || pair[0].is_open != pair[1].is_open, "{pair:#?}");
            }
            assert!(
                judged
                    .iter()
                    .all(|one| one.first.is_ipv4() == is_v4 && one.last.is_ipv4() == is_v4),
                "{judged:#?}"
            );
            let last: IpAddr = if is_v4 { [255; 4].into() } else { [255; 16].into() };
            assert_eq!(
                judged.last().map(|one| (one.last, one.is_open)),
                Some((last, false))
            );
        }
    }

    #[test]
    fn ranges_are_joined() {
        let ranges = parse(&["10.0.0.0/8", "10.1.0.0/16", "fd00::/8", "11.0.0.0/8"]);
        assert_eq!(joined(&ranges, true), parse(&["10.0.0.0/7"]));
        assert_eq!(joined(&ranges, false), parse(&["fd00::/8"]));
    }
}
