//! What the loop makes of the ends of steps. Nobody is asked anything.

use super::*;
use crate::plan::tests::{key, pool, public_key, uid};
use crate::world::Key;

/// One whose world is whole and holds a pool. Its client leads nowhere.
fn operator() -> Operator {
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let client = Client::try_from(config).unwrap();
    let mut operator = Operator::new(client, Clock::start(), 8, Arc::new(Metrics::new("test")));
    for kind in Kind::ALL {
        operator.take_in(Change::ListBegins(kind, 1));
        operator.take_in(Change::ListComplete(kind));
    }
    operator.take_in(Change::Pool(Box::new(pool("10.64.0.0/24"))));
    operator
}

impl Operator {
    /// Plans what is due, as [`Operator::plan`] does, and gives the steps instead of starting them.
    fn planned(&mut self) -> Vec<(Target, Step)> {
        let mut steps = Vec::new();
        while self.world.has_due() {
            let targets = self.world.take_due(usize::MAX);
            let now = self.clock.now();
            let plan = plan(&self.world, &targets, &self.promised, now, &mut self.chance);
            steps.extend(plan.steps);
        }
        steps
    }

    /// The claim that is asked for on behalf of this key: the request is under way from now on.
    fn creates(&mut self, name: &str) -> Option<NewClaim> {
        let claim = self.planned().into_iter().find_map(|(_, step)| match step {
            Step::CreateClaim(claim) if claim.key == uid(name) => Some(claim),
            _ => None,
        })?;
        self.promised.add(&claim);
        self.world.begin(&Target::Key(claim.key));
        Some(claim)
    }

    /// A request for a claim has ended.
    fn created(&mut self, claim: NewClaim, outcome: Outcome) {
        self.learn(Ok(Done {
            target: Target::Key(claim.key),
            kind: StepKind::CreateClaim,
            listed: None,
            claim: Some(claim),
            outcome,
        }));
    }
}

#[tokio::test]
async fn a_key_that_waits_for_the_end_of_anothers_claim_is_planned_though_the_other_is_gone() {
    let mut operator = operator();
    operator.take_in(Change::Key(Box::new(key("old", 1))));
    let claim = operator.creates("old").unwrap();
    // `kubectl replace --force`.
    operator.take_in(Change::Gone(Kind::Key, uid("old")));
    operator.take_in(Change::Key(Box::new(Key {
        public_key: Some(public_key(1)),
        ..key("new", 2)
    })));
    assert_eq!(operator.creates("new"), None);
    operator.created(claim, Err(Failure::Conflict));
    assert!(operator.creates("new").is_some());
}
