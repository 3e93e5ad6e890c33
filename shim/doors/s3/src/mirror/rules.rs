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
    /// An object that this bucket's mirror has written, of this version.
    Marked(TxnId),
    /// Any other object.
    Unmarked,
}

/// The mirror's record of the key, compared with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Known {
    /// It has never ended the work on this key: an unmarked object is version 0.
    Never,
    /// It has, and what is there now has the entity tag that it left.
    AsLeft,
    /// It has, and left something else.
    Otherwise,
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
pub(crate) fn step(latest: Latest, there: There, known: Known) -> Step {
    match (latest, there) {
        (Latest::Unwritten, _) => Step::Done,
        // A newer one was mirrored meanwhile: its commit is at least as new as what was read.
        (Latest::Object(version), There::Marked(marked)) if marked >= version => Step::Done,
        (Latest::Deleted(version), There::Marked(marked)) if marked > version => Step::Done,
        (_, There::Unmarked) if known == Known::Otherwise => Step::Report,
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
        for (latest, there, known, expected) in [
            (object, marked(1), Known::AsLeft, Step::Write),
            (object, marked(1), Known::Never, Step::Write),
            (object, marked(2), Known::Never, Step::Done),
            (object, marked(3), Known::Otherwise, Step::Done),
            (object, There::Nothing, Known::Otherwise, Step::Write),
            (object, There::Unmarked, Known::Never, Step::Write),
            (object, There::Unmarked, Known::AsLeft, Step::Write),
            (object, There::Unmarked, Known::Otherwise, Step::Report),
            (deleted, marked(1), Known::AsLeft, Step::Delete),
            (deleted, marked(3), Known::AsLeft, Step::Done),
            (deleted, There::Nothing, Known::Never, Step::Done),
            (deleted, There::Unmarked, Known::Never, Step::Delete),
            (deleted, There::Unmarked, Known::Otherwise, Step::Report),
            (Latest::Unwritten, There::Unmarked, Known::Never, Step::Done),
        ] {
            assert_eq!(step(latest, there, known), expected, "{latest:?} {there:?} {known:?}");
        }
    }
}
