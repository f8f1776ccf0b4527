//! The gateways of a node take turns, a step each, so that none keeps another waiting.

use std::collections::HashMap;

use crate::gateway::{Gateway, Ground, PassError, Step};
use crate::kernel::Kernel;

/// Uid of a gateway.
pub type Uid = String;

/// One step of each gateway.
#[derive(Debug)]
pub struct Turn {
    /// What is left to do.
    pub next: Step,
    /// What came of those steps of which there is something to tell.
    pub told: Vec<Told>,
}

/// What came of one gateway's step.
#[derive(Debug)]
pub struct Told {
    /// Whose.
    pub uid: Uid,
    /// A failure, or how the round went that has just come to rest.
    pub outcome: Option<Result<(), PassError>>,
    /// The interface was lost and is to be looked for at once.
    pub needs_tick: bool,
    /// There is something new to report.
    pub is_news: bool,
}

/// Has each gateway do one step.
pub async fn take<K: Kernel>(gateways: &mut HashMap<Uid, Gateway>, on: &mut Ground<'_, K>) -> Turn {
    let mut turn = Turn {
        next: Step::Idle,
        told: Vec::new(),
    };
    for (uid, gateway) in gateways {
        let outcome = match gateway.step(on).await {
            Ok(step) => {
                turn.next = turn.next.sooner(step);
                (step != Step::More).then(|| gateway.settled()).flatten()
            }
            Err(error) => {
                turn.next = Step::More;
                Some(Err(error))
            }
        };
        let (needs_tick, is_news) = (gateway.needs_tick(), gateway.take_news());
        if outcome.is_some() || needs_tick || is_news {
            turn.told.push(Told {
                uid: uid.clone(),
                outcome,
                needs_tick,
                is_news,
            });
        }
    }
    turn
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use culvert_crds::gateway::KeyStorage;
    use culvert_wireguard::{PublicKey, WallTime};

    use super::*;
    use crate::assignment::Assignment;
    use crate::clock::Clocks;
    use crate::desired::Shared;
    use crate::desired::parse::{self, Peer};
    use crate::egress::Egress;
    use crate::interface::Mark;
    use crate::kernel::fake::Fake;
    use crate::keystore::Keystore;
    use crate::metrics::Metrics;

    const GATEWAYS: u8 = 3;
    const PEERS: u8 = 20;

    /// The peer number `n` of the pool of gateway number `of`.
    fn peer(of: u8, n: u8) -> Peer {
        let number = u32::from(of) << 8 | u32::from(n);
        Peer {
            version: number.into(),
            created: number.into(),
            key_uid: parse::Uid::from_u128(1 << 64 | u128::from(number)),
            public_key: key(of, n),
            addresses: vec![[10, of, 0, n + 1].into()],
            pool: format!("pool-{of}").as_str().into(),
            released: false,
        }
    }

    fn key(of: u8, n: u8) -> PublicKey {
        let mut bytes = [9; 32];
        bytes[..2].copy_from_slice(&[of, n]);
        PublicKey::from_bytes(bytes)
    }

    fn assignment(of: u8) -> Assignment {
        Assignment {
            name: format!("gateway-{of}.a"),
            generation: 1,
            mark: Mark {
                gateway: format!("uid-{of}"),
                window: Duration::from_secs(180),
            },
            interface: format!("cv{of}"),
            listen_port: 51_820 + u16::from(of),
            mtu: 1_380,
            key_storage: KeyStorage::Memory,
            ranges: HashMap::from([(
                format!("pool-{of}"),
                vec![format!("10.{of}.0.0/24").parse().unwrap()],
            )]),
            absent: Vec::new(),
            excluded: Vec::new(),
            egress: Egress::default(),
            endpoint_host: None,
            purge_generation: 0,
            purged_generation: 0,
            nodes: 1,
        }
    }

    fn clocks() -> Clocks {
        let boot = Duration::from_secs(10_000);
        Clocks {
            boot,
            mono: boot,
            wall: WallTime {
                seconds: 10_000,
                nanoseconds: 0,
            },
        }
    }

    #[tokio::test]
    async fn gateways_of_one_node_see_their_own_peers_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (keystore, metrics) = (Keystore::new(folder.path().join("keys")), Metrics::new(""));
        let mut kernel = Fake::default();
        // A look takes many steps, and all gateways want one at the same time.
        kernel.set_room(3);
        let desired = Shared::default();
        desired.lock().list_begins(1_000);
        for of in 0..GATEWAYS {
            for n in 1..=PEERS {
                let peer = peer(of, n);
                desired
                    .lock()
                    .apply(parse::Uid::from_u128(peer.version.into()), Some(peer));
            }
        }
        desired.lock().finish_list(1_000);
        let assignments: Vec<Assignment> = (0..GATEWAYS).map(assignment).collect();
        let mut gateways: HashMap<Uid, Gateway> = assignments
            .iter()
            .map(|asked| (asked.mark.gateway.clone(), Gateway::new(asked.mark.clone())))
            .collect();
        let mut on = Ground {
            kernel: &mut kernel,
            keystore: &keystore,
            desired: &desired,
            metrics: &metrics,
            clock: &clocks,
        };
        for is_first in [true, false] {
            let news = desired.lock().news();
            let before = on.kernel.made();
            for asked in &assignments {
                let gateway = gateways.get_mut(&asked.mark.gateway).unwrap();
                if is_first {
                    gateway.news(&news);
                }
                gateway.tick(&mut on, asked, true).await.unwrap();
            }
            loop {
                let turn = take(&mut gateways, &mut on).await;
                for told in turn.told {
                    assert!(!matches!(told.outcome, Some(Err(_))), "{told:?}");
                }
                match turn.next {
                    Step::More => {}
                    // Proof by a look is put off for a moment; the next tick brings it.
                    Step::Later(_) | Step::Idle => break,
                }
            }
            let changes = on.kernel.calls_from(before);
            let changes = changes
                .iter()
                .filter(|call| matches!(call, crate::kernel::fake::Call::Change(_)));
            assert_eq!(changes.count() > 0, is_first);
        }
        let mut keys = Vec::new();
        for of in 0..GATEWAYS {
            let device = on.kernel.device(&format!("cv{of}"));
            let mut found: Vec<PublicKey> = device.peers.iter().map(|peer| peer.public_key).collect();
            let mut wanted: Vec<PublicKey> = (1..=PEERS).map(|n| key(of, n)).collect();
            found.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(found, wanted, "gateway {of}");
            let state = gateways[&format!("uid-{of}")].state();
            assert_eq!(
                (state.public_key, state.applied),
                (device.settings.public_key, Some(1_000))
            );
            keys.push(device.settings.public_key.unwrap());
        }
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), usize::from(GATEWAYS), "two have one key");
    }
}
