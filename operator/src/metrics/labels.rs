//! The labels: closed sets, each a type.

use std::fmt;
use std::time::Duration;

use culvert_crds::Reason;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::execute::retry::Failure;
use crate::plan::Step;
use crate::world::Kind;

/// A closed set of label values, each with its text.
macro_rules! values {
    ($(#[$doc:meta])+ $visible:vis enum $set:ident { $($(#[$value_doc:meta])+ $value:ident => $text:literal),+ $(,)? }) => {
        $(#[$doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visible enum $set { $($(#[$value_doc])+ $value),+ }

        impl $set {
            /// All of them.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$value),+];

            /// The text of the label.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text),+ }
            }
        }

        impl EncodeLabelValue for $set {
            fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), fmt::Error> {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

values! {
    /// What a step does.
    pub enum StepKind {
        /// Binds addresses to a key.
        CreateClaim => "create_claim",
        /// Writes a key's status.
        PublishKey => "publish_key",
        /// Releases a claim whose key is gone.
        ReleaseOrphan => "release_orphan",
        /// Releases a claim whose key has no right to it any more.
        ReleaseClaim => "release_claim",
        /// Frees addresses.
        DeleteClaim => "delete_claim",
        /// Asks a node to serve.
        CreateGatewayNode => "create_gateway_node",
        /// Says where clients connect now.
        MoveGatewayNode => "move_gateway_node",
        /// Asks a node to leave.
        DrainGatewayNode => "drain_gateway_node",
        /// Lets a node go.
        DeleteGatewayNode => "delete_gateway_node",
        /// Sets or takes a pool's finalizer.
        GuardPool => "guard_pool",
        /// Writes a pool's status.
        PublishPool => "publish_pool",
        /// Writes a gateway's status.
        PublishGateway => "publish_gateway",
        /// Lists a namespace's keys, to prove some of them gone.
        ProveGone => "prove_gone",
    }
}

impl From<&Step> for StepKind {
    fn from(step: &Step) -> Self {
        match step {
            Step::CreateClaim(_) => Self::CreateClaim,
            Step::PublishKey(_) => Self::PublishKey,
            Step::ProveGone { .. } => Self::ProveGone,
            Step::ReleaseOrphan(_) => Self::ReleaseOrphan,
            Step::ReleaseClaim { .. } => Self::ReleaseClaim,
            Step::DeleteClaim { .. } => Self::DeleteClaim,
            Step::CreateGatewayNode(_) => Self::CreateGatewayNode,
            Step::MoveGatewayNode { .. } => Self::MoveGatewayNode,
            Step::DrainGatewayNode { .. } => Self::DrainGatewayNode,
            Step::DeleteGatewayNode { .. } => Self::DeleteGatewayNode,
            Step::GuardPool { .. } => Self::GuardPool,
            Step::PublishPool { .. } => Self::PublishPool,
            Step::PublishGateway { .. } => Self::PublishGateway,
        }
    }
}

values! {
    /// How a step came out.
    pub enum StepResult {
        /// It took effect.
        Ok => "ok",
        /// The object had changed.
        Conflict => "conflict",
        /// The name was taken.
        Exists => "exists",
        /// The object was gone.
        NotFound => "not_found",
        /// The apiserver will not do it.
        Refused => "refused",
        /// The apiserver could not do it.
        Unavailable => "unavailable",
        /// It may have taken effect.
        Unclear => "unclear",
    }
}

impl From<&Failure> for StepResult {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Conflict => Self::Conflict,
            Failure::AlreadyExists => Self::Exists,
            Failure::NotFound | Failure::NoSuchKind => Self::NotFound,
            Failure::Refused(_) => Self::Refused,
            Failure::Unavailable(..) => Self::Unavailable,
            Failure::Unclear(_) => Self::Unclear,
        }
    }
}

impl<T> From<&Result<T, Failure>> for StepResult {
    fn from(outcome: &Result<T, Failure>) -> Self {
        outcome.as_ref().map_or_else(Self::from, |_| Self::Ok)
    }
}

values! {
    /// The time that a key has left.
    pub enum Expires {
        /// An hour or less.
        WithinHour => "1h",
        /// More than an hour, six or less.
        Within6Hours => "6h",
        /// More than six hours, a day or less.
        WithinDay => "24h",
        /// More than a day, a week or less.
        WithinWeek => "7d",
        /// More than a week.
        Later => "later",
        /// No end.
        Never => "never",
    }
}

impl Expires {
    /// Where a key with so much time left belongs; `None` is for ever.
    pub fn of(left: Option<Duration>) -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        match left {
            None => Self::Never,
            Some(left) if left <= HOUR => Self::WithinHour,
            Some(left) if left <= HOUR * 6 => Self::Within6Hours,
            Some(left) if left <= HOUR * 24 => Self::WithinDay,
            Some(left) if left <= HOUR * 24 * 7 => Self::WithinWeek,
            Some(_) => Self::Later,
        }
    }
}

values! {
    /// What an address of a pool is.
    pub(super) enum AddressState {
        /// Held by a claim.
        Allocated => "allocated",
        /// Can be drawn.
        Free => "free",
    }
}

values! {
    /// What a gateway node is to a pool.
    pub(super) enum GatewayState {
        /// It serves.
        Serving => "serving",
        /// It should.
        Expected => "expected",
    }
}

values! {
    /// What is watched.
    pub(super) enum WatchKind {
        /// `WireGuardKey`.
        Key => "key",
        /// `WireGuardPeer`.
        Claim => "claim",
        /// `IPPool`.
        Pool => "pool",
        /// `WireGuardGateway`.
        Gateway => "gateway",
        /// `GatewayNode`.
        GatewayNode => "gateway_node",
        /// `Node`.
        Node => "node",
        /// `ServiceCIDR`.
        ServiceRange => "service_range",
        /// The `EndpointSlice` of the apiservers.
        Apiserver => "apiserver",
    }
}

impl From<Kind> for WatchKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Key => Self::Key,
            Kind::Claim => Self::Claim,
            Kind::Pool => Self::Pool,
            Kind::Gateway => Self::Gateway,
            Kind::GatewayNode => Self::GatewayNode,
            Kind::Node => Self::Node,
            Kind::ServiceRange => Self::ServiceRange,
            Kind::Apiserver => Self::Apiserver,
        }
    }
}

/// The reasons that the Ready condition of a key can have.
pub(super) const KEY_STATES: &[Reason] = &[
    Reason::Ready,
    Reason::InvalidKey,
    Reason::GatewayKey,
    Reason::DuplicateKey,
    Reason::PoolNotFound,
    Reason::NamespaceNotAllowed,
    Reason::QuotaExceeded,
    Reason::PoolExhausted,
    Reason::RateLimited,
    Reason::OverlappingPool,
    Reason::ClusterRange,
    Reason::InvalidSpec,
    Reason::Suspended,
    Reason::Expired,
    Reason::Pending,
    Reason::NoGateway,
    Reason::Refused,
];

/// The reason of a key's Ready condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct KeyState(pub(super) Reason);

impl EncodeLabelValue for KeyState {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.0.as_str(), encoder)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByStep {
    pub(super) step: StepKind,
    pub(super) result: StepResult,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByKind {
    pub(super) kind: WatchKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByState {
    pub(super) state: KeyState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByExpiry {
    pub(super) within: Expires,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByPoolAddress {
    pool: String,
    state: AddressState,
}

impl ByPoolAddress {
    pub(super) fn new(pool: &str, state: AddressState) -> Self {
        let pool = pool.to_owned();
        Self { pool, state }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByPoolGateway {
    pool: String,
    state: GatewayState,
}

impl ByPoolGateway {
    pub(super) fn new(pool: &str, state: GatewayState) -> Self {
        let pool = pool.to_owned();
        Self { pool, state }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Build {
    pub(super) version: &'static str,
}
