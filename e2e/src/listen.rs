//! Who answers probes in a namespace: TCP connections are taken, and datagrams sent back, and what each carried is kept.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow};
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::oneshot,
    task::JoinSet,
};

use crate::{Namespace, netns, probe::Kind};

/// Longer than any token.
const DATAGRAM: usize = 2048;

/// Listeners, which end with their value.
#[derive(Debug)]
pub struct Listeners {
    heard: Arc<Mutex<HashSet<Vec<u8>>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Listeners {
    /// Listens inside at these places. Echo requests are the kernel's to answer.
    pub fn start(namespace: &Namespace, at: &[(IpAddr, Kind)]) -> Result<Self> {
        let heard = Arc::new(Mutex::new(HashSet::new()));
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = mpsc::channel();
        let inner = Arc::clone(&heard);
        let (place, at) = (namespace.path(), at.to_vec());
        let thread = thread::Builder::new()
            .name(format!("listen-{}", namespace.name()))
            .spawn(move || {
                let served = netns::enter(&place).and_then(|()| {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .context("failed to start a runtime")?;
                    runtime.block_on(async {
                        let _tasks = serve(&at, &inner).await?;
                        let _ = ready.send(Ok(()));
                        let _ = stopped.await;
                        Ok(())
                    })
                });
                if let Err(error) = served {
                    let _ = ready.send(Err(error));
                }
            })
            .context("failed to start a thread")?;
        started
            .recv()
            .unwrap_or_else(|_| Err(anyhow!("the listeners ended")))
            .with_context(|| format!("failed to listen in {}", namespace.name()))?;
        Ok(Self {
            heard,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Whether a datagram came that carries this.
    pub fn heard(&self, token: &[u8]) -> bool {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(token)
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(at: &[(IpAddr, Kind)], heard: &Arc<Mutex<HashSet<Vec<u8>>>>) -> Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    for (address, kind) in at {
        match kind {
            Kind::Tcp(port) => {
                let place = SocketAddr::new(*address, *port);
                let listener = TcpListener::bind(place).await;
                let listener = listener.with_context(|| format!("TCP {place}"))?;
                tasks.spawn(async move {
                    // Whoever has come was there: nothing is said.
                    while listener.accept().await.is_ok() {}
                });
            }
            Kind::Udp(port) => {
                let place = SocketAddr::new(*address, *port);
                let socket = UdpSocket::bind(place).await;
                let socket = socket.with_context(|| format!("UDP {place}"))?;
                tasks.spawn(send_back(socket, Arc::clone(heard)));
            }
            Kind::Echo => {}
        }
    }
    Ok(tasks)
}

async fn send_back(socket: UdpSocket, heard: Arc<Mutex<HashSet<Vec<u8>>>>) {
    let mut buffer = [0; DATAGRAM];
    loop {
        // An ICMP error about an earlier answer is an error of the next call.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(buffer[..length].to_vec());
        let _ = socket.send_to(&buffer[..length], from).await;
    }
}
