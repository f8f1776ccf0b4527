//! What the process gives up before it does anything: its memory is nobody's to read, and of root's rights it keeps
//! one.
//!
//! Rights are a thread's: whatever is given up here is given up while there is one thread, and the others come from it.
//!
//! - Not dumpable: no core dump, and nobody without `CAP_SYS_PTRACE` reads its memory. A program that it starts becomes
//!   dumpable again, so there is a limit on core files as well, of one byte: the kernel hands a core to the program in
//!   `core_pattern` whatever the limit, a limit of 0 included, and 1 is its own sign that nobody wants it.
//! - `CAP_NET_ADMIN` alone, in each of the five sets: wireguard-go, too, starts with this one. Without
//!   `CAP_DAC_OVERRIDE` root is an owner like any other: the folder of the keys must be its own. Without
//!   `CAP_NET_BIND_SERVICE` wireguard-go can have no port below 1024 unless the node's
//!   `net.ipv4.ip_unprivileged_port_start` says otherwise; the kernel's own WireGuard can.
//! - Nothing it starts can come to more.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

/// The capability that programming WireGuard takes.
const NEEDED: CapabilitySet = CapabilitySet::NET_ADMIN;

/// The size of a core file for which the kernel makes none, not even for a program.
const NO_CORE: u64 = 1;

/// The agent's memory could end on a disk: it must not start.
#[derive(Debug, thiserror::Error)]
pub enum HardenError {
    /// It stays dumpable.
    #[error("failed to switch core dumps off for the agent")]
    Dumpable(#[source] io::Error),
    /// Core files are not limited.
    #[error("failed to switch core dumps off for the programs that the agent starts")]
    Limit(#[source] io::Error),
}

/// Gives up what can be given up. What could not be, and is no danger to clients, is named.
pub fn harden() -> Result<Vec<&'static str>, HardenError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| HardenError::Dumpable(error.into()))?;
    limit_cores()?;
    let mut left = Vec::new();
    let mut note = |what, result: rustix::io::Result<()>| left.extend(result.is_err().then_some(what));
    // While the right to do so is there.
    note("the bounding set", clear_bounding_set());
    note("the ambient set", clear_ambient_capability_set());
    note("capabilities", keep_needed());
    note("new privileges", set_no_new_privs(true));
    Ok(left)
}

/// Whether the process has the capability that programming WireGuard takes. Without it nothing works, and the kernel's
/// refusals come late and one by one.
pub fn may_program() -> bool {
    // Where that cannot be read, the kernel will say.
    capabilities(None).map_or(true, |sets| sets.effective.contains(NEEDED))
}

fn limit_cores() -> Result<(), HardenError> {
    let limit = Rlimit {
        current: Some(NO_CORE),
        maximum: Some(NO_CORE),
    };
    match setrlimit(Resource::Core, limit) {
        Ok(()) => Ok(()),
        // Whoever started the agent allows none, and only root of the node could raise that. Files there are none then;
        // whether a program could get a core is looked at later.
        Err(_) if getrlimit(Resource::Core).current == Some(0) => Ok(()),
        Err(error) => Err(HardenError::Limit(error.into())),
    }
}

/// Every capability that there may be, as sets of one.
fn each() -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number))
}

fn clear_bounding_set() -> rustix::io::Result<()> {
    // Those that the kernel does not know are in no set.
    each()
        .filter(|one| *one != NEEDED && capability_is_in_bounding_set(*one).unwrap_or(false))
        .try_for_each(remove_capability_from_bounding_set)
}

fn keep_needed() -> rustix::io::Result<()> {
    // An agent without it says so when the kernel refuses it.
    let kept = capabilities(None)?.permitted & NEEDED;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: kept,
    };
    set_capabilities(None, sets)?;
    if kept == NEEDED {
        // For what it starts when it is not root.
        configure_capability_in_ambient_set(NEEDED, true)?;
    }
    Ok(())
}
