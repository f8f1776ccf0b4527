//! The shapes of a canary: what `Display` and `Debug` print, what C programs and the kernel print, what is packed into
//! other formats, and what memory holds.
//!
//! Where a shape is short, its neighbours have to fit ([`Fit`]): four bytes are in any file.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use k8s_openapi::jiff::Timestamp;

/// The name of a moment's shape as people read it.
pub(super) const DATE: &str = "date";

/// What must be around a shape, and whether case counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Exactly these bytes, anywhere.
    Exact,
    /// In either case, anywhere.
    Folded,
    /// In either case, and no digit on either side: 198.51.100.7 is not in 198.51.100.77.
    Number,
    /// As [`Fit::Number`], with hexadecimal digits.
    Hexadecimal,
    /// No digit before it: a time in seconds begins one in milliseconds.
    Beginning,
    /// In either case, and no digit after it.
    End,
    /// Exactly these, and none of base64's letters on either side.
    Word,
}

/// One way to write a canary down.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) fit: Fit,
}

impl Shape {
    fn new(name: &'static str, fit: Fit, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self { name, bytes, fit }
    }

    fn folded(name: &'static str, text: &str) -> Self {
        Self::new(name, Fit::Folded, text)
    }
}

/// An address, of which nothing else is known.
pub(super) fn address(address: IpAddr) -> Vec<Shape> {
    let text = address.to_string();
    let mut shapes = in_base64(&text);
    match address {
        IpAddr::V4(v4) => {
            let bytes = v4.octets();
            let (network, host) = (u32::from_be_bytes(bytes), u32::from_le_bytes(bytes));
            let [a, b, c, d] = bytes;
            shapes.extend([
                Shape::new("text", Fit::Number, text),
                Shape::new("text for DNS", Fit::Number, format!("{d}.{c}.{b}.{a}")),
                Shape::new("integer", Fit::Number, network.to_string()),
                Shape::new("integer of a small-endian machine", Fit::Number, host.to_string()),
                Shape::new(
                    "mapped into IPv6",
                    Fit::Folded,
                    format!("{a:02x}{b:02x}:{c:02x}{d:02x}"),
                ),
                Shape::new(
                    "hexadecimal as /proc/net has it",
                    Fit::Folded,
                    format!("{host:08x}"),
                ),
            ]);
            shapes.extend(packed(&bytes));
        }
        IpAddr::V6(v6) => {
            let bytes = v6.octets();
            let groups = v6.segments();
            let joined = |write: fn(&u16) -> String, between| groups.each_ref().map(write).join(between);
            let words = bytes.chunks(4).flat_map(|word| word.iter().rev());
            let nibbles = bytes
                .iter()
                .rev()
                .map(|byte| format!("{:x}.{:x}", byte & 15, byte >> 4));
            shapes.extend([
                Shape::new("text", Fit::Hexadecimal, text),
                Shape::new(
                    "text in full",
                    Fit::Folded,
                    joined(|group| format!("{group:04x}"), ":"),
                ),
                Shape::new(
                    "text with zeros",
                    Fit::Hexadecimal,
                    joined(|group| format!("{group:x}"), ":"),
                ),
                Shape::new(
                    "text for DNS",
                    Fit::Hexadecimal,
                    nibbles.collect::<Vec<_>>().join("."),
                ),
                Shape::new("integer", Fit::Number, u128::from(v6).to_string()),
                Shape::folded("hexadecimal as /proc/net has it", &hexadecimal(words, "")),
                Shape::new("bytes", Fit::Exact, bytes),
            ]);
            shapes.extend(packed(&bytes));
        }
    }
    shapes
}

/// An address with its port, as memory and messages hold it: enough to be looked for as bytes.
pub(super) fn socket_address(address: SocketAddr) -> Vec<Shape> {
    let (network, host) = (address.port().to_be_bytes(), address.port().to_le_bytes());
    let IpAddr::V4(v4) = address.ip() else {
        // Those sixteen bytes are enough by themselves.
        return Vec::new();
    };
    let bytes = v4.octets();
    vec![
        Shape::new("bytes of a sockaddr", Fit::Exact, [&network[..], &bytes].concat()),
        Shape::new("bytes of a SocketAddr", Fit::Exact, [&bytes[..], &host].concat()),
        Shape::new("bytes before a port", Fit::Exact, [&bytes[..], &network].concat()),
        // The tag of an enum, or the end of an attribute's type in a netlink message.
        Shape::new("bytes of an IpAddr", Fit::Exact, [&[0][..], &bytes].concat()),
        Shape::new(
            "bytes mapped into IPv6",
            Fit::Exact,
            [&[0xff, 0xff][..], &bytes].concat(),
        ),
    ]
}

/// A port beside an address or a word for it. By itself it is any number.
pub(super) fn port(port: u16) -> Vec<Shape> {
    let before = "0123456789abcdef]".chars();
    let mut shapes: Vec<Shape> = before
        .map(|before| Shape::new("after an address", Fit::End, format!("{before}:{port}")))
        .collect();
    for word in ["port=", "port ", "port: ", "port\":", "port\": "] {
        shapes.push(Shape::new("after a word", Fit::End, format!("{word}{port}")));
    }
    shapes
}

/// A moment, in seconds since the epoch.
pub(super) fn moment(seconds: u64) -> Result<Vec<Shape>> {
    let date = Timestamp::from_second(i64::try_from(seconds)?).context("a moment beyond all dates")?;
    let date = date.to_string();
    Ok(vec![
        Shape::new("seconds", Fit::Beginning, seconds.to_string()),
        Shape::new("hexadecimal", Fit::Hexadecimal, format!("{seconds:x}")),
        Shape::new("bytes", Fit::Exact, seconds.to_le_bytes()),
        // Parts of a second may follow.
        Shape::folded(DATE, date.trim_end_matches('Z')),
    ])
}

/// A text as it is.
pub(super) fn text(text: &str) -> Shape {
    Shape::folded("text", text)
}

/// A key, given as base64.
pub(super) fn key(base64: &str) -> Result<Vec<Shape>> {
    // What is wrong with it is nobody's to read.
    let bytes = STANDARD.decode(base64).ok().context("a key is not base64")?;
    let mut shapes = in_base64(base64.trim_end_matches('='));
    shapes.extend(packed(&bytes));
    shapes.push(Shape::new("bytes", Fit::Exact, bytes));
    Ok(shapes)
}

/// Bytes as programs print them. Four of them in base64 are a short word, so that one has to stand alone.
fn packed(bytes: &[u8]) -> Vec<Shape> {
    let pairs: Vec<String> = bytes.chunks(2).map(|pair| hexadecimal(pair, "")).collect();
    let decimal = |between| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(between);
    let prefixed = bytes
        .iter()
        .map(|byte| format!("{byte:#04x}"))
        .collect::<Vec<_>>();
    let mut shapes = vec![
        Shape::folded("hexadecimal", &hexadecimal(bytes, "")),
        Shape::folded("hexadecimal with spaces", &hexadecimal(bytes, " ")),
        Shape::folded("hexadecimal with colons", &hexadecimal(bytes, ":")),
        Shape::folded("hexadecimal in pairs", &pairs.join(" ")),
        Shape::folded("list of hexadecimal bytes", &prefixed.join(", ")),
        Shape::new("list of bytes", Fit::Number, decimal(", ")),
        Shape::new("list of bytes without spaces", Fit::Number, decimal(",")),
        Shape::new("base64", Fit::Word, STANDARD_NO_PAD.encode(bytes)),
    ];
    let url_safe = URL_SAFE_NO_PAD.encode(bytes);
    if url_safe != STANDARD_NO_PAD.encode(bytes) {
        shapes.push(Shape::new("base64 for URLs", Fit::Word, url_safe));
    }
    shapes
}

fn hexadecimal<'a>(bytes: impl IntoIterator<Item = &'a u8>, between: &str) -> String {
    let bytes: Vec<String> = bytes.into_iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(between)
}

/// A text within a longer one that is base64, as in a Secret: the letters that depend on it alone, for each of the three
/// places where it can begin.
fn in_base64(text: &str) -> Vec<Shape> {
    (0..3_usize)
        .map(|before| {
            let padded = [&vec![b'.'; before], text.as_bytes()].concat();
            let encoded = STANDARD_NO_PAD.encode(&padded);
            let first = (before * 8).div_ceil(6);
            let last = padded.len() * 8 / 6;
            Shape::new("text in base64", Fit::Exact, &encoded[first..last])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_base64_depend_on_the_text_alone() {
        let text = "198.51.100.77";
        let shapes = in_base64(text);
        for (before, after) in [("", ""), ("a", "z"), ("ab", "yz"), ("abc", "!"), ("??", "????")] {
            let encoded = STANDARD.encode(format!("{before}{text}{after}"));
            let found = shapes.iter().any(|shape| {
                let needle = String::from_utf8(shape.bytes.clone()).unwrap();
                encoded.contains(&needle)
            });
            assert!(found, "{before}…{after}");
        }
    }
}
