//! Whether a gateway's address would take traffic from somebody, or somebody takes the gateway's.

use culvert_wireguard::netlink::{MAIN_TABLE, RouteInfo};
use ipnet::IpNet;

/// A route is no default any more that leads to less than this: some write two halves instead of one whole.
const HALF: u8 = 1;

/// The first route that is not the interface's own and shares an address with this range that keys are given. Only the
/// main table counts: the others are asked under rules that we do not read. A default route is for what has no other.
pub fn conflict<'a>(
    routes: &'a [RouteInfo],
    ifindex: u32,
    range: &IpNet,
    excluded: &[IpNet],
) -> Option<&'a RouteInfo> {
    routes.iter().find(|route| {
        let other = &route.destination;
        route.table == MAIN_TABLE
            && route.ifindex != Some(ifindex)
            && other.prefix_len() > HALF
            && (other.contains(range) || range.contains(other))
            && !excluded.iter().any(|part| part.contains(other))
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
        conflict(&[route], 7, &net(range), &[net("10.72.0.0/16")]).is_some()
    }

    #[test]
    fn a_range_conflicts_with_whatever_shares_an_address_with_it() {
        for destination in ["10.64.0.0/11", "10.95.255.0/24", "10.0.0.0/8"] {
            assert!(is_refused("10.64.0.1/11", (destination, 3, 254)), "{destination}");
        }
        // The last but one is where no key is.
        for destination in [
            "10.96.0.0/11",
            "10.63.255.0/24",
            "192.0.2.0/24",
            "10.72.3.0/24",
            "fd00::/8",
        ] {
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
        assert!(!is_refused("10.64.0.1/11", ("0.0.0.0/1", 3, 254)));
        assert!(!is_refused("fd64::1/64", ("::/0", 3, 254)));
        assert!(!is_refused("10.64.0.1/11", ("10.64.0.0/11", 3, 100)));
    }
}
