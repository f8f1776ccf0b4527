//! What a kind's feed says, as [`Change`]s of the world.

use std::sync::Arc;

use culvert_follow::{Deaf, Listener, Next, Raw, Told};
use tokio::sync::mpsc::Sender;

use super::parse;
use crate::metrics::Metrics;
use crate::world::{Change, Kind, Uid};

/// The way from a kind's feed to the loop.
pub(super) struct Changes {
    kind: Kind,
    metrics: Arc<Metrics>,
    to: Sender<Change>,
}

impl Changes {
    pub(super) fn new(kind: Kind, metrics: Arc<Metrics>, changes: Sender<Change>) -> Self {
        Self {
            kind,
            metrics,
            to: changes,
        }
    }

    async fn tell(&self, change: Change) -> Told {
        self.to.send(change).await.map_err(|_| Deaf)
    }
}

impl Listener for Changes {
    fn is_deaf(&self) -> bool {
        self.to.is_closed()
    }

    async fn list_begins(&mut self, version: u64) -> Told {
        self.tell(Change::ListBegins(self.kind, version)).await
    }

    async fn now_is(&mut self, object: &Raw) -> Told {
        let change = parse::change(self.kind, object).or_else(|| {
            let uid = object.metadata.uid?;
            let kind = super::name(self.kind);
            tracing::warn!(%kind, %uid, "object cannot be read; what depends on it stays as it is");
            Some(Change::Unreadable(self.kind, uid))
        });
        match change {
            Some(change) => self.tell(change).await,
            None => Ok(()),
        }
    }

    async fn gone(&mut self, uid: Uid, _version: u64) -> Told {
        self.tell(Change::Gone(self.kind, uid)).await
    }

    async fn list_complete(&mut self, _version: u64) -> Result<Next, Deaf> {
        self.tell(Change::ListComplete(self.kind)).await?;
        Ok(Next::Watch)
    }

    async fn rewound(&mut self) -> Told {
        self.tell(Change::Rewound).await?;
        // Whoever takes that in starts another feed of every kind: what one kind's new list says must not be judged by
        // what another kind's old one said.
        Err(Deaf)
    }

    fn failed(&mut self) {
        self.metrics.count_watch_failure(self.kind);
    }
}
