//! A model: one client that may be killed at every step, against a cluster that takes what it is told.

use super::*;
use proptest::prelude::*;

/// What survives a kill, and what the cluster holds.
#[derive(Clone, Debug)]
struct Model {
    current: u8,
    next: Option<u8>,
    asked: u8,
    everywhere: bool,
    drawn: u8,
    /// Peers that gateways hold: the old one until the overlap is over, which begins when the new one is everywhere.
    peers: Vec<u8>,
}

fn key(n: u8) -> PublicKey {
    PublicKey::from_bytes([n; 32])
}

fn served() -> Served {
    Served {
        addresses: vec!["10.64.0.9".parse().unwrap()],
        expires: None,
    }
}

fn waiting() -> KeyState {
    KeyState::Waiting {
        reason: "Pending".to_owned(),
        message: String::new(),
        addresses: Vec::new(),
    }
}

impl Model {
    fn new() -> Self {
        Self {
            current: 0,
            next: None,
            asked: 0,
            everywhere: true,
            drawn: 0,
            peers: vec![0],
        }
    }

    fn view(&self) -> View {
        let state = if self.everywhere {
            KeyState::Served(served())
        } else {
            waiting()
        };
        View {
            current: key(self.current),
            next: self.next.map(key),
            object: Object::Asks(key(self.asked), state),
        }
    }

    /// Does the step; where the process is killed in it, what it has written stays.
    fn step(&mut self, next: &Next) {
        match next {
            Next::Draw => {
                assert_eq!(self.next, None, "a pair that is kept was drawn over");
                self.drawn += 1;
                self.next = Some(self.drawn);
            }
            Next::Tell(public) => {
                assert_eq!(
                    self.next.map(key),
                    Some(*public),
                    "told of a key that is kept nowhere"
                );
                self.asked = self.next.unwrap();
                self.everywhere = false;
            }
            Next::Await(_) => {
                self.everywhere = true;
                self.peers = vec![self.current, self.asked];
            }
            Next::Switch(_) => {
                assert!(self.everywhere, "switched before every gateway has it");
                self.current = self.next.take().unwrap();
            }
            Next::Settled | Next::Lost(_) => {}
        }
        assert!(
            self.peers.contains(&self.current),
            "the key in use works on no gateway: {self:?}"
        );
    }
}

#[test]
fn a_rotation_draws_tells_waits_and_switches() {
    let mut model = Model::new();
    let mut due = true;
    let mut steps = Vec::new();
    loop {
        let step = next(&model.view(), due);
        model.step(&step);
        due = due && !matches!(step, Next::Switch(_));
        if step == Next::Settled {
            break;
        }
        steps.push(step);
    }
    assert_eq!(
        steps,
        [
            Next::Draw,
            Next::Tell(key(1)),
            Next::Await(key(1)),
            Next::Switch(served())
        ]
    );
    // The second plan is empty.
    assert_eq!(next(&model.view(), false), Next::Settled);
}

#[test]
fn what_somebody_else_did_to_the_key_ends_the_rotation() {
    let mut view = Model::new().view();
    for next_key in [None, Some(key(1))] {
        view.next = next_key;
        view.object = Object::Gone;
        assert_eq!(next(&view, true), Next::Lost(Lost::Gone));
        view.object = Object::Asks(key(9), KeyState::Served(served()));
        assert_eq!(next(&view, true), Next::Lost(Lost::Foreign));
    }
}

#[test]
fn a_refused_key_is_waited_for_and_the_old_one_stays_in_use() {
    let refused = KeyState::Refused {
        reason: "QuotaExceeded".to_owned(),
        message: String::new(),
    };
    let view = View {
        current: key(0),
        next: Some(key(1)),
        object: Object::Asks(key(1), refused),
    };
    assert_eq!(next(&view, true), Next::Await(key(1)));
}

proptest! {
    /// Killed before or after any step, any number of times, and asked to rotate or not each time.
    #[test]
    fn whoever_is_killed_goes_on_where_it_was(runs in prop::collection::vec((0_usize..6, any::<bool>()), 0..12)) {
        let mut model = Model::new();
        for (steps, due) in runs {
            for _ in 0..steps {
                let step = next(&model.view(), due);
                model.step(&step);
            }
        }
        // Left alone it settles, in as many steps as a rotation has, with nothing left over.
        for _ in 0..4 {
            let step = next(&model.view(), false);
            model.step(&step);
        }
        prop_assert_eq!(next(&model.view(), false), Next::Settled);
        prop_assert_eq!(model.asked, model.current);
        prop_assert_eq!(model.next, None);
    }
}
