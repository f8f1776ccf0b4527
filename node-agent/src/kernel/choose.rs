//! Which of the two moves the packets.
//!
//! A program takes the kernel's place only where the kernel has no WireGuard: it is slower, and it is no cure for a
//! missing privilege, which would end in a node that serves nobody without saying why.

use clap::ValueEnum;
use culvert_crds::gateway_node::Backend;
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

/// What is to move the packets, and the kernel's WireGuard where there is one. Fails where that cannot be told.
///
/// A kernel that is asked for and has none is no failure: each gateway says so, which an agent that has ended cannot.
pub fn choose<K>(
    choice: Choice,
    open: impl FnOnce() -> Result<K, Error>,
) -> Result<(Backend, Option<K>), Error> {
    let kernel = match open() {
        Err(error) if error.refusal() == Some(Refusal::NotSupported) => None,
        opened => Some(opened?),
    };
    let backend = match (choice, &kernel) {
        (Choice::Kernel, _) | (Choice::Auto, Some(_)) => Backend::Kernel,
        (Choice::Userspace, _) | (Choice::Auto, None) => Backend::Userspace,
    };
    Ok((backend, kernel))
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
        let without = || refused(Refusal::NotSupported);
        let chosen = choose(Choice::Auto, without).unwrap();
        assert_eq!(chosen, (Backend::Userspace, None));
        for refusal in [Refusal::Permission, Refusal::OutOfMemory, Refusal::NotFound] {
            assert!(choose(Choice::Auto, || refused(refusal)).is_err());
        }
        let chosen = choose(Choice::Auto, || Ok(())).unwrap();
        assert_eq!(chosen, (Backend::Kernel, Some(())));
    }

    #[test]
    fn who_asks_for_one_gets_no_other() {
        let without = || refused(Refusal::NotSupported);
        let chosen = choose(Choice::Kernel, without).unwrap();
        assert_eq!(chosen, (Backend::Kernel, None));
        let chosen = choose(Choice::Userspace, without).unwrap();
        assert_eq!(chosen, (Backend::Userspace, None));
        // It is there for the interfaces of an agent that was asked for the other.
        let chosen = choose(Choice::Userspace, || Ok(())).unwrap();
        assert_eq!(chosen, (Backend::Userspace, Some(())));
    }
}
