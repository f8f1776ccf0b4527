//! A kernel without WireGuard: wireguard-go moves the packets, one program for each interface, and the kernel has the
//! links and addresses.
//!
//! Guarantees: the wanted name never stands on an interface without our mark; an interface is spoken to through the
//! socket that its mark names, whatever it is called, so that an agent which starts goes on with the programs of the
//! one before. When a program ends, its interface goes with it, and [`Kernel::disturbed`] says so at once: a connection to
//! each program is held for that, also to those of an earlier agent. The interface is not found, and made anew.
//!
//! What differs from the kernel's: peers come in no order, a look is one snapshot, and a set takes away the preshared
//! key as well. The program knows its interface by its first name only, so it pads packets for the MTU that the
//! interface has before it gets the gateway's name. It may take its link for up as soon as it has one, and need not hear that it is set down: so it may hold
//! its port, and refuse another one, while the link is down.

mod daemon;

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use culvert_crds::gateway_node::Backend;
use culvert_wireguard::netlink::{LinkInfo, RouteInfo, Rtnl};
use culvert_wireguard::userspace::{Look, Uapi};
use culvert_wireguard::{DeviceChange, Error, PeerChange, PeerPart, Progress, Refusal, Settings};
use futures::future::select_all;
use ipnet::IpNet;
use rand::RngExt;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use tokio::net::UnixStream;
use tokio::task::block_in_place;

use super::Kernel;
use super::carried::Carried;
use super::netlink::shape;
use crate::clock::sleep;
use crate::firewall::{NFT, Nft};
use crate::interface::{Managed, Mark, SOCKET_PREFIX};
use crate::plan::link::Shape;
use daemon::Daemon;

/// How often a program is asked whether it is ready, or has ended.
const TRIES: u32 = 500;
/// How long to wait between two such questions.
const PAUSE: Duration = Duration::from_millis(10);

/// Programs that move the packets of their interfaces, in the network namespace of this process.
pub struct Userspace {
    program: PathBuf,
    rtnl: Rtnl,
    /// Those that this process has started, by their socket's name.
    daemons: HashMap<String, Daemon>,
    /// A silent connection to each program that is known, by its socket's name.
    held: HashMap<String, UnixStream>,
    carried: Carried,
    firewall: Nft,
    /// By the interface's number.
    looks: HashMap<u32, Look>,
}

impl Userspace {
    /// Opens the kernel's links. `program` is wireguard-go.
    pub fn open(program: &Path) -> Result<Self, Error> {
        Ok(Self {
            program: program.to_owned(),
            rtnl: Rtnl::open()?,
            daemons: HashMap::new(),
            held: HashMap::new(),
            carried: Carried::open(Backend::Userspace)?,
            firewall: Nft::new(NFT),
            looks: HashMap::new(),
        })
    }

    /// Gives a program's new interface its mark and its name.
    async fn settle(&mut self, socket: &str, name: &str, mark: &Mark, mtu: u32) -> Result<Managed, Error> {
        let uapi = daemon::socket(socket, &named(name));
        for _ in 0..TRIES {
            // The socket comes after the interface.
            if uapi.answers() {
                break;
            }
            if self.daemons.get_mut(socket).is_none_or(Daemon::has_ended) {
                break;
            }
            sleep(PAUSE).await;
        }
        let not_made = || Error::Refused {
            action: "create",
            object: named(name),
            refusal: Refusal::NotFound,
        };
        let link = self.rtnl.link(socket).await?.ok_or_else(not_made)?;
        let ifindex = link.ifindex;
        self.rtnl.set_mtu(ifindex, mtu).await?;
        self.rtnl.set_alias(ifindex, &mark.alias_of(Some(socket))).await?;
        self.rtnl.rename(ifindex, name).await?;
        let link = self.rtnl.link(name).await?;
        let managed = link.and_then(Managed::of).ok_or_else(not_made)?;
        self.hold(&managed);
        Ok(managed)
    }

    /// Holds a connection to an interface's program.
    fn hold(&mut self, interface: &Managed) {
        let Some(socket) = &interface.socket else { return };
        if self.held.contains_key(socket) {
            return;
        }
        let held = block_in_place(|| uapi(interface).hold());
        // One that cannot be held is noticed at the next tick.
        let held = held.ok().filter(|stream| stream.set_nonblocking(true).is_ok());
        if let Some(stream) = held.and_then(|stream| UnixStream::from_std(stream).ok()) {
            self.held.insert(socket.clone(), stream);
        }
    }

    /// Sets the link up, which its program does not refuse when it cannot have the port.
    ///
    /// The program hears of it later and has no way to say what became of it. So it gets any port first, which proves
    /// that it is up, and says then whether it can have the right one.
    async fn set_up(&mut self, interface: &Managed) -> Result<(), Error> {
        let ifindex = interface.link.ifindex;
        let uapi = uapi(interface);
        let wanted = settings(&uapi)?.listen_port;
        self.rtnl.set_up(ifindex).await?;
        hears_up(&uapi).await?;
        if wanted == 0 {
            return Ok(());
        }
        let result = listen(&uapi, wanted);
        if result.is_err() {
            // It has no port by now; the next pass gives it the right one again.
            self.rtnl.set_down(ifindex).await?;
        }
        result
    }

    /// Forgets programs that have ended, so that nothing is left of them.
    fn reap(&mut self) {
        self.daemons.retain(|_, daemon| !daemon.has_ended());
    }
}

impl Kernel for Userspace {
    type Firewall = Nft;

    fn firewall(&mut self) -> &mut Nft {
        &mut self.firewall
    }

    fn backend(&self) -> Backend {
        Backend::Userspace
    }

    async fn managed(&mut self) -> Result<Vec<Managed>, Error> {
        self.reap();
        let links = self.rtnl.links().await?;
        let managed = links.into_iter().filter_map(Managed::of);
        let managed: Vec<_> = managed.filter(|managed| managed.socket.is_some()).collect();
        managed.iter().for_each(|managed| self.hold(managed));
        Ok(managed)
    }

    async fn link(&mut self, name: &str) -> Result<Option<LinkInfo>, Error> {
        self.reap();
        let link = self.rtnl.link(name).await?;
        if let Some(managed) = link.clone().and_then(Managed::of) {
            self.hold(&managed);
        }
        Ok(link)
    }

    async fn create(&mut self, name: &str, mark: &Mark, mtu: u32) -> Result<Managed, Error> {
        if self.rtnl.link(name).await?.is_some() {
            return Err(Error::Refused {
                action: "create",
                object: named(name),
                refusal: Refusal::AlreadyExists,
            });
        }
        let number: u32 = UnwrapErr(SysRng).random();
        let socket = format!("{SOCKET_PREFIX}{number:08x}");
        let daemon = Daemon::start(&self.program, &socket).map_err(|source| match source.kind() {
            // Neither the kernel nor a program moves packets here.
            io::ErrorKind::NotFound => Error::Refused {
                action: "run",
                object: self.program.display().to_string(),
                refusal: Refusal::NotSupported,
            },
            _ => Error::Connect {
                object: named(name),
                source,
            },
        })?;
        self.daemons.insert(socket.clone(), daemon);
        let settled = self.settle(&socket, name, mark, mtu).await;
        if settled.is_err()
            && let Some(daemon) = self.daemons.remove(&socket)
        {
            // What it leaves is in nobody's way; the first error says more.
            let _ = block_in_place(|| daemon.end());
        }
        settled
    }

    async fn mark(&mut self, interface: &Managed, mark: &Mark) -> Result<(), Error> {
        let alias = mark.alias_of(interface.socket.as_deref());
        self.rtnl.set_alias(interface.link.ifindex, &alias).await
    }

    /// The socket keeps its name.
    async fn rename(&mut self, interface: &Managed, name: &str) -> Result<(), Error> {
        self.rtnl.rename(interface.link.ifindex, name).await
    }

    async fn addresses(&mut self, interface: &Managed) -> Result<Vec<IpNet>, Error> {
        self.rtnl.addresses(interface.link.ifindex).await
    }

    async fn routes(&mut self) -> Result<Vec<RouteInfo>, Error> {
        self.rtnl.routes().await
    }

    async fn own_addresses(&mut self) -> Result<Vec<IpAddr>, Error> {
        self.rtnl.own_addresses().await
    }

    async fn shape(&mut self, interface: &Managed, step: &Shape) -> Result<(), Error> {
        match step {
            Shape::Up => self.set_up(interface).await,
            _ => shape(&self.rtnl, interface.link.ifindex, step).await,
        }
    }

    /// A program whose interface is deleted ends, and its peers with it.
    async fn delete(&mut self, interface: &Managed) -> Result<(), Error> {
        self.give_up(interface);
        if let Some(socket) = &interface.socket {
            self.held.remove(socket);
        }
        match self.rtnl.delete_link(interface.link.ifindex).await {
            Err(error) if error.refusal() == Some(Refusal::NotFound) => {}
            result => result?,
        }
        let uapi = uapi(interface);
        for _ in 0..TRIES {
            if !uapi.answers() {
                self.reap();
                return Ok(());
            }
            sleep(PAUSE).await;
        }
        let socket = interface.socket.as_deref().unwrap_or_default();
        if let Some(daemon) = self.daemons.remove(socket) {
            block_in_place(|| daemon.end()).map_err(|source| Error::Connect {
                object: named(&interface.link.name),
                source,
            })?;
        }
        Ok(())
    }

    fn begin(&mut self, interface: &Managed) -> Result<(), Error> {
        self.give_up(interface);
        let look = block_in_place(|| uapi(interface).look())?;
        self.looks.insert(interface.link.ifindex, look);
        Ok(())
    }

    fn next(&mut self, interface: &Managed, each: &mut dyn FnMut(PeerPart<'_>)) -> Result<Progress, Error> {
        let ifindex = interface.link.ifindex;
        // Anything but that there is more ends the look.
        let mut look = self.looks.remove(&ifindex).ok_or(Error::NoLook)?;
        let progress = block_in_place(|| look.next(each))?;
        if progress == Progress::More {
            self.looks.insert(ifindex, look);
        }
        Ok(progress)
    }

    fn give_up(&mut self, interface: &Managed) {
        self.looks.remove(&interface.link.ifindex);
    }

    /// A program that cannot have a port has none afterwards, so it gets back the one it had.
    fn configure(&mut self, interface: &Managed, change: &DeviceChange) -> Result<(), Error> {
        let uapi = uapi(interface);
        block_in_place(|| {
            let before = match change.listen_port {
                Some(_) => settings(&uapi)?.listen_port,
                None => 0,
            };
            let result = uapi.set_device(change);
            if before != 0
                && let Err(error) = &result
                && error.refusal() == Some(Refusal::PortInUse)
            {
                listen(&uapi, before)?;
            }
            result
        })
    }

    fn change(&mut self, interface: &Managed, changes: &[PeerChange]) -> Result<(), Error> {
        block_in_place(|| uapi(interface).set_peers(changes))
    }

    async fn disturbed(&mut self) {
        let ended = tokio::select! {
            () = self.carried.next() => return,
            ended = any_ended(&self.held) => ended,
        };
        // Its interface may take a moment longer.
        for _ in 0..TRIES {
            let Ok(links) = self.rtnl.links().await else { break };
            let mut managed = links.into_iter().filter_map(Managed::of);
            if !managed.any(|managed| managed.socket.as_ref() == Some(&ended)) {
                break;
            }
            sleep(PAUSE).await;
        }
        self.held.remove(&ended);
        self.reap();
    }
}

/// Waits for the end of any program, and gives its socket's name.
async fn any_ended(held: &HashMap<String, UnixStream>) -> String {
    if held.is_empty() {
        return pending().await;
    }
    let (ended, ..) = select_all(
        held.iter()
            .map(|(socket, stream)| Box::pin(hung_up(socket, stream))),
    )
    .await;
    ended
}

/// Waits until a program has closed a connection on which it has nothing to say, and gives its name.
async fn hung_up(socket: &str, stream: &UnixStream) -> String {
    let mut nothing = [0];
    loop {
        let is_readable = stream.readable().await.is_ok();
        let read = stream.try_read(&mut nothing);
        let is_idle = read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        if !is_readable || !is_idle {
            return socket.to_owned();
        }
    }
}

fn uapi(interface: &Managed) -> Uapi {
    let socket = interface.socket.as_deref().unwrap_or_default();
    daemon::socket(socket, &named(&interface.link.name))
}

fn settings(uapi: &Uapi) -> Result<Settings, Error> {
    block_in_place(|| {
        let mut look = uapi.look()?;
        loop {
            if let Progress::Done { settings, .. } = look.next(&mut |_| {})? {
                return Ok(settings);
            }
        }
    })
}

/// Waits until a program has heard that its link is up: before, it takes no port.
async fn hears_up(uapi: &Uapi) -> Result<(), Error> {
    for _ in 0..TRIES {
        listen(uapi, 0)?;
        if settings(uapi)?.listen_port != 0 {
            break;
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

fn listen(uapi: &Uapi, port: u16) -> Result<(), Error> {
    let change = DeviceChange {
        listen_port: Some(port),
        ..DeviceChange::default()
    };
    block_in_place(|| uapi.set_device(&change))
}

fn named(name: &str) -> String {
    format!("interface `{name}`")
}
