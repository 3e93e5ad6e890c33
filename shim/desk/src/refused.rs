//! Every reason for which a call is not carried out. Closed: each door maps all of them to the
//! error documents of its protocol.

use aft_access::Denied;
use aft_core::ids::{Key, KeyError};
use aft_core::message::Refusal;
use aft_format::TransactionToken;

use crate::opening::Asked;

/// The outcome of a call.
pub type Result<T> = std::result::Result<T, Refused>;

/// A call that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The node's refusal. Never [`Refusal::Unknown`] or [`Refusal::UnknownDamaged`] of a commit
    /// that this crate sent: those are [`Refused::Doubt`].
    Node(Refusal),
    /// The caller is not known, lacks a right, or is at a limit of its own.
    Denied(Denied),
    /// The input breaks a rule; the text says which, and the remedy.
    Invalid(String),
    /// The text is no key.
    Key(KeyError),
    /// A name is longer than it may be.
    TooLong {
        /// The kind of name, for messages.
        what: &'static str,
        /// The bound in bytes.
        limit: usize,
        /// The length in bytes.
        actual: usize,
    },
    /// The values that one call reads are larger together than one reply may be. What the call
    /// wrote or committed holds.
    ReadsTooLarge {
        /// The bound in bytes.
        limit: usize,
        /// The sum in bytes.
        actual: usize,
    },
    /// There is no room for a large body now; never, if `bytes` is above `bound`.
    NoRoom {
        /// The bytes that the call needs.
        bytes: usize,
        /// The bound for all large bodies together.
        bound: usize,
    },
    /// The transaction is open on another node or was open in an earlier life of this one: nothing
    /// of it took effect unless its commit was sent.
    Elsewhere(TransactionToken),
    /// The commit of a transaction that was aborted: nothing of it took effect.
    Aborted,
    /// The outcome of a commit is not known.
    Doubt(Box<Doubt>),
}

/// A commit whose outcome is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The transaction.
    pub token: TransactionToken,
    /// The cause.
    pub cause: Cause,
    /// The kind of call that asked for the commit: what its caller has in hand to ask again.
    pub asked: Asked,
}

/// The cause of a doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The commit may have been stored, and the store did not answer in time.
    NoAnswer,
    /// The commit may have been stored, and its record cannot be read; the text names it.
    Damaged(String),
    /// The transaction's node is gone, and a commit may have been sent before.
    NodeGone,
}

impl Refused {
    /// Returns true if a refused opening opened nothing: then there is no transaction to name.
    pub fn opened_nothing(&self) -> bool {
        match self {
            Refused::Node(refusal) => matches!(
                refusal,
                Refusal::NotServing
                    | Refusal::Overloaded(_)
                    | Refusal::InProgress { .. }
                    | Refusal::KeyReused
                    | Refusal::ResultGone
            ),
            Refused::Denied(Denied::Limit { .. }) | Refused::NoRoom { .. } => true,
            Refused::Denied(_)
            | Refused::Invalid(_)
            | Refused::Key(_)
            | Refused::TooLong { .. }
            | Refused::ReadsTooLarge { .. }
            | Refused::Elsewhere(_)
            | Refused::Aborted
            | Refused::Doubt(_) => false,
        }
    }

    /// Returns the refusal of a text that is no key.
    pub(crate) fn no_key(why: KeyError) -> Refused {
        assert!(!matches!(why, KeyError::TooLong(bytes) if bytes <= Key::BYTES_MAX), "{why:?}");
        Refused::Key(why)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused::Node(refusal)
    }
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Refused {
        Refused::Denied(denied)
    }
}
