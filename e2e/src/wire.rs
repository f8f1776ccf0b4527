//! What passes through a namespace, as a packet socket sees it: every packet that comes in or goes out on any link.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, eth, recv, socket_with,
    sockopt::set_socket_recv_buffer_size_force,
};

use crate::{
    Namespace,
    packet::{Read, protocol},
};

/// Room for what comes before anybody reads: thousands of packets.
const ROOM: usize = 16 << 20;

/// How an ARP message about IPv4 begins.
const ARP: [u8; 4] = [0, 1, 8, 0];

/// A look at all links of a namespace. It holds what comes until somebody reads it.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
}

impl Wire {
    /// Begins to look.
    pub fn tap(namespace: &Namespace) -> Result<Self> {
        let socket = namespace
            .within(|| {
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, Some(eth::ALL))?;
                set_socket_recv_buffer_size_force(&socket, ROOM)?;
                Ok(socket)
            })
            .with_context(|| format!("failed to look at the links of {}", namespace.name()))?;
        Ok(Self { socket })
    }

    /// The packets since the last time, without what links say by themselves.
    pub fn packets(&self) -> Result<Vec<Vec<u8>>> {
        let all = self.frames()?.into_iter();
        Ok(all
            .filter(|packet| Read::packet(packet).is_some_and(|read| !read.is_housekeeping()))
            .collect())
    }

    /// The ARP messages since the last time.
    pub fn arp(&self) -> Result<Vec<Vec<u8>>> {
        let all = self.frames()?.into_iter();
        Ok(all.filter(|message| message.starts_with(&ARP)).collect())
    }

    /// The messages since the last time by which neighbours of IPv6 find each other, one by one.
    pub fn discovery(&self) -> Result<Vec<Vec<u8>>> {
        let read = |packet: &Vec<u8>| Read::packet(packet).filter(Read::is_housekeeping);
        let all = self.frames()?;
        let messages = all.iter().filter_map(read);
        Ok(messages
            .filter(|read| read.protocol == protocol::ICMPV6)
            .map(|read| read.payload)
            .collect())
    }

    /// Without the headers of links, which not all links have.
    fn frames(&self) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((length, _)) => frames.push(buffer[..length].to_vec()),
                Err(error) if error == rustix::io::Errno::AGAIN => return Ok(frames),
                // A link has gone down: the next look is at the others.
                Err(error) if error == rustix::io::Errno::NETDOWN => {}
                Err(error) => return Err(error).context("failed to read packets"),
            }
        }
    }
}
