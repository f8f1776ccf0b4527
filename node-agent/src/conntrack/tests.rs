//! What a kernel wrote is read as another program shows it, and what we write is what the kernel finds an entry by.

use std::collections::HashSet;

use culvert_wireguard::netlink::decode::{Attributes, DecodeError};
use culvert_wireguard::netlink::frame::{Frame, Frames};
use culvert_wireguard::netlink::write::Writer;
use proptest::prelude::*;

use super::abi::{CT_DELETE, CT_GET, CT_NEW, CTA_ID, CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_ZONE};
use super::entry::{Entry, LONGEST_TUPLE, Tuple, read};
use super::request::Deletions;
use super::*;

/// A dump of Linux 6.12, of which `conntrack -L` showed [`SHOWN`].
const EVERY_SORT: &[u8] = include_bytes!("../../../fuzz/corpus/conntrack/every-sort");

/// Protocol, source, destination and ports, of packets and of answers.
const SHOWN: [&str; 8] = [
    "17 fd64::5 2001:db8::9 4000 5000, 17 2001:db8::9 fd64::5 5000 4000",
    "1 10.71.0.5 192.0.2.9 0 0, 1 192.0.2.9 192.0.2.1 0 0",
    "17 10.71.0.9 192.0.2.9 4000 7779, 17 192.0.2.9 192.0.2.1 7779 4000",
    "17 10.71.0.5 192.0.2.9 4000 5000, 17 192.0.2.9 192.0.2.1 5000 4000",
    "17 10.71.0.8 192.0.2.77 4000 9999, 17 192.0.2.9 192.0.2.1 53 4000",
    "17 10.71.0.6 192.0.2.9 4000 7777, 17 192.0.2.9 192.0.2.1 7777 4000",
    "17 10.71.0.7 192.0.2.9 4000 7778, 17 192.0.2.9 192.0.2.1 7778 4000",
    "6 10.71.0.5 192.0.2.9 4001 443, 6 192.0.2.9 192.0.2.1 443 4001",
];

fn frames(datagram: &[u8]) -> Vec<Frame<'_>> {
    Frames::new(datagram).collect::<Result<_, _>>().unwrap()
}

fn entries(datagram: &[u8]) -> Vec<Entry<'_>> {
    let frames = frames(datagram).into_iter();
    let read = frames.map(|frame| read(frame.kind, frame.payload).unwrap().unwrap());
    read.collect()
}

fn addresses(texts: &[&str]) -> Addresses {
    texts.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect()
}

fn address(bytes: &[u8]) -> IpAddr {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.unwrap_or_else(|_| <[u8; 16]>::try_from(bytes).unwrap().into())
}

fn shown(tuple: &Tuple<'_>) -> String {
    let (source, destination) = (address(tuple.source), address(tuple.destination));
    let [from, to] = tuple.ports;
    format!("{} {source} {destination} {from} {to}", tuple.protocol)
}

#[cfg(target_endian = "little")]
#[test]
fn what_the_kernel_wrote_is_read_as_another_program_shows_it() {
    let entries = entries(EVERY_SORT);
    let read = entries
        .iter()
        .map(|entry| format!("{}, {}", shown(&entry.original), shown(&entry.reply)));
    assert_eq!(read.collect::<Vec<_>>(), SHOWN);
    let zones: Vec<_> = entries.iter().filter_map(|entry| entry.zone).collect();
    assert_eq!(zones, [&[0, 7]]);
    assert_eq!(entries[3].id, &1_526_046_911_u32.to_be_bytes());
}

#[cfg(target_endian = "little")]
#[test]
fn an_entry_is_theirs_whose_address_stands_in_either_tuple() {
    let entries = entries(EVERY_SORT);
    let of = |texts: &[&str]| -> Vec<usize> {
        let addresses = addresses(texts);
        (0..entries.len())
            .filter(|place| entries[*place].is_of(&addresses))
            .collect()
    };
    assert_eq!(of(&["10.71.0.5"]), [1, 3, 7]);
    assert_eq!(of(&["10.71.0.7", "fd64::5"]), [0, 6]);
    // Where it went to, and where it went to in truth: each stands in one tuple alone.
    assert_eq!(of(&["192.0.2.77"]), [4]);
    assert_eq!(of(&["192.0.2.1"]), [1, 2, 3, 4, 5, 6, 7]);
    assert!(of(&["10.71.0.50", "::ffff:10.71.0.5"]).is_empty());
    assert!(of(&[]).is_empty());
}

type End = ([u8; 4], u16);

fn udp<'a>(source: &'a End, destination: &'a End) -> Tuple<'a> {
    Tuple {
        source: &source.0,
        destination: &destination.0,
        protocol: 17,
        ports: [source.1, destination.1],
    }
}

#[test]
fn a_flow_is_an_outer_one_when_it_is_the_nodes_own_and_of_the_port() {
    let (ports, local) = (HashSet::from([51_820]), addresses(&["192.0.2.1", "10.71.0.1"]));
    let is_outer = |original: Tuple<'_>, reply: Tuple<'_>| {
        let entry = Entry {
            family: 2,
            original,
            reply,
            tuple: &[],
            zone: None,
            id: &[0; 4],
        };
        entry.is_outer(&ports, &local)
    };
    let node = &([192, 0, 2, 1], 51_820);
    let client = &([198, 51, 100, 77], 47_077);
    let balancer = &([192, 0, 2, 99], 443);
    assert!(is_outer(udp(client, node), udp(node, client)));
    assert!(is_outer(udp(node, client), udp(client, node)));
    // A balancer leads to the node.
    assert!(is_outer(udp(client, balancer), udp(node, client)));
    let inner = |from, to| {
        let (source, hidden) = (([10, 71, 0, 5], from), ([192, 0, 2, 1], from));
        let server = ([203, 0, 113, 9], to);
        is_outer(udp(&source, &server), udp(&server, &hidden))
    };
    assert!(!inner(4_000, 51_820), "to that port of somebody else");
    assert!(!inner(51_820, 4_000), "from that port of a client's");
    let other = &([192, 0, 2, 1], 51_821);
    assert!(!is_outer(udp(client, other), udp(other, client)));
    let tcp = |from, to| Tuple {
        protocol: 6,
        ..udp(from, to)
    };
    assert!(!is_outer(tcp(client, node), tcp(node, client)));
}

#[cfg(target_endian = "little")]
#[test]
fn the_request_for_the_table_asks_for_both_families() {
    let golden = b"\x14\0\0\0\x01\x01\x01\x03\0\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(request::dump().as_slice(), golden);
    assert_eq!(frames(golden)[0].kind, CT_GET);
}

#[cfg(target_endian = "little")]
#[test]
fn an_entry_is_named_by_tuple_zone_and_number_as_the_kernel_showed_them() {
    let entries = entries(EVERY_SORT);
    let mut deletions = Deletions::default();
    deletions.push(&entries[5]);
    let batch = deletions.batches().next().unwrap();
    assert_eq!(batch.entries(), 1);
    let mut golden = b"\x58\0\0\0\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\0\0".to_vec();
    golden.extend(b"\x34\0\x01\x80\x14\0\x01\x80\x08\0\x01\0\x0a\x47\0\x06\x08\0\x02\0\xc0\0\x02\x09");
    golden.extend(b"\x1c\0\x02\x80\x05\0\x01\0\x11\0\0\0\x06\0\x02\0\x0f\xa0\0\0\x06\0\x03\0\x1e\x61\0\0");
    golden.extend(b"\x06\0\x12\0\0\x07\0\0\x08\0\x0c\0\xe2\x52\xd0\x6b");
    // What is acknowledged.
    golden.extend(b"\x10\0\0\0\x01\0\x05\0\0\0\0\0\0\0\0\0");
    assert_eq!(batch.finish().as_slice(), golden);
}

#[cfg(target_endian = "little")]
#[test]
fn no_request_to_delete_is_without_a_tuple_and_none_is_lost() {
    let entries = entries(EVERY_SORT);
    let mut deletions = Deletions::default();
    for round in 0..125 {
        deletions.push(&entries[round % 8]);
    }
    let mut requests = 0;
    for batch in deletions.batches() {
        let stated = batch.entries();
        let datagram = batch.finish();
        assert!(datagram.len() <= 16 * 1024);
        let mut frames = frames(&datagram);
        assert_eq!((frames.pop().unwrap().kind, frames.len()), (1, stated));
        for frame in frames {
            let entry = &entries[requests % 8];
            assert_eq!(frame.kind, CT_DELETE);
            assert_eq!(frame.payload[0], entry.family);
            let attributes: Vec<_> = Attributes::new(&frame.payload[4..]).flatten().collect();
            assert_eq!(attributes[0].kind(), CTA_TUPLE_ORIG);
            assert!(!entry.tuple.is_empty() && attributes[0].value() == entry.tuple);
            requests += 1;
        }
    }
    assert_eq!(requests, 125);
}

/// An entry's attributes, with a value put in place of one of them, or none.
fn with(kind: u16, value: Option<&[u8]>) -> Result<(), DecodeError> {
    let frames = frames(EVERY_SORT);
    let mut writer = Writer::with_capacity(1_024);
    writer.raw(&frames[5].payload[..4]);
    for attribute in Attributes::new(&frames[5].payload[4..]).flatten() {
        let own = (attribute.kind() != kind).then_some(attribute.value());
        if let Some(value) = own.or(value) {
            writer.put(attribute.kind(), value);
        }
    }
    read(CT_NEW, &writer.finish()).map(drop)
}

#[cfg(target_endian = "little")]
#[test]
fn what_is_missing_or_of_a_wrong_length_is_an_error() {
    for kind in [CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_ID] {
        assert_eq!(with(kind, None), Err(DecodeError::Missing { kind }));
    }
    assert_eq!(with(CTA_ZONE, None), Ok(()));
    for (kind, value) in [
        (CTA_TUPLE_ORIG, &[0; LONGEST_TUPLE + 1][..]),
        (CTA_ID, &[0; 8]),
        (CTA_ZONE, &[0; 4]),
    ] {
        assert_eq!(with(kind, Some(value)), Err(DecodeError::Value { kind }));
    }
    // A tuple of nothing, and one that is cut off.
    assert_eq!(
        with(CTA_TUPLE_ORIG, Some(&[])),
        Err(DecodeError::Missing { kind: 1 })
    );
    assert_eq!(with(CTA_TUPLE_ORIG, Some(&[9])), Err(DecodeError::Attribute));
    assert_eq!(read(CT_NEW, &[2, 0, 0]).err(), Some(DecodeError::Message));
    assert_eq!(read(CT_GET, &[2, 0, 0, 0]).err(), Some(DecodeError::Command));
}

#[test]
fn an_entry_of_another_family_is_none_of_ours() {
    assert!(read(CT_NEW, &[7, 0, 0, 0, 1]).unwrap().is_none());
}

#[test]
fn what_may_succeed_is_begun_again_and_not_for_ever() {
    let overrun = || Error::Overrun {
        action: "read",
        object: TABLE.to_owned(),
    };
    let truncated = || Error::Truncated {
        object: TABLE.to_owned(),
        size: 70_000,
        capacity: 65_536,
    };
    let interrupted = || Error::DumpInterrupted {
        object: TABLE.to_owned(),
    };
    let refused = |refusal| Error::Refused {
        action: "read",
        object: TABLE.to_owned(),
        refusal,
    };
    for passing in [&overrun as &dyn Fn() -> Error, &truncated, &interrupted, &|| {
        refused(Refusal::Busy)
    }] {
        for failures in [0, TRIES - 1, TRIES] {
            let mut tries = 0;
            let result = patiently(|| {
                tries += 1;
                if tries > failures { Ok(()) } else { Err(passing()) }
            });
            assert_eq!(result.is_ok(), failures < TRIES, "{} after {failures}", passing());
            assert_eq!(tries, (failures + 1).min(TRIES));
        }
    }
    let mut tries = 0;
    let result: Result<(), _> = patiently(|| {
        tries += 1;
        Err(refused(Refusal::Permission))
    });
    assert_eq!(
        (result.unwrap_err().refusal(), tries),
        (Some(Refusal::Permission), 1)
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(kind in prop_oneof![Just(CT_NEW), any::<u16>()], payload: Vec<u8>) {
        let _ = read(kind, &payload);
    }

    #[test]
    fn no_cut_or_changed_byte_panics(which in 0_usize..8, cut in 0_usize..200, place in 0_usize..200, byte: u8) {
        let mut payload = frames(EVERY_SORT)[which].payload.to_vec();
        if let Some(there) = payload.get_mut(place) {
            *there = byte;
        }
        let _ = read(CT_NEW, &payload[..cut.min(payload.len())]);
        let _ = read(CT_NEW, &payload);
    }
}
