//! What can go wrong with a call to a store, told apart by what the caller may conclude.

/// The outcome of a call to a store.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call to a store has no result.
///
/// The kinds are few on purpose: each says what may have happened to the call's effect, which is all that a caller can act
/// on. The text names the store, the call and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No answer came: the call may take effect now, later (within [`Capabilities::grace_ms`](crate::Capabilities)) or never.
    /// Repeat it; every call is safe to repeat.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The store asks for less (throttling, a full queue). The call took no effect. Repeat it after a while.
    #[error("the store is busy: {0}")]
    Busy(String),
    /// The store cannot take this call, now or later, as it stands: wrong credentials, a missing bucket, a value beyond its limit.
    /// The call took no effect; repeating it is no use before somebody mends the cause.
    #[error("the store refused: {0}")]
    Refused(String),
    /// What the store holds under this name is not what was written there. The text names what is damaged.
    #[error("damaged: {0}")]
    Damaged(String),
}
