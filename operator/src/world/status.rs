//! The status of a key, small enough to keep a million of them, and exact enough to compare.

use std::net::IpAddr;

use culvert_crds::{ConditionType, Reason, WireGuardKeyStatus};
use culvert_wireguard::PublicKey;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::Addresses;

/// A condition without the texts that follow from its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// True or False; anything else reads as `None` and is overwritten.
    pub status: Option<bool>,
    /// The reason; `None` when it is not one of ours.
    pub reason: Option<Reason>,
    /// When the status last changed, seconds since the epoch.
    pub since: u32,
}

/// What a key's status shows of its addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The addresses.
    pub addresses: Addresses,
    /// The public key they belong to.
    pub public_key: Option<PublicKey>,
    /// The address generation they belong to.
    pub address_generation: Option<u32>,
    /// When the public key was first given addresses, seconds since the epoch, unless it was with these.
    pub since: Option<u32>,
}

/// The status of a key as observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyStatus {
    /// Generation that it answers; `None` when there is no answer yet.
    pub observed_generation: Option<u32>,
    /// What it shows.
    pub shown: Shown,
    /// When the addresses are released, seconds since the epoch.
    pub expires_at: Option<u32>,
    /// In the order of [`CONDITIONS`].
    pub conditions: [Option<Mark>; CONDITIONS.len()],
}

/// The conditions of a key, in the order of [`KeyStatus::conditions`].
pub const CONDITIONS: [ConditionType; 4] = [
    ConditionType::Accepted,
    ConditionType::Programmed,
    ConditionType::Ready,
    ConditionType::Expiring,
];

/// Place in [`CONDITIONS`].
const PROGRAMMED: usize = 1;
/// Place in [`CONDITIONS`].
const READY: usize = 2;
/// Place in [`CONDITIONS`].
pub const EXPIRING: usize = 3;

impl KeyStatus {
    /// Reads the API's form. What cannot be read is absent, so that it is written again.
    pub fn read(status: Option<&WireGuardKeyStatus>) -> Self {
        let Some(status) = status else {
            return Self::default();
        };
        let addresses: Option<Vec<IpAddr>> = status.addresses.iter().map(|a| a.parse().ok()).collect();
        Self {
            observed_generation: u32::try_from(status.observed_generation).ok(),
            shown: Shown {
                addresses: addresses.and_then(Addresses::new).unwrap_or_default(),
                public_key: status
                    .public_key
                    .as_deref()
                    .and_then(|k| PublicKey::from_base64(k).ok()),
                address_generation: status.address_generation.and_then(|n| u32::try_from(n).ok()),
                since: status.public_key_since.as_ref().map(|t| seconds(t.0)),
            },
            expires_at: status.expires_at.as_ref().map(|t| seconds(t.0)),
            conditions: CONDITIONS.map(|kind| {
                let found = status.conditions.iter().find(|c| c.type_ == kind.as_str())?;
                Some(Mark {
                    status: match found.status.as_str() {
                        "True" => Some(true),
                        "False" => Some(false),
                        _ => None,
                    },
                    reason: Reason::ALL.iter().copied().find(|r| r.as_str() == found.reason),
                    since: seconds(found.last_transition_time.0),
                })
            }),
        }
    }

    /// Writes the API's form.
    pub fn write(&self) -> WireGuardKeyStatus {
        let time = |seconds| Time(Timestamp::from_second(i64::from(seconds)).unwrap_or(Timestamp::MAX));
        WireGuardKeyStatus {
            observed_generation: self.observed_generation.map_or(-1, i64::from),
            addresses: self.shown.addresses.iter().map(|a| a.to_string()).collect(),
            public_key: self.shown.public_key.map(|key| key.to_base64()),
            address_generation: self.shown.address_generation.map(i64::from),
            public_key_since: self.shown.since.map(time),
            expires_at: self.expires_at.map(time),
            conditions: CONDITIONS
                .iter()
                .zip(self.conditions)
                .filter_map(|(kind, mark)| {
                    let mark = mark?;
                    let reason = mark.reason?;
                    Some(Condition {
                        type_: kind.as_str().to_owned(),
                        status: if mark.status == Some(true) {
                            "True"
                        } else {
                            "False"
                        }
                        .to_owned(),
                        reason: reason.as_str().to_owned(),
                        message: reason.message().to_owned(),
                        observed_generation: self.observed_generation.map(i64::from),
                        last_transition_time: time(mark.since),
                    })
                })
                .collect(),
        }
    }

    /// Sets condition number `index`, keeping its time while its status stays.
    pub fn set(&mut self, index: usize, status: bool, reason: Reason, previous: &Self, now: Timestamp) {
        let since = previous.conditions[index]
            .filter(|mark| mark.status == Some(status))
            .map_or_else(|| seconds(now), |mark| mark.since);
        self.conditions[index] = Some(Mark {
            status: Some(status),
            reason: Some(reason),
            since,
        });
    }

    /// Whether it says that every gateway has the peer.
    pub fn is_programmed(&self) -> bool {
        self.conditions[PROGRAMMED].is_some_and(|mark| mark.status == Some(true))
    }

    /// Why the key is ready, or is not.
    pub fn ready(&self) -> Option<Reason> {
        self.conditions[READY].and_then(|mark| mark.reason)
    }

    /// Whether it warns that the key's time is running out.
    pub fn is_expiring(&self) -> bool {
        self.conditions[EXPIRING].is_some_and(|mark| mark.status == Some(true))
    }

    /// Whether it says that the key's time is over.
    pub fn is_expired(&self) -> bool {
        self.ready() == Some(Reason::Expired)
    }
}

/// Seconds since the epoch. Four bytes reach to the year 2106; what lies beyond counts as its end.
pub fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_second().max(0)).unwrap_or(u32::MAX)
}

/// A status as the world keeps it: what a claim says as well is kept there alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Packed {
    /// What it shows, unless that is what a claim of the key says.
    pub other: Option<Box<Shown>>,
    /// 0 for none.
    expires_at: u32,
    /// The generation that it answers, and one; 0 for none.
    observed: u32,
    since: [u32; CONDITIONS.len()],
    heads: [Option<Head>; CONDITIONS.len()],
}

#[derive(Clone, Copy, Debug)]
struct Head {
    status: Option<bool>,
    reason: Option<Reason>,
}

impl Packed {
    pub fn new(status: &KeyStatus) -> Self {
        let other = (status.shown != Shown::default()).then(|| Box::new(status.shown));
        Self {
            other,
            expires_at: status.expires_at.unwrap_or(0),
            observed: status.observed_generation.map_or(0, |n| n.saturating_add(1)),
            since: status.conditions.map(|mark| mark.map_or(0, |mark| mark.since)),
            heads: status.conditions.map(|mark| {
                mark.map(|mark| Head {
                    status: mark.status,
                    reason: mark.reason,
                })
            }),
        }
    }

    /// The whole status; `claimed` is what the claim says that it shows, if it shows one.
    pub fn unpack(&self, claimed: Option<Shown>) -> KeyStatus {
        let mut conditions = [None; CONDITIONS.len()];
        for (index, mark) in conditions.iter_mut().enumerate() {
            *mark = self.heads[index].map(|head| Mark {
                status: head.status,
                reason: head.reason,
                since: self.since[index],
            });
        }
        KeyStatus {
            observed_generation: self.observed.checked_sub(1),
            shown: claimed.or(self.other.as_deref().copied()).unwrap_or_default(),
            expires_at: (self.expires_at != 0).then_some(self.expires_at),
            conditions,
        }
    }
}
