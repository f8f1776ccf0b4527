//! The contract with a kernel, held by Linux, and by wireguard-go where Linux has no WireGuard.
//!
//! Needs a kernel with WireGuard, root, a private network namespace, and the programs `ip`, `wg`, `nft` and `conntrack`,
//! which do what others than the agent do. Every test deletes the links it has named.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use culvert_node_agent::kernel::{Kernel, Netlink};
use culvert_wireguard::{Error, PrivateKey, Progress, PublicKey};
use tokio::runtime::{Builder, Runtime};

#[macro_use]
#[path = "contract/facts.rs"]
mod facts;

#[path = "contract/both.rs"]
mod both;
#[path = "contract/flows.rs"]
mod flows;
#[path = "../../wireguard/tests/kernel/memory.rs"]
mod memory;
#[path = "contract/opinions.rs"]
mod opinions;
#[path = "contract/wireguard_go.rs"]
mod userspace;

use facts::{Bed, Hand};

#[derive(Default)]
struct Linux {
    /// Names that were given out.
    names: RefCell<Vec<String>>,
}

impl Bed for Linux {
    type Kernel = Netlink;

    fn open(&self) -> Netlink {
        Netlink::open().unwrap()
    }

    fn name(&self) -> String {
        let name = name();
        self.names.borrow_mut().push(name.clone());
        name
    }

    fn make(&self, name: &str, kind: &str) {
        run("ip", &["link", "add", name, "type", kind]);
    }

    fn rename(&self, from: &str, to: &str) {
        run("ip", &["link", "set", from, "name", to]);
    }

    fn carry(&self, name: &str) {
        carry(name);
    }

    fn is_elsewhere(&self, name: &str) -> bool {
        is_elsewhere(name)
    }

    fn set_down(&self, name: &str) {
        run("ip", &["link", "set", name, "down"]);
    }

    fn set_peer(&self, name: &str, key: &PublicKey, hand: Hand) {
        let key = key.to_base64();
        let set = |what, value: &str| run("wg", &["set", name, "peer", &key, what, value]);
        match hand {
            Hand::Endpoint(address) => set("endpoint", &address.to_string()),
            Hand::Keepalive(seconds) => set("persistent-keepalive", &seconds.to_string()),
            Hand::PresharedKey => {
                let folder = tempfile::tempdir().unwrap();
                let file = folder.path().join("key");
                fs::write(&file, PrivateKey::generate().unwrap().to_base64().as_bytes()).unwrap();
                set("preshared-key", file.to_str().unwrap());
            }
        }
    }
}

impl Drop for Linux {
    fn drop(&mut self) {
        clear(self, &self.names.borrow());
    }
}

/// Deletes every link that a test has named.
fn clear(bed: &impl Bed, names: &[String]) {
    // Ours go with their peers first, which would take 18 ms each otherwise.
    let deleted = runtime().block_on(async {
        let mut kernel = bed.open();
        for managed in kernel.managed().await? {
            if names.contains(&managed.link.name) {
                kernel.delete(&managed).await?;
            }
        }
        Ok::<_, Error>(())
    });
    for name in names {
        // Most are gone by now, or were never made.
        let _ = Command::new("ip").args(["link", "delete", name]).output();
    }
    if !thread::panicking() {
        deleted.unwrap();
    }
}

/// The name of the other network namespace.
const ELSEWHERE: &str = "elsewhere";

fn carry(name: &str) {
    if !Path::new("/run/netns").join(ELSEWHERE).exists() {
        run("ip", &["netns", "add", ELSEWHERE]);
    }
    run("ip", &["link", "set", name, "netns", ELSEWHERE]);
}

fn is_elsewhere(name: &str) -> bool {
    let shown = Command::new("ip")
        .args(["-n", ELSEWHERE, "link", "show", name])
        .output();
    shown.unwrap().status.success()
}

/// A name that no test has had.
fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("cvc{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
}

fn runtime() -> Runtime {
    // Blocking sections are for runtimes that can go on with another thread.
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

fn hold(fact: impl AsyncFnOnce(&Linux)) {
    runtime().block_on(fact(&Linux::default()));
}

every_fact!(hold, streamed);

/// An interface that goes with its peers takes 18 ms for each. One that somebody looks at meanwhile tells: it is not gone
/// before the look is over, and the look shows whom it holds still.
#[test]
fn peers_go_before_their_interface() {
    hold(async |bed| {
        const MANY: u32 = 1_000;
        let (mut kernel, interface) = facts::created(bed).await;
        let many: Vec<_> = (0..MANY).map(facts::set).collect();
        kernel.change(&interface, &many).unwrap();
        let mut onlooker = bed.open();
        onlooker.begin(&interface).unwrap();
        assert_eq!(onlooker.next(&interface, &mut |_| {}).unwrap(), Progress::More);
        // Whoever deletes it waits, and its whole thread does.
        let deleted = interface.clone();
        let deleting = thread::spawn(move || runtime().block_on(kernel.delete(&deleted)));
        let name = &interface.link.name;
        let is_there = || {
            let shown = Command::new("ip").args(["link", "show", name]).output();
            shown.unwrap().status.success()
        };
        while is_there() {}
        let mut left = 0;
        while onlooker
            .next(&interface, &mut |part| left += u32::from(part.begins))
            .unwrap()
            == Progress::More
        {}
        deleting.join().unwrap().unwrap();
        // One datagram was written before they went.
        assert!(left < MANY / 2, "{left} went with their interface");
    });
}
