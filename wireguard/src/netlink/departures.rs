//! Interfaces that somebody carries to another network namespace.
//!
//! Such an interface is out of sight, with its key, its peers and where they were. The kernel says of it, once, which
//! namespace it has gone to, by a number that holds in ours, and under which number it goes on there
//! (`rtmsg_ifinfo_newnet` in net/core/rtnetlink.c). Nothing else tells it from an interface that was made there: so
//! whoever is not listening meanwhile misses it.

use std::io;

use futures::StreamExt as _;
use futures::channel::mpsc::UnboundedReceiver;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, LinkUnspec, MulticastGroup};
use tokio::task::JoinHandle;

use super::link::{LinkInfo, link_info};
use super::rtnl::Rtnl;
use crate::Error;

/// What the kernel says of links in the network namespace it was opened in, as far as they leave it.
///
/// Needs a tokio runtime with I/O; its task ends when this is dropped.
pub struct Departures {
    messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    /// Without it the connection would end.
    _handle: Handle,
    driver: JoinHandle<()>,
}

/// An interface that has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// What it was here.
    pub link: LinkInfo,

    /// The number of the namespace it has gone to.
    pub namespace: i32,

    /// Its number there.
    pub ifindex: u32,
}

impl Departures {
    /// Begins to listen.
    pub fn open() -> Result<Self, Error> {
        let runtime =
            tokio::runtime::Handle::try_current().map_err(|error| Error::Open(io::Error::other(error)))?;
        let (connection, handle, messages) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link]).map_err(Error::Open)?;
        Ok(Self {
            messages,
            _handle: handle,
            driver: runtime.spawn(connection),
        })
    }

    /// Waits for the next; `None` when the connection has ended. May be dropped and asked again: nothing is missed.
    pub async fn next(&mut self) -> Option<Departed> {
        loop {
            let (message, _) = self.messages.next().await?;
            if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message)) = message.payload
                && let Some(departed) = departed(message)
            {
                return Some(departed);
            }
        }
    }
}

impl Drop for Departures {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Departed {
    /// Deletes it over there, which takes 18 ms for each of its peers: the thread that does it waits as long.
    ///
    /// Fails with a refusal `NotFound` when it is gone, and `Permission` when that namespace belongs to others.
    pub async fn delete(&self, rtnl: &Rtnl) -> Result<(), Error> {
        let mut message = LinkUnspec::new_with_index(self.ifindex).build();
        let namespace = LinkAttribute::IfNetnsId(self.namespace);
        message.attributes.push(namespace);
        let object = format!("interface {} of another namespace", self.ifindex);
        rtnl.change("delete", &object, RouteNetlinkMessage::DelLink(message), 0)
            .await
    }
}

/// Reads the end of a link; `None` when it is no more.
fn departed(message: LinkMessage) -> Option<Departed> {
    let (mut namespace, mut ifindex) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::NewNetnsId(number) => namespace = Some(*number),
            LinkAttribute::NewIfIndex(number) => ifindex = u32::try_from(*number).ok(),
            _ => {}
        }
    }
    Some(Departed {
        namespace: namespace?,
        ifindex: ifindex?,
        link: link_info(message, "a link that leaves").ok()?,
    })
}

#[cfg(test)]
mod tests {
    use rtnetlink::LinkWireguard;

    use super::*;

    #[test]
    fn a_link_that_is_deleted_has_not_departed() {
        let message = LinkWireguard::new("cv0").mtu(1420).index(7).build();
        assert_eq!(departed(message.clone()), None);
        let mut left = message;
        left.attributes.push(LinkAttribute::NewNetnsId(2));
        left.attributes.push(LinkAttribute::NewIfIndex(9));
        let left = departed(left).unwrap();
        assert_eq!((left.link.ifindex, left.namespace, left.ifindex), (7, 2, 9));
    }
}
