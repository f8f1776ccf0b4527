//! One effect at a time. Each may be done again: what is there already is left, what is gone already is gone.

use std::net::IpAddr;

use culvert_wireguard::netlink::{Family, LinkInfo, Rule};
use culvert_wireguard::{AllowedIps, Endpoint, Error, GatewayPeer, PrivateKey, PublicKey, Refusal};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::create::{create, create_outside};
use super::{Effect, Machine, MachineError, missing};
use crate::connect::device::{self, Device};
use crate::connect::guard;
use crate::connect::names::{LEAD_TABLE, MARK, Mark, interface, is_our_rule, own_rules, own_table};

/// Seconds between handshakes with a gateway that is to be met.
const MEET_EVERY: u16 = 5;

impl Machine {
    /// Does one thing.
    pub async fn act(&mut self, effect: Effect) -> Result<(), MachineError> {
        match effect {
            Effect::Make { slot } => self.make(slot).await,
            Effect::Furnish { slot, addresses, mtu } => self.furnish(slot, &addresses, mtu).await,
            Effect::Meet { slot, gateways } => {
                let peers: Vec<GatewayPeer> = gateways
                    .into_iter()
                    .map(|(public_key, endpoint)| GatewayPeer {
                        public_key,
                        endpoint,
                        allowed_ips: AllowedIps::new(),
                        keepalive: MEET_EVERY,
                    })
                    .collect();
                let device = self.device(slot).await?;
                Ok(self.devices.set_gateways(&device, &peers, &[])?)
            }
            Effect::Settle { slot, gateway } => self.settle(slot, gateway).await,
            Effect::Lead { slot } => self.lead(slot).await,
            Effect::Unlead => self.unlead().await,
            Effect::Remove { slot } => self.remove(slot).await,
            Effect::Close => {
                self.closed = None;
                Ok(guard::close().await?)
            }
            Effect::Open => {
                self.closed = None;
                Ok(guard::open().await?)
            }
        }
    }

    async fn link(&self, slot: u8) -> Result<(LinkInfo, Device), MachineError> {
        let name = interface(slot);
        let link = self.rtnl.link(&name).await?;
        let found = link.and_then(|link| {
            let mark = link.alias.as_deref().and_then(Mark::read)?;
            let device = Device {
                ifindex: link.ifindex,
                socket: mark.socket,
            };
            (mark.owner == self.setting.owner).then_some((link, device))
        });
        found.ok_or_else(|| MachineError::Kernel(missing(&name)))
    }

    async fn device(&self, slot: u8) -> Result<Device, MachineError> {
        Ok(self.link(slot).await?.1)
    }

    async fn make(&mut self, slot: u8) -> Result<(), MachineError> {
        self.forget_rules(|rule| rule.table == own_table(slot)).await?;
        let private = PrivateKey::generate().map_err(|_| MachineError::Draw)?;
        match &self.outside {
            None => create(&self.rtnl, &self.setting, slot).await?,
            Some(outside) => create_outside(outside, &self.setting, slot)?,
        }
        let device = self.device(slot).await?;
        Ok(self.devices.set_key(&device, private, Some(MARK))?)
    }

    async fn furnish(&mut self, slot: u8, addresses: &[IpAddr], mtu: u32) -> Result<(), MachineError> {
        let (link, device) = self.link(slot).await?;
        let ifindex = link.ifindex;
        if link.mtu != mtu {
            self.rtnl.set_mtu(ifindex, mtu).await?;
        }
        let wanted: Vec<IpNet> = addresses.iter().map(|address| host(*address)).collect();
        for surplus in self.rtnl.addresses(ifindex).await? {
            if !wanted.contains(&surplus) {
                gone(self.rtnl.remove_address(ifindex, surplus).await)?;
            }
        }
        for address in wanted {
            there(self.rtnl.add_address(ifindex, address).await)?;
        }
        self.rtnl.set_up(ifindex).await?;
        device::hears_up(&device).await?;
        let rules = own_rules(slot, addresses);
        let table = own_table(slot);
        self.forget_rules(|rule| rule.table == table && !rules.contains(rule))
            .await?;
        for address in addresses {
            self.rtnl.lead(table, ifindex, *address).await?;
        }
        for rule in &rules {
            there(self.rtnl.add_rule(rule).await)?;
        }
        Ok(())
    }

    async fn settle(
        &mut self,
        slot: u8,
        (public_key, endpoint): (PublicKey, Endpoint),
    ) -> Result<(), MachineError> {
        let device = self.device(slot).await?;
        let peers = self.devices.look(&device)?.peers;
        let others: Vec<PublicKey> = peers
            .iter()
            .map(|peer| peer.public_key)
            .filter(|key| *key != public_key)
            .collect();
        let gateway = GatewayPeer {
            public_key,
            endpoint,
            allowed_ips: [IpNet::from(Ipv4Net::default()), IpNet::from(Ipv6Net::default())]
                .into_iter()
                .collect(),
            keepalive: 0,
        };
        Ok(self.devices.set_gateways(&device, &[gateway], &others)?)
    }

    async fn lead(&mut self, slot: u8) -> Result<(), MachineError> {
        let (link, _) = self.link(slot).await?;
        let table = self.lead_table();
        let addresses = self.rtnl.addresses(link.ifindex).await?;
        for family in Family::ALL {
            let of_family = addresses.iter().find(|a| Family::of(a.addr()) == family);
            match of_family {
                Some(address) => self.rtnl.lead(table, link.ifindex, address.addr()).await?,
                // What has no address in the tunnel goes nowhere, instead of around it.
                None if self.outside.is_none() => self.rtnl.refuse(table, family).await?,
                None => {}
            }
        }
        let rules = self.rtnl.rules().await?;
        for rule in self.lead_rules() {
            if !rules.contains(&rule) {
                there(self.rtnl.add_rule(&rule).await)?;
            }
        }
        Ok(())
    }

    /// The routes of the table that leads go with their interfaces.
    async fn unlead(&mut self) -> Result<(), MachineError> {
        self.forget_rules(is_our_rule).await?;
        for family in Family::ALL {
            gone(self.rtnl.unrefuse(LEAD_TABLE, family).await)?;
        }
        Ok(())
    }

    async fn remove(&mut self, slot: u8) -> Result<(), MachineError> {
        let (link, device) = self.link(slot).await?;
        self.forget_rules(|rule| rule.table == own_table(slot)).await?;
        // Peers first: an interface that holds some is slow to go.
        let peers = self.devices.look(&device).map(|found| found.peers);
        let keys: Vec<PublicKey> = peers.unwrap_or_default().iter().map(|p| p.public_key).collect();
        if !keys.is_empty() {
            let _ = self.devices.set_gateways(&device, &[], &keys);
        }
        Ok(gone(self.rtnl.delete_link(link.ifindex).await)?)
    }

    async fn forget_rules(&self, which: impl Fn(&Rule) -> bool) -> Result<(), MachineError> {
        for rule in self.rtnl.rules().await? {
            if which(&rule) {
                gone(self.rtnl.remove_rule(&rule).await)?;
            }
        }
        Ok(())
    }
}

fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

/// It is there, whoever made it so.
fn there(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.refusal() == Some(Refusal::AlreadyExists) => Ok(()),
        result => result,
    }
}

/// It is gone, whoever made it so.
fn gone(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.refusal() == Some(Refusal::NotFound) => Ok(()),
        result => result,
    }
}
