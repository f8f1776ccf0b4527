//! Whether what is swapped out reaches a disk as it is.
//!
//! Memory that is compressed into memory (zram) stays there, and a dm-crypt device keeps it from everybody without its
//! key. A swap file counts as plain: what lies below its file system is not looked at.

/// A block device of the kernel's, by what it stands on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Its name in the kernel, as in `dm-0`.
    pub name: String,
    /// Its name in the device mapper, as in `/dev/mapper/NAME`.
    pub mapped: Option<String>,
    /// The device mapper's note of what it is; that of dm-crypt begins with `CRYPT-`.
    pub uuid: Option<String>,
    /// Kernel names of the devices below it.
    pub below: Vec<String>,
    /// Where zram writes what it has no room for.
    pub backing: Option<String>,
}

/// The most layers that are looked through.
const DEEPEST: usize = 8;

/// Whether any area in `/proc/swaps` is plain.
pub fn is_plain(swaps: &str, blocks: &[Block]) -> bool {
    swaps.lines().skip(1).any(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (Some(path), Some(kind)) = (fields.next(), fields.next()) else {
            return false;
        };
        kind != "partition" || !is_safe(path, blocks, DEEPEST)
    })
}

/// Whether nothing that is written to the device can be read from a disk.
fn is_safe(path: &str, blocks: &[Block], deepest: usize) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_mapped = path.starts_with("/dev/mapper/");
    let found = blocks.iter().find(|block| match &block.mapped {
        Some(mapped) if is_mapped => mapped == name,
        _ => !is_mapped && block.name == name,
    });
    let (Some(block), Some(deepest)) = (found, deepest.checked_sub(1)) else {
        return false;
    };
    if block
        .uuid
        .as_deref()
        .is_some_and(|uuid| uuid.starts_with("CRYPT-"))
    {
        return true;
    }
    if block.name.starts_with("zram") {
        let backing = block.backing.as_deref();
        return backing.is_none_or(|path| is_safe(path, blocks, deepest));
    }
    !block.below.is_empty() && block.below.iter().all(|below| is_safe(below, blocks, deepest))
}
