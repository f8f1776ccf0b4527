//! The thread that works on interfaces: in the namespace that tunnels are in, with a runtime of its own.
//!
//! A thread has one network namespace, and a netlink socket belongs to the one it was opened in; so nothing else runs here,
//! and nothing of it runs elsewhere.

use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::machine::{Effect, Machine, MachineError, Seen, Setting};

enum Request {
    Look(oneshot::Sender<Result<Seen, MachineError>>),
    Act(Effect, oneshot::Sender<Result<(), MachineError>>),
}

/// The way to that thread. It ends when this is dropped.
pub struct Place {
    requests: mpsc::Sender<Request>,
}

impl Place {
    /// Starts it.
    pub async fn open(setting: Setting) -> Result<Self, MachineError> {
        let (requests, mut inbox) = mpsc::channel(1);
        let (opened, is_open) = oneshot::channel();
        let work = async move {
            let mut machine = match Machine::open(setting) {
                Ok(machine) => machine,
                Err(error) => return drop(opened.send(Err(error))),
            };
            let _ = opened.send(Ok(()));
            while let Some(request) = inbox.recv().await {
                match request {
                    Request::Look(answer) => drop(answer.send(machine.look().await)),
                    Request::Act(effect, answer) => drop(answer.send(machine.act(effect).await)),
                }
            }
        };
        let thread = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                runtime.block_on(work);
            }
        };
        thread::Builder::new()
            .name("interfaces".to_owned())
            .spawn(thread)
            .map_err(|_| MachineError::Ended)?;
        is_open.await.map_err(|_| MachineError::Ended)??;
        Ok(Self { requests })
    }

    /// Looks at everything.
    pub async fn look(&self) -> Result<Seen, MachineError> {
        self.ask(Request::Look).await
    }

    /// Does one thing.
    pub async fn act(&self, effect: Effect) -> Result<(), MachineError> {
        self.ask(|answer| Request::Act(effect, answer)).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, MachineError>>) -> Request,
    ) -> Result<T, MachineError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send(request(answer)).await;
        sent.map_err(|_| MachineError::Ended)?;
        answered.await.map_err(|_| MachineError::Ended)?
    }
}
