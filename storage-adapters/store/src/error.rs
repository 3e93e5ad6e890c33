//! The errors of calls to a store, one kind for each conclusion that a caller may draw.

/// The outcome of a call to a store.
pub type Result<T> = std::result::Result<T, Error>;

/// The reason for which a call to a store has no result.
///
/// The kinds are few on purpose: each says what may have happened to the call's effect, and a
/// caller can act on nothing else. The text names the store, the call and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A call without an answer: it may take effect now, later (within
    /// [`Capabilities::grace_ms`](crate::Capabilities)) or never. Retry it; every call is safe to
    /// repeat.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// A call rejected because of load (throttling, a full queue). It took no effect. Retry it
    /// after a delay.
    #[error("the store is busy: {0}")]
    Busy(String),
    /// A call that the store rejects now and would reject again: wrong credentials, a missing
    /// bucket, a body beyond its limit, a full disk. It took no effect. Retry it only after the
    /// cause is fixed; the text says how.
    #[error("the store refused: {0}")]
    Refused(String),
    /// An object that does not hold what was written under its name. The text names it.
    #[error("damaged: {0}")]
    Damaged(String),
}
