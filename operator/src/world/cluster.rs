//! The cluster's own ranges, as the status of every gateway shows them: pods, services, nodes and apiservers.
//!
//! Agents keep clients out of what is shown, so it may be too much and never too little: while an object cannot be read
//! whose ranges belong to it, nothing is taken off; and where there are more ranges than a status can hold, those stay
//! that nothing else closes. A pool of ours is none of them.
//!
//! A node that joins changes the list, and each gateway's status with it, which every agent reads. So changes are
//! collected for [`SETTLE`], counted from the first: nodes that join one after the other cannot put it off.

use std::time::Duration;

use ipnet::IpNet;

use super::{Kind, Target, World};

/// How long changes are collected.
const SETTLE: Duration = Duration::from_secs(1);

/// As many ranges fit into a status.
const MOST: usize = 4096;

/// The kinds whose objects name ranges.
const SOURCES: [Kind; 3] = [Kind::Node, Kind::ServiceRange, Kind::Apiserver];

/// What an agent closes by itself, unless the gateway's spec opens a part of it.
const CLOSED: [&str; 7] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

/// The list, as of when it last settled.
#[derive(Debug, Default)]
pub(super) struct ClusterRanges {
    /// In order, none within another.
    shown: Vec<IpNet>,
    /// The same, as a status has it.
    texts: Vec<String>,
    /// How many there was no room for.
    left_out: usize,
    /// When the next change settles.
    pub settle_at: Option<Duration>,
}

impl World {
    /// What the status of a gateway should say of the cluster's ranges, given what it says.
    pub fn cluster_ranges(&self, said: &[String]) -> Vec<String> {
        if !SOURCES.iter().any(|kind| self.has_unreadable(*kind)) {
            return self.cluster.texts.clone();
        }
        let said = said.iter().filter_map(|range| range.parse().ok());
        texts(&fit(said.chain(self.cluster.shown.iter().copied())).0)
    }

    /// Whether the cluster uses any range itself, also one that no status shows yet.
    pub fn has_cluster_ranges(&self) -> bool {
        self.own_ranges().next().is_some()
    }

    /// How many of the cluster's ranges no status has room for.
    pub fn ranges_left_out(&self) -> usize {
        self.cluster.left_out
    }

    /// Every range that the cluster uses itself, as it is named.
    pub(super) fn own_ranges(&self) -> impl Iterator<Item = IpNet> {
        let nodes = self.nodes.values().flat_map(|node| &node.ranges);
        let others = self.ranges.values().flat_map(|(_, ranges)| ranges);
        nodes.chain(others).copied()
    }

    /// Notes that [`Self::own_ranges`] may be others by now.
    pub(super) fn ranges_changed(&mut self, now: Duration) {
        self.judge_ranges();
        // Before everything has been listed once there is no list.
        if self.is_complete() {
            self.cluster.settle_at.get_or_insert(now + SETTLE);
        }
    }

    /// Makes the list anew, once for all gateways.
    pub(super) fn settle_ranges(&mut self) {
        let (shown, left_out) = fit(self.own_ranges());
        self.cluster = ClusterRanges {
            texts: texts(&shown),
            shown,
            left_out,
            settle_at: None,
        };
        self.touch(Target::Fleet);
    }
}

fn texts(ranges: &[IpNet]) -> Vec<String> {
    ranges.iter().map(IpNet::to_string).collect()
}

/// The fewest ranges that cover the same addresses, in order, and how many of them are left out.
///
/// To cover them by fewer and wider ones is no way out: a client could not reach what is not the cluster's, and an entry
/// of `egress.allow` would count as naming the cluster where it does not. So what stays is first what is open to clients
/// when nobody names it, and then the widest.
fn fit(ranges: impl Iterator<Item = IpNet>) -> (Vec<IpNet>, usize) {
    let mut ranges = IpNet::aggregate(&ranges.collect());
    let left_out = ranges.len().saturating_sub(MOST);
    if left_out > 0 {
        let closed: Vec<IpNet> = CLOSED.iter().filter_map(|range| range.parse().ok()).collect();
        let rank = |range: &IpNet| {
            (
                closed.iter().any(|wide| wide.contains(range)),
                narrowness(range),
                *range,
            )
        };
        ranges.sort_unstable_by_key(rank);
        ranges.truncate(MOST);
    }
    ranges.sort_unstable();
    (ranges, left_out)
}

/// The same for the same part of a family: an IPv6 /64 is half of the way down, as an IPv4 /16 is.
fn narrowness(range: &IpNet) -> u8 {
    range.prefix_len() * (128 / range.max_prefix_len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ranges: &[&str]) -> (Vec<String>, usize) {
        let (shown, left_out) = fit(ranges.iter().map(|range| range.parse().unwrap()));
        (texts(&shown), left_out)
    }

    #[test]
    fn ranges_are_joined_and_in_order() {
        let (shown, left_out) = of(&[
            "fd00:1::/64",
            "192.0.2.1/32",
            "10.244.1.0/24",
            "10.244.0.0/24",
            "10.244.1.9/32",
            "2001:db8::1/128",
            "192.0.2.0/32",
            "10.244.1.0/24",
            // As nobody should write it.
            "10.96.3.4/16",
        ]);
        let expected = [
            "10.96.0.0/16",
            "10.244.0.0/23",
            "192.0.2.0/31",
            "2001:db8::1/128",
            "fd00:1::/64",
        ];
        assert_eq!((shown, left_out), (expected.map(str::to_owned).to_vec(), 0));
    }

    #[test]
    fn the_whole_of_a_family_is_a_range() {
        assert_eq!(
            of(&["0.0.0.0/0", "10.0.0.0/8", "::/0", "fd00::/8"]).0,
            ["0.0.0.0/0", "::/0"]
        );
        assert_eq!(
            of(&["255.255.255.255/32", "255.255.255.254/32"]).0,
            ["255.255.255.254/31"]
        );
    }

    /// Addresses that are neighbours of none of the others.
    fn scattered(first: &str, count: u32) -> impl Iterator<Item = IpNet> {
        let first = u32::from(first.parse::<std::net::Ipv4Addr>().unwrap());
        (0..count).map(move |n| std::net::IpAddr::from(std::net::Ipv4Addr::from(first + 2 * n)).into())
    }

    #[test]
    fn where_not_all_fit_the_open_ones_stay_and_then_the_widest() {
        let most = u32::try_from(MOST).unwrap();
        let (shown, left_out) = fit(scattered("10.0.0.0", most));
        assert_eq!((shown.len(), left_out), (MOST, 0));
        let wide: IpNet = "172.16.3.0/24".parse().unwrap();
        let half: IpNet = "fd00:1::/64".parse().unwrap();
        let open: Vec<IpNet> = scattered("198.51.100.0", 100).collect();
        let all = scattered("10.0.0.0", most)
            .chain([wide, half])
            .chain(open.iter().copied());
        let (shown, left_out) = fit(all);
        assert_eq!((shown.len(), left_out), (MOST, 102));
        assert!(shown.is_sorted());
        assert!(
            open.iter()
                .chain([&wide, &half])
                .all(|range| shown.contains(range))
        );
        // What was left out is not brought in by what stays.
        assert_eq!(fit(shown.iter().copied()), (shown.clone(), 0));
        // More that is open than there is room for: the widest of it.
        let (shown, _) = fit(scattered("198.0.0.0", most).chain(["203.0.113.0/24".parse().unwrap(), wide]));
        assert!(shown.contains(&"203.0.113.0/24".parse().unwrap()) && !shown.contains(&wide));
    }
}
