//! What the kernel's connection tracking remembers, as `conntrack(8)` shows it, before and after somebody is forgotten.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;

use culvert_node_agent::conntrack::Conntrack;
use culvert_node_agent::conntrack::entry::Entry;
use culvert_node_agent::conntrack::request::Deletions;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{memory, run};

/// Clients, each of one family.
const CLIENTS: u8 = 100;

/// The ports that each of them has talked to; what is special about them stands in [`RULES`].
const PORTS: [u16; 10] = [
    5_000, 5_001, 5_002, 5_003, 5_004, 5_005, 7_777, 7_778, 7_779, 9_999,
];

/// Zones of each sort, another destination than the one that was meant, another source than the client's, and somebody
/// from outside who is led to a client.
const RULES: &str = "table inet flows {
  chain zones {
    type filter hook output priority -300;
    udp dport 7777 ct zone set 7
    udp dport 7778 ct original zone set 9
    udp dport 7779 ct reply zone set 11
  }
  chain led {
    type nat hook output priority -100;
    ip saddr 10.71.0.0/16 udp dport 9999 dnat ip to 192.0.2.9:53
    ip daddr 192.0.2.77 dnat ip to 10.71.0.10
  }
  chain hidden {
    type nat hook postrouting priority 100;
    ip saddr 10.71.0.0/16 oifname out0 masquerade
  }
}
";

/// A network namespace of a test's own, in which the kernel tracks. It goes with everything in it.
struct Place(&'static str);

impl Place {
    /// Runs a test in one. It is a thread that goes there, and its sockets and programs with it.
    fn run(name: &'static str, test: impl FnOnce() + Send + 'static) {
        run("ip", &["netns", "add", name]);
        let place = Self(name);
        let inside = thread::spawn(move || {
            let namespace = fs::File::open(format!("/run/netns/{name}")).unwrap();
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), network).unwrap();
            lay_out();
            test();
        });
        let ended = inside.join();
        drop(place);
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", self.0]).output();
    }
}

/// A node with an uplink that leads nowhere, which may speak for every client.
fn lay_out() {
    for words in [
        "link set lo up",
        "link add out0 type dummy",
        "addr add 192.0.2.1/24 dev out0",
        "addr add 2001:db8::1/64 dev out0 nodad",
        "link set out0 up",
        "route add local 10.71.0.0/16 dev lo",
        "-6 route add local fd71::/64 dev lo",
        "neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev out0",
        "-6 neigh add 2001:db8::9 lladdr 02:00:00:00:00:09 dev out0",
    ] {
        run("ip", &words.split(' ').collect::<Vec<_>>());
    }
    fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1").unwrap();
    run("nft", &[RULES]);
}

fn client(number: u8) -> IpAddr {
    if number.is_multiple_of(2) {
        Ipv4Addr::new(10, 71, 0, number).into()
    } else {
        Ipv6Addr::from((0xfd71_u128 << 112) + u128::from(number)).into()
    }
}

fn server(of: IpAddr) -> IpAddr {
    match of {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 9).into(),
        IpAddr::V6(_) => "2001:db8::9".parse().unwrap(),
    }
}

fn say(from: (IpAddr, u16), to: (IpAddr, u16)) {
    let socket = UdpSocket::bind(SocketAddr::from(from)).unwrap();
    socket.send_to(b"x", SocketAddr::from(to)).unwrap();
}

/// A thousand flows of a hundred clients, some pings and connections, and one flow that somebody else has begun.
fn talk() {
    let everybody = (0..CLIENTS).map(client);
    for client in everybody.clone() {
        for port in PORTS {
            say((client, 4_000), (server(client), port));
        }
    }
    let pings: Vec<_> = everybody
        .skip(20)
        .take(4)
        .map(|client| {
            let (from, to) = (client.to_string(), server(client).to_string());
            let mut ping = Command::new("ping");
            ping.args(["-c1", "-W1", "-I", &from, &to]).stdout(Stdio::null());
            ping.spawn().unwrap()
        })
        .collect();
    for mut ping in pings {
        ping.wait().unwrap();
    }
    for client in ["10.71.0.22", "10.71.0.24"] {
        let words =
            format!("-I -p tcp -s {client} -d 192.0.2.9 --sport 4001 --dport 443 --state ESTABLISHED -t 600");
        run("conntrack", &words.split(' ').collect::<Vec<_>>());
    }
    say(
        ("192.0.2.1".parse().unwrap(), 4_001),
        ("192.0.2.77".parse().unwrap(), 8_000),
    );
}

/// What another program shows of the table, without what time changes.
fn shown() -> BTreeSet<String> {
    let listed = Command::new("conntrack")
        .args(["-L", "-o", "id"])
        .output()
        .unwrap();
    assert!(listed.status.success());
    let text = String::from_utf8(listed.stdout).unwrap();
    let lasting = |line: &str| {
        let words = line.split_ascii_whitespace();
        let words = words.filter(|word| word.contains('=') && !word.starts_with("use="));
        words.collect::<Vec<_>>().join(" ")
    };
    text.lines().map(lasting).collect()
}

/// Whether a line is of one of these clients.
fn is_of(line: &str, clients: &HashSet<IpAddr>) -> bool {
    let mut addresses = line
        .split(' ')
        .filter_map(|word| word.strip_prefix("src=").or(word.strip_prefix("dst=")));
    addresses.any(|address| clients.contains(&address.parse().unwrap()))
}

#[test]
fn flows_of_those_who_are_forgotten_are_gone_and_no_others() {
    Place::run("flows", || {
        talk();
        let before = shown();
        assert_eq!(before.len(), 1_007);
        // Half of them, of either family.
        let is_forgotten = |number: &u8| [1, 2].contains(&(number % 4));
        let forgotten: HashSet<_> = (0..CLIENTS).filter(is_forgotten).map(client).collect();
        assert_eq!(forgotten.len(), 50);
        let theirs = before.iter().filter(|line| is_of(line, &forgotten)).count();
        // Beside their ten each: two pings, a connection, and the one that led to one of them.
        assert_eq!(theirs, 10 * 50 + 4);

        let mut conntrack = Conntrack::open().unwrap();
        assert_eq!(conntrack.forget(&HashSet::new()).unwrap(), 0);
        assert_eq!(shown(), before);
        assert_eq!(conntrack.forget(&forgotten).unwrap(), theirs);
        let left: BTreeSet<_> = before
            .into_iter()
            .filter(|line| !is_of(line, &forgotten))
            .collect();
        assert_eq!(shown(), left);
        // There is nothing left to forget of them, and everything of the others.
        assert_eq!(conntrack.forget(&forgotten).unwrap(), 0);
        let others: HashSet<_> = (0..CLIENTS).map(client).collect();
        assert_eq!(conntrack.forget(&others).unwrap(), left.len());
        assert!(shown().is_empty());
    });
}

/// Every entry, to be deleted, with what `change` makes of its number.
fn deletions(conntrack: &mut Conntrack, change: impl Fn([u8; 4]) -> [u8; 4]) -> Deletions {
    let mut deletions = Deletions::default();
    let dumped = conntrack.dump(|entry| {
        let id = &change(*entry.id);
        deletions.push(&Entry { id, ..*entry });
    });
    dumped.unwrap();
    deletions
}

#[test]
fn flows_that_have_ended_or_were_made_since_are_left_alone() {
    Place::run("since", || {
        talk();
        let before = shown();
        let mut conntrack = Conntrack::open().unwrap();
        let [once, again] = [(); 2].map(|()| deletions(&mut conntrack, |id| id));
        // Same addresses, same ports, same zone, and another number.
        let others = deletions(&mut conntrack, |id| id.map(|byte| !byte));
        let mut delete = |entries| {
            let mut gone = 0;
            conntrack.delete(entries, &mut gone).unwrap();
            gone
        };
        assert_eq!(delete(others), 0);
        assert_eq!(shown(), before);
        assert_eq!(delete(once), before.len());
        assert!(shown().is_empty());
        assert_eq!(delete(again), 0);
    });
}

#[test]
fn flows_of_the_port_are_counted_and_no_clients_flow_to_such_a_port() {
    Place::run("outer", || {
        let mut conntrack = Conntrack::open().unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let (node, server) = (address("192.0.2.1"), address("192.0.2.9"));
        let local = HashSet::from([node, address("2001:db8::1")]);
        let ports = HashSet::from([51_820, 51_821]);
        let mut count = || conntrack.outer_flows(&ports, &local).unwrap();
        assert_eq!(count(), 0);
        say((client(4), 4_000), (server, 51_820));
        say((client(4), 51_820), (server, 4_000));
        say((node, 4_000), (server, 51_820));
        assert_eq!((shown().len(), count()), (3, 0));
        // From the port, and to it: over the loopback, as nobody else is here.
        say((node, 51_820), (server, 4_001));
        assert_eq!(count(), 1);
        say((node, 4_002), (node, 51_821));
        let six = address("2001:db8::1");
        say((six, 4_002), (six, 51_821));
        assert_eq!((shown().len(), count()), (6, 3));
    });
}

#[test]
fn flows_that_were_read_are_wiped() {
    Place::run("wiped", || {
        // As text it is all that this process knows of it, but for what the kernel says.
        let words =
            "-I -p udp -s fd71::5 -d 2001:db8:a55a:c33c:a55a:c33c:a55a:c33c --sport 1 --dport 2 -t 60";
        run("conntrack", &words.split(' ').collect::<Vec<_>>());
        let held = || memory::count(12, |index| [0xa6, 0x5b, 0xc4, 0x3d][index % 4] - 1);
        assert_eq!(held(), 0, "before");
        let mut conntrack = Conntrack::open().unwrap();
        let mut meanwhile = 0;
        conntrack.dump(|_| meanwhile = held()).unwrap();
        assert!(meanwhile > 0, "in the middle");
        assert_eq!(
            conntrack
                .outer_flows(&HashSet::from([1]), &HashSet::from([client(5)]))
                .unwrap(),
            1
        );
        assert_eq!(held(), 0, "after a count");
        assert_eq!(conntrack.forget(&HashSet::from([client(5)])).unwrap(), 1);
        assert_eq!(held(), 0, "after a deletion");
    });
}
