//! Being asked to end, more than once if need be.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, listened for from the moment this is made.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Begins to listen.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Whether it has been asked to end since it was last looked or waited.
    pub async fn is_asked(&mut self) -> bool {
        tokio::select! { biased; () = self.asked() => true, () = std::future::ready(()) => false }
    }

    /// Waits until it is asked to end.
    pub async fn asked(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}
