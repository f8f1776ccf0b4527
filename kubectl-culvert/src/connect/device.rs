//! What moves a tunnel's packets: the kernel's WireGuard, or wireguard-go beside us where the kernel has none.
//!
//! A wireguard-go is started under a name of its own, and keeps its socket under that name; the interface's mark says which.
//! It leads a process group of its own, so it outlives whoever is killed, and its tunnel with it.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use culvert_wireguard::netlink::{self, Limits, Rtnl, Socket};
use culvert_wireguard::userspace::Uapi;
use culvert_wireguard::{
    DeviceChange, Error, GatewayPeer, ObservedDevice, PrivateKey, PublicKey, Refusal, look,
};

use crate::clock::pause;
use std::time::Duration;

/// Where wireguard-go has its sockets.
const FOLDER: &str = "/var/run/wireguard";

/// How often a program is asked whether it is ready, and how long between two questions.
const TRIES: u32 = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// How often a look is begun again that a change has interrupted.
const LOOKS: u32 = 8;

/// One tunnel's device: its interface, and the socket of its program where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The interface's number, in the namespace it is in.
    pub ifindex: u32,

    /// The program's socket.
    pub socket: Option<String>,
}

/// The devices of a namespace.
#[derive(Default)]
pub struct Devices {
    kernel: Option<Socket>,
}

impl Devices {
    /// Everything about a device.
    pub fn look(&mut self, device: &Device) -> Result<ObservedDevice, Error> {
        if let Some(socket) = &device.socket {
            let mut look = uapi(socket).look()?;
            let whole = look::whole(|each| look.next(each))?;
            return whole.ok_or(Error::NoLook);
        }
        let kernel = self.kernel()?;
        let mut tries = 0;
        loop {
            tries += 1;
            match netlink::dump(kernel, device.ifindex) {
                Err(Error::DumpInterrupted { .. }) if tries < LOOKS => {}
                result => return result,
            }
        }
    }

    /// Gives it a private key and a mark for its packets.
    pub fn set_key(&mut self, device: &Device, key: PrivateKey, fwmark: Option<u32>) -> Result<(), Error> {
        let change = DeviceChange {
            private_key: Some(key),
            fwmark,
            ..DeviceChange::default()
        };
        match &device.socket {
            Some(socket) => uapi(socket).set_device(&change),
            None => self
                .kernel()?
                .set_device(device.ifindex, &change, Limits::default())
                .map(drop),
        }
    }

    /// Sets gateways, and removes others.
    pub fn set_gateways(
        &mut self,
        device: &Device,
        set: &[GatewayPeer],
        remove: &[PublicKey],
    ) -> Result<(), Error> {
        match &device.socket {
            Some(socket) => uapi(socket).set_gateways(set, remove),
            None => self.kernel()?.set_gateways(device.ifindex, set, remove),
        }
    }

    fn kernel(&mut self) -> Result<&mut Socket, Error> {
        let socket = match self.kernel.take() {
            Some(socket) => socket,
            None => Socket::open()?,
        };
        Ok(self.kernel.insert(socket))
    }
}

/// Starts a program, and waits until its interface and its socket are there. Its interface has the socket's name.
pub async fn start(program: &Path, rtnl: &Rtnl, name: &str) -> Result<u32, Error> {
    let refused = |refusal| Error::Refused {
        action: "create an interface with",
        object: program.display().to_string(),
        refusal,
    };
    let mut child = Command::new(program)
        .args(["-f", name])
        .env("LOG_LEVEL", "silent")
        .env_remove("WG_TUN_FD")
        .env_remove("WG_UAPI_FD")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => refused(Refusal::NotSupported),
            _ => Error::Open(error),
        })?;
    let uapi = uapi(name);
    for _ in 0..TRIES {
        if uapi.answers()
            && let Some(link) = rtnl.link(name).await?
        {
            // Its end is waited for: it comes with the interface's, and would leave a zombie of each rotation.
            thread::spawn(move || child.wait());
            return Ok(link.ifindex);
        }
        if !matches!(child.try_wait(), Ok(None)) {
            break;
        }
        pause(PAUSE).await;
    }
    let _ = child.kill();
    let _ = child.wait();
    // It is dead, so nobody ends with its socket.
    let _ = fs::remove_file(path(name));
    Err(refused(Refusal::NotFound))
}

/// Waits until a program whose link was set up has heard of it: before, it sends nothing.
pub async fn hears_up(device: &Device) -> Result<(), Error> {
    let Some(socket) = &device.socket else {
        return Ok(());
    };
    let uapi = uapi(socket);
    for _ in 0..TRIES {
        let listens = DeviceChange {
            listen_port: Some(0),
            ..DeviceChange::default()
        };
        uapi.set_device(&listens)?;
        let mut look = uapi.look()?;
        let found = look::whole(|each| look.next(each))?;
        if found.is_some_and(|device| device.settings.listen_port != 0) {
            break;
        }
        pause(PAUSE).await;
    }
    Ok(())
}

fn uapi(socket: &str) -> Uapi {
    Uapi::new(path(socket), format!("interface `{socket}`"))
}

fn path(socket: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{socket}.sock"))
}
