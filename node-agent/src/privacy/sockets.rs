//! Whether a program reads packets where clients arrive, by the kernel's table of packet sockets.
//!
//! Of a socket the table says which protocol it takes and on which interface; none of either is all of them. Where clients
//! arrive is not known for certain, as routes change: it is every interface but the gateways' own, in which their outer
//! addresses are not to be seen.

use std::collections::HashSet;

/// Protocols of which every packet of a client's is: all, IPv4, IPv6 (`linux/if_ether.h`).
const OF_CLIENTS: [u16; 3] = [0x0003, 0x0800, 0x86dd];

/// Whether any socket of the table takes packets of clients; `None` when the table cannot be understood.
pub fn read_clients(table: &str, own: &HashSet<u32>) -> Option<bool> {
    let mut lines = table.lines();
    let names: Vec<_> = lines.next()?.split_ascii_whitespace().collect();
    let column = |name| names.iter().position(|one| *one == name);
    let (protocol, interface) = (column("Proto")?, column("Iface")?);
    let mut found = false;
    for line in lines {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let protocol = u16::from_str_radix(fields.get(protocol)?, 16).ok()?;
        let interface: u32 = fields.get(interface)?.parse().ok()?;
        found |= OF_CLIENTS.contains(&protocol) && !own.contains(&interface);
    }
    Some(found)
}
