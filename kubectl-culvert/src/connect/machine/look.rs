//! What is there: our tunnels, which of them leads, the kill switch.

use std::net::IpAddr;
use std::time::Duration;

use culvert_wireguard::PrivateKey;
use culvert_wireguard::netlink::{Family, LinkInfo, Rule};
use ipnet::IpNet;

use super::{Machine, MachineError, Seen, SeenPeer, SeenTunnel};
use crate::clock::now;
use crate::connect::device::Device;
use crate::connect::guard;
use crate::connect::names::{self, Mark, is_our_rule, own_rules, own_table};

/// For how long a kill switch is believed to be there that was there.
const CLOSED_FOR: Duration = Duration::from_secs(5);

impl Machine {
    /// Looks at everything.
    pub async fn look(&mut self) -> Result<Seen, MachineError> {
        let links = self.rtnl.links().await?;
        let rules = self.rtnl.rules().await?;
        let routes = self.rtnl.routes().await?;
        let leads = |ifindex: u32, table: u32| {
            let default = |family| {
                routes.iter().any(|route| {
                    route.table == table
                        && route.ifindex == Some(ifindex)
                        && route.destination.prefix_len() == 0
                        && Family::of(route.destination.addr()) == family
                })
            };
            Family::ALL.map(default)
        };
        let mut seen = Seen::default();
        let ruled = self.lead_rules().iter().all(|rule| rules.contains(rule));
        for link in links {
            let Some(mark) = link.alias.as_deref().and_then(Mark::read) else {
                continue;
            };
            if mark.owner != self.setting.owner {
                seen.other = Some(mark.owner);
                continue;
            }
            let Some(slot) = names::slot(&link.name) else {
                continue;
            };
            let tunnel = self
                .tunnel(
                    slot,
                    &link,
                    mark.socket,
                    &rules,
                    leads(link.ifindex, own_table(slot)),
                )
                .await?;
            let led = leads(link.ifindex, self.lead_table());
            seen.leads_partly |= led.contains(&true);
            if ruled && !tunnel.addresses.is_empty() && has_all(&tunnel.addresses, led) {
                seen.leader = Some(slot);
            }
            seen.tunnels.push(tunnel);
        }
        seen.leads_partly |= rules.iter().any(is_our_rule);
        seen.tunnels.sort_by_key(|tunnel| tunnel.slot);
        let now = now().boot;
        let is_old = now.saturating_sub(self.closed_at) >= CLOSED_FOR;
        let closed = match self.closed {
            // Whoever flushes the ruleset has opened it.
            Some(closed) if !(closed && is_old) => closed,
            _ => {
                self.closed_at = now;
                guard::is_closed()?
            }
        };
        seen.closed = *self.closed.insert(closed);
        Ok(seen)
    }

    async fn tunnel(
        &mut self,
        slot: u8,
        link: &LinkInfo,
        socket: Option<String>,
        rules: &[Rule],
        routed: [bool; 2],
    ) -> Result<SeenTunnel, MachineError> {
        let device = Device {
            ifindex: link.ifindex,
            socket,
        };
        let found = self.rtnl.addresses(link.ifindex).await?;
        let addresses: Vec<IpAddr> = found.iter().map(IpNet::addr).collect();
        let observed = self.devices.look(&device)?;
        let own = own_rules(slot, &addresses);
        let furnished = link.up
            && !addresses.is_empty()
            && own.iter().all(|rule| rules.contains(rule))
            && has_all(&addresses, routed);
        let mut peers: Vec<SeenPeer> = observed
            .peers
            .iter()
            .map(|peer| SeenPeer {
                key: peer.public_key,
                carries: !peer.allowed_ips.is_empty(),
                endpoint: peer.endpoint,
                handshake: peer.last_handshake,
                received: peer.rx_bytes,
                sent: peer.tx_bytes,
            })
            .collect();
        // Who has answered first is the nearest.
        peers.sort_by_key(|peer| (peer.handshake.is_none(), peer.handshake));
        Ok(SeenTunnel {
            slot,
            public_key: observed.settings.public_key.or_else(|| {
                let private = observed.settings.private_key.as_ref();
                private.map(PrivateKey::public_key)
            }),
            addresses,
            furnished,
            peers,
        })
    }
}

fn has_all(addresses: &[IpAddr], families: [bool; 2]) -> bool {
    let is_there = |address: &IpAddr| families[usize::from(address.is_ipv6())];
    addresses.iter().all(is_there)
}
