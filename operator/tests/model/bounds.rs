//! How far the model goes: who does what, and how much may fail.

use crate::api::{BEHIND, Broken, CHANGED, COOLING, DELETED, FLIPPED, GIVES_WAY, RELEASED, UNBACKED, User};
use crate::mutation::Mutation;
use crate::objects::Seconds;

/// What may happen, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub name: &'static str,
    /// What users did before it begins, one after the other, each time with everything at rest again.
    pub before: &'static [User],
    /// Moves of users: each once, in any order in which they can be made.
    pub users: &'static [User],
    /// One or two.
    pub allocators: usize,
    /// That the pool has for keys.
    pub addresses: u8,
    pub seconds: Seconds,
    /// Allocators that die and start again.
    pub crashes: u8,
    /// Requests that are lost or late, replies that are lost.
    pub faults: u8,
    /// Steps of the clock, each longer than the cooldown and the overlap.
    pub ticks: u8,
}

const PEACE: Bounds = Bounds {
    name: "",
    before: &[],
    users: &[],
    allocators: 2,
    addresses: 2,
    seconds: Seconds::Apart,
    crashes: 0,
    faults: 0,
    ticks: 0,
};

const FAULTS: Bounds = Bounds {
    crashes: 1,
    faults: 1,
    ticks: 1,
    ..PEACE
};

const ONE: &[User] = &[User::Create(0, 0)];

const CREATE: Bounds = Bounds {
    name: "a key",
    users: ONE,
    ..FAULTS
};

const ROTATE: Bounds = Bounds {
    name: "a rotation",
    before: ONE,
    users: &[User::Rotate(0, 1)],
    ..FAULTS
};

const SUSPEND: Bounds = Bounds {
    name: "a suspended key",
    before: ONE,
    users: &[User::Suspend(0), User::Resume(0)],
    ..FAULTS
};

const RECREATE: Bounds = Bounds {
    name: "a name used again",
    before: ONE,
    users: &[User::Delete(0), User::Create(0, 0)],
    ..FAULTS
};

const RENUMBER: Bounds = Bounds {
    name: "other addresses and a rotation",
    before: ONE,
    users: &[User::Renumber(0), User::Rotate(0, 1)],
    addresses: 3,
    ..FAULTS
};

const TWO: Bounds = Bounds {
    name: "two keys",
    users: &[User::Create(0, 0), User::Create(1, 1)],
    ..FAULTS
};

const DUPLICATES: Bounds = Bounds {
    name: "one public key, two keys",
    users: &[User::Create(0, 0), User::Create(1, 0)],
    ..FAULTS
};

const HEIR: Bounds = Bounds {
    name: "one public key, the holder goes",
    before: ONE,
    users: &[User::Create(1, 0), User::Delete(0)],
    ..FAULTS
};

const INTO: Bounds = Bounds {
    name: "a rotation into another's public key",
    before: ONE,
    users: &[User::Create(1, 1), User::Rotate(0, 1)],
    addresses: 3,
    ..FAULTS
};

const SECOND: Bounds = Bounds {
    name: "a key, all claims in one second",
    users: ONE,
    seconds: Seconds::Same,
    ..FAULTS
};

const ALONE: Bounds = Bounds {
    name: "one allocator, a key",
    users: ONE,
    allocators: 1,
    ..FAULTS
};

const ALONE_ROTATE: Bounds = Bounds {
    name: "one allocator, a rotation",
    allocators: 1,
    ..ROTATE
};

const ALONE_RECREATE: Bounds = Bounds {
    name: "one allocator, a name used again",
    allocators: 1,
    ..RECREATE
};

const ALONE_SECOND: Bounds = Bounds {
    name: "one allocator, a rotation into another's public key, all claims in one second",
    users: &[User::Create(0, 1), User::Create(1, 0), User::Rotate(0, 0)],
    allocators: 1,
    addresses: 3,
    seconds: Seconds::Same,
    ticks: 1,
    ..PEACE
};

const ALONE_MIXED: Bounds = Bounds {
    name: "one allocator, a bit of everything",
    users: &[
        User::Create(0, 0),
        User::Rotate(0, 1),
        User::Delete(0),
        User::Create(1, 1),
    ],
    allocators: 1,
    ..FAULTS
};

/// Where the protocol itself is tried.
pub const ALL: [Bounds; 15] = [
    CREATE,
    ROTATE,
    SUSPEND,
    RECREATE,
    RENUMBER,
    TWO,
    DUPLICATES,
    HEIR,
    INTO,
    SECOND,
    ALONE,
    ALONE_ROTATE,
    ALONE_RECREATE,
    ALONE_SECOND,
    ALONE_MIXED,
];

/// Where a wrong protocol shows, and by which rule.
pub fn caught_in(mutation: Mutation) -> (Bounds, Broken) {
    let calm = |bounds| Bounds {
        crashes: 0,
        faults: 0,
        ..bounds
    };
    match mutation {
        Mutation::None => (CREATE, ""),
        Mutation::PublishBeforeClaim => (CREATE, UNBACKED),
        Mutation::AdoptByUidAlone => {
            let users = &[User::Create(0, 0), User::Rotate(0, 1)];
            let name = "a rotation meanwhile";
            (Bounds { name, users, ..PEACE }, UNBACKED)
        }
        Mutation::AdoptBlindly => (calm(TWO), GIVES_WAY),
        Mutation::PromiseAddressesAlone => (ALONE_SECOND, FLIPPED),
        Mutation::NoLiveRead => (calm(CREATE), RELEASED),
        Mutation::ReleaseUnread => (calm(ROTATE), RELEASED),
        Mutation::TakeBackUnread => (calm(HEIR), CHANGED),
        Mutation::TrustReplies => (calm(CREATE), GIVES_WAY),
        Mutation::DeleteBeforeCooldown => (calm(ALONE_RECREATE), COOLING),
        Mutation::DeleteBeforeGateways => (calm(ALONE_RECREATE), BEHIND),
        Mutation::DeleteAtOnce => (calm(SUSPEND), DELETED),
        Mutation::DeleteWithoutPrecondition | Mutation::ReleaseWithoutPrecondition => {
            let crashes = 0;
            (
                Bounds {
                    crashes,
                    ..ALONE_RECREATE
                },
                RELEASED,
            )
        }
        Mutation::PublishWithoutPrecondition => {
            let users = &[User::Create(0, 0), User::Delete(0), User::Create(0, 1)];
            let name = "a name used again at once";
            let faults = 1;
            let allocators = 1;
            let bounds = Bounds {
                name,
                users,
                allocators,
                faults,
                ..PEACE
            };
            (bounds, UNBACKED)
        }
    }
}
