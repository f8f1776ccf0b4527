//! What the agent relies on in a kernel, whichever it is. Every fact holds on every [`Bed`]; [`every_fact`] lists them.

mod links;
mod looks;
mod peers;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use culvert_node_agent::interface::{Managed, Mark};
use culvert_node_agent::kernel::{Kernel, whole};
use culvert_wireguard::{AllowedIps, DesiredPeer, ObservedPeer, PeerChange, PublicKey};

pub use links::*;
pub use looks::*;
pub use peers::*;

/// A namespace with a kernel in it, and what others than the agent do there.
pub trait Bed {
    /// The kernel as the agent has it.
    type Kernel: Kernel;

    /// Whether a look is one snapshot of peers in no order, so that no change interrupts it.
    const SNAPSHOT: bool = false;

    /// Whether a preshared key that somebody has set outlives a set.
    const KEEPS_PRESHARED_KEY: bool = true;

    /// Whether a link has no port while it is down.
    const FREES_ITS_PORT: bool = true;

    /// Opens it, as an agent does that starts.
    fn open(&self) -> Self::Kernel;

    /// An interface name that nothing has.
    fn name(&self) -> String;

    /// Somebody makes a link.
    fn make(&self, name: &str, kind: &str);

    /// Somebody renames a link.
    fn rename(&self, from: &str, to: &str);

    /// Somebody carries a link to another network namespace.
    fn carry(&self, name: &str);

    /// Whether a link is there.
    fn is_elsewhere(&self, name: &str) -> bool;

    /// Somebody sets a link down.
    fn set_down(&self, name: &str);

    /// Somebody sets what the agent never sets of a peer.
    fn set_peer(&self, name: &str, key: &PublicKey, hand: Hand);
}

/// What `wg set` can do to a peer and the agent cannot.
pub enum Hand {
    Endpoint(SocketAddr),
    Keepalive(u16),
    PresharedKey,
}

/// A test for every fact that holds on every bed: `$hold` makes a bed, and runs the fact on it.
macro_rules! every_fact {
    ($hold:ident) => {
        every_fact! { $hold:
            a_look_shows_what_was_set
            settings_are_as_asked_and_the_private_key_comes_back
            a_peer_of_many_prefixes_comes_in_parts_that_follow_one_another
            a_change_while_a_look_is_open_is_done_and_noticed_unless_it_is_a_snapshot
            a_look_that_was_written_before_a_change_is_coherent_and_old
            a_look_that_is_begun_gives_up_the_one_that_is_open
            looks_at_two_interfaces_go_on_side_by_side
            without_a_look_there_is_nothing_to_read
            an_interface_can_be_deleted_while_it_is_looked_at
            a_set_replaces_prefixes_and_keepalive_and_keeps_the_rest
            a_prefix_moves_silently
            the_own_key_is_ignored_with_success
            a_peer_whose_key_becomes_the_interfaces_own_is_gone
            removing_an_absent_peer_succeeds
            forgetting_overwrites_the_endpoint_and_creates_no_peer
            reinstating_leaves_no_trace
            a_flush_removes_all_peers
            deleting_takes_peers_and_interface_and_may_be_repeated
            an_interface_that_is_gone_is_refused_as_not_found
            an_unmarked_interface_is_not_managed
            a_renamed_interface_is_still_found
            a_renamed_interface_is_renamed_back
            a_name_that_is_taken_is_given_to_no_other
            a_second_agent_finds_the_interface
            a_mark_can_be_rewritten
            mtu_addresses_and_state_are_as_asked
            addresses_of_a_link_that_is_up_have_routes
            an_interface_that_is_set_down_loses_its_ipv6_addresses
            a_port_in_use_is_refused_and_the_old_one_stays
            an_interface_whose_port_is_in_use_stays_down
            nothing_ends_that_is_deleted
            an_interface_carried_to_another_namespace_is_deleted_there
        }
    };
    // Those of kernels that write a look while it is read, peers in order.
    ($hold:ident, streamed) => {
        every_fact! { $hold }
        every_fact! { $hold:
            peers_are_shown_in_the_order_in_which_they_were_made
            a_look_ends_early_when_the_last_peer_it_has_shown_is_gone
            a_look_may_miss_the_peer_after_one_that_was_cut_off
        }
    };
    ($hold:ident: $($fact:ident)*) => {
        $(
            #[test]
            fn $fact() {
                $hold(async |bed| facts::$fact(bed).await);
            }
        )*
    };
}

/// The MTU of interfaces that are created.
pub const MTU: u32 = 1_380;

pub fn mark() -> Mark {
    Mark {
        gateway: "00000000-0000-0000-0000-00000000c0de".into(),
        window: Duration::from_secs(180),
    }
}

fn key(number: u32) -> PublicKey {
    let mut bytes = [0x21; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    PublicKey::from_bytes(bytes)
}

fn ipv4(number: u32) -> IpAddr {
    Ipv4Addr::from(0x0a40_0000 + number).into()
}

fn ipv6(number: u32) -> IpAddr {
    Ipv6Addr::from((0xfd_u128 << 120) + u128::from(number)).into()
}

fn desired(number: u32) -> DesiredPeer {
    DesiredPeer {
        public_key: key(number),
        allowed_ips: AllowedIps::hosts([ipv4(number), ipv6(number)]),
    }
}

pub fn set(number: u32) -> PeerChange {
    PeerChange::Set(desired(number))
}

/// An interface of the agent's.
pub async fn created<B: Bed>(bed: &B) -> (B::Kernel, Managed) {
    let mut kernel = bed.open();
    let interface = kernel.create(&bed.name(), &mark(), MTU).await.unwrap();
    (kernel, interface)
}

fn peers(kernel: &mut impl Kernel, interface: &Managed) -> Vec<ObservedPeer> {
    whole(kernel, interface).unwrap().peers
}

fn peer(kernel: &mut impl Kernel, interface: &Managed, number: u32) -> Option<ObservedPeer> {
    let peers = peers(kernel, interface);
    peers.into_iter().find(|peer| peer.public_key == key(number))
}

fn keys(kernel: &mut impl Kernel, interface: &Managed) -> Vec<PublicKey> {
    let peers = peers(kernel, interface);
    peers.into_iter().map(|peer| peer.public_key).collect()
}
