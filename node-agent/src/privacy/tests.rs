use super::swap::{Block, is_plain};
use super::*;

const QUIET: &str = "# filename:lineno [module]function flags format
drivers/net/wireguard/receive.c:122 [wireguard]wg_receive_handshake_packet =_ \"%s: Receiving handshake initiation from peer %llu (%pISpfsc)\\n\"
drivers/net/veth.c:7 [veth]veth_open =p \"open\\n\"
";

fn block(name: &str) -> Block {
    Block {
        name: name.to_owned(),
        ..Block::default()
    }
}

fn mapped(name: &str, mapped: &str, uuid: &str, below: &[&str]) -> Block {
    Block {
        mapped: Some(mapped.to_owned()),
        uuid: Some(uuid.to_owned()),
        below: below.iter().map(|&name| name.to_owned()).collect(),
        ..block(name)
    }
}

fn swaps(path: &str, kind: &str) -> String {
    format!("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n{path}    {kind}\t1048572\t\t0\t\t-2\n")
}

#[test]
fn debug_messages_of_wireguard_are_noticed() {
    assert!(!debug_messages(QUIET));
    for flags in ["=p", "=pmfl", "=mp"] {
        let loud = QUIET.replace("_packet =_", &format!("_packet {flags}"));
        assert!(debug_messages(&loud), "{flags}");
    }
    for flags in ["=_", "=mfl", "=t"] {
        let quiet = QUIET.replace("_packet =_", &format!("_packet {flags}"));
        assert!(!debug_messages(&quiet), "{flags}");
    }
    assert!(!debug_messages(""));
}

#[test]
fn swap_without_encryption_is_noticed() {
    let blocks = [
        block("sda"),
        mapped("dm-0", "vg-swap", "LVM-x", &["sda3"]),
        mapped("dm-1", "half", "", &["dm-2", "sdb"]),
        mapped("dm-2", "crypt", "CRYPT-LUKS2-x", &["sdc"]),
    ];
    for (path, kind) in [
        ("/dev/sda2", "partition"),
        ("/dev/sda", "partition"),
        ("/dev/dm-0", "partition"),
        ("/dev/mapper/vg-swap", "partition"),
        ("/dev/dm-1", "partition"),
        ("/dev/mapper/unheard-of", "partition"),
        ("/swapfile", "file"),
        ("/dm-2", "file"),
    ] {
        assert!(is_plain(&swaps(path, kind), &blocks), "{path}");
    }
    // One of two is enough.
    let both = swaps("/dev/dm-2", "partition") + "/swapfile  file 1 0 -3\n";
    assert!(is_plain(&both, &blocks));
}

#[test]
fn zram_and_dm_crypt_are_no_plain_swap() {
    let blocks = [
        block("zram0"),
        mapped("dm-2", "crypt", "CRYPT-PLAIN-crypt", &["sda2"]),
        mapped("dm-3", "vg-swap", "LVM-x", &["dm-2"]),
    ];
    for path in [
        "/dev/zram0",
        "/dev/dm-2",
        "/dev/mapper/crypt",
        "/dev/dm-3",
        "/dev/mapper/vg-swap",
    ] {
        assert!(!is_plain(&swaps(path, "partition"), &blocks), "{path}");
    }
    assert!(!is_plain("Filename Type Size Used Priority\n", &blocks));
}

#[test]
fn zram_is_as_safe_as_the_disk_behind_it() {
    let behind = |path: &str| {
        let backing = Some(path.to_owned());
        let zram = Block {
            backing,
            ..block("zram0")
        };
        [
            zram,
            block("sda"),
            mapped("dm-2", "crypt", "CRYPT-LUKS2-x", &["sda2"]),
        ]
    };
    let zram = swaps("/dev/zram0", "partition");
    assert!(is_plain(&zram, &behind("/dev/sda")));
    assert!(!is_plain(&zram, &behind("/dev/dm-2")));
}

#[test]
fn devices_that_stand_on_each_other_are_plain() {
    let blocks = [
        mapped("dm-0", "a", "", &["dm-1"]),
        mapped("dm-1", "b", "", &["dm-0"]),
    ];
    assert!(is_plain(&swaps("/dev/dm-0", "partition"), &blocks));
}

#[test]
fn core_dumps_are_possible_unless_every_way_is_closed() {
    let possible = |dumpable, starts_programs, limit, piped| {
        let cores = Cores {
            dumpable,
            starts_programs,
            limit,
            piped,
        };
        cores.possible()
    };
    assert!(!possible(false, true, Some(1), true));
    assert!(possible(true, true, Some(1), true));
    // A limit of nothing stops files alone: a program that the kernel starts gets the core all the same.
    assert!(possible(false, true, Some(0), true));
    assert!(!possible(false, true, Some(0), false));
    assert!(possible(false, true, Some(4_096), false));
    assert!(possible(false, true, None, false));
    // The limit is for what the agent starts: it is not dumpable itself.
    assert!(!possible(false, false, None, true));
}

#[test]
fn what_is_found_counts_before_what_is_unknown_and_each_cause_is_told() {
    let fine = Look {
        debug_messages: Some(false),
        core_dumps: Some(false),
        plain_swap: Some(false),
        packet_sockets: Some(false),
        connection_tracking: Some(false),
    };
    let found = |look: Look| match look.finding() {
        Finding::Degraded(causes) => causes.reasons(),
        other => panic!("{other:?}"),
    };
    assert_eq!(fine.finding(), Finding::Nothing);
    let blind = Look {
        core_dumps: None,
        ..fine
    };
    assert_eq!(blind.finding(), Finding::Unknown);
    let swapping = Look {
        plain_swap: Some(true),
        ..blind
    };
    assert_eq!(found(swapping), [Reason::PlainSwap]);
    let loud = Look {
        debug_messages: Some(true),
        ..swapping
    };
    assert_eq!(found(loud), [Reason::DebugMessages, Reason::PlainSwap]);
    let everything = Look {
        core_dumps: Some(true),
        packet_sockets: Some(true),
        connection_tracking: Some(true),
        ..loud
    };
    let all = [
        Reason::DebugMessages,
        Reason::CoreDumps,
        Reason::PlainSwap,
        Reason::PacketSockets,
        Reason::ConnectionTracking,
    ];
    assert_eq!(found(everything), all);
}

/// A node with these files.
fn node(files: &[(&str, &str)]) -> (tempfile::TempDir, Node) {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let node = Node::under(root.path());
    (root, node)
}

#[test]
fn a_node_is_read_where_its_kernel_tells() {
    let swaps = swaps("/dev/dm-0", "partition");
    let (_root, calm) = node(&[
        ("proc/dynamic_debug/control", QUIET),
        ("proc/sys/kernel/core_pattern", "core\n"),
        ("proc/swaps", &swaps),
        ("sys/block/dm-0/dm/name", "swap\n"),
        ("sys/block/dm-0/dm/uuid", "CRYPT-PLAIN-swap\n"),
    ]);
    let look = calm.files();
    assert_eq!((look.debug_messages, look.plain_swap), (Some(false), Some(false)));
    // The test itself is an ordinary process.
    assert_eq!(look.core_dumps, Some(true));
    let (_root, loud) = node(&[
        (
            "sys/kernel/debug/dynamic_debug/control",
            &QUIET.replace("=_", "=p"),
        ),
        ("proc/swaps", &swaps),
        ("sys/block/dm-0/dm/uuid", "LVM-x\n"),
    ]);
    let look = loud.files();
    assert_eq!((look.debug_messages, look.plain_swap), (Some(true), Some(true)));
}

#[test]
fn what_cannot_be_read_is_unknown() {
    let (_root, dark) = node(&[]);
    assert_eq!(dark.files(), Look::default());
    assert_eq!(dark.packet_sockets(&HashSet::new()), None);
    assert!(!dark.tracks_nothing());
    let (_root, no_devices) = node(&[("proc/swaps", &swaps("/dev/zram0", "partition"))]);
    assert_eq!(no_devices.files().plain_swap, None);
    let (_root, without_swap) = node(&[("proc/self/status", "")]);
    assert_eq!(without_swap.files().plain_swap, Some(false));
    // Nor has that kernel packet sockets or connection tracking.
    assert_eq!(without_swap.packet_sockets(&HashSet::new()), Some(false));
    assert!(without_swap.tracks_nothing());
}

/// The table as Linux writes it, with sockets of these protocols on these interfaces.
fn packet_sockets(sockets: &[(&str, u32)]) -> String {
    let header = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode";
    let line = |(protocol, interface): &(&str, u32)| {
        format!("0000000000000000 3      3    {protocol}   {interface:<5} 1 0      0      26539 ")
    };
    let lines = sockets.iter().map(line);
    let lines: Vec<_> = std::iter::once(header.to_owned()).chain(lines).collect();
    lines.join("\n") + "\n"
}

#[test]
fn whoever_reads_packets_where_clients_arrive_is_noticed() {
    let own = HashSet::from([7]);
    let read = |sockets: &[(&str, u32)]| sockets::read_clients(&packet_sockets(sockets), &own);
    for protocol in ["0003", "0800", "86dd"] {
        for interface in [0, 2, 8] {
            assert_eq!(
                read(&[(protocol, interface)]),
                Some(true),
                "{protocol} on {interface}"
            );
        }
        assert_eq!(
            read(&[(protocol, 7)]),
            Some(false),
            "{protocol} on the gateway's own"
        );
    }
    // One that takes nothing, LLDP, ARP, and the key exchange of wireless networks.
    let others = [("0000", 0), ("88cc", 2), ("0806", 0), ("888e", 3)];
    assert_eq!(read(&others), Some(false));
    assert_eq!(read(&[&others[..], &[("0003", 2)]].concat()), Some(true));
    assert_eq!(read(&[]), Some(false));
}

#[test]
fn a_table_of_packet_sockets_that_cannot_be_understood_is_unknown() {
    let whole = packet_sockets(&[("0003", 2)]);
    for table in [
        String::new(),
        whole.replace("Proto", "Protocol"),
        whole.replace("0003", "all"),
        whole.replace("0003   2 ", "0003   eth0 "),
        packet_sockets(&[]) + "0000000000000000 3 3\n",
    ] {
        assert_eq!(sockets::read_clients(&table, &HashSet::new()), None, "{table}");
    }
}

#[test]
fn the_network_of_a_node_is_read_where_its_kernel_tells() {
    let table = packet_sockets(&[("0003", 2)]);
    let (_root, watched) = node(&[
        ("proc/net/packet", &table),
        ("proc/sys/net/netfilter/nf_conntrack_count", "1\n"),
    ]);
    assert_eq!(watched.packet_sockets(&HashSet::new()), Some(true));
    assert_eq!(watched.packet_sockets(&HashSet::from([2])), Some(false));
    assert!(!watched.tracks_nothing());
    let (_root, calm) = node(&[("proc/sys/net/netfilter/nf_conntrack_count", "0\n")]);
    assert!(calm.tracks_nothing());
}

#[test]
fn connection_tracking_is_said_for_an_hour_after_it_was_seen() {
    let mut tracking = Tracking::default();
    assert_eq!(tracking.after(Some(false)), Some(false));
    assert_eq!(tracking.after(None), None);
    assert_eq!(tracking.after(Some(true)), Some(true));
    // Neither one who goes nor one who comes is to be seen in it.
    for minute in 1..60 {
        let seen = if minute % 7 == 0 { None } else { Some(false) };
        assert_eq!(tracking.after(seen), Some(true), "{minute} minutes");
    }
    assert_eq!(tracking.after(Some(false)), Some(false));
    assert_eq!(tracking.after(None), None);
}
