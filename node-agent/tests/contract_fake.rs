//! The contract with a kernel, held by the one in memory.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::cell::Cell;

use culvert_node_agent::kernel::fake::Fake;
use culvert_wireguard::{Endpoint, PublicKey};
use tokio::runtime::Builder;

#[macro_use]
#[path = "contract/facts.rs"]
mod facts;

use facts::{Bed, Hand};

#[derive(Default)]
struct InMemory {
    kernel: Fake,
    names: Cell<u32>,
}

impl Bed for InMemory {
    type Kernel = Fake;

    fn open(&self) -> Fake {
        self.kernel.clone()
    }

    fn name(&self) -> String {
        self.names.set(self.names.get() + 1);
        format!("cvc{}", self.names.get())
    }

    fn make(&self, name: &str, kind: &str) {
        self.kernel.make(name, kind, None);
    }

    fn rename(&self, from: &str, to: &str) {
        self.kernel.rename_by_hand(from, to);
    }

    fn carry(&self, name: &str) {
        self.kernel.carry(name);
    }

    fn is_elsewhere(&self, name: &str) -> bool {
        self.kernel.elsewhere().iter().any(|link| link.name == name)
    }

    fn set_down(&self, name: &str) {
        self.kernel.set_down(name);
    }

    fn set_peer(&self, name: &str, key: &PublicKey, hand: Hand) {
        self.kernel.set_peer(name, key, |peer| match hand {
            Hand::Endpoint(address) => peer.endpoint = Some(Endpoint::new(address)),
            Hand::Keepalive(seconds) => peer.persistent_keepalive = seconds,
            Hand::PresharedKey => peer.has_preshared_key = true,
        });
    }
}

fn hold(fact: impl AsyncFnOnce(&InMemory)) {
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(fact(&InMemory::default()));
}

every_fact!(hold, streamed);
