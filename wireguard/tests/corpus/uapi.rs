//! Any bytes as what a program answers to a look.

use std::collections::{BTreeMap, BTreeSet};

use culvert_wireguard::userspace::line::{LineError, Lines, status};
use culvert_wireguard::userspace::write;
use culvert_wireguard::{DesiredPeer, PeerChange, PeerPart, PublicKey};
use ipnet::IpNet;

/// Peers with all the prefixes that any part of them shows.
type Peers = BTreeMap<PublicKey, BTreeSet<IpNet>>;

/// Reads bytes as a whole answer, and as lines that have no end.
pub fn read(bytes: &[u8]) {
    if let Ok((said, errno)) = status(bytes) {
        assert!(said.len() < bytes.len() && errno >= 0, "a status of its own");
    }
    let mut peers = Peers::new();
    let _ = lines(bytes, &mut peers);
    let changes: Vec<_> = peers
        .iter()
        .map(|(public_key, prefixes)| DesiredPeer {
            public_key: *public_key,
            allowed_ips: prefixes.iter().copied().collect(),
        })
        .map(PeerChange::Set)
        .collect();
    let mut found = Peers::new();
    for text in write::peers(&changes) {
        let read = lines(&text, &mut found);
        assert!(read.is_ok(), "our own text cannot be read: {:?}", read.err());
    }
    assert!(found == peers, "{} peers became {}", peers.len(), found.len());
}

/// Reads lines up to an empty one.
fn lines(text: &[u8], peers: &mut Peers) -> Result<(), LineError> {
    let mut begun: Option<PublicKey> = None;
    let mut each = |part: PeerPart<'_>| {
        if !part.begins {
            assert!(
                begun.as_ref() == Some(part.public_key),
                "a part goes on where another peer began"
            );
        }
        begun = Some(*part.public_key);
        let prefixes = peers.entry(*part.public_key).or_default();
        prefixes.extend(part.allowed_ips.iter().map(IpNet::trunc));
    };
    let mut lines = Lines::default();
    for line in text
        .split(|byte| *byte == b'\n')
        .take_while(|line| !line.is_empty())
    {
        lines.line(line, &mut each)?;
    }
    drop(lines.finish(&mut each));
    Ok(())
}
