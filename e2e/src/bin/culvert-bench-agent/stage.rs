//! Where it is measured: the agent's whole loop over the machine's kernel, and an API that is nothing but bytes.

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use anyhow::{Context, Result, bail};
use culvert_e2e::{Scratch, wait};
use culvert_node_agent::kernel::Netlink;
use culvert_wireguard::{
    DeviceChange,
    netlink::{Limits, Rtnl, Socket},
};
use tokio::sync::oneshot;

use crate::{
    agent,
    api::Api,
    objects::{INTERFACE, NODE},
    probe::{Look, Probe, Probed},
};

/// Longer than 100,000 peers take.
pub const LONG: Duration = Duration::from_mins(10);

/// The API, the agent, and how many peers there are.
pub struct Stage {
    pub api: Api,
    pub folder: Scratch,
    /// Peers in the API.
    pub peers: u32,
    agent: Option<Agent>,
    /// A socket of our own.
    socket: Socket,
    rtnl: Rtnl,
}

/// An agent that runs in threads of its own.
struct Agent {
    probe: Arc<Probe>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Stage {
    /// An API without peers, and no agent.
    pub fn new() -> Result<Self> {
        Ok(Self {
            api: Api::start()?,
            folder: Scratch::new("culvert-bench-")?,
            peers: 0,
            agent: None,
            socket: Socket::open().context("failed to open a socket")?,
            rtnl: Rtnl::open().context("failed to open a socket")?,
        })
    }

    /// Has this many peers in the API, and an agent that has listed them and programmed them all.
    pub async fn have(&mut self, peers: u32) -> Result<Arc<Probe>> {
        if self.peers > peers {
            bail!(
                "there are {} peers already, and {peers} are asked for",
                self.peers
            );
        }
        if self.peers < peers {
            self.stop().await?;
            self.api.fill(self.peers..peers);
            self.peers = peers;
        }
        if self.agent.is_none() {
            eprintln!("an agent with {peers} peers …");
            self.agent = Some(Agent::start(&self.api, self.folder.path().join("keys"))?);
        }
        let probe = Arc::clone(&self.agent.as_ref().context("no agent")?.probe);
        self.converged(&probe, probe.now()).await?;
        Ok(probe)
    }

    /// Waits for a look, begun after `from`, that shows every peer.
    pub async fn converged(&self, probe: &Probe, from: Duration) -> Result<Look> {
        let all = usize::try_from(self.peers)?;
        wait::until("every peer to be seen in the kernel", LONG, || async {
            let record = probe.record();
            Ok(record
                .looks
                .iter()
                .find(|look| look.begun >= from && look.peers == all && look.coherent)
                .copied())
        })
        .await
    }

    /// Ends the agent as an upgrade would.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(agent) = self.agent.take() else {
            return Ok(());
        };
        agent.probe.close(false);
        let _ = agent.stop.send(());
        tokio::task::spawn_blocking(move || agent.thread.join())
            .await?
            .map_err(|_| anyhow::anyhow!("the agent panicked"))?
    }

    /// Empties an interface, as cheaply as the kernel can.
    pub async fn flush(&mut self, interface: &str) -> Result<()> {
        let ifindex = self.ifindex(interface).await?;
        self.socket
            .set_device(ifindex, &DeviceChange::flush(), Limits::default())
            .context("failed to empty an interface")?;
        Ok(())
    }

    /// Empties an interface and deletes it.
    pub async fn delete(&mut self, interface: &str) -> Result<()> {
        self.flush(interface).await?;
        let ifindex = self.ifindex(interface).await?;
        self.rtnl
            .delete_link(ifindex)
            .await
            .context("failed to delete an interface")
    }

    /// A socket of our own and the agent's interface.
    pub async fn socket(&mut self) -> Result<(&mut Socket, u32)> {
        let ifindex = self.ifindex(INTERFACE).await?;
        Ok((&mut self.socket, ifindex))
    }

    async fn ifindex(&self, interface: &str) -> Result<u32> {
        let link = self
            .rtnl
            .link(interface)
            .await
            .context("failed to look for an interface")?;
        Ok(link.with_context(|| format!("there is no {interface}"))?.ifindex)
    }
}

impl Agent {
    fn start(api: &Api, keys: std::path::PathBuf) -> Result<Self> {
        let probe = Probe::new();
        let (stop, stopped) = oneshot::channel::<()>();
        let address = format!("http://{}", api.address);
        let inner = Arc::clone(&probe);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            // As the program has it.
            .worker_threads(2)
            .enable_all()
            .build()
            .context("failed to start a runtime")?;
        let serve = async move {
            let client = kube::Client::try_from(kube::Config::new(address.parse()?))?;
            let kernel = Probed::new(Netlink::open()?, inner);
            let stop = async move {
                let _ = stopped.await;
            };
            agent::serve(client, NODE.to_owned(), keys, kernel, stop).await
        };
        let thread = std::thread::Builder::new()
            .name("agent".to_owned())
            .spawn(move || runtime.block_on(serve))
            .context("failed to start a thread")?;
        Ok(Self { probe, stop, thread })
    }
}
