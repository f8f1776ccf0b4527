//! Which interfaces are Culvert's: those, and only those, whose alias carries its mark.
//!
//! The mark stands in the kernel itself, so ownership and the window of forgetting are known before any
//! apiserver is reached, and after every file is lost.

use std::time::Duration;

use culvert_wireguard::netlink::LinkInfo;

const PREFIX: &str = "culvert.dev/";

/// WireGuard's own bound on a session (`REJECT_AFTER_TIME`): to forget earlier would cut live ones.
pub const SHORTEST_WINDOW: Duration = Duration::from_secs(180);

/// The API's bound on how long a client is remembered.
pub const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 3_600);

/// The mark on an interface of Culvert's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Uid of the gateway that the interface belongs to.
    pub gateway: String,
    /// Age at which its peers are forgotten.
    pub window: Duration,
}

impl Mark {
    /// The alias that carries it.
    pub fn alias(&self) -> String {
        format!("{PREFIX}{}/{}", self.gateway, self.window.as_secs())
    }

    /// Reads an alias; `None` when it is somebody else's, or none that this version wrote. Whoever may write an alias
    /// cannot have live sessions cut with it, nor clients remembered for ever: the window is within the API's bounds.
    pub fn read(alias: &str) -> Option<Self> {
        let (gateway, window) = alias.strip_prefix(PREFIX)?.split_once('/')?;
        let seconds = window.parse().ok()?;
        (!gateway.is_empty()).then(|| Self {
            gateway: gateway.to_owned(),
            window: Duration::from_secs(seconds).clamp(SHORTEST_WINDOW, LONGEST_WINDOW),
        })
    }
}

/// An interface that may be changed and deleted. Only a mark makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    /// The link.
    pub link: LinkInfo,
    /// Its mark.
    pub mark: Mark,
}

impl Managed {
    /// The link as a managed one, if it is.
    pub fn of(link: LinkInfo) -> Option<Self> {
        let mark = link.alias.as_deref().and_then(Mark::read)?;
        link.is_wireguard().then_some(Self { link, mark })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(alias: Option<&str>) -> LinkInfo {
        LinkInfo {
            ifindex: 3,
            name: "cv0".into(),
            kind: Some("wireguard".into()),
            alias: alias.map(str::to_owned),
            mtu: 1420,
            up: true,
        }
    }

    #[test]
    fn an_alias_reads_back() {
        let mark = Mark {
            gateway: "uid".into(),
            window: Duration::from_secs(180),
        };
        assert_eq!(Mark::read(&mark.alias()), Some(mark));
    }

    #[test]
    fn a_window_out_of_bounds_is_brought_within() {
        for (written, read) in [
            (0, 180),
            (179, 180),
            (180, 180),
            (86_400, 86_400),
            (86_401, 86_400),
            (u64::MAX, 86_400),
        ] {
            let mark = Mark::read(&format!("culvert.dev/uid/{written}")).unwrap();
            assert_eq!(mark.window, Duration::from_secs(read), "{written}");
        }
    }

    #[test]
    fn an_interface_without_our_mark_is_never_managed() {
        for alias in [
            None,
            Some(""),
            Some("wg0"),
            Some("culvert.dev/"),
            Some("culvert.dev/uid"),
            Some("culvert.dev/uid/x"),
        ] {
            assert_eq!(Managed::of(link(alias)), None, "{alias:?}");
        }
        assert!(Managed::of(link(Some("culvert.dev/uid/180"))).is_some());
    }

    #[test]
    fn a_marked_interface_of_another_kind_is_not_managed() {
        let dummy = LinkInfo {
            kind: Some("dummy".into()),
            ..link(Some("culvert.dev/uid/180"))
        };
        assert_eq!(Managed::of(dummy), None);
    }
}
