//! Users that come, rotate and go, at random, in a pool that they fill to 99 %.

use anyhow::Result;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::load::{Load, fresh_key};

/// One thing a user does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// A key comes.
    Create(String, String),
    /// A key changes its public key.
    Rotate(String, String),
    /// A key goes.
    Delete(String),
}

#[derive(Debug)]
struct Live {
    name: String,
    public_key: String,
    /// Once rotated it holds two addresses: no gateway says that the second is programmed.
    rotated: bool,
}

/// Decides what is done next.
#[derive(Debug)]
pub struct Churn {
    dice: SmallRng,
    next: u32,
    live: Vec<Live>,
    most: usize,
    alike: bool,
}

/// One of so many keys has the public key of another.
const DUPLICATES: u32 = 20;

impl Churn {
    /// Users who hold up to `most` addresses together; their keys are numbered from `first`.
    pub fn new(seed: u64, first: u32, most: usize) -> Self {
        Self {
            dice: SmallRng::seed_from_u64(seed),
            next: first,
            live: Vec::new(),
            most,
            alike: true,
        }
    }

    /// No two of their keys ever have the same public key.
    pub fn all_different(mut self) -> Self {
        self.alike = false;
        self
    }

    /// How many addresses they hold at most.
    pub fn demand(&self) -> usize {
        self.live
            .iter()
            .map(|live| if live.rotated { 2 } else { 1 })
            .sum()
    }

    /// A random number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.dice.random_range(0..n)
    }

    /// The next deed: somebody comes or rotates while there is room, and goes when there is none.
    pub fn deed(&mut self) -> Deed {
        if self.demand() >= self.most {
            let at = self.below(self.live.len());
            return Deed::Delete(self.live.swap_remove(at).name);
        }
        self.next += 1;
        let public_key = fresh_key(self.next);
        if !self.live.is_empty() && self.dice.random_bool(0.5) {
            let at = self.below(self.live.len());
            let live = &mut self.live[at];
            live.rotated = true;
            live.public_key.clone_from(&public_key);
            return Deed::Rotate(live.name.clone(), public_key);
        }
        let alike = self.alike && !self.live.is_empty() && self.dice.random_ratio(1, DUPLICATES);
        let public_key = if alike {
            let at = self.below(self.live.len());
            self.live[at].public_key.clone()
        } else {
            public_key
        };
        let name = format!("churn-{}", self.next);
        self.live.push(Live {
            name: name.clone(),
            public_key: public_key.clone(),
            rotated: false,
        });
        Deed::Create(name, public_key)
    }

    /// Does `changes` creations and rotations, and as many deletions as they need; gives the number of these.
    pub async fn run(&mut self, load: &Load, changes: usize) -> Result<usize> {
        let (mut done, mut deletions) = (0, 0);
        while done < changes {
            match self.deed() {
                Deed::Create(name, public_key) => load.create(&name, &public_key).await?,
                Deed::Rotate(name, public_key) => load.rotate(&name, &public_key).await?,
                Deed::Delete(name) => {
                    load.delete(&name).await?;
                    deletions += 1;
                    continue;
                }
            }
            done += 1;
        }
        Ok(deletions)
    }
}

#[test]
fn churn_never_holds_more_than_it_may() {
    let mut churn = Churn::new(1, 0, 40);
    let mut deeds = [0; 3];
    for _ in 0..1000 {
        let at = match churn.deed() {
            Deed::Create(..) => 0,
            Deed::Rotate(..) => 1,
            Deed::Delete(_) => 2,
        };
        deeds[at] += 1;
        assert!(churn.demand() <= 40);
    }
    assert!(deeds.iter().all(|count| *count > 100), "{deeds:?}");
}
