//! What the kernel's connection tracking remembers of clients: whom they talked to, for as long as its timeouts last.
//!
//! [`Conntrack::forget`] deletes the entries of clients that are forgotten; [`Conntrack::outer_flows`] counts those that
//! should not be there at all, of the tunnel's own packets. Guarantees: no entry of anybody else is deleted, nor one that
//! somebody has made since with the same addresses and ports; the whole table is read once for any number of addresses;
//! an answer that is not whole is an error, after a few tries, and what was deleted until then stays deleted. What was
//! read is activity: it is wiped, nothing of it is printed, and only a count leaves this module.
//!
//! ```text
//!  addresses ─▶ request::dump ─▶ kernel ─▶ entry::read, one by one ─▶ request::Deletions ─▶ kernel, 100 and more at a time
//! ```
//!
//! A dump of this table is never marked as interrupted (`ctnetlink_dump_table` in `net/netfilter/nf_conntrack_netlink.c`):
//! the kernel reads it bucket by bucket and shows an entry twice rather than not at all. One that is made meanwhile may be
//! missed, so whoever is to be forgotten must be unable to make any: a peer goes first, then its flows. So may one be when
//! somebody gives the table another size meanwhile.

mod abi;
pub mod entry;
pub mod request;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::IpAddr;

use culvert_wireguard::netlink::Wire;
use culvert_wireguard::netlink::wire::About;
use culvert_wireguard::{Error, ErrorClass, Refusal};

use abi::{ENOENT, NETLINK_NETFILTER};
use entry::{Addresses, Entry};
use request::Deletions;

/// How often the whole is begun again before it counts as failed.
const TRIES: u32 = 4;

/// What errors call the table.
const TABLE: &str = "the connection-tracking table";

/// The way to the table of the network namespace it was opened in. Calls block for as long as the kernel works.
pub struct Conntrack {
    wire: Wire,
}

impl Conntrack {
    /// Opens it. A kernel that tracks nothing refuses only what comes later, as `NotSupported`.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            wire: Wire::open(NETLINK_NETFILTER)?,
        })
    }

    /// Deletes every entry in whose original or reply tuple one of these addresses is, and says how many there were.
    pub fn forget(&mut self, addresses: &HashSet<IpAddr>) -> Result<usize, Error> {
        let mut gone = 0;
        if !addresses.is_empty() {
            let addresses = addresses.iter().copied().collect();
            patiently(|| self.forget_once(&addresses, &mut gone))?;
        }
        Ok(gone)
    }

    /// How many entries are of UDP packets to or from one of these ports of the node itself, whose addresses `local` are:
    /// a client's own flow to that port of somebody else's is none.
    pub fn outer_flows(&mut self, ports: &HashSet<u16>, local: &HashSet<IpAddr>) -> Result<usize, Error> {
        let local = local.iter().copied().collect();
        patiently(|| {
            let mut found = 0;
            self.dump(|entry| found += usize::from(entry.is_outer(ports, &local)))?;
            Ok(found)
        })
    }

    fn forget_once(&mut self, addresses: &Addresses, gone: &mut usize) -> Result<(), Error> {
        let mut theirs = Deletions::default();
        self.dump(|entry| {
            if entry.is_of(addresses) {
                theirs.push(entry);
            }
        })?;
        self.delete(theirs, gone)
    }

    /// Deletes these entries, and adds to `gone` how many there were: one that has ended by itself, or has been made anew
    /// since, is none.
    pub fn delete(&mut self, entries: Deletions, gone: &mut usize) -> Result<(), Error> {
        let about = About {
            action: "delete entries of",
            object: TABLE,
            passing: Some(ENOENT),
        };
        for batch in entries.batches() {
            let entries = batch.entries();
            let received = self.wire.exchange(&mut batch.finish(), about, |_| Ok(()))?;
            *gone += entries - received.passed.min(entries);
        }
        Ok(())
    }

    /// Hands every entry to `each`, IPv4's and IPv6's, at least once.
    pub fn dump(&mut self, mut each: impl FnMut(&Entry<'_>)) -> Result<(), Error> {
        let about = About {
            action: "read",
            object: TABLE,
            passing: None,
        };
        let received = self.wire.exchange(&mut request::dump(), about, |answer| {
            if let Some(entry) = entry::read(answer.kind, answer.payload)? {
                each(&entry);
            }
            Ok(())
        });
        match received {
            Ok(received) if received.interrupted => Err(Error::DumpInterrupted {
                object: TABLE.to_owned(),
            }),
            Ok(_) => Ok(()),
            // So nfnetlink says that it has nobody for this; there is nothing in the request that could be wrong.
            Err(Error::Refused {
                action,
                object,
                refusal: Refusal::Invalid,
            }) => Err(Error::Refused {
                action,
                object,
                refusal: Refusal::NotSupported,
            }),
            Err(error) => Err(error),
        }
    }
}

/// Begins again what may succeed when it is.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut left = TRIES;
    loop {
        left -= 1;
        match attempt() {
            Err(error) if left > 0 && is_passing(&error) => {}
            result => return result,
        }
    }
}

fn is_passing(error: &Error) -> bool {
    // Answers of another length than the buffer's are no answers; the next may be shorter.
    error.class() == ErrorClass::Retry || matches!(error, Error::Truncated { .. })
}
