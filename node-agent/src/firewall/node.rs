//! What the node itself must do so that packets get out: it forwards, keeps its default route, and its links bear them.
//!
//! The agent changes none of it, as the sysctls of an uplink are not Culvert's. What cannot be read is no reason to
//! complain.

use std::fs;
use std::path::{Path, PathBuf};

use culvert_crds::Reason;

/// Flags of an IPv6 route: a default one, which a router has advertised.
const ADVERTISED: u32 = 0x0004_0000;

/// Flags of an IPv6 route that leads nowhere, as the default one of a node without any does.
const REJECTS: u32 = 0x0200;

/// The node, as it is seen under `/`.
#[derive(Clone, Debug)]
pub struct Node {
    root: PathBuf,
}

/// A default route.
#[derive(Clone, Debug)]
struct Route {
    link: String,
    /// The lowest is preferred.
    metric: u32,
}

fn links(routes: Vec<Route>) -> Vec<String> {
    routes.into_iter().map(|route| route.link).collect()
}

fn preferred(mut routes: Vec<Route>) -> Vec<String> {
    let lowest = routes.iter().map(|route| route.metric).min();
    routes.retain(|route| Some(route.metric) == lowest);
    links(routes)
}

impl Default for Node {
    fn default() -> Self {
        Self::under(Path::new("/"))
    }
}

impl Node {
    /// A node whose kernel's files are under another folder.
    pub fn under(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// What the node lacks so that IPv4, and IPv6, gets out.
    pub fn lacks(&self, has_ipv4: bool, has_ipv6: bool) -> Option<Reason> {
        if has_ipv4
            && self
                .uplinks()
                .iter()
                .any(|uplink| self.is_off(&format!("ipv4/conf/{uplink}/forwarding")))
        {
            return Some(Reason::ForwardingDisabled);
        }
        if !has_ipv6 {
            return None;
        }
        if self.is_off("ipv6/conf/all/forwarding") {
            return Some(Reason::ForwardingDisabled);
        }
        let ignores = |uplink: &String| {
            let setting = self.read(&format!("proc/sys/net/ipv6/conf/{uplink}/accept_ra"));
            setting.is_some_and(|text| text.trim_end() == "1")
        };
        let advertised = self.advertised();
        advertised
            .iter()
            .any(ignores)
            .then_some(Reason::RouterAdvertisements)
    }

    /// The smallest MTU of the links that default routes lead to, in bytes; `None` where there is none. Of each family those
    /// that are preferred count: a link that waits for another's failure carries nothing.
    pub fn uplink_mtu(&self) -> Option<u32> {
        let mut links = preferred(self.ipv4_routes());
        links.extend(preferred(self.ipv6_routes(|flags| flags & REJECTS == 0)));
        let mtus = links.iter().filter_map(|link| {
            // The first is the network namespace's own, wherever the files of devices are mounted from.
            let found = self.read(&format!("proc/sys/net/ipv6/conf/{link}/mtu"));
            found.or_else(|| self.read(&format!("sys/class/net/{link}/mtu")))
        });
        mtus.filter_map(|mtu| mtu.trim_end().parse().ok()).min()
    }

    /// Links that IPv4's default routes lead to.
    fn uplinks(&self) -> Vec<String> {
        links(self.ipv4_routes())
    }

    /// Links that have their IPv6 default route from a router.
    fn advertised(&self) -> Vec<String> {
        links(self.ipv6_routes(|flags| flags & ADVERTISED != 0))
    }

    /// IPv4's default routes.
    fn ipv4_routes(&self) -> Vec<Route> {
        let routes = self.read("proc/net/route").unwrap_or_default();
        let default = |line: &str| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [link, "00000000", _, _, _, _, metric, "00000000", ..] = fields[..] else {
                return None;
            };
            Some(Route {
                link: link.to_owned(),
                metric: metric.parse().ok()?,
            })
        };
        routes.lines().skip(1).filter_map(default).collect()
    }

    /// IPv6's default routes with such flags.
    fn ipv6_routes(&self, wanted: impl Fn(u32) -> bool) -> Vec<Route> {
        let routes = self.read("proc/net/ipv6_route").unwrap_or_default();
        let default = |line: &str| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [_, "00", _, _, _, metric, _, _, flags, link] = fields[..] else {
                return None;
            };
            let flags = u32::from_str_radix(flags, 16).ok()?;
            wanted(flags).then_some(Route {
                link: link.to_owned(),
                metric: u32::from_str_radix(metric, 16).ok()?,
            })
        };
        routes.lines().filter_map(default).collect()
    }

    fn is_off(&self, setting: &str) -> bool {
        let text = self.read(&format!("proc/sys/net/{setting}"));
        text.is_some_and(|text| text.trim_end() == "0")
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

    fn node(files: &[(&str, &str)]) -> (tempfile::TempDir, Node) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let node = Node::under(folder.path());
        (folder, node)
    }

    #[test]
    fn the_link_of_the_default_route_must_forward() {
        let conf = "proc/sys/net/ipv4/conf/eth0/forwarding";
        let (_folder, off) = node(&[("proc/net/route", ROUTES), (conf, "0\n")]);
        assert_eq!(off.lacks(true, false), Some(Reason::ForwardingDisabled));
        assert_eq!(off.lacks(false, false), None);
        let other = "proc/sys/net/ipv4/conf/eth1/forwarding";
        let (_folder, on) = node(&[("proc/net/route", ROUTES), (conf, "1\n"), (other, "0\n")]);
        assert_eq!(on.lacks(true, false), None);
    }

    #[test]
    fn ipv6_forwards_as_a_whole_and_listens_to_routers_all_the_same() {
        let all = "proc/sys/net/ipv6/conf/all/forwarding";
        let (_folder, off) = node(&[(all, "0\n")]);
        assert_eq!(off.lacks(false, true), Some(Reason::ForwardingDisabled));
        let zeros = "0".repeat(32);
        let route = |flags: &str| {
            format!(
                "{zeros} 00 {zeros} 00 {} 00000400 00000001 00000000 {flags}     eth0\n",
                "f".repeat(32)
            )
        };
        let accept = "proc/sys/net/ipv6/conf/eth0/accept_ra";
        let (_folder, deaf) = node(&[
            (all, "1\n"),
            (accept, "1\n"),
            ("proc/net/ipv6_route", &route("00450003")),
        ]);
        assert_eq!(deaf.lacks(false, true), Some(Reason::RouterAdvertisements));
        let (_folder, fine) = node(&[
            (all, "1\n"),
            (accept, "2\n"),
            ("proc/net/ipv6_route", &route("00450003")),
        ]);
        assert_eq!(fine.lacks(false, true), None);
        let (_folder, own) = node(&[
            (all, "1\n"),
            (accept, "1\n"),
            ("proc/net/ipv6_route", &route("00000003")),
        ]);
        assert_eq!(own.lacks(false, true), None);
    }

    #[test]
    fn the_narrowest_link_of_a_default_route_counts() {
        let zeros = "0".repeat(32);
        let route = |flags: &str, link: &str| {
            format!("{zeros} 00 {zeros} 00 {zeros} 00000400 00000001 00000000 {flags} {link}\n")
        };
        let [eth0, eth1, lo] =
            ["eth0", "eth1", "lo"].map(|link| format!("proc/sys/net/ipv6/conf/{link}/mtu"));
        let ipv6 = route("00000003", "eth1") + &route("00200200", "lo");
        let (_folder, both) = node(&[
            ("proc/net/route", ROUTES),
            ("proc/net/ipv6_route", &ipv6),
            (&eth0, "1500\n"),
            (&eth1, "1400\n"),
            (&lo, "1300\n"),
        ]);
        assert_eq!(both.uplink_mtu(), Some(1_400));
        let (_folder, ipv4) = node(&[("proc/net/route", ROUTES), (&eth0, "1500\n"), (&eth1, "1400\n")]);
        assert_eq!(ipv4.uplink_mtu(), Some(1_500));
        // One that waits for the other's failure, in either family.
        let waits = ROUTES.to_owned() + "eth2\t00000000\t010200C0\t0003\t0\t0\t200\t00000000\t0\t0\t0\n";
        let later = route("00000003", "eth1").replace("00000400", "00000800") + &route("00000003", "eth0");
        let eth2 = "proc/sys/net/ipv6/conf/eth2/mtu";
        let (_folder, backup) = node(&[
            ("proc/net/route", &waits),
            ("proc/net/ipv6_route", &later),
            (&eth0, "1500\n"),
            (&eth1, "1400\n"),
            (eth2, "1300\n"),
        ]);
        assert_eq!(backup.uplink_mtu(), Some(1_500));
        // A kernel without IPv6.
        let (_folder, old) = node(&[("proc/net/route", ROUTES), ("sys/class/net/eth0/mtu", "1492\n")]);
        assert_eq!(old.uplink_mtu(), Some(1_492));
    }

    #[test]
    fn what_cannot_be_read_is_no_complaint() {
        let (_folder, unknown) = node(&[]);
        assert_eq!(unknown.lacks(true, true), None);
        assert_eq!(unknown.uplink_mtu(), None);
    }
}
