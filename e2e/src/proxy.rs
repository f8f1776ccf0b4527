//! A proxy in front of the apiserver that fails where a test says: between any two writes of a program, with the
//! write undone or with its reply lost.
//!
//! The program under test speaks plain HTTP to a loopback port and needs no credentials; the proxy forwards with
//! those of the [`Client`] it was given, so give it one with the program's own rights. Replies are streamed, so
//! watches work. A request that dies with its connection is forwarded no further. What cannot be proxied: upgraded
//! connections (exec, port-forward).
//!
//! ```text
//! arm             one fault, at the n-th write
//! expose, calm    faults by chance, at every write, until calm
//! stall_watches   the watches that are open, or those of one kind, go silent for ever; new ones work
//! cut_watches     the watches that are open break; new ones work
//! spoil, mend     lists of one kind come halved or empty, until mended
//! black_hole, heal   nothing passes, in neither direction, until healed
//! delay           every request waits first
//! ```

mod chance;
mod fault;
mod gate;
mod serve;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use kube::Client;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use crate::{
    kubeconfig::{self, User},
    scratch::Scratch,
};

pub use chance::{Chance, Mishap, Toll};
pub use fault::{Call, Fault, Reading, Spoilt, Struck};
use gate::Gate;

/// A running proxy; dropping it closes every connection through it.
pub struct FaultProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    folder: Scratch,
    server: JoinHandle<()>,
}

struct Shared {
    client: Client,
    ignored: Vec<String>,
    state: Mutex<State>,
    gate: Gate,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    /// Kinds of which a whole list was answered, each time.
    listed: Vec<String>,
    /// Since a fault was armed last.
    writes: usize,
    /// Since the start.
    written: usize,
    fault: Fault,
    struck: Option<oneshot::Sender<Call>>,
    chance: Option<Chance>,
    toll: Toll,
    /// Whose lists, and what is wrong with them.
    spoilt: Option<(String, Spoilt)>,
    delay: Duration,
}

impl FaultProxy {
    /// Starts one that forwards through `client`. Writes to the kinds in `ignored` (such as `leases`, whose renewals
    /// come at any time) are neither counted nor hit by a fault, but held like the others after a hold.
    pub async fn start(client: Client, ignored: &[&str]) -> Result<Self> {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), client, ignored).await
    }

    /// As [`Self::start`], on another address of this machine: for programs in other network namespaces.
    pub async fn start_on(address: IpAddr, client: Client, ignored: &[&str]) -> Result<Self> {
        let folder = Scratch::new("culvert-proxy-")?;
        let listener = TcpListener::bind((address, 0))
            .await
            .context("failed to open the proxy's port")?;
        let address = listener.local_addr().context("failed to read the proxy's port")?;
        let shared = Arc::new(Shared {
            client,
            ignored: ignored.iter().map(|&kind| kind.to_owned()).collect(),
            state: Mutex::default(),
            gate: Gate::open(),
        });
        let server = tokio::spawn(serve::serve(listener, Arc::clone(&shared)));
        let proxy = Self {
            shared,
            address,
            folder,
            server,
        };
        kubeconfig::write(&proxy.kubeconfig(), &proxy.address(), None, &User::Anonymous)?;
        Ok(proxy)
    }

    /// Where the program under test finds the API, `http://…`.
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig for the program under test.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Sets the fault; counting begins anew. Arm before the program starts, or between two of its writes.
    pub fn arm(&self, fault: Fault) -> Struck {
        let (sender, call) = oneshot::channel();
        let mut state = self.shared.state();
        state.writes = 0;
        state.fault = fault;
        state.struck = Some(sender);
        Struck { call }
    }

    /// From now on `chance` decides about every counted write, unless a fault is armed: that one goes
    /// first. The program goes on.
    pub fn expose(&self, chance: Chance) {
        self.shared.state().chance = Some(chance);
    }

    /// Ends what [`Self::expose`] began.
    pub fn calm(&self) {
        self.shared.state().chance = None;
    }

    /// What chance has done so far.
    pub fn toll(&self) -> Toll {
        self.shared.state().toll.clone()
    }

    /// The watches that are open at this moment go silent for ever, without being closed, as after a firewall forgot
    /// their connections. What begins later works.
    pub fn stall_watches(&self) {
        self.shared.gate.silence_watches(None);
    }

    /// The same for the watches of one kind, by its plural: what a program knows of it gets old, of the others it does
    /// not.
    pub fn stall_watches_of(&self, kind: &str) {
        self.shared.gate.silence_watches(Some(kind));
    }

    /// The watches that are open at this moment break, wherever they are, as those of a client that reads too slowly.
    pub fn cut_watches(&self) {
        self.shared.gate.cut_watches();
    }

    /// From now on lists of this kind, by its plural, are not what they should be.
    pub fn spoil(&self, kind: &str, how: Spoilt) {
        self.shared.state().spoilt = Some((kind.to_owned(), how));
    }

    /// Ends what [`Self::spoil`] began.
    pub fn mend(&self) {
        self.shared.state().spoilt = None;
    }

    /// From now on nothing passes, in neither direction: connections come about and stay silent.
    pub fn black_hole(&self) {
        self.shared.gate.close(true);
    }

    /// Ends the black hole. What was held in it and is still wanted goes on.
    pub fn heal(&self) {
        self.shared.gate.close(false);
    }

    /// From now on every request waits this long before it is forwarded.
    pub fn delay(&self, delay: Duration) {
        self.shared.state().delay = delay;
    }

    /// Every request so far, in order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    /// How many lists of a kind, by its plural, the apiserver has answered; further pages are none.
    pub fn lists(&self, kind: &str) -> usize {
        self.shared.state().listed.iter().filter(|of| *of == kind).count()
    }

    /// How many counted writes there have been so far, also those that failed.
    pub fn written(&self) -> usize {
        self.shared.state().written
    }

    /// The counted writes so far, in order of arrival, as `POST wireguardpeers`.
    pub fn writes(&self) -> Vec<String> {
        self.shared
            .state()
            .calls
            .iter()
            .filter(|call| call.write.is_some())
            .map(Call::to_string)
            .collect()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
