//! Which of the two moves the packets.
//!
//! A program takes the kernel's place only where the kernel has no WireGuard: it is slower, and it is no cure for a
//! missing privilege, which would end in a node that serves nobody without saying why.

use clap::ValueEnum;
use culvert_wireguard::{Error, Refusal};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// The kernel, and a program where it has no WireGuard.
    Auto,
    /// The kernel or nothing.
    Kernel,
    /// A program, whatever the kernel has.
    Userspace,
}

/// Opens the kernel's WireGuard; `None` when a program is to take its place.
pub fn choose<K>(choice: Choice, open: impl FnOnce() -> Result<K, Error>) -> Result<Option<K>, Error> {
    if choice == Choice::Userspace {
        return Ok(None);
    }
    match open() {
        Err(error) if choice == Choice::Auto && error.refusal() == Some(Refusal::NotSupported) => Ok(None),
        opened => opened.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(refusal: Refusal) -> Result<(), Error> {
        Err(Error::Refused {
            action: "open",
            object: "it".into(),
            refusal,
        })
    }

    #[test]
    fn a_program_takes_the_place_of_a_kernel_without_wireguard_alone() {
        let opened = choose(Choice::Auto, || refused(Refusal::NotSupported));
        assert_eq!(opened.unwrap(), None);
        for refusal in [Refusal::Permission, Refusal::OutOfMemory, Refusal::NotFound] {
            assert!(choose(Choice::Auto, || refused(refusal)).is_err());
        }
        assert_eq!(choose(Choice::Auto, || Ok(())).unwrap(), Some(()));
    }

    #[test]
    fn who_asks_for_one_gets_no_other() {
        assert!(choose(Choice::Kernel, || refused(Refusal::NotSupported)).is_err());
        assert_eq!(choose(Choice::Userspace, || Ok(())).unwrap(), None);
    }
}
