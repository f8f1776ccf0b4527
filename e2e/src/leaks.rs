//! Searches bytes for what must not be in them, in the shapes in which it could be.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};

/// Something that must not be found.
#[derive(Clone, Debug)]
pub struct Canary {
    name: String,
    /// Shapes to look for, each with a name.
    shapes: Vec<(&'static str, Vec<u8>)>,
}

impl Canary {
    /// An address: as text, as an integer, as hexadecimal in network order, and mapped into IPv6. It is not looked for
    /// as raw bytes: four of them are in any file.
    pub fn address(name: &str, address: IpAddr) -> Self {
        let mut shapes = vec![("text", address.to_string().into_bytes())];
        match address {
            IpAddr::V4(v4) => {
                let number = u32::from(v4);
                shapes.push(("integer", number.to_string().into_bytes()));
                shapes.push(("hexadecimal", format!("{number:08x}").into_bytes()));
                let [a, b, c, d] = v4.octets();
                shapes.push(("list of bytes", format!("{a}, {b}, {c}, {d}").into_bytes()));
            }
            IpAddr::V6(v6) => {
                shapes.push(("hexadecimal", format!("{:032x}", u128::from(v6)).into_bytes()));
            }
        }
        Self {
            name: name.to_owned(),
            shapes,
        }
    }

    /// A key, given as base64: as text, as hexadecimal, as a list of bytes as Rust prints one, and as raw bytes.
    pub fn key(name: &str, base64: &str) -> Result<Self> {
        let bytes = STANDARD
            .decode(base64)
            .with_context(|| format!("{name} is not base64"))?;
        let hexadecimal = bytes
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        let list = bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        let text = base64.trim_end_matches('=').as_bytes().to_vec();
        Ok(Self {
            name: name.to_owned(),
            shapes: vec![
                ("base64", text),
                ("hexadecimal", hexadecimal.into_bytes()),
                ("list of bytes", list.into_bytes()),
                ("bytes", bytes),
            ],
        })
    }
}

/// What was found, as `name (shape)`. Letters count in either case.
///
/// One pass, however much is looked for: a place is looked at closely only where something begins with its two bytes.
pub fn search(bytes: &[u8], canaries: &[Canary]) -> Vec<String> {
    let lower = bytes.to_ascii_lowercase();
    // Folding the case would make raw bytes match by chance.
    let (raw, text): (Vec<Needle>, Vec<Needle>) = canaries
        .iter()
        .enumerate()
        .flat_map(|(canary, all)| {
            (0..all.shapes.len()).map(move |shape| Needle {
                canary,
                shape,
                bytes: all.shapes[shape].1.to_ascii_lowercase(),
            })
        })
        .partition(|needle| canaries[needle.canary].shapes[needle.shape].0 == "bytes");
    let raw = raw.into_iter().map(|needle| Needle {
        bytes: canaries[needle.canary].shapes[needle.shape].1.clone(),
        ..needle
    });
    let mut found = find(&lower, &text, canaries);
    found.extend(find(bytes, &raw.collect::<Vec<_>>(), canaries));
    found
        .into_iter()
        .map(|(canary, shape)| {
            let canary = &canaries[canary];
            format!("{} ({})", canary.name, canary.shapes[shape].0)
        })
        .collect()
}

/// A shape of a canary, as it is looked for.
struct Needle {
    canary: usize,
    shape: usize,
    bytes: Vec<u8>,
}

/// Which needles are there, by canary and shape. Text is there only as a whole, so that 198.51.100.7 is not found in
/// 198.51.100.77.
fn find(hay: &[u8], needles: &[Needle], canaries: &[Canary]) -> BTreeSet<(usize, usize)> {
    let mut by_beginning: Vec<Vec<&Needle>> = Vec::new();
    by_beginning.resize_with(1 << 16, Vec::new);
    for needle in needles {
        if let [first, second, ..] = needle.bytes[..] {
            by_beginning[beginning(first, second)].push(needle);
        }
    }
    let is_digit = |index: Option<usize>| index.and_then(|i| hay.get(i)).is_some_and(u8::is_ascii_digit);
    let mut found = BTreeSet::new();
    for (at, pair) in hay.windows(2).enumerate() {
        for needle in &by_beginning[beginning(pair[0], pair[1])] {
            let whole = canaries[needle.canary].shapes[needle.shape].0 == "text";
            if hay[at..].starts_with(&needle.bytes)
                && !(whole && (is_digit(at.checked_sub(1)) || is_digit(Some(at + needle.bytes.len()))))
            {
                found.insert((needle.canary, needle.shape));
            }
        }
    }
    found
}

fn beginning(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canaries() -> Vec<Canary> {
        vec![
            Canary::address("address", "198.51.100.77".parse().unwrap()),
            Canary::key("key", "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=").unwrap(),
        ]
    }

    #[test]
    fn every_planted_leak_is_found() {
        let raw = STANDARD
            .decode("yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=")
            .unwrap();
        let list = format!("{raw:?}");
        for leak in [
            &b"peer at 198.51.100.77:47077 said hello"[..],
            b"saddr=3325256781",
            b"0xC633644D",
            b"::ffff:198.51.100.77",
            b"octets [198, 51, 100, 77]",
            b"PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=",
            b"private_key=c809f3e5317e9575c9b5ed78b638b7ce530dabe85ddab614220241801ddf0669",
            list.as_bytes(),
            &raw,
        ] {
            assert!(
                !search(leak, &canaries()).is_empty(),
                "{}",
                String::from_utf8_lossy(leak)
            );
        }
    }

    #[test]
    fn what_only_looks_alike_is_not_found() {
        let innocent = b"198.51.100.7 198.51.100.771 1198.51.100.77 gateway 198.51.100.1:51820";
        assert_eq!(search(innocent, &canaries()), Vec::<String>::new());
    }
}
