//! The parts of a read set: versions that a transaction read, and ranges of keys that it listed.
//! The rule that keeps the set atomic is in `transaction`.

use std::sync::Arc;

use crate::ids::TxnId;
use crate::message::Header;
use crate::record::VersionEntry;

/// A version in the read set.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) struct ReadVersion {
    /// The header of the version's transaction; `None` if the key was absent.
    pub(in crate::node) header: Option<Arc<Header>>,
    /// True if the version was returned to the client. Until then the choice may be taken back.
    pub(in crate::node) delivered: bool,
    /// The listing on which the choice rests.
    pub(in crate::node) basis: Basis,
    /// Undecided entries of a checked key that the choice skipped and that do not follow the chosen
    /// version: they follow a collected deletion. They must be dead when the transaction commits.
    pub(in crate::node) strays: Vec<VersionEntry>,
}

/// The facts about a listing on which a choice rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::node) struct Basis {
    /// The mark that the node knew before it made the listing.
    pub(in crate::node) mark: TxnId,
    /// True if the choice is the newest version that had committed when the transaction began, or a
    /// newer one: the listing was made since, and nothing newer in it was skipped.
    pub(in crate::node) newest: bool,
}

impl ReadVersion {
    /// Returns the version that a write of the key follows.
    pub(in crate::node) fn version(&self) -> TxnId {
        self.header.as_ref().map_or(TxnId::ZERO, |header| header.txn)
    }
}

/// A range of keys that was listed. A key in it that is not in the read set was read as absent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::node) struct ListedRange {
    pub(in crate::node) prefix: String,
    /// The text after which it begins, exclusive.
    pub(in crate::node) after: Option<String>,
    /// The last text in it, inclusive; `None` for the end of the prefix.
    pub(in crate::node) through: Option<String>,
    /// The mark that the node knew before it made the listing.
    pub(in crate::node) mark: TxnId,
}

impl ListedRange {
    pub(in crate::node) fn contains(&self, key: &str) -> bool {
        key.starts_with(&self.prefix)
            && self.after.as_deref().is_none_or(|after| key > after)
            && self.through.as_deref().is_none_or(|through| key <= through)
    }

    /// Returns its part through `text`; `None` if it begins at it or behind it.
    pub(in crate::node) fn up_to(mut self, text: &str) -> Option<ListedRange> {
        if self.after.as_deref().is_some_and(|after| after >= text) {
            return None;
        }
        if self.through.as_deref().is_none_or(|through| text < through) {
            self.through = Some(text.to_owned());
        }
        Some(self)
    }
}
