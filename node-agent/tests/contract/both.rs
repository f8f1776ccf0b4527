//! A node whose back end is changed.

use culvert_crds::gateway::KeyStorage;
use culvert_crds::gateway_node::Backend;
use culvert_node_agent::assignment::Assignment;
use culvert_node_agent::clock::Clocks;
use culvert_node_agent::firewall::{NFT, Nft};
use culvert_node_agent::gateway::{Gateway, Ground};
use culvert_node_agent::interface::Managed;
use culvert_node_agent::kernel::choose::Choice;
use culvert_node_agent::kernel::{Both, Kernel, whole};
use culvert_node_agent::keystore::Keystore;
use culvert_node_agent::metrics::Metrics;

use super::facts::Bed as _;
use super::userspace::{assignment, desired, programs};
use super::{Linux, runtime};

#[test]
fn an_interface_of_another_back_end_is_replaced_and_its_key_and_peers_stay() {
    let bed = Linux::default();
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let keystore = Keystore::new(folder.path().join("keys"));
        let (desired, metrics) = (desired(), Metrics::new(""));
        let assignment = Assignment {
            key_storage: KeyStorage::Memory,
            ..assignment(&bed.name())
        };
        let mut own = None;
        for choice in [Choice::Kernel, Choice::Userspace, Choice::Auto] {
            // As an agent does that starts: the first act, on whatever is there, needs no word from anybody.
            let mut kernel = Both::open(choice, programs(), Nft::new(NFT)).unwrap();
            let found = kernel.managed().await.unwrap();
            assert_eq!(found.len(), usize::from(own.is_some()));
            for interface in found {
                assert_ne!(interface.backend(), kernel.backend());
                assert_eq!(whole(&mut kernel, &interface).unwrap().peers.len(), 100);
            }
            let mut gateway = Gateway::new(assignment.mark.clone());
            let mut on = Ground {
                kernel: &mut kernel,
                keystore: &keystore,
                desired: &desired,
                metrics: &metrics,
                clock: &Clocks::read,
            };
            gateway.pass(&mut on, &assignment, true).await.unwrap();
            let managed = kernel.managed().await.unwrap();
            let [interface]: &[Managed; 1] = managed.as_slice().try_into().unwrap();
            let backend = match choice {
                Choice::Userspace => Backend::Userspace,
                Choice::Auto | Choice::Kernel => Backend::Kernel,
            };
            assert_eq!((interface.backend(), kernel.backend()), (backend, backend));
            let device = whole(&mut kernel, interface).unwrap();
            assert_eq!(device.peers.len(), 100);
            assert!(device.settings.public_key == gateway.state().public_key);
            assert!(own.is_none() || own == gateway.state().public_key);
            own = gateway.state().public_key;
        }
    });
}
