//! WireGuard interfaces as links: create, mark, look up, set up and delete.
//!
//! The interface's alias (`IFLA_IFALIAS`, up to 255 bytes) is where its maker writes a mark of ownership: it needs
//! no API and dies with the interface. The kernel ignores an alias at creation, so [`Rtnl::create_wireguard`]
//! creates under a random name, marks, and renames: the wanted name never stands on an interface without a mark. A
//! creator that dies in between leaves one under the random name, down and without addresses. Nothing here decides whose an interface is: callers read the alias before they change or delete.
//!
//! Deleting an interface that holds peers takes the kernel about 18 ms a peer: flush the peers first
//! ([`DeviceChange::flush`](crate::DeviceChange::flush)).

use std::io;

use rand::{TryRng as _, rngs::SysRng};
use rtnetlink::packet_core::DefaultNla;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    AfSpecInet, AfSpecUnspec, LinkAttribute, LinkFlags, LinkInfo as Info, LinkMessage,
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkWireguard};

use super::decode::DecodeError;
use super::rtnl::Rtnl;
use crate::{Error, Refusal};

/// Link attribute: the name.
const IFLA_IFNAME: u16 = 3;
/// Link attribute: the mtu.
const IFLA_MTU: u16 = 4;

/// `NLM_F_EXCL`: fail when it exists.
pub(super) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`: make it.
pub(super) const CREATE: u16 = 0x400;
/// `NLM_F_REPLACE`: take the place of what exists.
pub(super) const REPLACE: u16 = 0x100;

/// A network interface of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Its number.
    pub ifindex: u32,

    /// Its name.
    pub name: String,

    /// Its kind as the kernel names it (`wireguard`, `dummy`); none for hardware and `lo`.
    pub kind: Option<String>,

    /// Its alias, when one is set.
    pub alias: Option<String>,

    /// Largest packet, in bytes.
    pub mtu: u32,

    /// Whether IPv4 packets that arrive here are forwarded; so, too, where the link has no IPv4.
    pub forwards: bool,

    /// Whether it is administratively up.
    pub up: bool,
}

impl LinkInfo {
    /// Whether it is a WireGuard interface.
    pub fn is_wireguard(&self) -> bool {
        self.kind.as_deref() == Some("wireguard")
    }
}

impl Rtnl {
    /// Creates a WireGuard interface, down and without peers, writes its alias, and gives its number.
    ///
    /// Fails with a refusal `AlreadyExists` when any interface has that name, `NotSupported` when the kernel has no
    /// WireGuard.
    pub async fn create_wireguard(&self, name: &str, alias: &str) -> Result<u32, Error> {
        let object = named(name);
        if self.link(name).await?.is_some() {
            return Err(Error::Refused {
                action: "create",
                object,
                refusal: Refusal::AlreadyExists,
            });
        }
        let number = SysRng
            .try_next_u32()
            .map_err(|error| Error::Open(io::Error::other(error)))?;
        let temporary = format!("wg-{number:08x}");
        let message = RouteNetlinkMessage::NewLink(LinkWireguard::new(&temporary).build());
        self.change("create", &object, message, CREATE | EXCLUSIVE)
            .await?;
        let created = self.link(&temporary).await?.ok_or(Error::Refused {
            action: "create",
            object,
            refusal: Refusal::NotFound,
        })?;
        let ifindex = created.ifindex;
        let settled = match self.set_alias(ifindex, alias).await {
            Ok(()) => self.rename(ifindex, name).await,
            Err(error) => Err(error),
        };
        if let Err(error) = settled {
            // It is ours, as nobody else knows its name.
            self.delete_link(ifindex).await?;
            return Err(error);
        }
        Ok(ifindex)
    }

    /// The interface with this name, of whatever kind.
    pub async fn link(&self, name: &str) -> Result<Option<LinkInfo>, Error> {
        let object = named(name);
        let message = RouteNetlinkMessage::GetLink(LinkUnspec::new_with_name(name).build());
        match self.get(&object, message).await {
            Ok(RouteNetlinkMessage::NewLink(message)) => link_info(message, &object).map(Some),
            Ok(_) => Err(Error::Malformed {
                object,
                source: DecodeError::Command,
            }),
            Err(error) if error.refusal() == Some(Refusal::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every WireGuard interface in the namespace.
    pub async fn wireguard_links(&self) -> Result<Vec<LinkInfo>, Error> {
        let links = self.links().await?;
        Ok(links.into_iter().filter(LinkInfo::is_wireguard).collect())
    }

    /// Every interface in the namespace.
    pub async fn links(&self) -> Result<Vec<LinkInfo>, Error> {
        let object = "interfaces";
        let mut links = Vec::new();
        for message in self
            .list(object, RouteNetlinkMessage::GetLink(LinkMessage::default()))
            .await?
        {
            if let RouteNetlinkMessage::NewLink(message) = message {
                links.push(link_info(message, object)?);
            }
        }
        Ok(links)
    }

    /// Gives the interface another name, and changes nothing else. Fails with a refusal `AlreadyExists` when any
    /// interface has that name; before Linux 6.2 with `Busy` when the link is up (`dev_change_name` in net/core/dev.c).
    pub async fn rename(&self, ifindex: u32, name: &str) -> Result<(), Error> {
        self.set_link("rename", ifindex, unspecified(ifindex).name(name.to_owned()))
            .await
    }

    /// Writes the interface's alias; an empty one removes it.
    pub async fn set_alias(&self, ifindex: u32, alias: &str) -> Result<(), Error> {
        self.set_link("mark", ifindex, unspecified(ifindex).alias(alias))
            .await
    }

    /// Sets the interface's largest packet, in bytes.
    pub async fn set_mtu(&self, ifindex: u32, mtu: u32) -> Result<(), Error> {
        self.set_link("set the mtu of", ifindex, unspecified(ifindex).mtu(mtu))
            .await
    }

    /// Has IPv4 packets that arrive at the interface forwarded, and nothing of them logged or redirected. What the
    /// settings for `all` links say besides still holds.
    pub async fn set_forwarding(&self, ifindex: u32) -> Result<(), Error> {
        let settings = unspecified(ifindex).append_extra_attribute(ipv4_settings());
        self.set_link("set forwarding of", ifindex, settings).await
    }

    /// Sets the interface up. WireGuard takes its UDP port now, so this fails with a refusal `PortInUse` when
    /// somebody else has it.
    pub async fn set_up(&self, ifindex: u32) -> Result<(), Error> {
        self.set_link("set up", ifindex, unspecified(ifindex).up()).await
    }

    /// Sets the interface down: WireGuard drops every session and gives up its UDP port.
    pub async fn set_down(&self, ifindex: u32) -> Result<(), Error> {
        self.set_link("set down", ifindex, unspecified(ifindex).down())
            .await
    }

    /// Deletes the interface, whatever its kind. Fails with a refusal `NotFound` when it is gone.
    pub async fn delete_link(&self, ifindex: u32) -> Result<(), Error> {
        let message = RouteNetlinkMessage::DelLink(unspecified(ifindex).build());
        self.change("delete", &numbered(ifindex), message, 0).await
    }

    async fn set_link(
        &self,
        action: &'static str,
        ifindex: u32,
        link: LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), Error> {
        // Without NLM_F_CREATE this changes and never makes an interface.
        self.change(
            action,
            &numbered(ifindex),
            RouteNetlinkMessage::NewLink(link.build()),
            0,
        )
        .await
    }
}

fn unspecified(ifindex: u32) -> LinkMessageBuilder<LinkUnspec> {
    LinkUnspec::new_with_index(ifindex)
}

fn named(name: &str) -> String {
    format!("interface `{name}`")
}

pub(super) fn numbered(ifindex: u32) -> String {
    format!("interface {ifindex}")
}

pub(super) fn link_info(message: LinkMessage, object: &str) -> Result<LinkInfo, Error> {
    let (mut name, mut kind, mut alias, mut mtu) = (None, None, None, None);
    let mut forwards = true;
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(found) => name = Some(found),
            LinkAttribute::IfAlias(found) => alias = Some(found),
            LinkAttribute::Mtu(found) => mtu = Some(found),
            LinkAttribute::AfSpecUnspec(families) => forwards = forwards_ipv4(&families),
            LinkAttribute::LinkInfo(infos) => {
                kind = infos.into_iter().find_map(|info| match info {
                    Info::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let missing = |kind| Error::Malformed {
        object: object.to_owned(),
        source: DecodeError::Missing { kind },
    };
    Ok(LinkInfo {
        ifindex: message.header.index,
        name: name.ok_or_else(|| missing(IFLA_IFNAME))?,
        kind,
        alias,
        mtu: mtu.ok_or_else(|| missing(IFLA_MTU))?,
        forwards,
        up: message.header.flags.contains(LinkFlags::Up),
    })
}

/// What a gateway's own link is to do with IPv4: `IPV4_DEVCONF_*` numbers (include/uapi/linux/ip.h), and their values.
const IPV4_SETTINGS: [(u16, u32); 5] = [
    (FORWARDING, 1),
    // A redirect, believed or sent, leads past the tunnel.
    (4, 0),
    (6, 0),
    // Whoever names his own way is refused.
    (9, 0),
    // Martians are logged with their source.
    (11, 0),
];
const FORWARDING: u16 = 1;
/// `IFLA_INET_CONF`, in `IFLA_AF_SPEC` under the family's number.
const IFLA_INET_CONF: u16 = 1;

/// The kernel takes each setting as an attribute of its own, and gives all of them as one list; the packet crate writes
/// the list.
fn ipv4_settings() -> LinkAttribute {
    let mut settings = Vec::new();
    for (number, value) in IPV4_SETTINGS {
        settings.extend(attribute(number, &value.to_ne_bytes()));
    }
    let family = u16::from(u8::from(AddressFamily::Inet));
    let settings = DefaultNla::new(family, attribute(IFLA_INET_CONF, &settings));
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Other(settings)])
}

/// An attribute whose value is a multiple of four bytes long.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes
}

fn forwards_ipv4(families: &[AfSpecUnspec]) -> bool {
    let inet = families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet(inet) => Some(inet),
        _ => None,
    });
    let settings = inet.into_iter().flatten().find_map(|setting| match setting {
        AfSpecInet::DevConf(settings) => Some(settings.forwarding),
        _ => None,
    });
    settings != Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkWireguard::new("cv0").mtu(1420).up().index(7).build();
        message.attributes.extend(attributes);
        message
    }

    #[test]
    fn a_wireguard_link_shows_kind_alias_and_state() {
        let link = link_info(
            message(vec![LinkAttribute::IfAlias("culvert.dev/x/180".into())]),
            "it",
        )
        .unwrap();
        assert!(link.is_wireguard());
        assert_eq!(
            link,
            LinkInfo {
                ifindex: 7,
                name: "cv0".into(),
                kind: Some("wireguard".into()),
                alias: Some("culvert.dev/x/180".into()),
                mtu: 1420,
                forwards: true,
                up: true,
            }
        );
    }

    #[test]
    fn a_link_without_a_name_is_malformed() {
        let error = link_info(LinkMessage::default(), "it").unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }));
    }
}
