//! A random source that is one of all: the draw is a choice of the model's, not of chance.

use std::convert::Infallible;

use rand::rand_core::TryRng;

/// Says the same for ever.
#[derive(Clone, Copy, Debug)]
pub struct Fixed(u32);

/// As many different draws fall on each of one, two or three addresses, and of four at that.
const DRAWS: u32 = 12;

impl Fixed {
    pub fn all() -> impl Iterator<Item = Self> {
        (0..DRAWS).map(|n| Self((u32::MAX / (2 * DRAWS)) * (2 * n + 1)))
    }
}

impl TryRng for Fixed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from(self.0) << 32 | u64::from(self.0))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(self.0.to_le_bytes()[3]);
        Ok(())
    }
}
