//! The peers as those share them that fill the table and that read it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Desired;

/// The peers as the API has them, shared by the watch that fills the table and the loop that reads it.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    desired: Arc<Mutex<Desired>>,
    news: Arc<Notify>,
}

impl Shared {
    /// The table. Whoever holds it keeps the others waiting: for some hundred questions at most.
    pub fn lock(&self) -> MutexGuard<'_, Desired> {
        // Nothing that holds the lock can leave the table half changed.
        self.desired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever waits that the table has changed.
    pub fn tell(&self) {
        self.news.notify_one();
    }

    /// Waits until the table has changed since the last wait.
    pub async fn changed(&self) {
        self.news.notified().await;
    }
}
