//! A model of the claim protocol: two allocators with the real world and the real planner, an API, a gateway, and all
//! that can go wrong between them.
//!
//! Every state is looked at that can be reached in so many actions: users change their minds, allocators die at any point,
//! requests are lost, arrive late or lose their reply, each watch lags behind by itself, time passes. The rules
//! (`api.rs`, `rest.rs`) are not the planner's: they know what really happened. That they can fail is proved with protocols
//! that are wrong on purpose.
//!
//! ```text
//!  state ─▶ actions ─▶ after ─▶ rules          `mind` turns what an allocator knows into a World, lets it learn or plan,
//!            (all)      │                      and reads back what it knows then
//!                       └▶ API · mind · wire
//! ```
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "this is a test in several files"
)]

use std::io::Write;

mod api;
mod bounds;
mod draw;
mod intern;
mod mind;
mod mutation;
mod objects;
mod request;
mod rest;
mod search;
mod state;
mod story;

use bounds::{ALL, Bounds, caught_in};
use mutation::Mutation;
use search::{Effort, Found, search};
use state::Model;

/// So many states are looked at in all, at least; more in the long mode.
const STATES: usize = 1_000_000;
const LONG: usize = 20_000_000;

fn explore(bounds: Bounds, mutation: Mutation, effort: Effort) -> (Found, Option<String>) {
    let mut model = Model::new(bounds, mutation);
    let found = search(&mut model, effort);
    let story = found
        .broken
        .as_ref()
        .map(|(broken, way)| story::tell(&mut model, broken, way));
    say(&format!(
        "{mutation:?}, {}: {found}; {}",
        bounds.name,
        model.size()
    ));
    (found, story)
}

/// Figures are for whoever runs the tests, also when all is well.
fn say(line: &str) {
    // Not by the macro: that is shown for failures only.
    writeln!(std::io::stderr(), "{line}").expect("somewhere to write to");
}

#[test]
fn whatever_fails_nobody_loses_an_address_and_none_is_given_twice() {
    let long = std::env::var_os("CULVERT_SOAK").is_some_and(|value| value == "1");
    let least = if long { LONG } else { STATES };
    // The spaces that are seen whole are smaller than their share.
    let states = least / ALL.len() * 5 / 4;
    let (mut sum, mut took, mut rests) = (0, std::time::Duration::ZERO, 0);
    for bounds in ALL {
        let effort = Effort {
            states,
            rest_every: 100,
        };
        let (found, story) = explore(bounds, Mutation::None, effort);
        if let Some(story) = story {
            panic!("{}: {story}", bounds.name);
        }
        sum += found.states;
        rests += found.rests;
        took += found.took;
    }
    let took = took.as_secs_f64();
    say(&format!(
        "{sum} states in all, {rests} of them left in peace, in {took:.1} s"
    ));
    assert!(sum >= least, "only {sum} states");
}

#[test]
fn each_wrong_protocol_is_caught() {
    let effort = Effort {
        states: 10_000_000,
        rest_every: 100,
    };
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        let (bounds, rule) = caught_in(mutation);
        let (found, story) = explore(bounds, mutation, effort);
        println!("{}\n", story.unwrap_or_default());
        let broken = found.broken.map(|(broken, _)| broken);
        if broken != Some(rule) {
            missed.push((mutation, broken));
        }
    }
    assert_eq!(missed, [], "each breaks what it should, and nothing before that");
}
