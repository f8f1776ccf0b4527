//! Left in peace, everything comes to rest as its users want it: no fault, no crash, every message delivered.

use crate::api::Broken;
use crate::mind::Knowledge;
use crate::objects::addresses;
use crate::state::{Action, Deed, Model, State};

/// Longer than any way to rest.
const LONG: usize = 1_000;

/// Steps of the clock that are enough for every cooldown and overlap, one after the other.
const TICKS: usize = 6;

/// Lets everything be delivered until nothing happens any more, not even with time; then looks at what there is. What is
/// broken comes with the way there.
pub fn come_to_rest(
    model: &mut Model,
    mut state: State,
) -> Result<(State, Vec<Action>), (Broken, Vec<Action>)> {
    let mut way = Vec::new();
    let mut actions = Vec::new();
    let mut ticks = 0;
    loop {
        model.actions(&state, &mut actions);
        let peaceful = actions
            .iter()
            .filter_map(|action| Some((urgency(*action)?, *action)));
        let action = match peaceful.min_by_key(|(urgency, _)| *urgency) {
            Some((_, action)) => action,
            None if ticks < TICKS => {
                ticks += 1;
                Action::TICK
            }
            None => break,
        };
        way.push(action);
        let Some(after) = model.after(&state, action) else {
            return Err(("an action that was offered cannot be taken", way));
        };
        if let Some(broken) = after.broken {
            return Err((broken, way));
        }
        state = after.state;
        if way.len() > LONG {
            return Err(("left in peace, it does not come to rest", way));
        }
    }
    match look(model, &state) {
        Ok(()) => Ok((state, way)),
        Err(broken) => Err((broken, way)),
    }
}

/// What is done first; `None` is no part of peace.
fn urgency(action: Action) -> Option<u8> {
    match action.deed {
        Deed::Late => Some(0),
        Deed::ListKeys | Deed::ListClaims => Some(1),
        Deed::SeeKey | Deed::SeeClaim => Some(2),
        Deed::Program | Deed::SeeWatermark => Some(3),
        Deed::Reply => Some(4),
        Deed::Apply => Some(5),
        Deed::Plan => Some(6),
        Deed::User | Deed::Lose | Deed::LoseReply | Deed::GiveUp | Deed::Crash | Deed::Tick => None,
    }
}

/// The rules of rest.
fn look(model: &mut Model, state: &State) -> Result<(), Broken> {
    let api = model.apis.get(state.api).clone();
    let seconds = model.bounds.seconds;
    if api.claims.iter().any(|kept| kept.claim.released) {
        return Err("at rest, a claim is released and not deleted");
    }
    let orphan = |uid| !api.keys.iter().any(|key| key.uid == uid);
    if api.claims.iter().any(|kept| orphan(kept.claim.key)) {
        return Err("at rest, a claim has no key");
    }
    for key in &api.keys {
        let status = *model.mind.status(key.status);
        let own: Vec<_> = api
            .claims
            .iter()
            .filter(|kept| kept.claim.key == key.uid)
            .collect();
        let current = own.iter().filter(|kept| {
            kept.claim.public_key == key.public_key && kept.claim.address_generation == key.address_generation
        });
        let current: Vec<_> = current.collect();
        let holder = api.holder(key.public_key, seconds);
        let may = !key.suspended && holder.is_none_or(|holder| holder.key == key.uid);
        if !may {
            if !current.is_empty() {
                return Err("at rest, a key without the right to one has a claim");
            }
            if !status.shown.addresses.is_empty() {
                return Err("at rest, a key without the right to them shows addresses");
            }
            continue;
        }
        let full = api.claims.len() == usize::from(model.bounds.addresses);
        let [kept] = current[..] else {
            if current.is_empty() && full {
                continue;
            }
            return Err("at rest, a key has not exactly one claim for what it wants");
        };
        if own.len() != 1 {
            return Err("at rest, a key has a claim too many");
        }
        if status.shown.addresses != addresses(kept.claim.address) || !status.is_programmed() {
            return Err("at rest, a key does not show that its address works");
        }
    }
    let mut truth = Knowledge::default();
    truth.list_keys(&api.keys);
    truth.list_claims(api.claims.iter().map(|kept| kept.claim), state.time);
    truth.see_watermark(state.gateway);
    if !model.mind.check(&truth, state.time).is_empty() {
        return Err("at rest, the operator's own checker finds something broken");
    }
    let everything = truth.everything();
    let truth = model.mind.known.put(truth);
    for target in (0..32).filter(|target| everything & 1 << target != 0) {
        let outcomes = model.mind.plan(truth, state.time, 0, target);
        if outcomes.iter().any(|outcome| outcome.step.is_some()) {
            return Err("at rest, an allocator that starts finds something to do");
        }
    }
    Ok(())
}
