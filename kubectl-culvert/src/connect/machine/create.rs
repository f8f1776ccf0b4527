//! An interface is made: by the kernel or by wireguard-go, here or in the namespace that its packets go out of.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::thread;

use culvert_wireguard::Refusal;
use culvert_wireguard::netlink::Rtnl;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Backend, MachineError, Setting, missing};
use crate::chance;
use crate::connect::device;
use crate::connect::names::{Mark, interface};

/// Makes an interface in the namespace of `rtnl`, with our mark and the slot's name.
pub(super) async fn create(rtnl: &Rtnl, setting: &Setting, slot: u8) -> Result<(), MachineError> {
    let mut mark = Mark {
        owner: setting.owner.clone(),
        socket: None,
    };
    let name = interface(slot);
    if setting.backend != Backend::Userspace {
        match rtnl.create_wireguard(&name, &mark.alias()).await {
            Err(error)
                if setting.backend == Backend::Auto && error.refusal() == Some(Refusal::NotSupported) => {}
            made => {
                made?;
                return Ok(());
            }
        }
    }
    let number = chance::draw().map_err(|_| MachineError::Draw)?;
    let socket = format!("cvu-{:08x}", number & 0xffff_ffff);
    mark.socket = Some(socket.clone());
    let ifindex = device::start(&setting.program, rtnl, &socket).await?;
    let settled = match rtnl.set_alias(ifindex, &mark.alias()).await {
        Ok(()) => rtnl.rename(ifindex, &name).await,
        Err(error) => Err(error),
    };
    if let Err(error) = settled {
        rtnl.delete_link(ifindex).await?;
        return Err(error.into());
    }
    Ok(())
}

/// Makes an interface in that namespace and moves it to the one of this thread. What an earlier run has left there on its
/// way goes first.
pub(super) fn create_outside(outside: &File, setting: &Setting, slot: u8) -> Result<(), MachineError> {
    let inside = File::open("/proc/thread-self/ns/net").map_err(|_| MachineError::Ended)?;
    let job = || -> Result<(), MachineError> {
        move_into_link_name_space(outside.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|_| MachineError::Ended)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|_| MachineError::Ended)?;
        runtime.block_on(async {
            let rtnl = Rtnl::open()?;
            for link in rtnl.links().await? {
                let mark = link.alias.as_deref().and_then(Mark::read);
                if mark.is_some_and(|mark| mark.owner == setting.owner) {
                    rtnl.delete_link(link.ifindex).await?;
                }
            }
            create(&rtnl, setting, slot).await?;
            let name = interface(slot);
            let link = rtnl.link(&name).await?.ok_or_else(|| missing(&name))?;
            Ok(rtnl.move_link(link.ifindex, inside.as_fd()).await?)
        })
    };
    thread::scope(|scope| scope.spawn(job).join()).map_err(|_| MachineError::Ended)?
}
