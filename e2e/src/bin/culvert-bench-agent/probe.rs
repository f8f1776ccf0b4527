//! The real kernel with somebody beside it who takes the time of each call.
//!
//! Whoever measures something else closes the gate: the agent then stops at its next call, wherever it is.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use culvert_crds::gateway_node::Backend;
use culvert_e2e::wait::Stopwatch;
use culvert_node_agent::{
    interface::{Managed, Mark},
    kernel::Kernel,
    plan::link::Shape,
};
use culvert_wireguard::netlink::{LinkInfo, RouteInfo};
use culvert_wireguard::{DeviceChange, Error, PeerChange, PeerPart, Progress, PublicKey};
use ipnet::IpNet;

/// A look from its beginning to its end.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// When the agent went over its links before it.
    pub ticked: Duration,
    /// When it began and ended.
    pub begun: Duration,
    pub ended: Duration,
    /// What it showed.
    pub peers: usize,
    /// Of those, how many were somewhere.
    pub located: usize,
    /// Nobody changed anything meanwhile.
    pub coherent: bool,
}

/// Changes of one sort.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// How many.
    pub count: usize,
    /// How long the kernel had them, all told.
    pub took: Duration,
    /// When the first was begun and the last was done.
    pub first: Option<Duration>,
    pub last: Duration,
}

/// What the agent has done so far.
#[derive(Debug, Default)]
pub struct Record {
    /// When the agent last went over its links: the beginning of a tick.
    ticked: Duration,
    /// The first call since somebody asked for it.
    first_call: Option<Duration>,
    pub looks: Vec<Look>,
    pub sets: Sum,
    pub removed: Sum,
    pub forgotten: Sum,
    pub reinstated: Sum,
    /// Peers whose acknowledgement somebody waits for, since when, and from how many agents still.
    awaited: HashMap<PublicKey, (Duration, u32)>,
    /// How long those took that have been acknowledged.
    pub acknowledged: Vec<Duration>,
    /// Peers whose client has made a handshake, and when.
    remembered: HashMap<PublicKey, Duration>,
    /// How long after it each was forgotten.
    pub kept: Vec<Duration>,
}

/// What both sides hold of it.
pub struct Probe {
    clock: Stopwatch,
    record: Mutex<Record>,
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Probe {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            clock: Stopwatch::start(),
            record: Mutex::default(),
            closed: Mutex::new(false),
            opened: Condvar::new(),
        })
    }

    /// The time by which everything is recorded.
    pub fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// What was done so far.
    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a peer's acknowledgement by so many agents from now on.
    pub fn await_peer(&self, key: PublicKey, agents: u32) {
        let now = self.now();
        self.record().awaited.insert(key, (now, agents));
    }

    /// How many of those are still not there.
    pub fn missing(&self) -> usize {
        self.record().awaited.len()
    }

    /// Waits for a peer to be forgotten, whose client has made a handshake at this moment.
    pub fn await_forgetting(&self, key: PublicKey, since: Duration) {
        self.record().remembered.insert(key, since);
    }

    /// How many of those are still remembered.
    pub fn remembered(&self) -> usize {
        self.record().remembered.len()
    }

    /// Closes or opens the gate.
    pub fn close(&self, closed: bool) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = closed;
        self.opened.notify_all();
    }

    /// Opens the gate; [`Probe::begun`] says when the agent first did something after that.
    pub fn open(&self) {
        self.record().first_call = None;
        self.close(false);
    }

    /// When that was, if it was.
    pub fn begun(&self) -> Option<Duration> {
        self.record().first_call
    }

    /// Begins new sums of what is done to peers.
    pub fn reset(&self) {
        let mut record = self.record();
        record.sets = Sum::default();
        record.removed = Sum::default();
        record.forgotten = Sum::default();
        record.reinstated = Sum::default();
        record.acknowledged.clear();
        record.remembered.clear();
        record.kept.clear();
        record.looks.clear();
    }

    fn pass(&self) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        while *closed {
            closed = self.opened.wait(closed).unwrap_or_else(PoisonError::into_inner);
        }
        drop(closed);
        let now = self.now();
        self.record().first_call.get_or_insert(now);
    }

    fn changed(&self, changes: &[PeerChange], begun: Duration) {
        let now = self.now();
        let took = now.saturating_sub(begun);
        let mut record = self.record();
        let all = u32::try_from(changes.len()).unwrap_or(u32::MAX).max(1);
        for change in changes {
            let sum = match change {
                PeerChange::Set(_) => &mut record.sets,
                PeerChange::Remove(_) => &mut record.removed,
                PeerChange::Forget(_) => &mut record.forgotten,
                PeerChange::Reinstate(_) => &mut record.reinstated,
            };
            sum.count += 1;
            sum.took += took / all;
            sum.first.get_or_insert(begun);
            sum.last = now;
        }
        for change in changes {
            match change {
                PeerChange::Set(_) => record.acknowledge(change.public_key(), now),
                PeerChange::Forget(key) => record.forget(key, now),
                PeerChange::Remove(_) | PeerChange::Reinstate(_) => {}
            }
        }
    }
}

impl Record {
    fn acknowledge(&mut self, key: &PublicKey, now: Duration) {
        let Some((since, agents)) = self.awaited.get_mut(key) else {
            return;
        };
        *agents = agents.saturating_sub(1);
        if *agents == 0 {
            self.acknowledged.push(now.saturating_sub(*since));
            self.awaited.remove(key);
        }
    }

    fn forget(&mut self, key: &PublicKey, now: Duration) {
        if let Some(since) = self.remembered.remove(key) {
            self.kept.push(now.saturating_sub(since));
        }
    }
}

/// A kernel that is watched.
pub struct Probed<K> {
    kernel: K,
    probe: Arc<Probe>,
    open: Option<Look>,
}

impl<K: Kernel> Probed<K> {
    pub fn new(kernel: K, probe: Arc<Probe>) -> Self {
        Self {
            kernel,
            probe,
            open: None,
        }
    }
}

impl<K: Kernel> Kernel for Probed<K> {
    type Firewall = K::Firewall;

    fn firewall(&mut self) -> &mut K::Firewall {
        self.kernel.firewall()
    }

    fn backend(&self) -> Backend {
        self.kernel.backend()
    }

    async fn disturbed(&mut self) {
        self.kernel.disturbed().await;
    }

    async fn managed(&mut self) -> Result<Vec<Managed>, Error> {
        self.kernel.managed().await
    }

    async fn link(&mut self, name: &str) -> Result<Option<LinkInfo>, Error> {
        self.probe.pass();
        let now = self.probe.now();
        self.probe.record().ticked = now;
        self.kernel.link(name).await
    }

    async fn create(&mut self, name: &str, mark: &Mark, mtu: u32) -> Result<Managed, Error> {
        self.kernel.create(name, mark, mtu).await
    }

    async fn rename(&mut self, interface: &Managed, name: &str) -> Result<(), Error> {
        self.kernel.rename(interface, name).await
    }

    async fn mark(&mut self, interface: &Managed, mark: &Mark) -> Result<(), Error> {
        self.kernel.mark(interface, mark).await
    }

    async fn addresses(&mut self, interface: &Managed) -> Result<Vec<IpNet>, Error> {
        self.kernel.addresses(interface).await
    }

    async fn routes(&mut self) -> Result<Vec<RouteInfo>, Error> {
        self.kernel.routes().await
    }

    async fn own_addresses(&mut self) -> Result<Vec<IpAddr>, Error> {
        self.kernel.own_addresses().await
    }

    async fn shape(&mut self, interface: &Managed, step: &Shape) -> Result<(), Error> {
        self.kernel.shape(interface, step).await
    }

    async fn delete(&mut self, interface: &Managed) -> Result<(), Error> {
        self.kernel.delete(interface).await
    }

    fn begin(&mut self, interface: &Managed) -> Result<(), Error> {
        self.probe.pass();
        let now = self.probe.now();
        self.open = Some(Look {
            ticked: self.probe.record().ticked,
            begun: now,
            ended: now,
            peers: 0,
            located: 0,
            coherent: false,
        });
        self.kernel.begin(interface)
    }

    fn next(&mut self, interface: &Managed, each: &mut dyn FnMut(PeerPart<'_>)) -> Result<Progress, Error> {
        self.probe.pass();
        let (mut peers, mut located) = (0, 0);
        let progress = self.kernel.next(interface, &mut |part| {
            peers += usize::from(part.begins);
            located += usize::from(part.endpoint.is_some_and(|endpoint| !endpoint.is_forgotten()));
            each(part);
        })?;
        if let Some(look) = &mut self.open {
            look.peers += peers;
            look.located += located;
            if let Progress::Done { coherent, .. } = progress {
                look.coherent = coherent;
                look.ended = self.probe.now();
                let look = *look;
                self.probe.record().looks.push(look);
            }
        }
        Ok(progress)
    }

    fn give_up(&mut self, interface: &Managed) {
        self.kernel.give_up(interface);
    }

    fn configure(&mut self, interface: &Managed, change: &DeviceChange) -> Result<(), Error> {
        self.probe.pass();
        self.kernel.configure(interface, change)
    }

    fn change(&mut self, interface: &Managed, changes: &[PeerChange]) -> Result<(), Error> {
        self.probe.pass();
        let begun = self.probe.now();
        let result = self.kernel.change(interface, changes);
        if result.is_ok() {
            self.probe.changed(changes, begun);
        }
        result
    }
}
