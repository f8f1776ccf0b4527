//! Addresses of an interface.
//!
//! An address carries its prefix length, and the kernel makes the connected route from that. IPv6 addresses are
//! added without duplicate address detection (`IFA_F_NODAD`): a WireGuard interface has no neighbours to ask, and
//! an address that is still tentative cannot be used. No broadcast address is set, which a tunnel has no use for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::AddressMessageBuilder;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};

use super::link::{CREATE, EXCLUSIVE, numbered};
use super::rtnl::Rtnl;
use crate::Error;

impl Rtnl {
    /// The interface's addresses, each with its prefix length and its host bits. Link-local ones that the kernel
    /// made itself are left out.
    pub async fn addresses(&self, ifindex: u32) -> Result<Vec<IpNet>, Error> {
        let object = format!("addresses of interface {ifindex}");
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let mut addresses = Vec::new();
        for message in self.list(&object, request).await? {
            if let RouteNetlinkMessage::NewAddress(message) = message
                && message.header.index == ifindex
                && message.header.scope != AddressScope::Link
            {
                addresses.extend(address(&message));
            }
        }
        addresses.sort_unstable();
        Ok(addresses)
    }

    /// Every address of every interface.
    pub async fn local_addresses(&self) -> Result<Vec<IpAddr>, Error> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let listed = self.list("addresses", request).await?.into_iter();
        let found = listed.filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(message) => address(&message).map(|net| net.addr()),
            _ => None,
        });
        Ok(found.collect())
    }

    /// Gives the interface an address. Fails with a refusal `AlreadyExists` when it has it.
    pub async fn add_address(&self, ifindex: u32, address: IpNet) -> Result<(), Error> {
        let message = RouteNetlinkMessage::NewAddress(address_message(ifindex, address));
        self.change(
            "add an address to",
            &numbered(ifindex),
            message,
            CREATE | EXCLUSIVE,
        )
        .await
    }

    /// Takes an address from the interface. Fails with a refusal `NotFound` when it has not got it.
    pub async fn remove_address(&self, ifindex: u32, address: IpNet) -> Result<(), Error> {
        let message = RouteNetlinkMessage::DelAddress(address_message(ifindex, address));
        self.change("remove an address from", &numbered(ifindex), message, 0)
            .await
    }
}

fn address_message(ifindex: u32, address: IpNet) -> AddressMessage {
    match address {
        IpNet::V4(net) => {
            let mut message = AddressMessageBuilder::<Ipv4Addr>::new()
                .index(ifindex)
                .address(net.addr(), net.prefix_len())
                .build();
            message
                .attributes
                .retain(|attribute| !matches!(attribute, AddressAttribute::Broadcast(_)));
            message
        }
        IpNet::V6(net) => {
            let mut message = AddressMessageBuilder::<Ipv6Addr>::new()
                .index(ifindex)
                .address(net.addr(), net.prefix_len())
                .build();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
            message
        }
    }
}

/// `IFA_LOCAL` is our end; `IFA_ADDRESS` is the other one on point-to-point links, and all there is for IPv6.
fn address(message: &AddressMessage) -> Option<IpNet> {
    let find = |pick: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(pick);
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let any = find(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    IpNet::new(local.or(any)?, message.header.prefix_len).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_keeps_its_host_bits_and_prefix() {
        for text in ["10.64.0.1/11", "fd00::1/64", "192.0.2.1/32"] {
            assert_eq!(address(&address_message(3, net(text))), Some(net(text)));
        }
    }

    #[test]
    fn no_broadcast_address_is_set() {
        let message = address_message(3, net("10.64.0.1/11"));
        assert!(
            !message
                .attributes
                .iter()
                .any(|attribute| matches!(attribute, AddressAttribute::Broadcast(_)))
        );
    }

    #[test]
    fn an_ipv6_address_is_usable_at_once() {
        let message = address_message(3, net("fd00::1/64"));
        assert!(
            message
                .attributes
                .contains(&AddressAttribute::Flags(AddressFlags::Nodad))
        );
    }
}
