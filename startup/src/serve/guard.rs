//! Who may see the metrics: whom the apiserver knows by the token, and who has the right `get` on the path.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

/// How long a right is good for without another question: a scrape comes every half minute.
const GOOD_FOR: Duration = Duration::from_secs(60);

/// How many tokens are remembered, by their digests.
const MOST: usize = 16;

/// How many questions are asked at a time, whoever comes.
const AT_A_TIME: usize = 2;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered.
    Allowed,
    /// Nobody known has sent it.
    Unknown,
    /// Who has sent it lacks the right.
    Forbidden,
    /// The apiserver cannot be asked, or not by this program.
    Unasked,
}

/// The one who asks the apiserver.
pub struct Guard {
    client: Client,
    allowed: Mutex<HashMap<[u8; 32], Duration>>,
    places: Semaphore,
}

impl Guard {
    /// Asks by this client.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            allowed: Mutex::default(),
            places: Semaphore::new(AT_A_TIME),
        }
    }

    /// Judges who sends this token, at this time of the program's clock.
    pub async fn judge(&self, token: &str, now: Duration) -> Verdict {
        let digest: [u8; 32] = Sha256::digest(token).into();
        if self.remembers(&digest, now) {
            return Verdict::Allowed;
        }
        let Ok(_place) = self.places.acquire().await else {
            return Verdict::Unasked;
        };
        // Nothing of what the apiserver says is repeated: it names users.
        let verdict = self.ask(token).await.unwrap_or(Verdict::Unasked);
        if verdict == Verdict::Allowed {
            self.remember(digest, now);
        }
        verdict
    }

    async fn ask(&self, token: &str) -> kube::Result<Verdict> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                ..TokenReviewSpec::default()
            },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let status = reviews.create(&PostParams::default(), &review).await?.status;
        let Some(status) = status.filter(|status| status.authenticated == Some(true)) else {
            return Ok(Verdict::Unknown);
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let review = access(status.user.unwrap_or_default());
        let status = reviews.create(&PostParams::default(), &review).await?.status;
        Ok(if status.is_some_and(|status| status.allowed) {
            Verdict::Allowed
        } else {
            Verdict::Forbidden
        })
    }

    fn remembers(&self, digest: &[u8; 32], now: Duration) -> bool {
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        allowed.retain(|_, since| now.saturating_sub(*since) < GOOD_FOR);
        allowed.contains_key(digest)
    }

    fn remember(&self, digest: [u8; 32], now: Duration) {
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        if allowed.len() < MOST {
            allowed.insert(digest, now);
        }
    }
}

/// May this user see the metrics?
fn access(user: UserInfo) -> SubjectAccessReview {
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username,
            groups: user.groups,
            uid: user.uid,
            extra: user.extra,
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some("/metrics".to_owned()),
                verb: Some("get".to_owned()),
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}
