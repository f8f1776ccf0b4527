//! Requests about the table, as bytes. Pure.
//!
//! Guarantees: whatever is deleted is named by its tuple, its zone and its number, as the kernel showed them, because a
//! request without a tuple deletes everybody's; no datagram has more requests than the socket has room for answers. What
//! is written holds activity and is wiped.

use culvert_wireguard::netlink::abi::{
    NLA_F_NESTED, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_HEADER, NLMSG_NOOP,
};
use culvert_wireguard::netlink::write::{Writer, attribute};
use zeroize::Zeroizing;

use super::abi::{CT_DELETE, CT_GET, CTA_ID, CTA_TUPLE_ORIG, CTA_ZONE, NFGENMSG};
use super::entry::{Entry, LONGEST_TUPLE};

/// Bytes of a datagram, at most. Each refusal takes about 800 bytes of a queue of 208 KiB: of these there is room for all.
const BATCH: usize = 16 * 1024;

/// Bytes of a request for one entry, at most.
const LARGEST: usize = NLMSG_HEADER + NFGENMSG + attribute(LONGEST_TUPLE) + attribute(2) + attribute(4);

/// The request for every entry, of either family.
pub fn dump() -> Zeroizing<Vec<u8>> {
    let mut writer = Writer::with_capacity(NLMSG_HEADER + NFGENMSG);
    begin(&mut writer, NFGENMSG, CT_GET, NLM_F_REQUEST | NLM_F_DUMP);
    writer.raw(&[0; NFGENMSG]);
    writer.finish()
}

/// Entries that are to be deleted, in as few datagrams as they need.
#[derive(Default)]
pub struct Deletions(Vec<Batch>);

/// One datagram.
pub struct Batch {
    writer: Writer,
    entries: usize,
}

impl Deletions {
    /// One more.
    pub fn push(&mut self, entry: &Entry<'_>) {
        let is_full = |batch: &Batch| batch.writer.written() + LARGEST + NLMSG_HEADER > BATCH;
        if self.0.last().is_none_or(is_full) {
            self.0.push(Batch {
                writer: Writer::with_capacity(BATCH),
                entries: 0,
            });
        }
        if let Some(batch) = self.0.last_mut() {
            batch.push(entry);
        }
    }

    /// The datagrams.
    pub fn batches(self) -> impl Iterator<Item = Batch> {
        self.0.into_iter()
    }
}

impl Batch {
    fn push(&mut self, entry: &Entry<'_>) {
        let zone = entry.zone.map_or(0, |zone| attribute(zone.len()));
        let size = NFGENMSG + attribute(entry.tuple.len()) + zone + attribute(entry.id.len());
        let writer = &mut self.writer;
        begin(writer, size, CT_DELETE, NLM_F_REQUEST);
        writer.raw(&[entry.family, 0, 0, 0]);
        writer.put(CTA_TUPLE_ORIG | NLA_F_NESTED, entry.tuple);
        if let Some(zone) = entry.zone {
            writer.put(CTA_ZONE, zone);
        }
        writer.put(CTA_ID, entry.id);
        self.entries += 1;
    }

    /// How many entries it deletes.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// The bytes. Deletions are answered only when they fail; so a message that does nothing comes last, and its
    /// acknowledgement is the end (`netlink_rcv_skb` in `net/netlink/af_netlink.c`).
    pub fn finish(mut self) -> Zeroizing<Vec<u8>> {
        begin(&mut self.writer, 0, NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK);
        self.writer.finish()
    }
}

/// A message's header. The socket writes the sequence number.
fn begin(writer: &mut Writer, size: usize, kind: u16, flags: u16) {
    let length = u32::try_from(NLMSG_HEADER + size).unwrap_or(u32::MAX);
    writer.raw(&length.to_ne_bytes());
    writer.raw(&kind.to_ne_bytes());
    writer.raw(&flags.to_ne_bytes());
    writer.raw(&[0; 8]);
}
