//! Whether the kernel would drop the gateway's own packets: reverse path filtering that is strict.
//!
//! All routes lead into the tunnel, and a packet of the gateway's comes from elsewhere; with `rp_filter` 1 that is reason
//! enough to drop it. Distributions have 2, or 0. The larger of an interface's value and that of `all` counts.

use std::fs;
use std::path::Path;

/// The settings of each interface.
const SETTINGS: &str = "/proc/sys/net/ipv4/conf";

/// The interfaces on which it is strict.
pub fn interfaces() -> Vec<String> {
    let Ok(folder) = fs::read_dir(SETTINGS) else {
        return Vec::new();
    };
    let names = folder.flatten().map(|entry| entry.file_name());
    let settings = names.filter_map(|name| {
        let name = name.into_string().ok()?;
        let file = Path::new(SETTINGS).join(&name).join("rp_filter");
        let value = fs::read_to_string(file).ok()?.trim().parse().ok()?;
        Some((name, value))
    });
    strict(&settings.collect::<Vec<_>>())
}

/// Those of these that are strict.
fn strict(settings: &[(String, u8)]) -> Vec<String> {
    let all = settings.iter().find(|(name, _)| name == "all");
    let all = all.map_or(0, |(_, value)| *value);
    let is_other = |name: &str| !matches!(name, "all" | "default" | "lo");
    settings
        .iter()
        .filter(|(name, value)| is_other(name) && all.max(*value) == 1)
        .map(|(name, _)| name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_value_counts() {
        let settings = |all, eth0, eth1| {
            let named = [
                ("all", all),
                ("default", 1),
                ("lo", 1),
                ("eth0", eth0),
                ("eth1", eth1),
            ];
            strict(&named.map(|(name, value)| (name.to_owned(), value)))
        };
        assert_eq!(settings(0, 1, 0), ["eth0"]);
        assert_eq!(settings(1, 0, 2), ["eth0"]);
        assert!(settings(2, 1, 1).is_empty());
        assert!(settings(0, 0, 2).is_empty());
    }
}
