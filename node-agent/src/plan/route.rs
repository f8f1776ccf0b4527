//! Whether a gateway's address would take traffic from somebody, or somebody takes the gateway's.

use culvert_wireguard::netlink::RouteInfo;
use ipnet::IpNet;

/// The routing table that is asked for every packet; the others are asked under rules that we do not read.
const MAIN_TABLE: u32 = 254;

/// The first route that is not the interface's own and has addresses in common with this range. A default route has none:
/// it is for what has no other.
pub fn conflict<'a>(routes: &'a [RouteInfo], ifindex: u32, range: &IpNet) -> Option<&'a RouteInfo> {
    routes.iter().find(|route| {
        let other = &route.destination;
        route.table == MAIN_TABLE
            && route.ifindex != Some(ifindex)
            && other.prefix_len() > 0
            && (other.contains(range) || range.contains(other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn is_refused(range: &str, (destination, ifindex, table): (&str, u32, u32)) -> bool {
        let route = RouteInfo {
            destination: net(destination),
            ifindex: Some(ifindex),
            table,
        };
        conflict(&[route], 7, &net(range)).is_some()
    }

    #[test]
    fn a_range_conflicts_with_whatever_shares_an_address_with_it() {
        for destination in ["10.64.0.0/11", "10.95.255.0/24", "10.0.0.0/8"] {
            assert!(is_refused("10.64.0.1/11", (destination, 3, 254)), "{destination}");
        }
        for destination in ["10.96.0.0/11", "10.63.255.0/24", "192.0.2.0/24", "fd00::/8"] {
            assert!(
                !is_refused("10.64.0.1/11", (destination, 3, 254)),
                "{destination}"
            );
        }
        assert!(is_refused("fd64:cafe:1::1/64", ("fd64:cafe::/32", 3, 254)));
    }

    #[test]
    fn its_own_route_a_default_route_and_other_tables_are_no_conflict() {
        assert!(!is_refused("10.64.0.1/11", ("10.64.0.0/11", 7, 254)));
        assert!(!is_refused("10.64.0.1/11", ("0.0.0.0/0", 3, 254)));
        assert!(!is_refused("fd64::1/64", ("::/0", 3, 254)));
        assert!(!is_refused("10.64.0.1/11", ("10.64.0.0/11", 3, 100)));
    }
}
