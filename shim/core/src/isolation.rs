//! The levels at which transactions run.

/// The level at which a transaction runs (protocol, section 13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Isolation {
    /// The transaction reads other transactions as a whole, and its writes become visible together.
    /// Two transactions that read the same version may both overwrite it.
    #[default]
    ReadAtomic,
    /// The transaction reads as at the other level, and everything that it read is still the newest
    /// version when it commits, so that the result of all such transactions is as if they had run
    /// one after the other. A transaction whose reads were overwritten ends in
    /// [`Refusal::Conflict`](crate::message::Refusal::Conflict). Where several processes share the
    /// store, this is the level of a prefix.
    Serializable,
}

impl Isolation {
    /// Returns the level's name, as callers and commands write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Isolation::ReadAtomic => "read_atomic",
            Isolation::Serializable => "serializable",
        }
    }
}
