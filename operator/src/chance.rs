//! The system's random source, asked for a block at a time.
//!
//! A system call for each address would cost more than the address. What has been handed out is wiped, so that memory
//! tells nothing of addresses already drawn.

use std::convert::Infallible;

use rand::Rng;
use rand::rand_core::{TryRng, UnwrapErr};
use rand::rngs::SysRng;

/// Bytes fetched at a time.
const BLOCK: usize = 1024;

/// The system's CSPRNG, buffered.
pub struct Chance {
    block: [u8; BLOCK],
    used: usize,
}

impl Chance {
    /// Fetches nothing yet.
    pub fn new() -> Self {
        Self {
            block: [0; BLOCK],
            used: BLOCK,
        }
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        if self.used + N > BLOCK {
            UnwrapErr(SysRng).fill_bytes(&mut self.block);
            self.used = 0;
        }
        let mut taken = [0; N];
        let place = &mut self.block[self.used..self.used + N];
        taken.copy_from_slice(place);
        place.fill(0);
        self.used += N;
        taken
    }
}

impl Default for Chance {
    fn default() -> Self {
        Self::new()
    }
}

impl TryRng for Chance {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_ne_bytes(self.take()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_ne_bytes(self.take()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let taken: [u8; 8] = self.take();
            chunk.copy_from_slice(&taken[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn nothing_is_handed_out_twice_and_nothing_stays() {
        let mut chance = Chance::new();
        let mut seen = HashSet::new();
        for _ in 0..10_000 {
            assert!(seen.insert(chance.next_u64()), "a number came twice");
            assert!(chance.block[..chance.used].iter().all(|byte| *byte == 0));
        }
        let mut bytes = [0; 2 * BLOCK + 3];
        chance.fill_bytes(&mut bytes);
        assert!(bytes.chunks(16).all(|chunk| chunk.iter().any(|byte| *byte != 0)));
    }
}
