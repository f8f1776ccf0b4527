//! Records in slots that keep their number.
//!
//! Grows by a chunk at a time and copies nothing: one block that doubles needs three times its size while it does.

/// Records of a chunk.
const CHUNK: usize = 1024;

/// Records in slots. Who frees a slot leaves a record in it that says so itself.
#[derive(Debug)]
pub(super) struct Table<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Table<T> {
    pub fn at(&self, slot: u32) -> &T {
        let slot = slot as usize;
        &self.chunks[slot / CHUNK][slot % CHUNK]
    }

    pub fn at_mut(&mut self, slot: u32) -> &mut T {
        let slot = slot as usize;
        &mut self.chunks[slot / CHUNK][slot % CHUNK]
    }

    /// Puts a record into a free slot.
    pub fn add(&mut self, record: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            *self.at_mut(slot) = record;
            return slot;
        }
        // 2^32 records are hundreds of gigabytes: memory ends first.
        let slot = self.end();
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(record),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(record);
                self.chunks.push(chunk);
            }
        }
        slot
    }

    /// Frees a slot.
    pub fn free(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// The first number that no slot has had.
    pub fn end(&self) -> u32 {
        let last = self.chunks.last().map_or(0, Vec::len);
        let whole = self.chunks.len().saturating_sub(1) * CHUNK;
        u32::try_from(whole + last).unwrap_or(u32::MAX)
    }

    /// Slots that are in use.
    pub fn len(&self) -> usize {
        self.end() as usize - self.free.len()
    }

    /// Every record, those of freed slots included.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_stay_and_are_used_again_across_chunks() {
        let mut table = Table::default();
        let all = u32::try_from(2 * CHUNK + 9).unwrap();
        for n in 0..all {
            assert_eq!(table.add(n), n);
        }
        table.free(7);
        table.free(2_000);
        assert_eq!(table.len(), 2 * CHUNK + 7);
        assert_eq!([table.add(1), table.add(2), table.add(3)], [2_000, 7, all]);
        assert_eq!((*table.at(7), *table.at(all)), (2, 3));
        assert_eq!(table.len(), table.end() as usize);
    }
}
