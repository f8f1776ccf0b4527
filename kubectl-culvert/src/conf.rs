//! A client's configuration as `wg-quick` reads it (pure).
//!
//! Everything is sent through the gateway unless ranges are named. Of `full` both families are routed even where the
//! client has an address of one: what has no address in the tunnel goes nowhere, instead of around it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use culvert_wireguard::{PrivateKey, PublicKey};
use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::exit::Exit;

/// What a client sends into the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routes {
    /// Everything.
    Full,
    /// These ranges.
    Split(Vec<IpNet>),
}

/// A client, and the one gateway that it connects to.
#[derive(Debug)]
pub struct ClientConf<'a> {
    /// The client's private key; absent in a configuration that is shown, not used.
    pub private: Option<&'a PrivateKey>,

    /// The client's tunnel addresses.
    pub addresses: &'a [IpAddr],

    /// Resolvers.
    pub dns: &'a [IpAddr],

    /// MTU of the interface in bytes.
    pub mtu: u32,

    /// The gateway's public key.
    pub gateway: PublicKey,

    /// Where the gateway is, as `host:port`.
    pub endpoint: &'a str,

    /// What goes through it.
    pub routes: &'a Routes,

    /// Seconds between packets that keep the way open; it also keeps the gateway from forgetting where the client is.
    pub keepalive: Option<u16>,
}

/// There is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfError {
    /// The client has no address.
    #[error("the key has no tunnel address")]
    NoAddress,

    /// A split tunnel without a range.
    #[error("there is nothing to route: the gateway opens no private range, and none was named")]
    NothingToRoute,

    /// The endpoint would be more than one line of the file.
    #[error("the gateway's endpoint is no `host:port`")]
    Endpoint,
}

impl ConfError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        Exit::Failed
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoAddress => "wait until the key is ready: `kubectl culvert key list`",
            Self::NothingToRoute => "name ranges with --route, or use --full",
            Self::Endpoint => "see `kubectl get wgn`; the administrator sets spec.endpoint of the gateway",
        };
        Some(hint.to_owned())
    }
}

/// Longer than any configuration: a text that grows would leave the private key behind.
const ROOM: usize = 16 << 10;

/// Everything, in both families.
pub fn everything() -> [IpNet; 2] {
    [
        IpNet::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        IpNet::from(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    ]
    .map(|host| IpNet::new(host.addr(), 0).unwrap_or(host))
}

impl Routes {
    /// The allowed IPs of the gateway.
    pub fn allowed_ips(&self) -> Vec<IpNet> {
        match self {
            Self::Full => everything().to_vec(),
            Self::Split(ranges) => ranges.clone(),
        }
    }
}

/// The configuration's text.
pub fn text(conf: &ClientConf<'_>) -> Result<Zeroizing<String>, ConfError> {
    if conf.addresses.is_empty() {
        return Err(ConfError::NoAddress);
    }
    let allowed = conf.routes.allowed_ips();
    if allowed.is_empty() {
        return Err(ConfError::NothingToRoute);
    }
    let is_plain = |c: char| c.is_ascii_graphic() && c != '#';
    if !conf.endpoint.contains(':') || !conf.endpoint.chars().all(is_plain) {
        return Err(ConfError::Endpoint);
    }
    let addresses: Vec<IpNet> = conf.addresses.iter().copied().map(IpNet::from).collect();
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    text.push_str("[Interface]\n");
    if let Some(private) = conf.private {
        line(&mut text, "PrivateKey", &private.to_base64());
    }
    line(&mut text, "Address", &joined(&addresses));
    if !conf.dns.is_empty() {
        line(&mut text, "DNS", &joined(conf.dns));
    }
    line(&mut text, "MTU", &conf.mtu.to_string());
    text.push_str("\n[Peer]\n");
    line(&mut text, "PublicKey", &conf.gateway.to_base64());
    line(&mut text, "Endpoint", conf.endpoint);
    line(&mut text, "AllowedIPs", &joined(&allowed));
    if let Some(seconds) = conf.keepalive {
        line(&mut text, "PersistentKeepalive", &seconds.to_string());
    }
    Ok(text)
}

fn line(text: &mut String, name: &str, value: &str) {
    for part in [name, " = ", value, "\n"] {
        text.push_str(part);
    }
}

fn joined(items: &[impl ToString]) -> String {
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests;
