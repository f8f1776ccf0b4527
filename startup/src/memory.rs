//! Memory that is free is given back.
//!
//! mimalloc gives pages back when one is freed a second or more after them. A list of 100,000 objects is freed within a
//! second, and afterwards a program at rest frees no page for hours: a third of what it holds would be nobody's.

/// Larger than any block that shares its page.
const BLOCK: usize = 1 << 20;

/// Frees a page. It costs no memory: nothing touches it.
pub fn give_back() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(BLOCK)));
}
