//! The search itself: one pass, however much is looked for. A place is looked at closely only where something begins with
//! its two bytes, and memory that was never written to is passed over.

use std::collections::BTreeSet;

use super::{
    Canary,
    shapes::{Fit, Shape},
};

/// A page of nothing.
const PAGE: usize = 4096;
const NOTHING: [u8; PAGE] = [0; PAGE];

/// What is looked for, by its first two bytes.
pub struct Search<'a> {
    canaries: &'a [Canary],
    by_beginning: Vec<Vec<Needle<'a>>>,
    longest: usize,
}

/// A shape of a canary.
#[derive(Clone, Copy)]
struct Needle<'a> {
    canary: usize,
    number: usize,
    shape: &'a Shape,
}

impl<'a> Search<'a> {
    /// A search for all of these.
    pub fn of(canaries: &'a [Canary]) -> Self {
        let mut by_beginning = Vec::new();
        by_beginning.resize_with(1 << 16, Vec::new);
        let mut search = Self {
            canaries,
            by_beginning,
            longest: 0,
        };
        for (canary, all) in canaries.iter().enumerate() {
            for (number, shape) in all.shapes.iter().enumerate() {
                search.add(Needle {
                    canary,
                    number,
                    shape,
                });
            }
        }
        search
    }

    fn add(&mut self, needle: Needle<'a>) {
        let [first, second, ..] = needle.shape.bytes[..] else {
            return;
        };
        self.longest = self.longest.max(needle.shape.bytes.len());
        let cases = |byte: u8| {
            if is_exact(needle.shape.fit) {
                BTreeSet::from([byte])
            } else {
                BTreeSet::from([byte.to_ascii_lowercase(), byte.to_ascii_uppercase()])
            }
        };
        for first in cases(first) {
            for second in cases(second) {
                self.by_beginning[beginning(first, second)].push(needle);
            }
        }
    }

    /// Everything that is there, as `name (shape)`, in the order of the canaries.
    pub fn all(&self, hay: &[u8]) -> Vec<String> {
        let mut found = BTreeSet::new();
        let mut at = 0;
        while at + 1 < hay.len() {
            if hay[at..].starts_with(&NOTHING) {
                // What ends here may have begun in it.
                at += PAGE - self.longest.min(PAGE - 1);
                continue;
            }
            let end = (at + PAGE).min(hay.len() - 1);
            for at in at..end {
                for needle in &self.by_beginning[beginning(hay[at], hay[at + 1])] {
                    if fits(hay, at, needle.shape) {
                        found.insert((needle.canary, needle.number));
                    }
                }
            }
            at = end;
        }
        let mut found: Vec<String> = found
            .into_iter()
            .map(|(canary, number)| {
                let canary = &self.canaries[canary];
                format!("{} ({})", canary.name, canary.shapes[number].name)
            })
            .collect();
        found.dedup();
        found
    }
}

fn is_exact(fit: Fit) -> bool {
    matches!(fit, Fit::Exact | Fit::Word)
}

fn beginning(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

/// Whether a shape is at this place, with neighbours that leave it what it is.
fn fits(hay: &[u8], at: usize, shape: &Shape) -> bool {
    let end = at + shape.bytes.len();
    let Some(there) = hay.get(at..end) else {
        return false;
    };
    let same = if is_exact(shape.fit) {
        there == shape.bytes
    } else {
        there.eq_ignore_ascii_case(&shape.bytes)
    };
    let before = |belongs: fn(&u8) -> bool| at.checked_sub(1).and_then(|at| hay.get(at)).is_some_and(belongs);
    let after = |belongs: fn(&u8) -> bool| hay.get(end).is_some_and(belongs);
    same && match shape.fit {
        Fit::Exact | Fit::Folded => true,
        Fit::Number => !before(u8::is_ascii_digit) && !after(u8::is_ascii_digit),
        Fit::Hexadecimal => !before(u8::is_ascii_hexdigit) && !after(u8::is_ascii_hexdigit),
        Fit::End => !after(u8::is_ascii_digit),
        Fit::Beginning => !before(u8::is_ascii_digit),
        Fit::Word => !before(is_base64) && !after(is_base64),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as the standard library's own")]
fn is_base64(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;

    const KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

    /// 2025-11-26T10:47:05Z.
    const MOMENT: u64 = 1_764_154_025;

    static CANARIES: LazyLock<Vec<Canary>> = LazyLock::new(|| {
        vec![
            Canary::outer("IPv4", "198.51.100.77:47077".parse().unwrap()),
            Canary::outer("IPv6", "[2001:db8:77::77]:47077".parse().unwrap()),
            Canary::port("port", 47077),
            Canary::private_key("key", KEY).unwrap(),
            Canary::handshake("handshake", MOMENT).unwrap(),
        ]
    });

    fn found(leak: &[u8]) -> Vec<String> {
        static SEARCH: LazyLock<Search<'_>> = LazyLock::new(|| Search::of(&CANARIES));
        SEARCH.all(leak)
    }

    /// That it is found as this canary, alone, among others' bytes and after much of nothing.
    fn assert_found(canary: &str, leak: &[u8]) {
        let shown = String::from_utf8_lossy(leak);
        let mut late = vec![0; 3 * PAGE - 3];
        late.extend(leak);
        late.extend([0; 2 * PAGE]);
        for hay in [leak, &[b"( ", leak, b" )"].concat(), &late] {
            let found = found(hay);
            let names = super::super::names(&found);
            assert!(names.contains(canary), "{shown}: {found:?}");
        }
    }

    #[test]
    fn an_ipv4_address_is_found_in_every_shape() {
        for leak in [
            &b"peer at 198.51.100.77:47077 said hello"[..],
            b"saddr=3325256781",
            b"s_addr=1298412486",
            b"0xC633644D",
            b"0100007F:1F90 4D6433C6:B7E5 01",
            b"c6 33 64 4d",
            b"C6:33:64:4D",
            b"c633 644d",
            b"::ffff:198.51.100.77",
            b"::ffff:c633:644d",
            b"octets [198, 51, 100, 77]",
            b"[198,51,100,77]",
            b"[0xc6, 0x33, 0x64, 0x4d]",
            b"77.100.51.198.in-addr.arpa",
            b"\"xjNkTQ==\"",
            STANDARD.encode("at 198.51.100.77 now").as_bytes(),
            STANDARD.encode("from 198.51.100.77").as_bytes(),
            STANDARD.encode("198.51.100.77").as_bytes(),
            b"\x02\x00\xb7\xe5\xc6\x33\x64\x4d",
            b"\xc6\x33\x64\x4d\xe5\xb7",
            b"\xc6\x33\x64\x4d\xb7\xe5",
            b"\x08\x00\x01\x00\xc6\x33\x64\x4d",
            b"\xff\xff\xc6\x33\x64\x4d",
        ] {
            assert_found("IPv4", leak);
        }
    }

    #[test]
    fn an_ipv6_address_is_found_in_every_shape() {
        let bytes: [u8; 16] = "2001:db8:77::77".parse::<std::net::Ipv6Addr>().unwrap().octets();
        for leak in [
            &b"[2001:db8:77::77]:47077"[..],
            b"2001:DB8:77::77/128",
            b"2001:0db8:0077:0000:0000:0000:0000:0077",
            b"2001:db8:77:0:0:0:0:77",
            b"20010db8007700000000000000000077",
            b"B80D0120000077000000000077000000:B7E5",
            b"20 01 0d b8 00 77 00 00 00 00 00 00 00 00 00 77",
            b"2001 0db8 0077 0000 0000 0000 0000 0077",
            b"[32, 1, 13, 184, 0, 119, 0, 0, 0, 0, 0, 0, 0, 0, 0, 119]",
            b"42540766411426455029438125823443861623",
            b"7.7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.7.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
            STANDARD.encode(bytes).as_bytes(),
            STANDARD.encode("at 2001:db8:77::77").as_bytes(),
            &bytes,
        ] {
            assert_found("IPv6", leak);
        }
    }

    #[test]
    fn a_port_is_found_beside_an_address_only() {
        for leak in [
            &b"192.0.2.9:47077"[..],
            b"[2001:db8::9]:47077",
            b"sport=443 dport=47077",
            b"udp dport 47077",
            b"\"dport\": 47077",
            b"{\"port\":47077}",
        ] {
            assert_found("port", leak);
        }
        for innocent in [&b"47077"[..], b"{\"size\":47077}", b"at 192.0.2.9:470771"] {
            assert_eq!(found(innocent), Vec::<String>::new());
        }
    }

    #[test]
    fn a_key_is_found_in_every_shape() {
        let raw = STANDARD.decode(KEY).unwrap();
        for leak in [
            &b"PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="[..],
            b"private_key=c809f3e5317e9575c9b5ed78b638b7ce530dabe85ddab614220241801ddf0669",
            b"?key=yAnz5TF-lXXJte14tji3zlMNq-hd2rYUIgJBgB3fBmk",
            format!("{raw:?}").as_bytes(),
            STANDARD.encode(format!("key: {KEY}\n")).as_bytes(),
            &raw,
        ] {
            assert_found("key", leak);
        }
    }

    #[test]
    fn a_time_is_found_in_every_shape() {
        for leak in [
            &b"1764154025"[..],
            b"latest handshake 1764154025.250",
            b"1764154025250000000",
            b"0x6926DAA9",
            b"lastHandshake: \"2025-11-26T10:47:05Z\"",
            b"2025-11-26T10:47:05.250Z",
            &MOMENT.to_le_bytes(),
        ] {
            assert_found("handshake", leak);
        }
        let dateless = [CANARIES[4].dateless()];
        assert_eq!(
            Search::of(&dateless).all(b"2025-11-26T10:47:05Z it begins"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_only_looks_alike_is_not_found() {
        for innocent in [
            &b"198.51.100.7 198.51.100.771 1198.51.100.77 gateway 198.51.100.1:51820"[..],
            b"2001:db8:77::777 12001:db8:77::77",
            b"13325256781 33252567810",
            b"xjNkTQa= AxjNkTQ==",
            b"XJNKTQ==",
            b"\xc6\x33\x64\x4d",
            b"11764154025 1764154024",
        ] {
            assert_eq!(found(innocent), Vec::<String>::new());
        }
    }
}
