//! What `wg` says of an interface: a reader that is none of ours.

use anyhow::{Context, Result};

use crate::Namespace;

/// A peer in the output of `wg show … dump`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Public key, base64.
    pub public_key: String,

    /// `address:port`, when the kernel knows one. `[::]:0`, which is what a forgotten one is overwritten with, is none.
    pub endpoint: Option<String>,

    /// Allowed IPs, in the kernel's order.
    pub allowed_ips: Vec<String>,

    /// Time of the last handshake, seconds since the epoch; 0 is none.
    pub latest_handshake: u64,

    /// Bytes received.
    pub received: u64,

    /// Bytes sent.
    pub sent: u64,
}

impl Peer {
    /// The peers of an interface.
    pub fn all(namespace: &Namespace, interface: &str) -> Result<Vec<Self>> {
        let dump = namespace.run(&["wg", "show", interface, "dump"])?;
        dump.lines()
            .skip(1)
            .map(|line| Self::read(line).with_context(|| format!("`wg` printed `{line}`")))
            .collect()
    }

    fn read(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let public_key = fields.next()?.to_owned();
        let endpoint = fields.nth(1)?;
        let allowed_ips = fields.next()?;
        Some(Self {
            public_key,
            endpoint: (!matches!(endpoint, "(none)" | "[::]:0")).then(|| endpoint.to_owned()),
            allowed_ips: allowed_ips
                .split(',')
                .filter(|ip| *ip != "(none)")
                .map(str::to_owned)
                .collect(),
            latest_handshake: fields.next()?.parse().ok()?,
            received: fields.next()?.parse().ok()?,
            sent: fields.next()?.parse().ok()?,
        })
    }

    /// Whether nothing in it tells that anybody was ever there.
    pub fn is_blank(&self) -> bool {
        self.endpoint.is_none() && self.latest_handshake == 0 && self.received == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_endpoint_is_none() {
        let line = "key=\t(none)\t[::]:0\t10.64.0.2/32,fd64::2/128\t0\t0\t0\toff";
        let peer = Peer::read(line).unwrap();
        assert_eq!(peer.endpoint, None);
        assert_eq!(peer.allowed_ips.len(), 2);
        assert!(peer.is_blank());
    }

    #[test]
    fn an_endpoint_in_use_is_seen() {
        let peer = Peer::read("key=\t(none)\t198.51.100.77:47077\t(none)\t1700000000\t148\t92\toff").unwrap();
        assert_eq!(peer.endpoint.as_deref(), Some("198.51.100.77:47077"));
        assert!(!peer.is_blank());
    }
}
