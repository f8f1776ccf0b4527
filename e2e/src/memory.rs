//! What a process holds in its memory, as root of the machine can read it: every page that it can write to and has.
//!
//! Program text is left out, and so is what was only reserved: an allocator reserves more than a machine has.

use std::{fs::File, io, os::unix::fs::FileExt};

use anyhow::{Context, Result, ensure};

/// The size of a page.
const PAGE: u64 = 4096;

/// The bits of a page's entry in the page map that say that there is one, in memory or swapped out.
const PRESENT: u64 = 0b11 << 62;

/// Everything that a process holds, one piece after the other. It goes on meanwhile.
pub fn of(pid: u32) -> Result<Vec<u8>> {
    let open = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        File::open(&path).with_context(|| format!("failed to open {path}"))
    };
    let (memory, pages) = (open("mem")?, open("pagemap")?);
    let maps = io::read_to_string(open("maps")?).context("failed to read a process's maps")?;
    let mut all = Vec::new();
    for (from, to) in maps.lines().filter_map(writable) {
        for page in present(&pages, from, to)? {
            let end = all.len();
            all.resize(end + usize::try_from(PAGE)?, 0);
            if memory.read_exact_at(&mut all[end..], page).is_err() {
                // It is gone meanwhile.
                all.truncate(end);
            }
        }
    }
    ensure!(!all.is_empty(), "process {pid} has no memory");
    Ok(all)
}

/// Where a mapping begins and ends, when the process can write to it: `from-to rw-p …`.
fn writable(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    if !words.next()?.starts_with("rw") {
        return None;
    }
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(from)?, number(to)?))
}

/// The pages of a mapping that are there.
fn present(pages: &File, from: u64, to: u64) -> Result<Vec<u64>> {
    const ENTRY: usize = 8;
    let first = from / PAGE;
    let count = usize::try_from(to / PAGE - first)?;
    let mut entries = vec![0; count * ENTRY];
    let offset = first * u64::try_from(ENTRY)?;
    let read = pages
        .read_at(&mut entries, offset)
        .context("failed to read a page map")?;
    let mut there = Vec::new();
    for (number, entry) in (first..).zip(entries[..read].as_chunks::<ENTRY>().0) {
        if u64::from_ne_bytes(*entry) & PRESENT != 0 {
            there.push(number * PAGE);
        }
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_holds_is_read() {
        // Made here, so that no program text has it.
        let secret: Vec<u8> = "memory".bytes().rev().cycle().take(60).collect();
        let held = of(std::process::id()).unwrap();
        assert!(held.windows(secret.len()).any(|window| window == secret));
    }

    #[test]
    fn what_is_reserved_is_not_read() {
        let reserved = Vec::<u8>::with_capacity(1 << 30);
        let held = of(std::process::id()).unwrap();
        assert!(held.len() < 1 << 30, "{}", held.len());
        drop(reserved);
    }

    #[test]
    fn only_what_can_be_written_to_is_looked_at() {
        assert_eq!(
            writable("7f00-8f00 rw-p 00000000 00:00 0 [heap]"),
            Some((0x7f00, 0x8f00))
        );
        assert_eq!(writable("7f00-8f00 r-xp 00000000 00:00 0 /bin/sh"), None);
        assert_eq!(writable("7f00-8f00 r--p 00000000 00:00 0"), None);
    }
}
