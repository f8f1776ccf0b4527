//! Everything is taken back.

use super::{DOWN, ROUNDS, Session, TICK};
use crate::clock::pause;
use crate::connect::error::ConnectError;
use crate::connect::follow::KeySeen;
use crate::connect::plan::{Step, plan};
use crate::connect::world::{Key, Wish};

impl Session {
    /// Waits for the apiserver's word on the key, for a while.
    pub(super) async fn know_the_key(&mut self) {
        let known = self.followed.key.wait_for(|key| !matches!(key, KeySeen::Unknown));
        let known = tokio::time::timeout(DOWN, known).await;
        drop(known);
        self.take_in().await;
    }

    /// Takes everything back, the kill switch only if it is to, and goes on where something fails.
    pub(super) async fn taken_back(&mut self, opens: bool) -> Result<(), ConnectError> {
        let mut left = Vec::new();
        for round in 0..ROUNDS {
            if round > 0 && !left.is_empty() {
                pause(TICK).await;
            }
            let world = match self.world().await {
                Ok(mut world) => {
                    if self.is_unclear && world.key == Key::Absent {
                        world.key = Key::Unknown;
                    }
                    world
                }
                Err(error) => {
                    left = vec![error];
                    continue;
                }
            };
            let mut steps = plan(&world, Wish::Gone).steps;
            steps.retain(|step| opens || *step != Step::Open);
            left = Vec::new();
            if steps.is_empty() {
                break;
            }
            for step in &steps {
                if let Err(error) = self.step(step, &world).await {
                    left.push(error);
                }
            }
        }
        let Some(first) = left.into_iter().next() else {
            return Ok(());
        };
        match first {
            ConnectError::Occupied(_) => Err(first),
            ConnectError::Request(_) | ConnectError::NotRevoked(_) => {
                Err(ConnectError::NotRevoked(self.options.name.clone()))
            }
            other => Err(ConnectError::Left(other.to_string())),
        }
    }
}
