//! Which interfaces are Culvert's: those, and only those, whose alias carries its mark.
//!
//! The mark stands in the kernel itself, so ownership and the window of forgetting are known before any
//! apiserver is reached, and after every file is lost. Of an interface whose packets a program moves it names the
//! program's socket as well, which keeps the name that the interface had at first.

use std::time::Duration;

use culvert_crds::gateway_node::Backend;
use culvert_wireguard::netlink::LinkInfo;

use crate::firewall::rules::is_nameable;

const PREFIX: &str = "culvert.dev/";

/// How the name of a program's socket begins; a hexadecimal number follows.
pub const SOCKET_PREFIX: &str = "cvu-";

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

    /// The alias that carries it and the name of a program's socket.
    pub fn alias_of(&self, socket: Option<&str>) -> String {
        match socket {
            None => self.alias(),
            Some(socket) => format!("{}/{socket}", self.alias()),
        }
    }

    /// Reads an alias of an interface of the kernel's; `None` when it is somebody else's, or none that this version
    /// wrote. Whoever may write an alias cannot have live sessions cut with it, nor clients remembered for ever: the
    /// window is within the API's bounds.
    pub fn read(alias: &str) -> Option<Self> {
        Self::parse(alias).and_then(|(mark, socket)| socket.is_none().then_some(mark))
    }

    fn parse(alias: &str) -> Option<(Self, Option<String>)> {
        let (gateway, rest) = alias.strip_prefix(PREFIX)?.split_once('/')?;
        let (window, socket) = match rest.split_once('/') {
            None => (rest, None),
            Some((window, socket)) => (window, Some(socket)),
        };
        let mark = Self {
            gateway: gateway.to_owned(),
            window: Duration::from_secs(window.parse().ok()?).clamp(SHORTEST_WINDOW, LONGEST_WINDOW),
        };
        // No name of ours leads out of a folder.
        let is_ours = |socket: &str| {
            let number = socket.strip_prefix(SOCKET_PREFIX);
            number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        let is_whole = is_nameable(gateway) && socket.is_none_or(is_ours);
        is_whole.then(|| (mark, socket.map(str::to_owned)))
    }
}

/// An interface that may be changed and deleted. Only a mark makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    /// The link.
    pub link: LinkInfo,
    /// Its mark.
    pub mark: Mark,
    /// Name of the socket of the program that moves its packets; none when the kernel does.
    pub socket: Option<String>,
}

impl Managed {
    /// The link as a managed one, if it is: WireGuard of the kernel's, or a program's tunnel with its socket.
    pub fn of(link: LinkInfo) -> Option<Self> {
        let (mark, socket) = link.alias.as_deref().and_then(Mark::parse)?;
        let kind = if socket.is_some() { "tun" } else { "wireguard" };
        (link.kind.as_deref() == Some(kind)).then_some(Self { link, mark, socket })
    }

    /// What moves its packets.
    pub fn backend(&self) -> Backend {
        match self.socket {
            None => Backend::Kernel,
            Some(_) => Backend::Userspace,
        }
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
            forwards: true,
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
            Some("culvert.dev/uid/180/cvu-0"),
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

    #[test]
    fn a_tunnel_is_managed_only_with_the_socket_of_its_program() {
        let tun = |alias| LinkInfo {
            kind: Some("tun".into()),
            ..link(Some(alias))
        };
        let managed = Managed::of(tun("culvert.dev/uid/180/cvu-00c0ffee")).unwrap();
        assert_eq!(managed.socket.as_deref(), Some("cvu-00c0ffee"));
        let alias = managed.mark.alias_of(managed.socket.as_deref());
        assert_eq!(Some(alias), managed.link.alias);
        for alias in [
            "culvert.dev/uid/180",
            "culvert.dev/uid/180/",
            "culvert.dev/uid/180/wg0",
            "culvert.dev/uid/180/cvu-../../x",
        ] {
            assert_eq!(Managed::of(tun(alias)), None, "{alias}");
        }
    }
}
