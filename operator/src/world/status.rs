//! The status of a key, small enough to keep a million of them, and exact enough to compare.

use std::net::IpAddr;

use culvert_crds::{ConditionType, Reason, WireGuardKeyStatus};
use culvert_wireguard::PublicKey;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// A condition without the texts that follow from its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// True or False; anything else reads as `None` and is overwritten.
    pub status: Option<bool>,
    /// The reason; `None` when it is not one of ours.
    pub reason: Option<Reason>,
    /// When the status last changed, seconds since the epoch.
    pub since: i64,
}

/// The status of a key as observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyStatus {
    /// Generation that it answers; `None` when there is no answer yet.
    pub observed_generation: Option<i64>,
    /// Published addresses.
    pub addresses: Vec<IpAddr>,
    /// The public key they belong to.
    pub public_key: Option<PublicKey>,
    /// The address generation they belong to.
    pub address_generation: Option<i64>,
    /// When they are released, seconds since the epoch.
    pub expires_at: Option<i64>,
    /// `Accepted`, `Programmed`, `Ready`.
    pub conditions: [Option<Mark>; 3],
}

/// The conditions of a key, in the order of [`KeyStatus::conditions`].
pub const CONDITIONS: [ConditionType; 3] = [
    ConditionType::Accepted,
    ConditionType::Programmed,
    ConditionType::Ready,
];

impl KeyStatus {
    /// Reads the API's form. What cannot be read is absent, so that it is written again.
    pub fn read(status: Option<&WireGuardKeyStatus>) -> Self {
        let Some(status) = status else {
            return Self::default();
        };
        Self {
            observed_generation: (status.observed_generation >= 0).then_some(status.observed_generation),
            addresses: status.addresses.iter().filter_map(|a| a.parse().ok()).collect(),
            public_key: status
                .public_key
                .as_deref()
                .and_then(|k| PublicKey::from_base64(k).ok()),
            address_generation: status.address_generation,
            expires_at: status.expires_at.as_ref().map(|t| t.0.as_second()),
            conditions: CONDITIONS.map(|kind| {
                let found = status.conditions.iter().find(|c| c.type_ == kind.as_str())?;
                Some(Mark {
                    status: match found.status.as_str() {
                        "True" => Some(true),
                        "False" => Some(false),
                        _ => None,
                    },
                    reason: Reason::ALL.iter().copied().find(|r| r.as_str() == found.reason),
                    since: found.last_transition_time.0.as_second(),
                })
            }),
        }
    }

    /// Writes the API's form.
    pub fn write(&self) -> WireGuardKeyStatus {
        let time = |seconds| Time(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX));
        WireGuardKeyStatus {
            observed_generation: self.observed_generation.unwrap_or(-1),
            addresses: self.addresses.iter().map(IpAddr::to_string).collect(),
            public_key: self.public_key.map(|key| key.to_base64()),
            address_generation: self.address_generation,
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
                        observed_generation: self.observed_generation,
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
            .map_or_else(|| now.as_second(), |mark| mark.since);
        self.conditions[index] = Some(Mark {
            status: Some(status),
            reason: Some(reason),
            since,
        });
    }

    /// Whether it says that every gateway has the peer.
    pub fn is_programmed(&self) -> bool {
        self.conditions[1].is_some_and(|mark| mark.status == Some(true))
    }

    /// Whether it says that the key's time is over.
    pub fn is_expired(&self) -> bool {
        self.conditions[2].is_some_and(|mark| mark.reason == Some(Reason::Expired))
    }
}
