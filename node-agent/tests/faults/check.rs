//! What must be true of a node, seen from outside the agent.

use std::time::Duration;

use culvert_crds::gateway::KeyStorage;
use culvert_crds::gateway_node::Backend;
use culvert_node_agent::interface::Mark;
use culvert_node_agent::kernel::Kernel;
use culvert_node_agent::kernel::fake::{Call, Failure};
use culvert_wireguard::netlink::LinkInfo;
use culvert_wireguard::{DesiredPeer, Endpoint, PeerChange, PublicKey};
use ipnet::IpNet;

use super::Plan;
use super::course::Course;
use super::node::{FOREIGN, NAME, Node, Report, WINDOW, key};

/// How long after the window a client may be remembered, in seconds.
const GRACE: u64 = 10;

/// Whether a call is to change something.
pub fn changes(call: &Call) -> bool {
    !matches!(
        call,
        Call::Managed
            | Call::Link
            | Call::Addresses
            | Call::Routes
            | Call::OwnAddresses
            | Call::Generation
            | Call::ReadTable
            | Call::TableStands
            | Call::Tables
            | Call::Chains
            | Call::Begin
            | Call::Next
    )
}

/// A node before a tick.
pub struct Before {
    pub calls: usize,
    report: Report,
    foreign: (Option<LinkInfo>, Vec<PublicKey>),
    sessions: Vec<u8>,
    has_interface: bool,
    /// It is of another sort than the node makes now.
    is_unfit: bool,
    is_purging: bool,
}

impl Before {
    pub fn of(node: &Node) -> Self {
        Self {
            calls: node.kernel.made(),
            report: node.report(),
            foreign: foreign(node),
            sessions: sessions(node),
            has_interface: node.interface().is_some(),
            is_unfit: node.is_unfit(),
            is_purging: node.is_purging(),
        }
    }

    /// What must be true after every tick, whatever has failed in it.
    pub fn judge(self, node: &Node, course: &Course, failures: &Plan, calls: &[Call]) -> Result<(), String> {
        let met = |failure| failures.iter().any(|(_, met)| *met == failure);
        // A link that cannot be renamed while it is up is made anew, on old kernels.
        let is_made_anew = self.is_unfit || met(Failure::Ebusy) && calls.contains(&Call::Rename);
        for call in calls {
            match call {
                Call::Change(changes) => changes
                    .iter()
                    .try_for_each(|change| allowed(node, self.is_purging, change))?,
                Call::Delete if !node.leaving && !is_made_anew => {
                    return Err("an interface that is wanted was to be deleted".into());
                }
                Call::Create if self.has_interface && !met(Failure::NoDevice) && !is_made_anew => {
                    return Err("an interface was made without need".into());
                }
                _ => {}
            }
        }
        if foreign(node) != self.foreign {
            return Err("somebody else's interface was changed".into());
        }
        if !course.cuts && !self.is_purging && !met(Failure::NoDevice) && !is_made_anew {
            let now = sessions(node);
            let cut = self.sessions.iter().find(|number| !now.contains(number));
            if let Some(number) = cut.filter(|number| node.speaking.contains(number)) {
                return Err(format!("the session of {number} was cut"));
            }
        }
        let is_open = |link: &LinkInfo| link.name == NAME && link.up;
        if node.kernel.links().iter().any(is_open) && node.kernel.table("uid").is_none() {
            return Err("the link is up without a table".into());
        }
        let report = node.report();
        // An agent that is started again has the interface's, while there is one.
        let known = self
            .report
            .public_key
            .or(node.own.filter(|_| !met(Failure::NoDevice)));
        if let (Some(known), Some(own), false) = (known, report.public_key, node.leaving)
            && own != known
        {
            return Err("the gateway has another key".into());
        }
        remembered(node)?;
        if self.is_purging && !node.is_purging() && node.interface().as_deref() == Some(NAME) {
            traces(node).map_err(|wrong| format!("the purge was said to be over, and {wrong}"))?;
        }
        let has_moved = report.applied.is_some() && report.applied != self.report.applied;
        if has_moved && !met(Failure::NoDevice) {
            peers(node, report.refused).map_err(|wrong| format!("programmed was said, and {wrong}"))?;
        }
        Ok(())
    }
}

fn allowed(node: &Node, is_purging: bool, change: &PeerChange) -> Result<(), String> {
    let number = change.public_key().as_bytes()[0];
    let wanted = node.wanted.get(&number);
    match change {
        PeerChange::Remove(_) if wanted.is_some() => Err(format!("{number} is wanted and was to be removed")),
        PeerChange::Remove(_) if !node.listed => {
            Err(format!("{number} was to be removed before a whole list"))
        }
        PeerChange::Reinstate(_) if node.speaking.contains(&number) && !is_purging => {
            Err(format!("{number} is there and was to be cut"))
        }
        PeerChange::Set(DesiredPeer { allowed_ips, .. })
        | PeerChange::Reinstate(DesiredPeer { allowed_ips, .. })
            if Some(allowed_ips) != wanted =>
        {
            Err(format!("{number} was to be what nobody asks for"))
        }
        _ => Ok(()),
    }
}

/// Whether all is as the API asks.
pub fn whole(node: &Node) -> Result<(), String> {
    let report = node.report();
    if node.leaving {
        // It is not drained before it has served.
        return match node.interface() {
            None if report.is_drained && node.kernel.table("uid").is_none() => Ok(()),
            _ => Err("the gateway has not left".into()),
        };
    }
    let wrong = |what: &str| Err(what.to_owned());
    if node.interface().as_deref() != Some(NAME) {
        return wrong("the interface is missing, or has another name");
    }
    let links = node.kernel.links();
    let link = links.iter().find(|link| link.name == NAME).unwrap();
    let mark = Mark {
        gateway: "uid".into(),
        window: Duration::from_secs(WINDOW),
    };
    let alias = link.alias.as_deref().unwrap_or_default();
    let is_marked = match node.kernel.backend() {
        Backend::Kernel => alias == mark.alias(),
        // The name of the program's socket follows.
        Backend::Userspace => alias.starts_with(&format!("{}/", mark.alias())),
    };
    if (link.mtu, link.up, is_marked) != (node.assignment.mtu, true, true) || node.is_unfit() {
        return wrong("the link is not as asked");
    }
    let table = node.kernel.table("uid").unwrap_or_default();
    if !table.contains(&format!("iif {} goto", link.ifindex)) {
        return wrong("the table is not the link's");
    }
    let addresses: Vec<IpNet> = node.addresses.iter().map(|text| text.parse().unwrap()).collect();
    if node.kernel.addresses_of(NAME) != addresses {
        return wrong("the addresses are not as asked");
    }
    let settings = node.kernel.device(NAME).settings;
    if (settings.listen_port, settings.fwmark) != (node.assignment.listen_port, 0) {
        return wrong("port or mark are not as asked");
    }
    if node.has_key_file() != (node.assignment.key_storage == KeyStorage::Node) {
        return wrong("the key is not kept as asked");
    }
    if settings.public_key.is_none() || settings.public_key != report.public_key {
        return wrong("the key is not the one that is reported");
    }
    peers(node, 0)?;
    let applied = node.listed.then_some(node.version());
    if report.purged != node.purge.0 {
        return wrong("the purge is not over");
    }
    if report.applied != applied || report.refused != 0 || report.is_troubled || report.is_drained {
        return Err(format!("it reports {report:?}"));
    }
    traces(node)
}

/// Whether the kernel has the peers that the agent knows to be wanted, all but so many, and once all is listed, no other.
fn peers(node: &Node, refused: i64) -> Result<(), String> {
    let Some(name) = node.interface() else {
        return Err("there is no interface".into());
    };
    let mut missing = node.told.clone();
    let mut surplus = Vec::new();
    for peer in node.kernel.device(&name).peers {
        let number = peer.public_key.as_bytes()[0];
        let bare = peer.persistent_keepalive == 0 && !peer.has_preshared_key;
        match missing.get(&number) {
            Some(allowed_ips) if bare && *allowed_ips == peer.allowed_ips => drop(missing.remove(&number)),
            Some(_) => {}
            None => surplus.push(number),
        }
    }
    if node.listed && !surplus.is_empty() {
        return Err(format!("the kernel has {surplus:?}, which nobody asks for"));
    }
    if i64::try_from(missing.len()).unwrap() > refused {
        return Err(format!(
            "the kernel lacks {:?}, or has them otherwise",
            missing.keys()
        ));
    }
    Ok(())
}

/// Whether nothing is kept of whoever has been silent for the window.
fn traces(node: &Node) -> Result<(), String> {
    for peer in node.kernel.device(NAME).peers {
        let number = peer.public_key.as_bytes()[0];
        let heard = node.heard.get(&number).copied().unwrap_or_default();
        let is_silent = node.boot() - heard >= WINDOW || heard < node.purge.1;
        let has_trace = peer.endpoint.is_some() || peer.last_handshake.is_some() || peer.rx_bytes != 0;
        if is_silent && has_trace {
            return Err(format!("{number} left a trace"));
        }
    }
    Ok(())
}

/// Whether nobody is remembered for longer than the window and two ticks, whatever has failed.
fn remembered(node: &Node) -> Result<(), String> {
    let Some(name) = node.interface() else {
        return Ok(());
    };
    for peer in node.kernel.device(&name).peers {
        let number = peer.public_key.as_bytes()[0];
        let heard = node.heard.get(&number).copied().unwrap_or_default();
        let is_due = node.boot() > (heard + WINDOW).max(node.awake) + GRACE;
        if is_due
            && peer
                .endpoint
                .is_some_and(|endpoint| endpoint != Endpoint::FORGOTTEN)
        {
            return Err(format!("{number} is remembered {} s later", node.boot() - heard));
        }
    }
    Ok(())
}

/// Peers whose clients need no handshake to go on.
fn sessions(node: &Node) -> Vec<u8> {
    let Some(name) = node.interface() else {
        return Vec::new();
    };
    let peers = node.kernel.device(&name).peers;
    let number = |key: PublicKey| key.as_bytes()[0];
    let numbers = peers.iter().map(|peer| number(peer.public_key));
    numbers
        .filter(|number| node.kernel.has_session(&name, &key(*number)))
        .collect()
}

/// Somebody else's interface and its peers.
fn foreign(node: &Node) -> (Option<LinkInfo>, Vec<PublicKey>) {
    let mut links = node.kernel.links().into_iter();
    let peers = node.kernel.device(FOREIGN).peers;
    let keys = peers.iter().map(|peer| peer.public_key);
    (links.find(|link| link.name == FOREIGN), keys.collect())
}
