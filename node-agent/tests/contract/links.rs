//! Interfaces: their mark, settings, addresses, state and end.

use std::time::Duration;

use culvert_node_agent::interface::{Managed, Mark};
use culvert_node_agent::kernel::{Kernel, whole};
use culvert_node_agent::plan::link::Shape;
use culvert_wireguard::netlink::{MAIN_TABLE, RouteInfo};
use culvert_wireguard::{DeviceChange, Error, PrivateKey, Refusal};
use futures::FutureExt as _;
use ipnet::IpNet;

use super::{Bed, MTU, created, key, keys, mark, peers, set};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn refusal<T>(result: Result<T, Error>) -> Option<Refusal> {
    result.err().unwrap().refusal()
}

pub async fn settings_are_as_asked_and_the_private_key_comes_back(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    let settings = whole(&mut kernel, &interface).unwrap().settings;
    assert!(settings.private_key.is_none() && settings.public_key.is_none());
    let text = PrivateKey::generate().unwrap().to_base64();
    let key = || PrivateKey::from_base64(&text).unwrap();
    let change = DeviceChange {
        private_key: Some(key()),
        listen_port: Some(51_960),
        fwmark: Some(0x20),
        ..DeviceChange::default()
    };
    // The second time nothing is new.
    for _ in 0..2 {
        kernel.configure(&interface, &change).unwrap();
        let settings = whole(&mut kernel, &interface).unwrap().settings;
        assert!(settings.private_key == Some(key()));
        assert!(settings.public_key == Some(key().public_key()));
        assert_eq!((settings.listen_port, settings.fwmark), (51_960, 0x20));
    }
}

pub async fn deleting_takes_peers_and_interface_and_may_be_repeated(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    kernel.change(&interface, &[set(1)]).unwrap();
    for _ in 0..2 {
        kernel.delete(&interface).await.unwrap();
        assert_eq!(kernel.link(&interface.link.name).await.unwrap(), None);
    }
}

pub async fn an_interface_that_is_gone_is_refused_as_not_found(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    kernel.delete(&interface).await.unwrap();
    let gone = Some(Refusal::NotFound);
    assert_eq!(refusal(whole(&mut kernel, &interface)), gone);
    let flush = DeviceChange::flush();
    assert_eq!(refusal(kernel.configure(&interface, &flush)), gone);
    assert_eq!(refusal(kernel.change(&interface, &[set(1)])), gone);
    assert_eq!(refusal(kernel.mark(&interface, &mark()).await), gone);
    assert_eq!(refusal(kernel.rename(&interface, &bed.name()).await), gone);
    for step in [Shape::Mtu(1_380), Shape::Add(net("10.96.0.1/32")), Shape::Up] {
        assert_eq!(refusal(kernel.shape(&interface, &step).await), gone);
    }
    assert_eq!(kernel.addresses(&interface).await.unwrap(), []);
}

pub async fn an_unmarked_interface_is_not_managed(bed: &impl Bed) {
    let mut kernel = bed.open();
    for kind in ["wireguard", "dummy"] {
        let name = bed.name();
        bed.make(&name, kind);
        let foreign = kernel.link(&name).await.unwrap().unwrap();
        assert_eq!(foreign.kind.as_deref(), Some(kind));
        assert_eq!(Managed::of(foreign.clone()), None);
        let managed = kernel.managed().await.unwrap();
        assert!(managed.iter().all(|managed| managed.link.name != name));
        // Nor does it become ours because we want its name.
        let refused = refusal(kernel.create(&name, &mark(), MTU).await);
        assert_eq!(refused, Some(Refusal::AlreadyExists));
        assert_eq!(kernel.link(&name).await.unwrap(), Some(foreign));
    }
}

pub async fn a_renamed_interface_is_still_found(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    let (old, new) = (&interface.link.name, bed.name());
    bed.rename(old, &new);
    assert_eq!(kernel.link(old).await.unwrap(), None);
    let managed = kernel.managed().await.unwrap();
    let found = managed
        .iter()
        .find(|found| found.link.ifindex == interface.link.ifindex);
    let found = found.unwrap();
    assert_eq!((&found.link.name, &found.mark), (&new, &mark()));
    // What was known of it still reaches it.
    kernel.change(&interface, &[set(1)]).unwrap();
    assert_eq!(peers(&mut kernel, found).len(), 1);
}

pub async fn a_renamed_interface_is_renamed_back(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    kernel.change(&interface, &[set(1)]).unwrap();
    kernel.configure(&interface, &port(51_980)).unwrap();
    for step in [Shape::Mtu(1_380), Shape::Add(net("10.99.0.1/11")), Shape::Up] {
        kernel.shape(&interface, &step).await.unwrap();
    }
    let (old, new) = (&interface.link.name, bed.name());
    let before = kernel.link(old).await.unwrap();
    let addresses = kernel.addresses(&interface).await.unwrap();
    bed.rename(old, &new);
    // It stays up all the while. The second time it has the name.
    for _ in 0..2 {
        kernel.rename(&interface, old).await.unwrap();
        assert_eq!(kernel.link(old).await.unwrap(), before);
        assert_eq!(kernel.link(&new).await.unwrap(), None);
        assert_eq!(kernel.addresses(&interface).await.unwrap(), addresses);
        let device = whole(&mut kernel, &interface).unwrap();
        assert_eq!((device.settings.listen_port, device.peers.len()), (51_980, 1));
    }
}

pub async fn a_name_that_is_taken_is_given_to_no_other(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    let taken = bed.name();
    bed.make(&taken, "dummy");
    let foreign = kernel.link(&taken).await.unwrap();
    let refused = refusal(kernel.rename(&interface, &taken).await);
    assert_eq!(refused, Some(Refusal::AlreadyExists));
    assert_eq!(kernel.link(&taken).await.unwrap(), foreign);
    let link = kernel.link(&interface.link.name).await.unwrap();
    assert_eq!(link, Some(interface.link));
}

pub async fn a_second_agent_finds_the_interface(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    kernel.change(&interface, &[set(1)]).unwrap();
    drop(kernel);
    let mut kernel = bed.open();
    let managed = kernel.managed().await.unwrap();
    assert!(managed.contains(&interface));
    assert!(keys(&mut kernel, &interface) == [key(1)]);
}

pub async fn nothing_ends_that_is_deleted(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    assert!(kernel.disturbed().now_or_never().is_none());
    kernel.delete(&interface).await.unwrap();
    assert!(kernel.disturbed().now_or_never().is_none());
}

pub async fn an_interface_carried_to_another_namespace_is_deleted_there(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    kernel.change(&interface, &[set(1), set(2)]).unwrap();
    kernel.shape(&interface, &Shape::Up).await.unwrap();
    let foreign = bed.name();
    bed.make(&foreign, "dummy");
    bed.carry(&foreign);
    bed.carry(&interface.link.name);
    kernel.disturbed().await;
    assert_eq!(kernel.link(&interface.link.name).await.unwrap(), None);
    while bed.is_elsewhere(&interface.link.name) {
        tokio::task::yield_now().await;
    }
    assert!(bed.is_elsewhere(&foreign));
    // Its place is free.
    kernel.create(&interface.link.name, &mark(), MTU).await.unwrap();
}

pub async fn a_mark_can_be_rewritten(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    assert_eq!(interface.mark, mark());
    let longer = Mark {
        window: Duration::from_secs(3_600),
        ..mark()
    };
    kernel.mark(&interface, &longer).await.unwrap();
    let link = kernel.link(&interface.link.name).await.unwrap().unwrap();
    assert_eq!(Managed::of(link).unwrap().mark, longer);
}

pub async fn mtu_addresses_and_state_are_as_asked(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    assert_eq!((interface.link.mtu, interface.link.up), (MTU, false));
    assert_eq!(kernel.addresses(&interface).await.unwrap(), []);
    let addresses = [net("10.97.0.1/11"), net("fd00:97::1/64")];
    for step in [
        Shape::Mtu(1_320),
        Shape::Add(addresses[1]),
        Shape::Add(addresses[0]),
        Shape::Up,
        Shape::Up,
    ] {
        kernel.shape(&interface, &step).await.unwrap();
    }
    let link = kernel.link(&interface.link.name).await.unwrap().unwrap();
    assert_eq!((link.mtu, link.up), (1_320, true));
    assert_eq!(kernel.addresses(&interface).await.unwrap(), addresses);
    for address in addresses {
        let again = kernel.shape(&interface, &Shape::Add(address)).await;
        assert_eq!(refusal(again), Some(Refusal::AlreadyExists));
        let remove = Shape::Remove(address);
        kernel.shape(&interface, &remove).await.unwrap();
        let again = kernel.shape(&interface, &remove).await;
        assert_eq!(refusal(again), Some(Refusal::NotFound));
    }
    assert_eq!(kernel.addresses(&interface).await.unwrap(), []);
}

pub async fn addresses_of_a_link_that_is_up_have_routes(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    let addresses = [net("10.99.0.1/16"), net("fd00:99::1/64")];
    for step in [Shape::Add(addresses[0]), Shape::Add(addresses[1]), Shape::Up] {
        kernel.shape(&interface, &step).await.unwrap();
    }
    let routes = kernel.routes().await.unwrap();
    for address in addresses {
        let own = RouteInfo {
            destination: address.trunc(),
            ifindex: Some(interface.link.ifindex),
            table: MAIN_TABLE,
        };
        assert!(routes.contains(&own), "{routes:?}");
    }
}

pub async fn an_interface_that_is_set_down_loses_its_ipv6_addresses(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    let addresses = [net("10.98.0.1/11"), net("fd00:98::1/64")];
    for step in [Shape::Add(addresses[0]), Shape::Add(addresses[1]), Shape::Up] {
        kernel.shape(&interface, &step).await.unwrap();
    }
    bed.set_down(&interface.link.name);
    let link = kernel.link(&interface.link.name).await.unwrap().unwrap();
    assert!(!link.up);
    assert_eq!(kernel.addresses(&interface).await.unwrap(), addresses[..1]);
}

fn port(port: u16) -> DeviceChange {
    DeviceChange {
        listen_port: Some(port),
        ..DeviceChange::default()
    }
}

pub async fn a_port_in_use_is_refused_and_the_old_one_stays<B: Bed>(bed: &B) {
    let (mut kernel, one) = created(bed).await;
    let two = kernel.create(&bed.name(), &mark(), MTU).await.unwrap();
    for (interface, number) in [(&one, 51_970), (&two, 51_971)] {
        kernel.configure(interface, &port(number)).unwrap();
        kernel.shape(interface, &Shape::Up).await.unwrap();
    }
    let refused = kernel.configure(&two, &port(51_970));
    assert_eq!(refusal(refused), Some(Refusal::PortInUse));
    let settings = whole(&mut kernel, &two).unwrap().settings;
    assert_eq!(settings.listen_port, 51_971);
    // A port is free again when the link that had it is down.
    if B::FREES_ITS_PORT {
        bed.set_down(&one.link.name);
        kernel.configure(&two, &port(51_970)).unwrap();
    }
}

pub async fn an_interface_whose_port_is_in_use_stays_down<B: Bed>(bed: &B) {
    let (mut kernel, one) = created(bed).await;
    let two = kernel.create(&bed.name(), &mark(), MTU).await.unwrap();
    kernel.configure(&one, &port(51_975)).unwrap();
    kernel.shape(&one, &Shape::Up).await.unwrap();
    let refused = match kernel.configure(&two, &port(51_975)) {
        Err(error) if !B::FREES_ITS_PORT => Err(error),
        configured => {
            configured.unwrap();
            kernel.shape(&two, &Shape::Up).await
        }
    };
    assert_eq!(refusal(refused), Some(Refusal::PortInUse));
    assert!(!kernel.link(&two.link.name).await.unwrap().unwrap().up);
}
