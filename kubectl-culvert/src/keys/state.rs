//! What a `WireGuardKey` says about one public key (pure).

use std::net::IpAddr;

use culvert_crds::{ConditionType, Reason, WireGuardKey};
use culvert_wireguard::PublicKey;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// A key that every gateway has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The client's tunnel addresses: IPv4 first.
    pub addresses: Vec<IpAddr>,

    /// When they are released.
    pub expires: Option<Timestamp>,
}

impl Served {
    /// The addresses, for a sentence.
    pub fn addresses_text(&self) -> String {
        let texts: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        texts.join(" and ")
    }
}

/// How far a public key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Not everywhere yet: the reason, where there is one, and what it means.
    Waiting {
        /// The reason of the condition that is missing.
        reason: String,
        /// What it means.
        message: String,
        /// The addresses that it has already: a gateway may serve it before all of them do.
        addresses: Vec<IpAddr>,
    },

    /// Every gateway has it.
    Served(Served),

    /// It will not be served as things are: waiting does not help.
    Refused {
        /// The reason.
        reason: String,
        /// What it means, and what to do.
        message: String,
    },

    /// The object asks for another public key by now.
    Replaced,
}

/// Reasons that go away by themselves; with any other a person has to do something.
const PASSING: [Reason; 8] = [
    Reason::Pending,
    Reason::PoolExhausted,
    Reason::RateLimited,
    Reason::NoGateway,
    Reason::NotAccepted,
    Reason::Refused,
    Reason::Programmed,
    Reason::Accepted,
];

/// What the object says about this public key.
pub fn state(key: &WireGuardKey, public: &PublicKey) -> KeyState {
    let text = public.to_base64();
    if key.spec.public_key != text {
        return KeyState::Replaced;
    }
    let waiting = |reason: &str, message: &str, addresses| KeyState::Waiting {
        reason: reason.to_owned(),
        message: message.to_owned(),
        addresses,
    };
    let unanswered = || waiting("", "waiting for the operator", Vec::new());
    let Some(status) = &key.status else {
        return unanswered();
    };
    if Some(status.observed_generation) != key.metadata.generation {
        return unanswered();
    }
    let ours = status.public_key.as_ref() == Some(&text)
        && status.address_generation.unwrap_or(0) == key.spec.address_generation;
    let addresses: Vec<IpAddr> = if ours {
        status
            .addresses
            .iter()
            .filter_map(|address| address.parse().ok())
            .collect()
    } else {
        Vec::new()
    };
    let find = |kind: ConditionType| status.conditions.iter().find(|c| c.type_ == kind.as_str());
    if let Some(accepted) = find(ConditionType::Accepted).filter(|c| c.status == "False" && !passes(c)) {
        return KeyState::Refused {
            reason: accepted.reason.clone(),
            message: accepted.message.clone(),
        };
    }
    match find(ConditionType::Ready) {
        Some(ready) if ready.status == "True" && !addresses.is_empty() => KeyState::Served(Served {
            addresses,
            expires: status.expires_at.as_ref().map(|time| time.0),
        }),
        Some(ready) if ready.status == "False" => {
            // What is missing for `Ready` says why itself.
            let missing = [ConditionType::Accepted, ConditionType::Programmed]
                .into_iter()
                .filter_map(find)
                .find(|c| c.status == "False")
                .unwrap_or(ready);
            waiting(&missing.reason, &missing.message, addresses)
        }
        _ => waiting("", "waiting for the operator", addresses),
    }
}

fn passes(condition: &Condition) -> bool {
    PASSING.iter().any(|reason| reason.as_str() == condition.reason)
}
