//! What a key's status should say.

use std::time::Duration;

use culvert_crds::Reason;

use super::{Plan, Step, verdict};
use crate::clock::Now;
use crate::world::status::KeyStatus;
use crate::world::{Claim, Key, Programming, Target, World};

/// How long new addresses wait for the gateways' answer, so that both go out in one write.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// Plans the write of a key's status, if it says something else.
pub fn plan(world: &World, key: &Key, verdict: Result<(), Reason>, now: Now, plan: &mut Plan) {
    if key.deleting {
        return;
    }
    let target = Target::Key(key.uid.clone());
    let current = verdict::current_claim(world, key);
    let programming = current.map(|claim| programming(world, key, claim, now));
    if let Some(claim) = current {
        if let Some(at) = verdict::expiry(world, key, claim) {
            plan.wakes.push((verdict::when(at, now), target.clone()));
        }
        if programming == Some(Programming::Done) && claim.programmed.is_none() {
            plan.programmed.push(claim.uid.clone());
        }
        let patient_until = claim.since + PATIENCE;
        if verdict.is_ok()
            && programming == Some(Programming::Pending)
            && key.status.addresses != claim.addresses
            && now.mono < patient_until
        {
            plan.wakes.push((patient_until, target));
            return;
        }
    }
    let status = status(world, key, current, verdict, programming, now);
    if status != key.status {
        let step = Step::PublishKey {
            uid: key.uid.clone(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            resource_version: key.resource_version,
            status: Box::new(status),
        };
        plan.steps.push((target, step));
    }
}

/// A key that has been programmed once stays so: a gateway that joins later turns nothing back.
fn programming(world: &World, key: &Key, claim: &Claim, now: Now) -> Programming {
    let latched = claim.programmed.is_some()
        || (key.status.is_programmed()
            && key.status.addresses == claim.addresses
            && key.status.public_key == Some(claim.public_key));
    match world.programming(claim, now.mono) {
        Programming::NoGateway | Programming::Pending if latched => Programming::Done,
        found => found,
    }
}

fn status(
    world: &World,
    key: &Key,
    current: Option<&Claim>,
    verdict: Result<(), Reason>,
    programming: Option<Programming>,
    now: Now,
) -> KeyStatus {
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
    let shown = current.or_else(|| world.claims_of(&key.uid).filter(|claim| !claim.released).last());
    if let Some(claim) = shown.filter(|_| !gone) {
        status.addresses.clone_from(&claim.addresses);
        status.public_key = Some(claim.public_key);
        status.address_generation = Some(claim.address_generation);
        status.expires_at = verdict::expiry(world, key, claim);
    }
    if verdict == Err(Reason::Expired) {
        status.public_key = key.public_key;
        status.address_generation = Some(key.address_generation);
        status.expires_at = current
            .and_then(|claim| verdict::expiry(world, key, claim))
            .or(previous.expires_at);
    }
    let (accepted, programmed) = match (verdict, programming) {
        (Ok(()), Some(Programming::Done)) => (Ok(()), Ok(())),
        (Ok(()), Some(Programming::Pending) | None) => (Ok(()), Err(Reason::Pending)),
        (Ok(()), Some(Programming::NoGateway)) => (Ok(()), Err(Reason::NoGateway)),
        (Ok(()), Some(Programming::Refused)) => (Ok(()), Err(Reason::Refused)),
        (Err(reason @ (Reason::Suspended | Reason::Expired)), _) => (Ok(()), Err(reason)),
        (Err(reason), _) => (Err(reason), Err(Reason::Pending)),
    };
    let ready = accepted.and(programmed);
    let marks = [
        (accepted, Reason::Accepted),
        (programmed, Reason::Programmed),
        (ready, Reason::Ready),
    ];
    for (index, (result, positive)) in marks.into_iter().enumerate() {
        status.set(
            index,
            result.is_ok(),
            result.err().unwrap_or(positive),
            previous,
            now.wall,
        );
    }
    status
}
