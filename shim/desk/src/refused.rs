//! Every reason why a call is rejected or fails. The set is closed: each door maps all of them to
//! the error documents of its protocol.

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
    /// The node's refusal. For a commit that this crate sent, it is never [`Refusal::Unknown`] or
    /// [`Refusal::UnknownDamaged`]: those become [`Refused::Doubt`].
    Node(Refusal),
    /// The caller is not known, lacks a right, or has reached a limit of its own.
    Denied(Denied),
    /// The input breaks a rule. The text says which, and what to do.
    Invalid(String),
    /// The text is not a valid key.
    Key(KeyError),
    /// A name is too long.
    TooLong {
        /// The kind of name, for messages.
        what: &'static str,
        /// The bound in bytes.
        limit: usize,
        /// The length in bytes.
        actual: usize,
    },
    /// The values that one call reads are together larger than one reply may be. The call's writes,
    /// and its commit if it made one, remain in effect.
    ReadsTooLarge {
        /// The bound in bytes.
        limit: usize,
        /// The sum in bytes.
        actual: usize,
    },
    /// There is no room for a large body now. If `bytes` is above `bound`, there never is.
    NoRoom {
        /// The bytes that the call needs.
        bytes: usize,
        /// The bound for all large bodies together.
        bound: usize,
    },
    /// The transaction was opened on another node, or before this node was restarted. Nothing of it
    /// took effect unless its commit was sent.
    Elsewhere(TransactionToken),
    /// The transaction to commit was aborted: nothing of it took effect.
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
    /// The kind of call that asked for the commit. It determines how the caller can ask again.
    pub asked: Asked,
}

/// The cause of a doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The commit may have been stored, and the store did not answer in time; the text says why, if
    /// that is known.
    NoAnswer(Option<String>),
    /// The commit may have been stored, and its record cannot be read; the text names it.
    Damaged(String),
    /// The transaction is of another node, which may have sent a commit.
    NodeElsewhere,
}

impl Refused {
    /// Returns true if an opening that fails with this error opened nothing. Then there is no
    /// transaction to name.
    pub fn opened_nothing(&self) -> bool {
        match self {
            Refused::Node(refusal) => matches!(
                refusal,
                Refusal::NotServing
                    | Refusal::Overloaded(_)
                    | Refusal::InProgress { .. }
                    | Refusal::KeyReused
                    | Refusal::ResultGone
                    | Refusal::SessionLost(_)
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

    /// Returns the refusal of a text that is not a valid key.
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
