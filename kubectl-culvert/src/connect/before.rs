//! What is looked at before anybody is asked anything, in the order in which a person can mend it: the command line, the
//! program that is to be run, the right to do it.

use rustix::thread::{CapabilitySet, capabilities};

use super::error::ConnectError;
use super::machine::Backend;
use super::options::Options;
use super::program;
use crate::keys::check_name;

/// Whether what is asked for can be begun here.
pub fn check(options: &Options) -> Result<(), ConnectError> {
    check_name(&options.name)?;
    if options.closed && options.netns.is_some() {
        return Err(ConnectError::NothingToClose);
    }
    // Whether the others are there is the kernel's to say. What takes down runs no program.
    if options.backend == Backend::Userspace && !options.down && !program::is_there(&options.program) {
        return Err(ConnectError::NoProgram(options.program.clone()));
    }
    let may = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN));
    if may { Ok(()) } else { Err(ConnectError::NotRoot) }
}
