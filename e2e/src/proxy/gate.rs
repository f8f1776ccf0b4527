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
#[derive(Debug, Default)]
struct State {
    /// Nothing passes, in neither direction.
    closed: bool,

    /// Each time that watches have been silenced, and whose: a watch that began before says no more.
    silenced: Vec<Whose>,

    /// How often all watches have been cut: one that began before is at its end.
    cuts: usize,
}

/// The kind of the watches that are meant; `None` for all.
type Whose = Option<String>;

impl State {
    /// Whether a watch of this kind has been silenced since it began.
    fn silences(&self, kind: &str, began: usize) -> bool {
        let mut since = self.silenced.iter().skip(began);
        since.any(|whose| whose.as_deref().is_none_or(|whose| whose == kind))
    }
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

    /// From now on the watches of this kind, or all, that are open say nothing, for ever.
    pub(super) fn silence_watches(&self, whose: Option<&str>) {
        let whose = whose.map(str::to_owned);
        self.state.send_modify(|state| state.silenced.push(whose));
    }

    /// Every watch that is open breaks, wherever it is.
    pub(super) fn cut_watches(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Waits until it is open.
    pub(super) async fn passed(&self) {
        // The sender is this gate's own, so it is there.
        let _ = self.state.subscribe().wait_for(|state| !state.closed).await;
    }

    /// The same body, each piece of which has to pass. A watch, which says of what kind, can be silenced, too.
    pub(super) fn guard(&self, body: Body, watched: Option<String>) -> Guarded {
        let state = self.state.subscribe();
        let (began, cuts) = (state.borrow().silenced.len(), state.borrow().cuts);
        let pieces = stream::unfold(
            (body.into_data_stream(), state, watched),
            move |(mut body, mut state, watched)| async move {
                let piece = tokio::select! {
                    biased;
                    Ok(_) = state.wait_for(|state| state.cuts > cuts), if watched.is_some() => None,
                    piece = body.next() => Some(piece?),
                };
                let Some(piece) = piece else {
                    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
                    return Some((Err(kube::Error::Service(broken.into())), (body, state, watched)));
                };
                let silenced = match state.wait_for(|state| !state.closed).await {
                    Ok(state) => watched.as_ref().is_some_and(|kind| state.silences(kind, began)),
                    // The proxy is gone, and this connection is about to.
                    Err(_) => true,
                };
                if silenced {
                    return pending().await;
                }
                Some((piece.map(Frame::data), (body, state, watched)))
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

    /// A body on its way through: of a watch of this kind, or of no watch.
    fn text(gate: &Gate, watched: Option<&str>) -> Guarded {
        gate.guard(Body::from(b"text".to_vec()), watched.map(str::to_owned))
    }

    #[tokio::test]
    async fn a_closed_gate_holds_everything_until_it_opens() {
        let gate = Gate::open();
        let (before, during) = (text(&gate, None), text(&gate, Some("secrets")));
        gate.close(true);
        assert_eq!(read(before).await, None);
        gate.close(false);
        gate.passed().await;
        assert_eq!(read(during).await.unwrap(), b"text");
    }

    #[tokio::test]
    async fn only_watches_that_are_open_are_silenced() {
        let gate = Gate::open();
        let (watch, other) = (text(&gate, Some("secrets")), text(&gate, None));
        gate.silence_watches(None);
        assert_eq!(read(watch).await, None);
        assert_eq!(read(other).await.unwrap(), b"text");
        assert_eq!(read(text(&gate, Some("secrets"))).await.unwrap(), b"text");
    }

    #[tokio::test]
    async fn only_watches_that_are_open_are_cut() {
        let gate = Gate::open();
        let (watch, other) = (text(&gate, Some("secrets")), text(&gate, None));
        gate.cut_watches();
        assert!(watch.collect().await.is_err());
        assert_eq!(read(other).await.unwrap(), b"text");
        assert_eq!(read(text(&gate, Some("secrets"))).await.unwrap(), b"text");
    }

    #[tokio::test]
    async fn watches_of_one_kind_are_silenced_and_those_of_another_go_on() {
        let gate = Gate::open();
        let (watch, other) = (text(&gate, Some("secrets")), text(&gate, Some("pods")));
        gate.silence_watches(Some("secrets"));
        assert_eq!(read(watch).await, None);
        assert_eq!(read(other).await.unwrap(), b"text");
    }
}
