//! Whether nftables has a table. What is in it is for its own program, which takes much longer to say that there is none.

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::encode;
use super::wire::{About, Wire};
use crate::{Error, Refusal};

/// Whether there is a table of the family `inet` with this name, in the thread's network namespace. A kernel without
/// nftables has none.
pub fn has_table(name: &str) -> Result<bool, Error> {
    let found = Wire::open(NETLINK_NETFILTER).and_then(|mut wire| {
        let about = About {
            action: "look for",
            object: name,
            passing: None,
        };
        wire.exchange(encode::get_table(name).as_bytes_mut(), about, |_| Ok(()))
    });
    match found {
        Ok(_) => Ok(true),
        Err(error) if is_without(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether an error says that there is no such table, or nobody who has tables.
fn is_without(error: &Error) -> bool {
    let refusal = match error {
        Error::Open(error) => error.raw_os_error().map(Refusal::from_errno),
        error => error.refusal(),
    };
    // A kernel with netfilter and without nftables takes the question for an invalid one.
    matches!(
        refusal,
        Some(Refusal::NotFound | Refusal::NotSupported | Refusal::Invalid)
    )
}
