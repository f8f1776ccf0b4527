//! What a key's status should say.

use std::time::Duration;

use culvert_crds::Reason;

use super::{KeyNews, Plan, Step, Subject, expiring, verdict};
use crate::clock::Now;
use crate::world::status::{KeyStatus, Shown, seconds};
use crate::world::{Addresses, ClaimView, KeyView, Programming, Target, World};

/// How long new addresses wait for the gateways' answer, so that both go out in one write.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// Plans the write of a key's status, if it says something else.
pub fn plan(world: &World, subject: &Subject<'_>, verdict: Result<(), Reason>, now: Now, plan: &mut Plan) {
    let key = &subject.key;
    if key.deleting {
        return;
    }
    let target = Target::Key(key.uid);
    let programming = subject.current.map(|claim| programming(world, key, &claim, now));
    if subject.current.is_none()
        && let Some(end) = verdict::present_end(world, subject).filter(|end| *end > seconds(now.wall))
    {
        plan.wakes.push((verdict::when(end, now), target.clone()));
    }
    if let Some(claim) = subject.current {
        if let Some(at) = expiring::next(world, subject, &claim, now) {
            plan.wakes.push((at, target.clone()));
        }
        if programming == Some(Programming::Done) && claim.programmed.is_none() {
            plan.programmed.push(claim.uid);
        }
        let patient_until = claim.since + PATIENCE;
        let shown = key.status.shown.addresses;
        // What is shown meanwhile must be somebody's.
        let backed = shown.is_empty() || subject.old.is_some_and(|old| old.addresses == shown);
        if verdict.is_ok()
            && backed
            && programming == Some(Programming::Pending)
            && shown != claim.addresses
            && now.mono < patient_until
        {
            plan.wakes.push((patient_until, target));
            return;
        }
    }
    let status = status(world, subject, verdict, programming, now);
    if status == key.status {
        return;
    }
    let Ok(unless_held) = taken_back(world, key, verdict, &status) else {
        return;
    };
    let step = Step::PublishKey(Box::new(KeyNews {
        uid: key.uid,
        namespace: key.namespace.clone(),
        name: key.name.to_owned(),
        resource_version: key.resource_version,
        status,
        unless_held,
        event: event(&key.status, &status),
    }));
    plan.steps.push((target, step));
}

/// What was published for what the key still asks is taken back only when its claim is known to be over: our claims may
/// be behind those of whoever published it. Ok says what a live read has to prove, if anything.
fn taken_back(
    world: &World,
    key: &KeyView<'_>,
    verdict: Result<(), Reason>,
    status: &KeyStatus,
) -> Result<Option<Addresses>, StillHeld> {
    let shown = &key.status.shown;
    let its_own_doing = matches!(
        verdict,
        Err(Reason::Suspended | Reason::Expired | Reason::GatewayKey)
    );
    if its_own_doing
        || shown.addresses.is_empty()
        || shown.addresses == status.shown.addresses
        || shown.public_key != key.public_key
        || shown.address_generation != Some(key.address_generation)
    {
        return Ok(None);
    }
    match world
        .claims_of(key)
        .find(|claim| claim.addresses == shown.addresses)
    {
        // Its release comes first, and plans this key again.
        Some(claim) if !claim.released && verdict::is_current(&claim, key) => Err(StillHeld),
        Some(_) => Ok(None),
        None => Ok(Some(shown.addresses)),
    }
}

struct StillHeld;

/// A key that has been programmed once stays so: a gateway that joins later turns nothing back.
fn programming(world: &World, key: &KeyView<'_>, claim: &ClaimView<'_>, now: Now) -> Programming {
    let latched = claim.programmed.is_some() || key.status.is_programmed() && claim.is_shown_by(&key.status);
    match world.programming(claim, now.mono) {
        Programming::NoGateway | Programming::Pending if latched => Programming::Done,
        found => found,
    }
}

fn status(
    world: &World,
    subject: &Subject<'_>,
    verdict: Result<(), Reason>,
    programming: Option<Programming>,
    now: Now,
) -> KeyStatus {
    let key = &subject.key;
    let previous = &key.status;
    let mut status = KeyStatus {
        observed_generation: Some(key.generation),
        ..KeyStatus::default()
    };
    let gone = matches!(
        verdict,
        Err(Reason::Suspended | Reason::Expired | Reason::DuplicateKey | Reason::GatewayKey)
    );
    // Until a rotated key has its new addresses, the old ones are those that work.
    let shown = subject.current.or(subject.old).filter(|_| !gone);
    if let Some(claim) = shown {
        let began = verdict::began(world, key, &claim.public_key);
        status.shown = Shown {
            since: began.filter(|began| *began != claim.created),
            ..claim.shown()
        };
        status.expires_at = verdict::expiry(world, subject, &claim);
    }
    if verdict == Err(Reason::Expired) {
        status.shown = Shown {
            public_key: key.public_key,
            address_generation: Some(key.address_generation),
            ..Shown::default()
        };
        status.expires_at = subject
            .current
            .and_then(|claim| verdict::expiry(world, subject, &claim))
            .or(previous.expires_at);
    }
    // Without addresses nothing else remembers when the public key's time began.
    if shown.is_none()
        && verdict != Err(Reason::Expired)
        && let Some(began) = key
            .public_key
            .and_then(|public_key| verdict::began(world, key, &public_key))
    {
        status.shown = Shown {
            public_key: key.public_key,
            since: Some(began),
            ..Shown::default()
        };
    }
    let (accepted, programmed) = match (verdict, programming) {
        (Ok(()), Some(Programming::Done)) => (Ok(()), Ok(())),
        (Ok(()), Some(Programming::Pending) | None) => (Ok(()), Err(Reason::Pending)),
        (Ok(()), Some(Programming::NoGateway)) => (Ok(()), Err(Reason::NoGateway)),
        (Ok(()), Some(Programming::Refused)) => (Ok(()), Err(Reason::Refused)),
        (Err(reason @ (Reason::Suspended | Reason::Expired)), _) => (Ok(()), Err(reason)),
        (Err(reason), _) => (Err(reason), Err(Reason::NotAccepted)),
    };
    let excluded = subject
        .pool
        .is_some_and(|pool| pool.excludes(status.shown.addresses));
    let marks = [
        (
            accepted,
            if excluded {
                Reason::ExcludedAddress
            } else {
                Reason::Accepted
            },
        ),
        (programmed, Reason::Programmed),
        (accepted.and(programmed), Reason::Ready),
    ];
    for (index, (result, positive)) in marks.into_iter().enumerate() {
        let reason = result.err().unwrap_or(positive);
        status.set(index, result.is_ok(), reason, previous, now.wall);
    }
    if shown.is_some() {
        expiring::mark(subject, &mut status, now);
    }
    status
}

/// What a person should hear of: what keeps the key from working, and that its time is running out. That it works needs
/// no telling, and would cost a write for each.
fn event(previous: &KeyStatus, status: &KeyStatus) -> Option<Reason> {
    let quiet = [
        Reason::Ready,
        Reason::Pending,
        Reason::NoGateway,
        Reason::Suspended,
    ];
    if status.ready() != previous.ready() {
        return status.ready().filter(|reason| !quiet.contains(reason));
    }
    (status.is_expiring() && !previous.is_expiring()).then_some(Reason::ExpiresSoon)
}
