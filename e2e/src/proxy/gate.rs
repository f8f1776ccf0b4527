//! Silence: what a program sees of a network that drops packets without a word.

use std::future::pending;

use futures::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame};
use kube::client::Body;
use tokio::sync::watch;

/// A reply's body on its way to the program.
pub(super) type Guarded = UnsyncBoxBody<Bytes, kube::Error>;

/// What passes at present.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    /// Nothing passes, in neither direction.
    closed: bool,

    /// How often watches have been silenced: a watch that began before the last time says no more.
    silenced: u64,
}

/// Lets replies through, or holds them.
#[derive(Debug)]
pub(super) struct Gate {
    state: watch::Sender<State>,
}

impl Gate {
    pub(super) fn open() -> Self {
        Self {
            state: watch::Sender::new(State::default()),
        }
    }

    /// Opens or closes it for everything.
    pub(super) fn close(&self, closed: bool) {
        self.state.send_modify(|state| state.closed = closed);
    }

    /// From now on the watches that are open say nothing, for ever.
    pub(super) fn silence_watches(&self) {
        self.state.send_modify(|state| state.silenced += 1);
    }

    /// Waits until it is open.
    pub(super) async fn passed(&self) {
        // The sender is this gate's own, so it is there.
        let _ = self.state.subscribe().wait_for(|state| !state.closed).await;
    }

    /// The same body, each piece of which has to pass. A watch can be silenced, too.
    pub(super) fn guard(&self, body: Body, is_watch: bool) -> Guarded {
        let state = self.state.subscribe();
        let began = state.borrow().silenced;
        let pieces = stream::unfold(
            (body.into_data_stream(), state),
            move |(mut body, mut state)| async move {
                let piece = body.next().await?;
                let silenced = match state.wait_for(|state| !state.closed).await {
                    Ok(state) => is_watch && state.silenced != began,
                    // The proxy is gone, and this connection is about to.
                    Err(_) => true,
                };
                if silenced {
                    return pending().await;
                }
                Some((piece.map(Frame::data), (body, state)))
            },
        );
        StreamBody::new(pieces).boxed_unsync()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn read(body: Guarded) -> Option<Vec<u8>> {
        let all = tokio::time::timeout(Duration::from_millis(100), body.collect()).await;
        all.ok().map(|body| body.unwrap().to_bytes().to_vec())
    }

    fn body() -> Body {
        Body::from(b"text".to_vec())
    }

    #[tokio::test]
    async fn a_closed_gate_holds_everything_until_it_opens() {
        let gate = Gate::open();
        let (before, during) = (gate.guard(body(), false), gate.guard(body(), true));
        gate.close(true);
        assert_eq!(read(before).await, None);
        gate.close(false);
        gate.passed().await;
        assert_eq!(read(during).await.unwrap(), b"text");
    }

    #[tokio::test]
    async fn only_watches_that_are_open_are_silenced() {
        let gate = Gate::open();
        let (watch, other) = (gate.guard(body(), true), gate.guard(body(), false));
        gate.silence_watches();
        assert_eq!(read(watch).await, None);
        assert_eq!(read(other).await.unwrap(), b"text");
        assert_eq!(read(gate.guard(body(), true)).await.unwrap(), b"text");
    }
}
