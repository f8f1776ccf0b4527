//! A kernel in memory: it holds state, refuses what Linux refuses, ignores what Linux ignores, and fails when told to.
//!
//! What it does is held against a real one by `tests/contract`. A clone is another connection to the same namespace,
//! with a look of its own: the agent has one, and with the other a test does what others do, the administrator (links,
//! `wg set`) and clients (handshakes, data).
//!
//! Every call of [`Kernel`] has a number, over all connections, under which it is logged and may be made to fail. What
//! others do never fails; what they name must be there.

mod device;
mod firewall;
mod look;
mod script;
mod world;

pub use script::{Call, FAILURES, Failure};

use std::collections::HashMap;
use std::future::{Future, pending, ready};
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use culvert_crds::gateway_node::Backend;
use culvert_wireguard::netlink::{LinkInfo, RouteInfo};
use culvert_wireguard::{
    DeviceChange, Endpoint, Error, ObservedDevice, ObservedPeer, PeerChange, PeerPart, Progress, PublicKey,
    Refusal, WallTime,
};
use ipnet::IpNet;

use super::Kernel;
use crate::interface::{Managed, Mark};
use crate::plan::link::Shape;
use device::Peer;
use look::Look;
use world::{Interface, World};

/// A kernel in memory.
#[derive(Default)]
pub struct Fake {
    world: Arc<Mutex<World>>,
    gate: Arc<(Mutex<Gate>, Condvar)>,
    /// By the interface's number.
    looks: HashMap<u32, Look>,
}

impl Clone for Fake {
    fn clone(&self) -> Self {
        Self {
            world: self.world.clone(),
            gate: self.gate.clone(),
            looks: HashMap::new(),
        }
    }
}

/// What messages about peers have to pass.
#[derive(Default)]
struct Gate {
    is_shut: bool,
    waiting: usize,
}

/// What tests set and see.
impl Fake {
    /// From now on messages about peers wait, and whoever sends them.
    pub fn hold(&self) {
        self.at_the_gate(|gate| gate.is_shut = true);
    }

    /// Whether a message waits.
    pub fn is_waited_for(&self) -> bool {
        self.at_the_gate(|gate| gate.waiting > 0)
    }

    /// Lets messages pass again.
    pub fn let_go(&self) {
        self.at_the_gate(|gate| gate.is_shut = false);
    }

    /// From now on an interface takes so many peers.
    pub fn set_most_peers(&self, most: usize) {
        self.lock().most = most;
    }

    /// From now on interfaces are made of this sort, as on a node whose back end has been changed.
    pub fn set_backend(&self, backend: Backend) {
        self.lock().backend = backend;
    }

    /// From now on a datagram holds so many peers and prefixes, two at least.
    pub fn set_room(&self, room: usize) {
        self.lock().room = room.max(2);
    }

    /// Makes the call of this number fail, counted from 0 over all that were ever made.
    pub fn fail(&self, at: usize, failure: Failure) {
        self.lock().failures.insert(at, failure);
    }

    /// Makes every such call fail from now on.
    pub fn fail_every(&self, call: Call, failure: Failure) {
        self.lock().lasting.push((call, failure));
    }

    /// Nothing fails any more.
    pub fn fail_no_more(&self) {
        let mut world = self.lock();
        world.failures.clear();
        world.lasting.clear();
    }

    /// How many changes of peers were asked for so far: a clock may go by it.
    pub fn asked(&self) -> usize {
        self.lock().asked
    }

    /// How many calls there were so far.
    pub fn made(&self) -> usize {
        self.lock().calls.len()
    }

    /// Every call from this number on.
    pub fn calls_from(&self, number: usize) -> Vec<Call> {
        self.lock().calls[number..].to_vec()
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Every link.
    pub fn links(&self) -> Vec<LinkInfo> {
        self.lock().links().cloned().collect()
    }

    /// An interface with its peers, as they are now.
    pub fn device(&self, name: &str) -> ObservedDevice {
        self.of(name, |interface| ObservedDevice {
            settings: interface.device.settings(),
            peers: interface
                .device
                .peers()
                .values()
                .map(|peer| peer.seen.clone())
                .collect(),
        })
    }

    /// The addresses of a link, in order.
    pub fn addresses_of(&self, name: &str) -> Vec<IpNet> {
        self.of(name, |interface| interface.addresses.iter().copied().collect())
    }

    /// Whether a peer's client could go on without a new handshake.
    pub fn has_session(&self, name: &str, key: &PublicKey) -> bool {
        self.peer(name, key, |peer| peer.session)
    }
}

/// An administrator's hands.
impl Fake {
    /// Makes a link.
    pub fn make(&self, name: &str, kind: &str, alias: Option<&str>) -> LinkInfo {
        there(self.lock().create(name, kind, alias.map(str::to_owned)))
    }

    /// Deletes a link.
    pub fn unmake(&self, name: &str) {
        let ifindex = self.of(name, |interface| interface.link.ifindex);
        self.lock().delete(ifindex);
    }

    /// Carries a link to another network namespace.
    pub fn carry(&self, name: &str) {
        let ifindex = self.of(name, |interface| interface.link.ifindex);
        there(self.lock().carry(ifindex));
    }

    /// The links that were carried away, as they are over there.
    pub fn elsewhere(&self) -> Vec<LinkInfo> {
        self.lock().elsewhere.clone()
    }

    /// Renames a link.
    pub fn rename_by_hand(&self, from: &str, to: &str) {
        let ifindex = self.of(from, |interface| interface.link.ifindex);
        there(self.lock().rename(ifindex, to));
    }

    /// Writes a link's alias.
    pub fn set_alias(&self, name: &str, alias: &str) {
        self.of(name, |interface| interface.link.alias = Some(alias.to_owned()));
    }

    /// From now on packets that arrive at a link are not forwarded.
    pub fn stop_forwarding(&self, name: &str) {
        self.of(name, |interface| interface.link.forwards = false);
    }

    /// Sets a link down.
    pub fn set_down(&self, name: &str) {
        let ifindex = self.of(name, |interface| interface.link.ifindex);
        there(self.lock().set_down(ifindex));
    }

    /// Changes a link otherwise.
    pub fn shape_by_hand(&self, name: &str, step: Shape) {
        let ifindex = self.of(name, |interface| interface.link.ifindex);
        there(self.lock().shape(ifindex, step));
    }

    /// Takes a UDP port.
    pub fn occupy(&self, port: u16) {
        self.lock().occupied.insert(port);
    }

    /// That program ends.
    pub fn vacate(&self, port: u16) {
        self.lock().occupied.remove(&port);
    }

    /// `wg set` of an interface.
    pub fn set(&self, name: &str, change: &DeviceChange) {
        let ifindex = self.of(name, |interface| interface.link.ifindex);
        there(self.lock().set(ifindex, change));
    }

    /// `wg set` of what the agent never sets: endpoint, keepalive, preshared key.
    pub fn set_peer(&self, name: &str, key: &PublicKey, change: impl FnOnce(&mut ObservedPeer)) {
        self.of(name, |interface| interface.device.generation += 1);
        self.peer(name, key, |peer| change(&mut peer.seen));
    }
}

/// Clients' hands.
impl Fake {
    /// A client completes a handshake.
    pub fn handshake(&self, name: &str, key: &PublicKey, endpoint: Endpoint, at: WallTime) {
        self.peer(name, key, |peer| {
            peer.session = true;
            peer.seen.last_handshake = Some(at);
            peer.seen.endpoint = Some(endpoint);
            peer.seen.rx_bytes += 148;
            peer.seen.tx_bytes += 92;
        });
    }

    /// A client sends data; whether there was a session to take it.
    pub fn data(&self, name: &str, key: &PublicKey, endpoint: Endpoint, bytes: u64) -> bool {
        self.peer(name, key, |peer| {
            if peer.session {
                peer.seen.endpoint = Some(endpoint);
                peer.seen.rx_bytes += bytes;
            }
            peer.session
        })
    }
}

impl Fake {
    fn lock(&self) -> MutexGuard<'_, World> {
        // A test that has failed says more than the lock it held.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at_the_gate<T>(&self, act: impl FnOnce(&mut Gate) -> T) -> T {
        let (gate, moved) = &*self.gate;
        let done = act(&mut gate.lock().unwrap_or_else(PoisonError::into_inner));
        moved.notify_all();
        done
    }

    fn pass_the_gate(&self) {
        let (gate, moved) = &*self.gate;
        let mut gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
        gate.waiting += 1;
        while gate.is_shut {
            gate = moved.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
        gate.waiting -= 1;
    }

    fn of<T>(&self, name: &str, act: impl FnOnce(&mut Interface) -> T) -> T {
        let mut world = self.lock();
        let ifindex = there(
            world
                .named(name)
                .map(|link| link.ifindex)
                .ok_or(Refusal::NotFound),
        );
        act(there(world.get_mut(ifindex)))
    }

    fn peer<T>(&self, name: &str, key: &PublicKey, act: impl FnOnce(&mut Peer) -> T) -> T {
        self.of(name, |interface| {
            act(there(interface.device.peer_mut(key).ok_or(Refusal::NotFound)))
        })
    }

    /// One call of the agent's: logs it, does it, and fails as the script says.
    fn call<T>(
        &self,
        call: Call,
        interface: Option<u32>,
        act: impl FnOnce(&mut World) -> Result<T, Refusal>,
    ) -> Result<T, Error> {
        self.look_call(call, interface, |world, _| act(world))
    }

    /// The same for a call that can be interrupted: whether it is goes to `act`.
    fn look_call<T>(
        &self,
        call: Call,
        interface: Option<u32>,
        act: impl FnOnce(&mut World, bool) -> Result<T, Refusal>,
    ) -> Result<T, Error> {
        let action = call.action();
        let object = interface.map_or_else(
            || "interfaces".to_owned(),
            |ifindex| format!("interface {ifindex}"),
        );
        let mut world = self.lock();
        let mut failure = world.failure(&call);
        match (failure, interface, &call) {
            (Some(Failure::NoDevice), Some(ifindex), _) => world.delete(ifindex),
            (Some(Failure::HalfDone), Some(ifindex), Call::Change(changes)) => {
                let _ = world.change(ifindex, &changes[..changes.len() / 2]);
            }
            (Some(Failure::HalfDone), Some(ifindex), Call::Delete) => {
                let _ = world.set(ifindex, &DeviceChange::flush());
            }
            _ => {}
        }
        let lists = matches!(
            call,
            Call::Managed | Call::Addresses | Call::Routes | Call::OwnAddresses
        );
        let interrupted = failure == Some(Failure::DumpInterrupted);
        if failure == Some(Failure::NoDevice) || (interrupted && !lists) {
            // What is to be seen of it is seen by what is done.
            failure = None;
        }
        world.calls.push(call);
        let refused = |refusal| Error::Refused {
            action,
            object: object.clone(),
            refusal,
        };
        match failure {
            None => act(&mut world, interrupted).map_err(refused),
            Some(failure) if failure.is_done() => {
                act(&mut world, interrupted).map_err(refused)?;
                Err(failure.error(action, object))
            }
            Some(failure) => Err(failure.error(action, object)),
        }
    }
}

impl Kernel for Fake {
    type Firewall = Self;

    fn firewall(&mut self) -> &mut Self {
        self
    }

    fn backend(&self) -> Backend {
        self.lock().backend
    }

    fn managed(&mut self) -> impl Future<Output = Result<Vec<Managed>, Error>> {
        ready(self.call(Call::Managed, None, |world| {
            Ok(world.links().cloned().filter_map(Managed::of).collect())
        }))
    }

    fn link(&mut self, name: &str) -> impl Future<Output = Result<Option<LinkInfo>, Error>> {
        ready(self.call(Call::Link, None, |world| Ok(world.named(name).cloned())))
    }

    fn create(&mut self, name: &str, mark: &Mark, mtu: u32) -> impl Future<Output = Result<Managed, Error>> {
        ready(self.call(Call::Create, None, |world| {
            let mut link = world.create_marked(name, mark)?;
            world.shape(link.ifindex, Shape::Mtu(mtu))?;
            link.mtu = mtu;
            Managed::of(link).ok_or(Refusal::NotFound)
        }))
    }

    fn rename(&mut self, interface: &Managed, name: &str) -> impl Future<Output = Result<(), Error>> {
        let ifindex = interface.link.ifindex;
        ready(self.call(Call::Rename, Some(ifindex), |world| world.rename(ifindex, name)))
    }

    fn mark(&mut self, interface: &Managed, mark: &Mark) -> impl Future<Output = Result<(), Error>> {
        let ifindex = interface.link.ifindex;
        let socket = interface.socket.as_deref();
        ready(self.call(Call::Mark, Some(ifindex), |world| {
            world.get_mut(ifindex)?.link.alias = Some(mark.alias_of(socket));
            Ok(())
        }))
    }

    fn addresses(&mut self, interface: &Managed) -> impl Future<Output = Result<Vec<IpNet>, Error>> {
        let ifindex = interface.link.ifindex;
        ready(self.call(Call::Addresses, Some(ifindex), |world| {
            let found = world.get(ifindex);
            Ok(found.map_or_else(
                |_| Vec::new(),
                |interface| interface.addresses.iter().copied().collect(),
            ))
        }))
    }

    fn routes(&mut self) -> impl Future<Output = Result<Vec<RouteInfo>, Error>> {
        ready(self.call(Call::Routes, None, |world| Ok(world.routes())))
    }

    fn own_addresses(&mut self) -> impl Future<Output = Result<Vec<IpAddr>, Error>> {
        ready(self.call(Call::OwnAddresses, None, |world| Ok(world.own_addresses())))
    }

    fn shape(&mut self, interface: &Managed, step: &Shape) -> impl Future<Output = Result<(), Error>> {
        let ifindex = interface.link.ifindex;
        ready(self.call(Call::Shape(*step), Some(ifindex), |world| {
            world.shape(ifindex, *step)
        }))
    }

    fn delete(&mut self, interface: &Managed) -> impl Future<Output = Result<(), Error>> {
        self.give_up(interface);
        let ifindex = interface.link.ifindex;
        ready(self.call(Call::Delete, Some(ifindex), |world| {
            world.delete(ifindex);
            Ok(())
        }))
    }

    fn begin(&mut self, interface: &Managed) -> Result<(), Error> {
        let ifindex = interface.link.ifindex;
        self.give_up(interface);
        let look = self.look_call(Call::Begin, Some(ifindex), |world, interrupted| {
            let device = world.get(ifindex).ok().map(|interface| &interface.device);
            let mut look = Look::begin(ifindex, device, world.room);
            if interrupted {
                look.interrupt();
            }
            Ok(look)
        })?;
        self.looks.insert(ifindex, look);
        Ok(())
    }

    fn next(&mut self, interface: &Managed, each: &mut dyn FnMut(PeerPart<'_>)) -> Result<Progress, Error> {
        let look = self.looks.remove(&interface.link.ifindex);
        let ifindex = look.as_ref().map(|look| look.ifindex);
        let moved = self.look_call(Call::Next, ifindex, |world, interrupted| {
            let Some(mut look) = look else {
                return Ok(None);
            };
            if interrupted {
                look.interrupt();
            }
            let found = world.get(look.ifindex).ok();
            let device = found.map(|interface| &interface.device);
            look.next(device, world.room).map(Some)
        })?;
        let (datagram, progress, look) = moved.ok_or(Error::NoLook)?;
        if let Some(look) = look {
            self.looks.insert(interface.link.ifindex, look);
        }
        // Without the lock: who takes the parts in may well ask something.
        datagram.hand_over(each);
        Ok(progress)
    }

    fn give_up(&mut self, interface: &Managed) {
        self.looks.remove(&interface.link.ifindex);
    }

    fn configure(&mut self, interface: &Managed, change: &DeviceChange) -> Result<(), Error> {
        let ifindex = interface.link.ifindex;
        self.call(Call::Configure, Some(ifindex), |world| world.set(ifindex, change))
    }

    fn change(&mut self, interface: &Managed, changes: &[PeerChange]) -> Result<(), Error> {
        let ifindex = interface.link.ifindex;
        self.pass_the_gate();
        self.call(Call::Change(changes.to_vec()), Some(ifindex), |world| {
            world.change(ifindex, changes)
        })
    }

    async fn disturbed(&mut self) {
        let is_carried = self.lock().delete_carried();
        if !is_carried {
            pending::<()>().await;
        }
    }
}

/// What a test's own hand names is there.
#[expect(
    clippy::expect_used,
    reason = "a test that names what is not there has failed"
)]
fn there<T>(found: Result<T, Refusal>) -> T {
    found.expect("what a test names by hand is there, and takes the change")
}

#[cfg(test)]
mod tests;
