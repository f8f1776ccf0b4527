//! What marks things as ours: interfaces, routing tables, rules, the kill switch (pure).
//!
//! An interface's alias is its mark, as a gateway's is: it needs no file, and goes with the interface. Rules are known by
//! their tables, of which nobody else uses these. So whoever is killed leaves nothing that the next run does not find.

use std::net::IpAddr;

use culvert_wireguard::netlink::{Family, MAIN_TABLE, Rule};

/// `cv` in ASCII: the mark on packets that go outside of the tunnel, WireGuard's own and those to the apiserver.
pub const MARK: u32 = 0x6376;

/// The table that leads into the tunnel. The tables of single tunnels follow.
pub const LEAD_TABLE: u32 = 0x6376_0000;

/// How many tunnels there are at most: the one in use, its successor, and those that still have their overlap.
pub const SLOTS: u8 = 16;

/// The rules that keep a tunnel's own addresses in it.
const OWN: u32 = 30_000;
/// The rule by which local networks stay local.
const LOCAL: u32 = 30_001;
/// The rule that sends everything else into the tunnel.
const LEAD: u32 = 30_002;

const ALIAS: &str = "culvert.dev/connect/";

/// Whose tunnel it is: a key of a cluster's namespace, and the socket of the program that moves its packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The key's namespace and name, as `namespace/name`.
    pub owner: String,

    /// wireguard-go's socket; none where the kernel moves the packets.
    pub socket: Option<String>,
}

impl Mark {
    /// As it stands on an interface.
    pub fn alias(&self) -> String {
        let socket = self.socket.as_deref().unwrap_or_default();
        format!("{ALIAS}{}/{socket}", self.owner)
    }

    /// Reads an interface's alias; `None` for those of others.
    pub fn read(alias: &str) -> Option<Self> {
        let (owner, socket) = alias.strip_prefix(ALIAS)?.rsplit_once('/')?;
        owner.contains('/').then(|| Self {
            owner: owner.to_owned(),
            socket: (!socket.is_empty()).then(|| socket.to_owned()),
        })
    }
}

/// The interface in a slot.
pub fn interface(slot: u8) -> String {
    format!("cvc{slot}")
}

/// The slot of an interface.
pub fn slot(interface: &str) -> Option<u8> {
    let slot: u8 = interface.strip_prefix("cvc")?.parse().ok()?;
    // One text for each.
    (slot < SLOTS && self::interface(slot) == interface).then_some(slot)
}

/// The table of the tunnel in a slot, which is asked for packets from that tunnel's addresses.
pub fn own_table(slot: u8) -> u32 {
    LEAD_TABLE + 1 + u32::from(slot)
}

/// Whether a table is one of ours, also of an earlier run's.
pub fn is_ours(table: u32) -> bool {
    (LEAD_TABLE..=own_table(SLOTS)).contains(&table)
}

/// The rules that keep the addresses of the tunnel in a slot in it.
pub fn own_rules(slot: u8, addresses: &[IpAddr]) -> Vec<Rule> {
    let rule = |address: &IpAddr| Rule {
        family: Family::of(*address),
        priority: OWN,
        from: Some(*address),
        unless_mark: None,
        without_default: false,
        table: own_table(slot),
    };
    addresses.iter().map(rule).collect()
}

/// The rules that send everything into the tunnel, but for local networks and what has the mark.
pub fn lead_rules() -> Vec<Rule> {
    let rules = Family::ALL.map(|family| {
        let local = Rule {
            family,
            priority: LOCAL,
            from: None,
            unless_mark: None,
            without_default: true,
            table: MAIN_TABLE,
        };
        let lead = Rule {
            priority: LEAD,
            unless_mark: Some(MARK),
            without_default: false,
            table: LEAD_TABLE,
            ..local
        };
        [local, lead]
    });
    rules.concat()
}

/// Whether a rule is one of ours, also of an earlier run's.
pub fn is_our_rule(rule: &Rule) -> bool {
    is_ours(rule.table) || lead_rules().contains(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_as_it_was_written_and_others_are_not_ours() {
        for socket in [None, Some("cvc-1a2b".to_owned())] {
            let mark = Mark {
                owner: "default/laptop".to_owned(),
                socket,
            };
            assert_eq!(Mark::read(&mark.alias()), Some(mark));
        }
        for alias in ["", "culvert.dev/0a-1/180/", "culvert.dev/connect/laptop/"] {
            assert_eq!(Mark::read(alias), None, "{alias}");
        }
    }

    #[test]
    fn a_slot_has_one_name() {
        assert_eq!(slot(&interface(3)), Some(3));
        for name in ["cvc", "cvc03", "cvc16", "cv0", "cvc+1"] {
            assert_eq!(slot(name), None, "{name}");
        }
    }

    #[test]
    fn our_rules_are_known_as_ours() {
        let addresses: Vec<IpAddr> = vec!["10.64.0.9".parse().unwrap(), "fd64::9".parse().unwrap()];
        for rule in lead_rules().into_iter().chain(own_rules(7, &addresses)) {
            assert!(is_our_rule(&rule), "{rule:?}");
        }
        let main = Rule {
            family: Family::V4,
            priority: 32_766,
            from: None,
            unless_mark: None,
            without_default: false,
            table: MAIN_TABLE,
        };
        assert!(!is_our_rule(&main));
    }
}
