//! What happens on a node: each course begins when all is well, and has steps after each of which it is to be so again.

use culvert_crds::gateway::KeyStorage;
use culvert_crds::gateway_node::Backend;
use culvert_node_agent::plan::link::Shape;
use culvert_wireguard::{DeviceChange, PeerChange, PrivateKey};

use super::node::{NAME, Node, WINDOW, key, stranger};

/// A course.
pub struct Course {
    pub name: &'static str,
    /// What comes before, undisturbed.
    pub prepare: fn(&mut Node),
    pub steps: &'static [fn(&mut Node)],
    /// Whether what happens ends sessions.
    pub cuts: bool,
}

/// Every course.
pub const COURSES: [Course; 14] = [
    Course {
        name: "start",
        // The node has an agent without a gateway.
        prepare: |node| node.leaving = true,
        steps: &[|node| {
            node.leaving = false;
            (1..=3).for_each(|number| node.claim(number));
            node.list();
        }],
        cuts: false,
    },
    Course {
        name: "sync of 20 peers",
        prepare: |node| serve(node, 5),
        steps: &[|node| {
            (6..=25).for_each(|number| node.claim(number));
            (1..=2).for_each(|number| node.release(number));
        }],
        cuts: false,
    },
    Course {
        name: "single add",
        prepare: |node| serve(node, 20),
        steps: &[|node| node.claim(21)],
        cuts: false,
    },
    Course {
        name: "restart",
        prepare: |node| serve(node, 20),
        steps: &[
            |node| {
                node.restart();
                node.kernel.set(NAME, &DeviceChange::of_peers([stranger()]));
            },
            Node::list_the_rest,
        ],
        cuts: false,
    },
    Course {
        name: "purge",
        prepare: |node| {
            serve(node, 20);
            node.speaking = vec![3, 4];
        },
        steps: &ONE_FALLS_SILENT,
        cuts: false,
    },
    Course {
        name: "drift of peers",
        prepare: |node| serve(node, 20),
        steps: &[|node| {
            let changes = DeviceChange::of_peers([stranger(), PeerChange::Remove(key(1))]);
            node.kernel.set(NAME, &changes);
            let kernel = &node.kernel;
            kernel.set_peer(NAME, &key(2), |peer| peer.persistent_keepalive = 25);
            kernel.set_peer(NAME, &key(5), |peer| peer.has_preshared_key = true);
        }],
        cuts: false,
    },
    Course {
        name: "drift of the interface",
        prepare: |node| serve(node, 20),
        steps: &[|node| {
            let change = DeviceChange {
                private_key: Some(PrivateKey::from_bytes(&[9; 32])),
                listen_port: Some(1_194),
                fwmark: Some(0x20),
                ..DeviceChange::default()
            };
            node.kernel.set(NAME, &change);
            node.kernel.set_down(NAME);
            node.kernel.shape_by_hand(NAME, Shape::Mtu(1_500));
            let address = |text: &str| text.parse().unwrap();
            node.kernel
                .shape_by_hand(NAME, Shape::Remove(address("10.64.0.1/24")));
            node.kernel
                .shape_by_hand(NAME, Shape::Add(address("192.0.2.1/24")));
            node.kernel.set_alias(NAME, "culvert.dev/uid/86400");
        }],
        cuts: true,
    },
    Course {
        name: "renamed interface",
        prepare: |node| serve(node, 20),
        steps: &[|node| node.kernel.rename_by_hand(NAME, "other")],
        cuts: false,
    },
    Course {
        name: "deleted interface",
        prepare: |node| serve(node, 20),
        steps: &[|node| node.kernel.unmake(NAME)],
        cuts: true,
    },
    Course {
        name: "purge of everybody",
        prepare: |node| {
            serve(node, 20);
            node.speaking = vec![3, 4];
        },
        steps: &[
            |node| {
                node.speaking = vec![4];
                node.ask_to_purge();
            },
            // Whoever comes back after it is let alone.
            |node| node.speaking = vec![3, 4],
        ],
        cuts: false,
    },
    Course {
        name: "another gateway spec",
        prepare: |node| serve(node, 20),
        steps: &[
            |node| {
                let asked = &mut node.assignment;
                (asked.listen_port, asked.mtu, asked.generation) = (1_194, 1_420, 2);
                asked.key_storage = KeyStorage::Node;
                let other = vec!["10.65.0.0/24".parse().unwrap()];
                asked.ranges.insert("other".into(), other);
                node.addresses = vec!["10.64.0.1/24", "10.65.0.1/24", "fd64::1/64"];
                node.claim(21);
            },
            |node| {
                node.assignment.ranges.remove("other");
                node.assignment.key_storage = KeyStorage::Memory;
                node.addresses = vec!["10.64.0.1/24", "fd64::1/64"];
            },
        ],
        cuts: false,
    },
    Course {
        name: "another back end",
        prepare: |node| serve(node, 5),
        steps: &[
            |node| {
                node.kernel.set_backend(Backend::Userspace);
                (6..=10).for_each(|number| node.claim(number));
                node.release(1);
            },
            |node| {
                node.restart();
                node.kernel.set_backend(Backend::Kernel);
            },
            Node::list_the_rest,
        ],
        cuts: false,
    },
    Course {
        name: "clients of a program",
        prepare: |node| {
            node.kernel.set_backend(Backend::Userspace);
            serve(node, 5);
            node.speaking = vec![3, 4];
        },
        steps: &ONE_FALLS_SILENT,
        cuts: false,
    },
    Course {
        name: "drain",
        prepare: |node| serve(node, 20),
        steps: &[|node| {
            node.leaving = true;
            node.speaking.clear();
        }],
        cuts: true,
    },
];

/// Of the clients 3 and 4.
const ONE_FALLS_SILENT: [fn(&mut Node); 3] = [
    // Ages are beyond doubt by now.
    |node| node.wait(WINDOW),
    |node| node.speaking = vec![4],
    |node| node.wait(WINDOW - 10),
];

/// So many peers are asked for, and the client of one of them is there.
fn serve(node: &mut Node, count: u8) {
    (1..=count).for_each(|number| node.claim(number));
    node.list();
    node.speaking = vec![4];
}
