//! The connection for links, addresses and routes: rtnetlink's, with nothing taken on trust.
//!
//! Guarantees: a change succeeded only when its acknowledgement arrived, and a list is whole only when its end
//! arrived with error number 0 and nothing interrupted it. rtnetlink's own requests see neither the end of a dump
//! nor the interrupt flag, and take a connection that broke off for success; so messages are built with it, and
//! sent and awaited here. The refusal's number becomes a typed [`Refusal`](crate::Refusal).
//!
//! The connection ends for good with any failure of its socket but an overflow; the next request opens another.
//!
//! A message that the packet crate cannot parse is dropped below us; a single answer that is missing for that
//! reason is an error here, one of a list goes unnoticed.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use tokio::task::JoinHandle;

use super::abi::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST};
use super::decode::DecodeError;
use crate::Error;

/// How often a list is asked for again that somebody's change interrupted: on a node where pods come and go, links do.
const LISTS: u32 = 8;

/// How long an answer may take that the kernel gives at once. Where it does not come, the queue has overflowed: nothing
/// else tells whose answer was lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the kernel's links, addresses and routes, in the network namespace it was opened in.
///
/// Needs a tokio runtime with I/O and timers; its task ends when this is dropped.
pub struct Rtnl {
    connection: Mutex<Connection>,
}

struct Connection {
    handle: rtnetlink::Handle,
    driver: JoinHandle<()>,
}

impl Rtnl {
    /// Opens the connection and spawns its task on the current runtime.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            connection: Mutex::new(Connection::open()?),
        })
    }

    /// Sends a change and waits for its acknowledgement.
    pub(super) async fn change(
        &self,
        action: &'static str,
        object: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), Error> {
        let answers = self.request(action, object, message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        collect(answers, action, object).await.map(drop)
    }

    /// Asks for one object.
    pub(super) async fn get(
        &self,
        object: &str,
        message: RouteNetlinkMessage,
    ) -> Result<RouteNetlinkMessage, Error> {
        let answers = self.request("read", object, message, NLM_F_REQUEST | NLM_F_ACK)?;
        let mut found = self.soon(answers, "read", object).await?;
        found.pop().ok_or_else(|| Error::Malformed {
            object: object.to_owned(),
            source: DecodeError::Message,
        })
    }

    /// Asks for everything of a kind.
    pub(super) async fn list(
        &self,
        object: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        let mut tries = 0;
        loop {
            let answers = self.request("list", object, message.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            tries += 1;
            match self.soon(answers, "list", object).await {
                Err(Error::DumpInterrupted { .. }) if tries < LISTS => {}
                result => return result,
            }
        }
    }

    /// Everything up to the end, unless it takes too long: the connection is no good then.
    async fn soon(
        &self,
        answers: impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>>,
        action: &'static str,
        object: &str,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        let collected = tokio::time::timeout(PATIENCE, collect(answers, action, object)).await;
        collected.unwrap_or_else(|_| {
            self.lock().driver.abort();
            Err(Error::Overrun {
                action,
                object: object.to_owned(),
            })
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Connection> {
        // A connection is replaced whole.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(
        &self,
        action: &'static str,
        object: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + use<>, Error> {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = flags;
        let mut handle = {
            let mut connection = self.lock();
            if connection.driver.is_finished() {
                *connection = Connection::open()?;
            }
            connection.handle.clone()
        };
        handle.request(message).map_err(|_| Error::Disconnected {
            action,
            object: object.to_owned(),
        })
    }
}

impl Connection {
    fn open() -> Result<Self, Error> {
        let runtime =
            tokio::runtime::Handle::try_current().map_err(|error| Error::Open(io::Error::other(error)))?;
        let (mut connection, handle, _) = rtnetlink::new_connection().map_err(Error::Open)?;
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        Ok(Self {
            handle,
            driver: runtime.spawn(connection),
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Everything up to the acknowledgement or the end of the dump.
async fn collect(
    answers: impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>>,
    action: &'static str,
    object: &str,
) -> Result<Vec<RouteNetlinkMessage>, Error> {
    let mut answers = std::pin::pin!(answers);
    let mut found = Vec::new();
    while let Some(answer) = answers.next().await {
        if answer.header.flags & NLM_F_DUMP_INTR != 0 {
            return Err(Error::DumpInterrupted {
                object: object.to_owned(),
            });
        }
        let errno = match answer.payload {
            NetlinkPayload::InnerMessage(message) => {
                found.push(message);
                continue;
            }
            NetlinkPayload::Error(error) => error.raw_code(),
            NetlinkPayload::Done(done) => done.code,
            NetlinkPayload::Overrun(_) => {
                return Err(Error::Overrun {
                    action,
                    object: object.to_owned(),
                });
            }
            _ => continue,
        };
        return match errno.saturating_abs() {
            0 => Ok(found),
            errno => Err(Error::refused(action, object, errno)),
        };
    }
    Err(Error::Disconnected {
        action,
        object: object.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use rtnetlink::packet_core::{DoneMessage, ErrorMessage, NetlinkHeader};
    use rtnetlink::packet_route::link::LinkMessage;

    use super::*;
    use crate::Refusal;

    type Answer = NetlinkMessage<RouteNetlinkMessage>;

    fn link() -> Answer {
        NetlinkMessage::from(RouteNetlinkMessage::NewLink(LinkMessage::default()))
    }

    fn done(code: i32) -> Answer {
        let mut done = DoneMessage::default();
        done.code = code;
        NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::Done(done))
    }

    fn collected(answers: Vec<Answer>) -> Result<usize, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime
            .block_on(collect(stream::iter(answers), "list", "links"))
            .map(|found| found.len())
    }

    #[test]
    fn requests_may_move_between_threads() {
        fn assert_send<T: Send>(_: &T) {}
        fn check(rtnl: &Rtnl) {
            assert_send(&rtnl.link("cv0"));
            assert_send(&rtnl.routes());
            assert_send(&rtnl.set_up(3));
        }
        let _ = check;
    }

    #[tokio::test]
    async fn a_connection_that_has_ended_is_opened_again() {
        let rtnl = Rtnl::open().unwrap();
        rtnl.link("lo").await.unwrap();
        rtnl.lock().driver.abort();
        while !rtnl.lock().driver.is_finished() {
            tokio::task::yield_now().await;
        }
        rtnl.link("lo").await.unwrap();
    }

    #[test]
    fn a_list_with_its_end_is_whole() {
        assert_eq!(collected(vec![link(), link(), done(0)]).unwrap(), 2);
    }

    #[test]
    fn a_list_without_its_end_is_an_error() {
        assert!(matches!(collected(vec![link()]), Err(Error::Disconnected { .. })));
    }

    #[test]
    fn a_list_that_ends_in_an_error_number_is_an_error() {
        assert_eq!(
            collected(vec![link(), done(-12)]).unwrap_err().refusal(),
            Some(Refusal::OutOfMemory)
        );
    }

    #[test]
    fn an_interrupted_list_is_an_error() {
        let mut interrupted = link();
        interrupted.header.flags = NLM_F_DUMP_INTR;
        assert!(matches!(
            collected(vec![interrupted, done(0)]),
            Err(Error::DumpInterrupted { .. })
        ));
    }

    #[test]
    fn a_refusal_keeps_its_meaning() {
        let mut refusal = ErrorMessage::default();
        refusal.code = std::num::NonZeroI32::new(-17);
        let answer = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::Error(refusal));
        assert_eq!(
            collected(vec![answer]).unwrap_err().refusal(),
            Some(Refusal::AlreadyExists)
        );
    }
}
