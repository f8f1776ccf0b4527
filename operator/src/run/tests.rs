//! What the loop makes of the ends of steps. Nobody is asked anything.

use super::*;
use crate::plan::tests::{gateway, key, node, pool, public_key, uid};
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
    /// The steps that are due. None is started.
    fn due(&mut self) -> Vec<(Target, Step)> {
        let mut steps = Vec::new();
        while self.world.has_due() {
            steps.extend(self.planned());
        }
        steps
    }

    /// Of the steps that are due those that make a gateway node, by its name.
    fn enlists(&mut self) -> Vec<String> {
        let names = self.due().into_iter().filter_map(|(_, step)| match step {
            Step::CreateGatewayNode(new) => Some(new.name),
            _ => None,
        });
        names.collect()
    }

    /// A request for a gateway node has ended.
    fn enlisted(&mut self, name: &str, outcome: Outcome) {
        self.learn(Ok(Done {
            target: Target::Fleet,
            kind: StepKind::CreateGatewayNode,
            object: Some((StepKind::CreateGatewayNode, name.to_owned())),
            listed: None,
            claim: None,
            outcome,
        }));
    }

    /// The claim that is asked for on behalf of this key: the request is under way from now on.
    fn creates(&mut self, name: &str) -> Option<NewClaim> {
        let claim = self.due().into_iter().find_map(|(_, step)| match step {
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
            object: None,
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

#[tokio::test]
async fn a_write_to_a_gateway_node_that_fails_waits_alone() {
    let mut operator = operator();
    operator.take_in(Change::Gateway(Box::new(gateway())));
    for name in ["a", "b"] {
        operator.take_in(Change::Node(Box::new(node(name))));
    }
    let mut wanted = operator.enlists();
    wanted.sort();
    assert_eq!(wanted, ["gw.a", "gw.b"]);
    for _ in 0..2 {
        operator.world.begin(&Target::Fleet);
    }
    // Neither what else succeeds nor what else happens has it tried again before its time.
    operator.enlisted("gw.a", Err(Failure::Refused(403)));
    operator.enlisted("gw.b", Ok(Vec::new()));
    assert_eq!(operator.enlists(), ["gw.b"], "the watch has yet to show it");
    operator.take_in(Change::Node(Box::new(node("c"))));
    let mut wanted = operator.enlists();
    wanted.sort();
    assert_eq!(wanted, ["gw.b", "gw.c"]);
    let (_, tries) = operator.attempts.iter().next().unwrap();
    assert!(tries.count == 1 && operator.world.next_timer() <= Some(tries.next));
}

#[tokio::test]
async fn an_apiserver_that_asks_to_be_left_alone_is_left_alone() {
    let mut operator = operator();
    operator.take_in(Change::Key(Box::new(key("laptop", 1))));
    let claim = operator.creates("laptop").unwrap();
    let before = operator.clock.now().mono;
    operator.created(claim, Err(Failure::Unavailable(429, Duration::from_secs(60))));
    let tries = operator.attempts.values().next().unwrap();
    assert!(tries.next >= before + Duration::from_secs(60));
}
