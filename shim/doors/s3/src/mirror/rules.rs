//! Decides what the mirror does with a key (docs/protocol.md, section 18).
//!
//! The decision is a pure function, so that the worlds of the tests run the same one as the mirror.

use aft_core::ids::TxnId;

/// The newest committed state of a key in its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Latest {
    /// The bucket has never written it.
    Unwritten,
    /// An object, of this version.
    Object(TxnId),
    /// Deleted, by this transaction.
    Deleted(TxnId),
}

/// The object under the key's plain name at the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum There {
    Nothing,
    /// Written by this bucket's mirror for this key, of this version.
    Marked(TxnId),
    /// Another one, that was there before the bucket wrote the key.
    Zero,
    /// Another one, that somebody has written since.
    Foreign,
}

/// The next step of the mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Step {
    /// Nothing is left to do.
    Done,
    /// Write the newest version, if what is there has not changed since.
    Write,
    /// Delete what is there, if it has not changed since.
    Delete,
    /// Somebody else has overwritten the object: report it, and leave it.
    Report,
}

/// Decides the next step.
pub(crate) fn step(latest: Latest, there: There) -> Step {
    match (latest, there) {
        (Latest::Unwritten, _) => Step::Done,
        // A newer one was mirrored meanwhile: its commit is at least as new as what was read.
        (Latest::Object(version), There::Marked(marked)) if marked >= version => Step::Done,
        (Latest::Deleted(version), There::Marked(marked)) if marked > version => Step::Done,
        (_, There::Foreign) => Step::Report,
        (Latest::Object(_), _) => Step::Write,
        (Latest::Deleted(_), There::Nothing) => Step::Done,
        (Latest::Deleted(_), _) => Step::Delete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_version_never_replaces_a_newer_one() {
        let version = |ms| TxnId::at(aft_core::ids::Hlc(ms));
        let marked = |ms| There::Marked(version(ms));
        let (object, deleted) = (Latest::Object(version(2)), Latest::Deleted(version(2)));
        for (latest, there, expected) in [
            (object, marked(1), Step::Write),
            (object, marked(2), Step::Done),
            (object, marked(3), Step::Done),
            (object, There::Nothing, Step::Write),
            (object, There::Zero, Step::Write),
            (object, There::Foreign, Step::Report),
            (deleted, marked(1), Step::Delete),
            (deleted, marked(3), Step::Done),
            (deleted, There::Nothing, Step::Done),
            (deleted, There::Zero, Step::Delete),
            (deleted, There::Foreign, Step::Report),
            (Latest::Unwritten, There::Zero, Step::Done),
        ] {
            assert_eq!(step(latest, there), expected, "{latest:?} {there:?}");
        }
    }
}
