//! Protocols that are wrong on purpose: the model has to find what each of them breaks.

/// What is done otherwise than the operator does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Nothing.
    None,
    /// The status is written first, the claim made afterwards.
    PublishBeforeClaim,
    /// A name that is taken by a claim of the same key counts as this key's present claim, whatever it was made for.
    AdoptByUidAlone,
    /// A name that is taken counts as one's own.
    AdoptBlindly,
    /// A public key may be claimed for two keys at the same time.
    PromiseAddressesAlone,
    /// A claim whose key has not been seen is released at once.
    NoLiveRead,
    /// A claim that its key no longer wants is released without a look whether that is still so.
    ReleaseUnread,
    /// A published address is taken back on the word of the watches alone.
    TakeBackUnread,
    /// The reply to a write counts as if the watch had come to it.
    TrustReplies,
    /// A released claim is deleted as soon as the gateways have let go of it.
    DeleteBeforeCooldown,
    /// A released claim is deleted whatever the gateways say.
    DeleteBeforeGateways,
    /// A claim is deleted without having been released.
    DeleteAtOnce,
    /// A claim is deleted by name alone.
    DeleteWithoutPrecondition,
    /// A claim is released by name alone.
    ReleaseWithoutPrecondition,
    /// A status is written by name alone.
    PublishWithoutPrecondition,
}

impl Mutation {
    pub const ALL: [Self; 14] = [
        Self::PublishBeforeClaim,
        Self::AdoptByUidAlone,
        Self::AdoptBlindly,
        Self::PromiseAddressesAlone,
        Self::NoLiveRead,
        Self::ReleaseUnread,
        Self::TakeBackUnread,
        Self::TrustReplies,
        Self::DeleteBeforeCooldown,
        Self::DeleteBeforeGateways,
        Self::DeleteAtOnce,
        Self::DeleteWithoutPrecondition,
        Self::ReleaseWithoutPrecondition,
        Self::PublishWithoutPrecondition,
    ];
}
