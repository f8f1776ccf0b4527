//! Equal parts are kept once and go by number, so that a state is forty bytes whatever it holds.

use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::HashTable;

/// Quick, and the same in every run: the model draws nothing by chance.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(n.into());
    }

    fn write_u16(&mut self, n: u16) {
        self.write_u64(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(n.into());
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_u64(&mut self, n: u64) {
        let mixed = u128::from(self.0 ^ n ^ 0x9e37_79b9_7f4a_7c15) * 0xa076_1d64_78bd_642f;
        let (high, low) = (mixed >> 64, mixed & u128::from(u64::MAX));
        self.0 = u64::try_from(high ^ low).expect("64 bits");
    }

    fn finish(&self) -> u64 {
        let n = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xe703_7ed1_a0b4_28db);
        n ^ (n >> 29)
    }
}

impl BuildHasher for Mix {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0x5851_f42d_4c95_7f2d)
    }
}

/// Values by number, each of them once.
#[derive(Debug)]
pub struct Intern<T> {
    items: Vec<T>,
    numbers: HashTable<u32>,
}

impl<T> Default for Intern<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            numbers: HashTable::new(),
        }
    }
}

impl<T: Hash + Eq> Intern<T> {
    pub fn put(&mut self, item: T) -> u32 {
        let hash = Mix::default().hash_one(&item);
        let items = &self.items;
        if let Some(known) = self.numbers.find(hash, |n| items[*n as usize] == item) {
            return *known;
        }
        let number = u32::try_from(self.items.len()).expect("fewer than 2^32 parts");
        self.items.push(item);
        let items = &self.items;
        self.numbers
            .insert_unique(hash, number, |n| Mix::default().hash_one(&items[*n as usize]));
        number
    }

    pub fn get(&self, number: u32) -> &T {
        &self.items[number as usize]
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }
}
