//! A client's gateways, as one message.

use std::net::SocketAddr;

use super::{Message, peer};
use crate::netlink::abi::{
    AF_INET, AF_INET6, NLM_F_ACK, NLM_F_REQUEST, SOCKADDR_IN, SOCKADDR_IN6, WG_CMD_SET_DEVICE,
    WG_GENL_VERSION, WGDEVICE_A_IFINDEX, WGDEVICE_A_PEERS, WGPEER_A_ALLOWEDIPS, WGPEER_A_ENDPOINT,
    WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, WGPEER_F_REMOVE_ME, WGPEER_F_REPLACE_ALLOWEDIPS,
};
use crate::{GatewayPeer, PublicKey};

/// Bytes that a gateway takes with the prefixes of both default routes.
const GATEWAY: usize = 256;

/// Gateways of one message, so that it stays far below what an attribute's length can say.
pub const GATEWAYS: usize = 64;

/// The request that sets these gateways, of which more than [`GATEWAYS`] are left out, and removes those.
pub fn set_gateways(family: u16, ifindex: u32, set: &[GatewayPeer], remove: &[PublicKey]) -> Message {
    let (set, remove) = (
        &set[..set.len().min(GATEWAYS)],
        &remove[..remove.len().min(GATEWAYS)],
    );
    let room = GATEWAY * (1 + set.len() + remove.len());
    let mut writer = Message::start(
        room,
        family,
        NLM_F_REQUEST | NLM_F_ACK,
        WG_CMD_SET_DEVICE,
        WG_GENL_VERSION,
    );
    writer.put(WGDEVICE_A_IFINDEX, &ifindex.to_ne_bytes());
    let peers = writer.nest(WGDEVICE_A_PEERS);
    for gateway in set {
        let nest = peer(&mut writer, &gateway.public_key, WGPEER_F_REPLACE_ALLOWEDIPS);
        writer.put(WGPEER_A_ENDPOINT, &sockaddr(gateway.endpoint.socket_addr()));
        writer.put(
            WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL,
            &gateway.keepalive.to_ne_bytes(),
        );
        if !gateway.allowed_ips.is_empty() {
            let prefixes = writer.nest(WGPEER_A_ALLOWEDIPS);
            gateway
                .allowed_ips
                .iter()
                .for_each(|prefix| writer.allowed_ip(prefix));
            writer.end(prefixes);
        }
        writer.end(nest);
    }
    for public_key in remove {
        let nest = peer(&mut writer, public_key, WGPEER_F_REMOVE_ME);
        writer.end(nest);
    }
    writer.end(peers);
    Message::finish(writer, set.len() + remove.len())
}

/// A `sockaddr_in` or `sockaddr_in6`.
fn sockaddr(address: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SOCKADDR_IN6);
    match address {
        SocketAddr::V4(address) => {
            bytes.extend(AF_INET.to_ne_bytes());
            bytes.extend(address.port().to_be_bytes());
            bytes.extend(address.ip().octets());
            bytes.resize(SOCKADDR_IN, 0);
        }
        SocketAddr::V6(address) => {
            bytes.extend(AF_INET6.to_ne_bytes());
            bytes.extend(address.port().to_be_bytes());
            bytes.extend(address.flowinfo().to_be_bytes());
            bytes.extend(address.ip().octets());
            bytes.extend(address.scope_id().to_ne_bytes());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_laid_out_as_the_kernel_reads_it() {
        let four = sockaddr("198.51.100.1:51820".parse().unwrap());
        assert_eq!(four.len(), SOCKADDR_IN);
        assert_eq!(four[2..8], [0xca, 0x6c, 198, 51, 100, 1]);
        let six = sockaddr("[2001:db8::1]:51820".parse().unwrap());
        assert_eq!(six.len(), SOCKADDR_IN6);
        assert_eq!((&six[2..4], six[8], six[23]), (&[0xca, 0x6c][..], 0x20, 1));
    }
}
