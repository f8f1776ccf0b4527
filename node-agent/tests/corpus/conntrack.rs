//! Any bytes as a datagram of the kernel's connection tracking.

use std::net::IpAddr;

use culvert_node_agent::conntrack::entry::{self, Addresses};
use culvert_node_agent::conntrack::request::Deletions;
use culvert_wireguard::netlink::decode::Attributes;
use culvert_wireguard::netlink::frame::Frames;

/// The message type of a request to delete, and of one that does nothing.
const DELETE: u16 = 0x102;
const NOTHING: u16 = 1;

/// Bytes of a message's own header.
const HEADER: usize = 4;

/// Reads bytes as a datagram, and asks for the end of every entry in it.
pub fn read(bytes: &[u8]) {
    let frames: Vec<_> = Frames::new(bytes).flatten().collect();
    let entries: Vec<_> = frames
        .iter()
        .filter_map(|frame| entry::read(frame.kind, frame.payload).ok()?)
        .collect();
    let mut deletions = Deletions::default();
    for entry in &entries {
        for bytes in [entry.original.source, entry.reply.destination] {
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
            let own: Addresses = address.into_iter().collect();
            assert!(entry.is_of(&own), "not its own");
        }
        deletions.push(entry);
    }
    let mut left = entries.iter();
    for batch in deletions.batches() {
        let stated = batch.entries();
        let datagram = batch.finish();
        let requests: Result<Vec<_>, _> = Frames::new(&datagram).collect();
        let requests = requests.unwrap_or_default();
        assert_eq!(requests.len(), stated + 1, "our own datagram cannot be read");
        for request in &requests[..stated] {
            assert_eq!(request.kind, DELETE);
            let mut attributes = Attributes::new(&request.payload[HEADER..]).flatten();
            // A request without a tuple would delete everything there is.
            let tuple = attributes.next().filter(|first| first.kind() == 1);
            let asked = tuple.map(|tuple| tuple.value().to_vec());
            let meant = left.next().map(|entry| entry.tuple.to_vec());
            assert!(asked.is_some() && asked == meant, "not the entry that is meant");
        }
        assert_eq!(requests[stated].kind, NOTHING);
    }
    assert!(left.next().is_none(), "an entry is left out");
}
