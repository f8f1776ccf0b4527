//! The only place that draws random numbers, from the system's secure source.

use rand::TryRng as _;
use rand::rngs::{SysError, SysRng};

/// A number, any of them as likely as another.
pub fn draw() -> Result<u64, SysError> {
    SysRng.try_next_u64()
}
