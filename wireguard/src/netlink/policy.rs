//! Rules that choose a routing table, default routes in such tables, and the namespace of a link: what a client needs that
//! has several tunnels at a time.
//!
//! A rule reads as it was written, or is none of ours: those with anything that [`Rule`] cannot say are left out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteScope, RouteType};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};

use super::link::{CREATE, EXCLUSIVE, REPLACE, numbered};
use super::rtnl::Rtnl;
use crate::Error;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    fn to_kernel(self) -> AddressFamily {
        match self {
            Self::V4 => AddressFamily::Inet,
            Self::V6 => AddressFamily::Inet6,
        }
    }
}

/// Which packets a routing table is asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// The family it is about.
    pub family: Family,

    /// Its place among the others; lower ones are asked first.
    pub priority: u32,

    /// Only packets from this address.
    pub from: Option<IpAddr>,

    /// Only packets without this mark.
    pub unless_mark: Option<u32>,

    /// The table's default route does not count.
    pub without_default: bool,

    /// The table that is asked.
    pub table: u32,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rule")
            .field("family", &self.family)
            .field("priority", &self.priority)
            .field("has_source", &self.from.is_some())
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

impl Rtnl {
    /// The rules of both families that [`Rule`] can say.
    pub async fn rules(&self) -> Result<Vec<Rule>, Error> {
        let mut rules = Vec::new();
        for family in Family::ALL {
            let mut request = RuleMessage::default();
            request.header.family = family.to_kernel();
            let request = RouteNetlinkMessage::GetRule(request);
            for message in self.list("routing rules", request).await? {
                if let RouteNetlinkMessage::NewRule(message) = message {
                    rules.extend(rule(&message));
                }
            }
        }
        rules.sort_unstable();
        Ok(rules)
    }

    /// Adds a rule. Fails with a refusal `AlreadyExists` when it is there.
    pub async fn add_rule(&self, rule: &Rule) -> Result<(), Error> {
        let message = RouteNetlinkMessage::NewRule(rule_message(rule));
        self.change("add", &at(rule), message, CREATE | EXCLUSIVE).await
    }

    /// Removes a rule. Fails with a refusal `NotFound` when it is not there.
    pub async fn remove_rule(&self, rule: &Rule) -> Result<(), Error> {
        let message = RouteNetlinkMessage::DelRule(rule_message(rule));
        self.change("remove", &at(rule), message, 0).await
    }

    /// Sends everything of the source's family that asks a table to an interface, from this source unless a packet has one,
    /// in place of the default route that the table has. There is no moment without one.
    pub async fn lead(&self, table: u32, ifindex: u32, source: IpAddr) -> Result<(), Error> {
        let message = RouteNetlinkMessage::NewRoute(default_route(table, ifindex, source));
        let object = numbered(ifindex);
        self.change("lead traffic to", &object, message, CREATE | REPLACE)
            .await
    }

    /// Lets nothing of a family leave that asks a table.
    pub async fn refuse(&self, table: u32, family: Family) -> Result<(), Error> {
        let message = RouteNetlinkMessage::NewRoute(unreachable(table, family));
        self.change(
            "close",
            &format!("routing table {table}"),
            message,
            CREATE | REPLACE,
        )
        .await
    }

    /// Takes that back. Fails with a refusal `NotFound` when it was not so.
    pub async fn unrefuse(&self, table: u32, family: Family) -> Result<(), Error> {
        let message = RouteNetlinkMessage::DelRoute(unreachable(table, family));
        self.change("open", &format!("routing table {table}"), message, 0)
            .await
    }

    /// Moves a link into a network namespace, where it is down and has no address. WireGuard's own packets stay where the
    /// interface was made.
    pub async fn move_link(&self, ifindex: u32, namespace: BorrowedFd<'_>) -> Result<(), Error> {
        let link = LinkUnspec::new_with_index(ifindex)
            .append_extra_attribute(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
        let message = RouteNetlinkMessage::NewLink(link.build());
        self.change("move", &numbered(ifindex), message, 0).await
    }
}

fn at(rule: &Rule) -> String {
    format!("the routing rule at {}", rule.priority)
}

fn rule_message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    let (header, attributes) = (&mut message.header, &mut message.attributes);
    header.family = rule.family.to_kernel();
    header.action = RuleAction::ToTable;
    attributes.push(RuleAttribute::Priority(rule.priority));
    match u8::try_from(rule.table) {
        Ok(table) => header.table = table,
        Err(_) => attributes.push(RuleAttribute::Table(rule.table)),
    }
    if let Some(source) = rule.from {
        header.src_len = if source.is_ipv4() { 32 } else { 128 };
        attributes.push(RuleAttribute::Source(source));
    }
    if let Some(mark) = rule.unless_mark {
        header.flags |= RuleFlags::Invert;
        attributes.push(RuleAttribute::FwMark(mark));
    }
    if rule.without_default {
        attributes.push(RuleAttribute::SuppressPrefixLen(0));
    }
    message
}

fn rule(message: &RuleMessage) -> Option<Rule> {
    let header = &message.header;
    let family = match header.family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return None,
    };
    let inverts = header.flags.contains(RuleFlags::Invert);
    if header.action != RuleAction::ToTable || header.dst_len != 0 || header.tos != 0 {
        return None;
    }
    let mut rule = Rule {
        family,
        priority: 0,
        from: None,
        unless_mark: None,
        without_default: false,
        table: u32::from(header.table),
    };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Source(source) => rule.from = Some(*source),
            RuleAttribute::FwMark(0) => {}
            RuleAttribute::FwMark(mark) => rule.unless_mark = Some(*mark),
            RuleAttribute::SuppressPrefixLen(0) => rule.without_default = true,
            // What the kernel says of each, with its default.
            RuleAttribute::SuppressPrefixLen(u32::MAX)
            | RuleAttribute::FwMask(u32::MAX)
            | RuleAttribute::Protocol(_) => {}
            _ => return None,
        }
    }
    (inverts == rule.unless_mark.is_some()).then_some(rule)
}

fn default_route(table: u32, ifindex: u32, source: IpAddr) -> RouteMessage {
    match source {
        IpAddr::V4(source) => RouteMessageBuilder::<Ipv4Addr>::new()
            .table_id(table)
            .output_interface(ifindex)
            .scope(RouteScope::Link)
            .pref_source(source)
            .build(),
        IpAddr::V6(source) => {
            let mut message = RouteMessageBuilder::<Ipv6Addr>::new()
                .table_id(table)
                .output_interface(ifindex)
                .build();
            let source = RouteAttribute::PrefSource(RouteAddress::Inet6(source));
            message.attributes.push(source);
            message
        }
    }
}

fn unreachable(table: u32, family: Family) -> RouteMessage {
    let mut message = match family {
        Family::V4 => RouteMessageBuilder::<Ipv4Addr>::new().table_id(table).build(),
        Family::V6 => RouteMessageBuilder::<Ipv6Addr>::new().table_id(table).build(),
    };
    message.header.kind = RouteType::Unreachable;
    // Last of all: any other default route goes before it.
    message.attributes.push(RouteAttribute::Priority(u32::MAX));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_as_it_was_written() {
        let plain = Rule {
            family: Family::V4,
            priority: 30_000,
            from: None,
            unless_mark: None,
            without_default: false,
            table: 254,
        };
        for rule in [
            plain,
            Rule {
                from: Some("10.64.0.9".parse().unwrap()),
                table: 0x6376_0001,
                ..plain
            },
            Rule {
                family: Family::V6,
                from: Some("fd64::9".parse().unwrap()),
                ..plain
            },
            Rule {
                unless_mark: Some(7),
                ..plain
            },
            Rule {
                without_default: true,
                ..plain
            },
        ] {
            assert!(super::rule(&rule_message(&rule)) == Some(rule), "{rule:?}");
        }
    }

    #[test]
    fn a_rule_that_says_more_is_none_of_ours() {
        let rule = Rule {
            family: Family::V4,
            priority: 5,
            from: None,
            unless_mark: None,
            without_default: false,
            table: 254,
        };
        let mut message = rule_message(&rule);
        message.attributes.push(RuleAttribute::Iifname("eth0".to_owned()));
        assert_eq!(super::rule(&message), None);
        let mut message = rule_message(&rule);
        message.header.flags |= RuleFlags::Invert;
        assert_eq!(super::rule(&message), None);
    }
}
