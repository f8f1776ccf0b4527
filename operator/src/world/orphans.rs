//! Proof that keys are gone.
//!
//! The claims' watch can run ahead of the keys': a claim whose key has not been seen proves nothing. What proves it is a
//! live read. For many claims of one namespace one list does, as long as it was asked for after the claims were seen:
//! their keys existed before them, and a uid never comes back.

use std::collections::HashSet;
use std::time::Duration;

use super::{ClaimView, Target, Uid, World};

/// So long after a list was asked for do those of its namespace that it proves nothing of look again.
pub const LISTED: Duration = Duration::from_secs(5);

/// For so long a list is worth keeping.
const KEPT: Duration = Duration::from_secs(60);

/// A live list of a namespace's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The namespace.
    pub namespace: String,
    /// When it was asked for.
    pub asked: Duration,
    /// The keys that it named.
    pub present: HashSet<Uid>,
}

impl World {
    /// Whether the claim's key is proven gone.
    pub fn is_proven_orphan(&self, claim: &ClaimView<'_>) -> bool {
        self.proofs
            .get(claim.key_namespace)
            .is_some_and(|proof| claim.since < proof.asked && !proof.present.contains(&claim.key))
    }

    /// Whether a namespace is being listed for a proof.
    pub fn is_proving(&self, namespace: &str) -> bool {
        self.proving.contains(namespace)
    }

    /// A namespace is being listed, or no more.
    pub fn prove(&mut self, namespace: &str, under_way: bool) {
        if under_way {
            self.proving.insert(namespace.to_owned());
        } else {
            self.proving.remove(namespace);
        }
    }

    /// Forgets the lists that nobody looks for any more.
    pub fn forget_proofs(&mut self, now: Duration) {
        self.proofs.retain(|_, old| now.saturating_sub(old.asked) < KEPT);
    }

    pub(super) fn apply_proof(&mut self, proof: Proof, now: Duration) {
        let namespace = proof.namespace.clone();
        self.proofs.insert(namespace.clone(), proof);
        let orphans: Vec<(Uid, bool)> = self
            .claims()
            .filter(|claim| {
                !claim.released && claim.key_namespace == namespace && self.key_of(claim).is_none()
            })
            .map(|claim| (claim.uid, self.is_proven_orphan(&claim)))
            .collect();
        for (uid, proven) in orphans {
            if proven {
                self.touch(Target::Claim(uid));
            } else {
                // Its key is there, and the watch is about to bring it: another list at once would say the same.
                self.touch_at(now + LISTED, Target::Claim(uid));
            }
        }
    }
}
