//! A way through the states, for people.

use crate::api::Broken;
use crate::objects::{Claim, Event, Key, address, name};
use crate::request::{Reply, Request};
use crate::state::{Action, Deed, Model, State};

/// Tells it: who did what, and what it changed.
pub fn tell(model: &mut Model, broken: Broken, actions: &[Action]) -> String {
    let mut state = model.first();
    let mut names = ["A", "B"];
    let mut lines = Vec::new();
    for (number, action) in actions.iter().enumerate() {
        let who = names[usize::from(action.actor)];
        let what = describe(model, &state, *action);
        let Some(after) = model.after(&state, *action) else {
            break;
        };
        let subject = match action.deed {
            Deed::User => "user",
            Deed::Program => "gateway",
            Deed::Tick => "clock",
            Deed::Late => "network",
            _ => who,
        };
        lines.push(format!("  {:>3}. {subject:<8}{what}", number + 1));
        if after.state.api != state.api {
            lines.push(format!("       {:<8}API: {}", "", picture(model, &after.state)));
        }
        if after.swapped {
            names.swap(0, 1);
        }
        state = after.state;
    }
    format!("broken: {broken}\n{}", lines.join("\n"))
}

fn describe(model: &mut Model, state: &State, action: Action) -> String {
    let which = usize::from(action.which);
    let actor = state.actors[usize::from(action.actor)];
    let core = model.cores.get(actor.core).clone();
    match action.deed {
        Deed::User => format!("{:?}", model.bounds.users[which]),
        Deed::Plan => {
            let promised = core.flights.iter().fold(0, |all, flight| all | flight.promises());
            let outcomes = model
                .mind
                .plan(core.knowledge, state.time, promised, action.which);
            let step = outcomes[usize::from(action.choice)].step;
            format!(
                "plans and sends: {}",
                step.map_or("nothing".to_owned(), |step| request(model, step))
            )
        }
        Deed::Apply => format!("  the API gets: {}", request(model, core.flights[which].request)),
        Deed::Reply => format!(
            "gets the reply: {}",
            core.flights[which]
                .reply
                .map_or_else(String::new, |r| reply(model, r))
        ),
        Deed::Lose => format!(
            "  lost on the way: {}",
            request(model, core.flights[which].request)
        ),
        Deed::LoseReply => format!(
            "  its reply is lost: {}",
            request(model, core.flights[which].request)
        ),
        Deed::GiveUp => format!(
            "  gives up waiting: {}",
            request(model, core.flights[which].request)
        ),
        Deed::Late => {
            let late = model.lates.get(state.late)[which];
            format!("delivers late: {}", request(model, late))
        }
        Deed::Crash => "dies".to_owned(),
        Deed::ListKeys => "starts again, lists keys".to_owned(),
        Deed::ListClaims => "starts again, lists claims".to_owned(),
        Deed::SeeKey => format!("watch of keys: {}", event(model, model.events.get(actor.keys)[0])),
        Deed::SeeClaim => format!(
            "watch of claims: {}",
            event(model, model.events.get(actor.claims)[0])
        ),
        Deed::SeeWatermark => format!("sees the gateway's watermark {}", state.gateway),
        Deed::Program => format!(
            "has everything up to {}",
            model.apis.get(state.api).claims_version
        ),
        Deed::Tick => "more than a cooldown goes by".to_owned(),
    }
}

fn claim(claim: Claim) -> String {
    let released = if claim.released { ", released" } else { "" };
    format!(
        ".{} of {}#{} (public key {}, generation {}{released}) c{}@{}",
        2 + claim.address,
        name(claim.key_name),
        claim.key,
        claim.public_key,
        claim.address_generation,
        claim.uid,
        claim.version
    )
}

fn key(model: &Model, key: Key) -> String {
    let status = model.mind.status(key.status);
    let shown = address(&status.shown.addresses).map_or("nothing".to_owned(), |n| format!(".{}", 2 + n));
    let ready = status.ready().map_or("no answer", |reason| reason.as_str());
    let suspended = if key.suspended { ", suspended" } else { "" };
    format!(
        "{}#{} (public key {}, generation {}{suspended}) shows {shown}, {ready} @{}",
        name(key.name),
        key.uid,
        key.public_key,
        key.address_generation,
        key.version
    )
}

fn request(model: &Model, request: Request) -> String {
    match request {
        Request::Create(wanted) => format!("POST claim {}", claim(wanted)),
        Request::LookUp(wanted) => format!("GET claim .{}", 2 + wanted.address),
        Request::Prove(orphan) => format!("GET key {} for claim {}", name(orphan.key_name), claim(orphan)),
        Request::Confirm(held, version) => {
            format!(
                "GET key {}, at {version}? for {}",
                name(held.key_name),
                claim(held)
            )
        }
        Request::PublishUnless(_, address) => format!("GET claim .{}, is it held?", 2 + address),
        Request::Release(held) => format!("PUT released claim {}", claim(held)),
        Request::Delete(held) => format!("DELETE claim {}", claim(held)),
        Request::Publish(news) => format!("PUT status of {}", key(model, news)),
        Request::PublishThenCreate(news, _) => format!("PUT status of {}, claim to follow", key(model, news)),
    }
}

fn reply(model: &Model, reply: Reply) -> String {
    match reply {
        Reply::Claim(found) => claim(found),
        Reply::Key(found) => key(model, found),
        other => format!("{other:?}"),
    }
}

fn event(model: &Model, event: Event) -> String {
    match event {
        Event::Key(found) => key(model, found),
        Event::Claim(found) => claim(found),
        Event::KeyGone(uid) => format!("key #{uid} is gone"),
        Event::ClaimGone(uid) => format!("claim c{uid} is gone"),
    }
}

fn picture(model: &Model, state: &State) -> String {
    let api = model.apis.get(state.api);
    let keys = api.keys.iter().map(|found| format!("key {}", key(model, *found)));
    let claims = api
        .claims
        .iter()
        .map(|kept| format!("claim {}", claim(kept.claim)));
    let all: Vec<_> = keys.chain(claims).collect();
    all.join("; ")
}
