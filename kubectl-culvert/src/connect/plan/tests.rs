//! The plan against a machine and an API in memory, which fail and are killed at any step.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::super::world::Gateway;
use super::*;

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 64, 0, number).into()
}

const ONE: u8 = 201;
const TWO: u8 = 202;

const CONNECTED: Wish = Wish::Connected {
    rotate: false,
    closed: true,
};
const ROTATE: Wish = Wish::Connected {
    rotate: true,
    closed: true,
};

/// A machine, an API and two gateways.
#[derive(Clone, Debug)]
struct Sim {
    world: World,
    /// What the API has, whether it can be reached or not.
    stored: Key,
    drawn: u8,
    api: bool,
    reachable: [bool; 2],
    /// Keys that have ever been published.
    published: Vec<PublicKey>,
    /// Each key that has led, in order.
    led: Vec<PublicKey>,
}

impl Sim {
    fn new() -> Self {
        Self {
            world: World {
                gateways: [ONE, TWO]
                    .map(|number| Gateway {
                        key: key(number),
                        ready: true,
                    })
                    .to_vec(),
                ..World::default()
            },
            stored: Key::Absent,
            drawn: 0,
            api: true,
            reachable: [true, true],
            published: Vec::new(),
            led: Vec::new(),
        }
    }

    fn reaches(&self, gateway: &PublicKey) -> bool {
        self.reachable[usize::from(*gateway == key(TWO))]
    }

    /// What a look shows.
    fn look(&mut self) {
        self.world.key = if self.api {
            self.stored.clone()
        } else {
            Key::Unknown
        };
        let reachable = self.reachable;
        for tunnel in &mut self.world.tunnels {
            for peer in &mut tunnel.peers {
                let reached = reachable[usize::from(peer.key == key(TWO))];
                peer.met |= reached && tunnel.furnished;
                peer.silent = peer.carries && (!reached || peer.elsewhere);
            }
        }
    }

    /// Addresses come a while after the key.
    fn answer(&mut self) {
        if let Key::Present {
            public_key,
            addresses,
        } = &mut self.stored
        {
            *addresses = vec![address(public_key.as_bytes()[0])];
        }
    }

    fn at(&mut self, slot: u8) -> &mut Tunnel {
        let found = self.world.tunnels.iter_mut().find(|tunnel| tunnel.slot == slot);
        found.expect("a step is about a tunnel that is not there")
    }

    /// Carries a step out; false when it failed.
    fn execute(&mut self, step: &Step) -> bool {
        match step {
            Step::Make { slot } => {
                assert!(self.world.tunnel(*slot).is_none(), "two tunnels in one slot");
                self.drawn += 1;
                self.world.tunnels.push(Tunnel {
                    slot: *slot,
                    public_key: Some(key(self.drawn)),
                    ..Tunnel::default()
                });
            }
            Step::Publish { slot } => {
                if !self.api {
                    return false;
                }
                let public_key = self.at(*slot).public_key.expect("a key");
                assert!(!self.published.contains(&public_key), "a key is published twice");
                self.published.push(public_key);
                self.stored = Key::Present {
                    public_key,
                    addresses: Vec::new(),
                };
            }
            Step::Furnish { slot, addresses } => {
                let tunnel = self.at(*slot);
                tunnel.addresses.clone_from(addresses);
                tunnel.furnished = true;
            }
            Step::Meet { slot, gateways } => {
                for gateway in gateways {
                    let tunnel = self.at(*slot);
                    tunnel.peers.retain(|peer| peer.key != *gateway);
                    tunnel.peers.push(Peer {
                        key: *gateway,
                        carries: false,
                        met: false,
                        silent: false,
                        elsewhere: false,
                    });
                }
            }
            Step::Settle { slot, gateway } => {
                let reached = self.reaches(gateway);
                let tunnel = self.at(*slot);
                tunnel.peers.retain(|peer| peer.key == *gateway);
                tunnel.peers[0].carries = true;
                tunnel.peers[0].silent = !reached;
                tunnel.peers[0].elsewhere = false;
            }
            Step::Close => self.world.closed = true,
            Step::Open => {
                assert!(self.world.leader.is_none(), "it opens while something leads");
                self.world.closed = false;
            }
            Step::Lead { slot } => self.lead(*slot),
            Step::Resolve { slot } => self.world.resolves = Some(*slot),
            Step::Unresolve => self.world.resolves = None,
            Step::Remove { slot } => {
                assert_ne!(self.world.leader, Some(*slot), "the tunnel in use is removed");
                self.world.tunnels.retain(|tunnel| tunnel.slot != *slot);
                if self.world.resolves == Some(*slot) {
                    self.world.resolves = None;
                }
            }
            Step::Unlead => {
                self.world.leader = None;
                self.world.leads_partly = false;
            }
            Step::Revoke => {
                if !self.api {
                    return false;
                }
                self.stored = Key::Absent;
            }
        }
        true
    }

    fn lead(&mut self, slot: u8) {
        assert!(self.world.closed, "it leads before it is closed");
        let tunnel = self.at(slot).clone();
        assert!(tunnel.furnished && tunnel.peers.iter().any(|peer| peer.carries && peer.met));
        self.led.push(tunnel.public_key.expect("a key"));
        self.world.leader = Some(slot);
        self.world.leads_partly = true;
    }

    /// Looks, plans, acts, so often; each time stops at a failure. False when there is something to do even so.
    fn run(&mut self, mut wish: Wish, rounds: usize) -> bool {
        let from = self.world.leader;
        for _ in 0..rounds {
            self.look();
            if self.world.leader != from && wish == ROTATE {
                wish = CONNECTED;
            }
            let steps = plan(&self.world, wish).steps;
            if steps.is_empty() {
                if self.api && matches!(&self.stored, Key::Present { addresses, .. } if addresses.is_empty())
                {
                    self.answer();
                    continue;
                }
                return true;
            }
            for step in &steps {
                if !self.execute(step) {
                    break;
                }
            }
        }
        false
    }

    /// The overlap of everything that does not lead is over.
    fn wait(&mut self) {
        let leader = self.world.leader;
        for tunnel in &mut self.world.tunnels {
            tunnel.is_over = Some(tunnel.slot) != leader;
        }
    }

    /// What becomes of it when all is well and time goes by.
    fn settles(&mut self) {
        self.api = true;
        self.reachable = [true, true];
        assert!(self.run(CONNECTED, 40), "there is no end: {:?}", self.world);
        self.wait();
        assert!(self.run(CONNECTED, 40), "there is no end: {:?}", self.world);
        let Key::Present { public_key, .. } = &self.stored else {
            panic!("there is no key");
        };
        let leader = self.world.leader.and_then(|slot| self.world.tunnel(slot));
        assert_eq!(leader.and_then(|tunnel| tunnel.public_key), Some(*public_key));
        assert_eq!(self.world.tunnels.len(), 1, "something is left behind");
        assert!(self.world.closed && self.world.resolves == self.world.leader);
    }
}

#[test]
fn a_first_connection_goes_through_every_stage() {
    let mut sim = Sim::new();
    assert!(sim.run(CONNECTED, 20));
    sim.settles();
    assert_eq!(sim.led, [key(1)]);
}

#[test]
fn a_rotation_leads_before_anything_is_removed() {
    let mut sim = Sim::new();
    sim.settles();
    assert!(sim.run(ROTATE, 20));
    assert_eq!(sim.led, [key(1), key(2)]);
    assert_eq!(sim.world.tunnels.len(), 2, "the old one has no overlap");
    sim.settles();
    assert_eq!(sim.led, [key(1), key(2)]);
}

#[test]
fn a_gateway_that_moved_is_followed_even_when_it_is_the_only_one() {
    let mut sim = Sim::new();
    sim.world.gateways.truncate(1);
    sim.settles();
    let slot = sim.world.leader.expect("a leader");
    sim.at(slot).peers[0].elsewhere = true;
    assert!(sim.run(CONNECTED, 5));
    let peers = &sim.at(slot).peers;
    assert!(!peers[0].silent && !peers[0].elsewhere, "{peers:?}");
    assert_eq!(sim.led, [key(1)], "it has not led anew");
}

#[test]
fn a_gateway_that_answers_from_another_place_is_left_alone() {
    let mut sim = Sim::new();
    sim.settles();
    let slot = sim.world.leader.expect("a leader");
    sim.look();
    sim.at(slot).peers[0].elsewhere = true;
    sim.at(slot).peers[0].silent = false;
    assert_eq!(plan(&sim.world, CONNECTED).steps, []);
}

#[test]
fn a_rotation_without_the_apiserver_leaves_the_tunnel_alone() {
    let mut sim = Sim::new();
    sim.settles();
    sim.api = false;
    sim.run(ROTATE, 10);
    assert_eq!(sim.world.leader, Some(0));
    sim.settles();
    // When it is there again, the key that was made meanwhile is the next.
    sim.run(ROTATE, 20);
    assert_eq!(sim.led.len(), 2);
    sim.settles();
}

#[test]
fn a_gateway_that_falls_silent_is_left_for_another() {
    let mut sim = Sim::new();
    sim.settles();
    let carrier = |sim: &Sim| sim.world.tunnels[0].peers.iter().find(|p| p.carries).unwrap().key;
    let first = carrier(&sim);
    sim.reachable = if first == key(ONE) {
        [false, true]
    } else {
        [true, false]
    };
    // Also when the apiserver is away: it has named both.
    sim.api = false;
    assert!(sim.run(CONNECTED, 20));
    assert_ne!(carrier(&sim), first);
    assert_eq!(sim.world.tunnels[0].peers.len(), 1);
    sim.settles();
}

#[test]
fn with_nobody_to_turn_to_the_gateway_stays_and_another_is_met_when_it_is_there() {
    let mut sim = Sim::new();
    sim.settles();
    sim.reachable = [false, false];
    assert!(sim.run(CONNECTED, 20));
    assert!(sim.world.tunnels[0].peers.iter().any(|peer| peer.carries));
    sim.settles();
}

#[test]
fn a_drained_gateway_is_left_though_it_answers() {
    let mut sim = Sim::new();
    sim.settles();
    let first = sim.world.tunnels[0].peers[0].key;
    sim.world.gateways.retain(|gateway| gateway.key != first);
    assert!(sim.run(CONNECTED, 20));
    assert_ne!(sim.world.tunnels[0].peers[0].key, first);
}

#[test]
fn a_gateway_that_answers_and_says_it_is_not_ready_is_kept() {
    let mut sim = Sim::new();
    sim.settles();
    let first = sim.world.tunnels[0].peers[0].key;
    for gateway in &mut sim.world.gateways {
        gateway.ready = gateway.key != first;
    }
    assert!(sim.run(CONNECTED, 20));
    assert_eq!(sim.world.tunnels[0].peers[0].key, first);
}

#[test]
fn the_end_leaves_nothing() {
    let mut sim = Sim::new();
    sim.settles();
    sim.run(ROTATE, 20);
    assert!(sim.run(Wish::Gone, 5));
    assert_eq!(sim.stored, Key::Absent);
    assert!(sim.world.tunnels.is_empty() && sim.world.resolves.is_none());
    assert!(!sim.world.closed && !sim.world.leads_partly);
}

#[test]
fn without_a_kill_switch_one_that_was_left_is_opened() {
    let mut world = Sim::new().world;
    world.closed = true;
    let wish = Wish::Connected {
        rotate: false,
        closed: false,
    };
    assert!(plan(&world, wish).steps.contains(&Step::Open));
}

#[test]
fn a_key_whose_time_is_over_is_replaced() {
    let mut sim = Sim::new();
    sim.settles();
    sim.look();
    sim.world.key = Key::Spent;
    assert_eq!(plan(&sim.world, CONNECTED).steps, [Step::Make { slot: 1 }]);
    assert!(plan(&sim.world, Wish::Gone).steps.contains(&Step::Revoke));
}

/// What happens to somebody who is connected.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// So many rounds with this wish, then killed: what is kept in memory is gone.
    Killed(bool, usize),
    /// So many steps of one plan, then killed.
    KilledWithin(bool, usize),
    Overlap,
    Api(bool),
    Reachable(bool, bool),
    Answer,
    /// The program that moves a tunnel's packets has ended.
    Lost(u8),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (any::<bool>(), 0_usize..12).prop_map(|(rotate, rounds)| Event::Killed(rotate, rounds)),
        (any::<bool>(), 0_usize..4).prop_map(|(rotate, steps)| Event::KilledWithin(rotate, steps)),
        Just(Event::Overlap),
        any::<bool>().prop_map(Event::Api),
        (any::<bool>(), any::<bool>()).prop_map(|(one, two)| Event::Reachable(one, two)),
        Just(Event::Answer),
        (0_u8..4).prop_map(Event::Lost),
    ]
}

fn happen(sim: &mut Sim, event: Event) {
    let wish = |rotate| Wish::Connected { rotate, closed: true };
    match event {
        Event::Killed(rotate, rounds) => {
            sim.run(wish(rotate), rounds);
        }
        Event::KilledWithin(rotate, count) => {
            sim.look();
            for step in plan(&sim.world, wish(rotate)).steps.iter().take(count) {
                sim.execute(step);
            }
        }
        Event::Overlap => sim.wait(),
        Event::Api(there) => sim.api = there,
        Event::Reachable(one, two) => sim.reachable = [one, two],
        Event::Answer => sim.answer(),
        Event::Lost(slot) => {
            sim.world.tunnels.retain(|tunnel| tunnel.slot != slot);
            if sim.world.leader == Some(slot) {
                sim.world.leader = None;
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_there_is_one_tunnel_in_the_end(events in proptest::collection::vec(any_event(), 0..24)) {
        let mut sim = Sim::new();
        for event in events {
            happen(&mut sim, event);
        }
        sim.settles();
        // The second plan is empty.
        sim.look();
        let again = plan(&sim.world, CONNECTED);
        prop_assert_eq!(again.steps, vec![]);
    }

    #[test]
    fn whatever_happens_the_end_leaves_nothing(events in proptest::collection::vec(any_event(), 0..24)) {
        let mut sim = Sim::new();
        for event in events {
            happen(&mut sim, event);
        }
        sim.api = true;
        prop_assert!(sim.run(Wish::Gone, 5));
        prop_assert_eq!(&sim.stored, &Key::Absent);
        prop_assert!(sim.world.tunnels.is_empty() && !sim.world.closed && !sim.world.leads_partly);
    }
}
