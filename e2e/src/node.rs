//! What stands on a node besides Culvert's own: links, addresses, routes, rules, WireGuard peers, nftables, settings of the
//! network.

use anyhow::Result;

use crate::Namespace;

/// What is read, by programs that are none of ours. No counters and no timers: they change by themselves.
const READ: [&[&str]; 8] = [
    &["ip", "-o", "link"],
    &["ip", "-o", "-d", "link", "show", "type", "wireguard"],
    &["ip", "-o", "addr"],
    &["ip", "route", "show", "table", "all"],
    &["ip", "-6", "route", "show", "table", "all"],
    &["ip", "rule"],
    &["nft", "list", "ruleset"],
    // Some are to be written only.
    &["sh", "-c", "grep -rs '' /proc/sys/net | grep -v conntrack_count"],
];

/// Everything, line by line, but for lines that name one of these links, and for nftables tables whose names begin like
/// this.
pub fn fingerprint(namespace: &Namespace, except: &[&str], tables: Option<&str>) -> Result<String> {
    let mut lines = Vec::new();
    for words in READ {
        let text = without_tables(&namespace.run(words)?, tables);
        lines.push(format!("# {}", words.join(" ")));
        let mut kept: Vec<String> = text
            .lines()
            .filter(|line| !names(line, except))
            .map(str::to_owned)
            .collect();
        // Routes and files come in an order that depends on when a link came.
        if words[0] != "nft" {
            kept.sort_unstable();
        }
        lines.extend(kept);
    }
    lines.push("# wg".to_owned());
    for link in namespace.run(&["wg", "show", "interfaces"])?.split_whitespace() {
        if except.contains(&link) {
            continue;
        }
        lines.push(namespace.run(&["wg", "showconf", link])?);
    }
    Ok(lines.join("\n"))
}

/// A listing without the tables whose names begin like this; each ends with a line of its own.
fn without_tables(listing: &str, tables: Option<&str>) -> String {
    let is_one = |line: &str| {
        let name = line
            .strip_prefix("table ")
            .and_then(|rest| rest.split(' ').nth(1));
        name.zip(tables)
            .is_some_and(|(name, begins)| name.starts_with(begins))
    };
    let mut inside = false;
    let mut kept = String::new();
    for line in listing.lines() {
        inside |= is_one(line);
        if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
        inside &= line != "}";
    }
    kept
}

fn names(line: &str, links: &[&str]) -> bool {
    line.split(|c: char| c.is_whitespace() || matches!(c, ':' | '@' | '/'))
        .any(|word| links.contains(&word))
}

/// What the two differ in, for a failure's message.
pub fn difference(before: &str, after: &str) -> String {
    let only = |one: &str, other: &str, sign: &str| -> Vec<String> {
        one.lines()
            .filter(|line| !other.lines().any(|known| known == *line))
            .map(|line| format!("{sign} {line}"))
            .collect()
    };
    [only(before, after, "-"), only(after, before, "+")]
        .concat()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_named_by_whole_words() {
        assert!(names("10.64.0.0/11 dev cv0 proto kernel", &["cv0"]));
        assert!(names("4: cv0: <UP> mtu 1420", &["cv0"]));
        assert!(names("/proc/sys/net/ipv4/conf/cv0/forwarding:0", &["cv0"]));
        assert!(!names("4: cv01: <UP> mtu 1420", &["cv0"]));
    }

    #[test]
    fn tables_are_left_out_to_their_end() {
        let listing = "table inet culvert-1 {\n\tchain a {\n\t}\n}\ntable ip other {\n}\n";
        assert_eq!(without_tables(listing, Some("culvert-")), "table ip other {\n}\n");
        assert_eq!(without_tables(listing, None), listing);
    }

    #[test]
    fn a_difference_shows_both_sides() {
        assert_eq!(difference("a\nb", "a\nc"), "- b\n+ c");
    }
}
