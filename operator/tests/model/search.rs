//! Breadth first through every state there is within the bounds, so the first thing broken has the shortest story.
//!
//! Of a state that has been seen, a fingerprint of 64 bits is kept, and how it was reached. Two states with one
//! fingerprint would hide one of them: at 10^7 states the chance is below 10^-5.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use culvert_operator::clock::Clock;
use hashbrown::HashSet;

use crate::api::Broken;
use crate::intern::Mix;
use crate::rest;
use crate::state::{Action, Model, State};

/// What a search has come to.
#[derive(Debug, Default)]
pub struct Found {
    pub states: usize,
    pub actions: usize,
    pub depth: usize,
    pub rests: usize,
    /// Whether every state within the bounds was seen.
    pub whole: bool,
    pub took: Duration,
    /// The first thing that was broken, and the way to it.
    pub broken: Option<(Broken, Vec<Action>)>,
}

impl std::fmt::Display for Found {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, whole) = (
            self.took.as_secs_f64(),
            if self.whole { "all there are" } else { "complete" },
        );
        write!(
            out,
            "{} states, depth {} ({whole}), {} actions, {} runs to rest (1 in {:.0}), {seconds:.1} s ({:.1} s a million)",
            self.states,
            self.depth,
            self.actions,
            self.rests,
            self.states as f64 / self.rests.max(1) as f64,
            seconds * 1e6 / self.states as f64,
        )
    }
}

/// Where to stop: after the depth at which there are so many.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub states: usize,
    /// From one state in so many, everybody is left in peace until all rests.
    pub rest_every: usize,
}

#[derive(Clone, Copy)]
struct Step {
    from: u32,
    action: Action,
}

fn fingerprint(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Looks at every state, or at as many as the effort allows.
pub fn search(model: &mut Model, effort: Effort) -> Found {
    let clock = Clock::start();
    let mut found = Found::default();
    let first = model.first();
    let mut seen: HashSet<u64, Mix> = HashSet::default();
    seen.insert(fingerprint(&first));
    let mut steps: Vec<Step> = Vec::new();
    let mut level: Vec<(u32, State)> = vec![(u32::MAX, first)];
    let mut actions = Vec::new();
    'search: while !level.is_empty() {
        if seen.len() >= effort.states {
            break;
        }
        let mut next = Vec::new();
        for (number, state) in level.drain(..) {
            model.actions(&state, &mut actions);
            for action in &actions {
                found.actions += 1;
                let Some(after) = model.after(&state, *action) else {
                    continue;
                };
                let story = |steps: &[Step]| {
                    let mut story = way(steps, number);
                    story.push(*action);
                    story
                };
                if let Some(broken) = after.broken {
                    found.broken = Some((broken, story(&steps)));
                    break 'search;
                }
                if !seen.insert(fingerprint(&after.state)) {
                    continue;
                }
                if seen.len().is_multiple_of(effort.rest_every) {
                    found.rests += 1;
                    if let Err((broken, peace)) = rest::come_to_rest(model, after.state) {
                        let mut story = story(&steps);
                        story.extend(peace);
                        found.broken = Some((broken, story));
                        break 'search;
                    }
                }
                let reached = u32::try_from(steps.len()).expect("fewer than 2^32 states");
                steps.push(Step {
                    from: number,
                    action: *action,
                });
                next.push((reached, after.state));
            }
        }
        found.depth += 1;
        level = next;
    }
    found.states = seen.len();
    found.whole = level.is_empty() && found.broken.is_none();
    found.took = clock.now().mono;
    found
}

fn way(steps: &[Step], mut number: u32) -> Vec<Action> {
    let mut way = Vec::new();
    while let Some(step) = steps.get(number as usize) {
        way.push(step.action);
        number = step.from;
    }
    way.reverse();
    way
}
