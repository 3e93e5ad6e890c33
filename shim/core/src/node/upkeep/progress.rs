//! The progress of a sweep's listings: over version entries, key by key, over commit records, and
//! over the attempts that have blobs.

use crate::bug::Bug;
use crate::ids::{Key, RequestHash, TxnId};
use crate::record::{BlobGroup, Kind, Place, VersionEntry};
use crate::sweep;

use super::super::base::state::State;
use super::flow::Removal;

/// The progress over the version entries, key by key.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Keys {
    /// Everything up to here was listed.
    after: Option<Place>,
    is_done: bool,
    current: Option<Current>,
}

/// The key that was listed last: a page may end within it.
#[derive(Debug, Clone, Hash)]
struct Current {
    key: Key,
    survivor: Option<TxnId>,
    /// The survivor, if it is a tombstone.
    tombstone: Option<VersionEntry>,
    entries: u64,
}

impl Keys {
    /// Restores the progress of a sweep that stopped. The notes do not contain the number of
    /// entries of the last key, so a tombstone there counts as not alone.
    pub(super) fn resumed(after: Option<Place>, survivor: Option<TxnId>) -> Keys {
        let within = after.as_ref().filter(|place| place.entry.is_some());
        let key = within.and_then(|place| Key::parse(&place.key).ok());
        let current = key.map(|key| Current { key, survivor, tombstone: None, entries: 1 });
        Keys { after, is_done: false, current }
    }

    /// Returns the progress for the notes.
    pub(super) fn noted(&self) -> sweep::Phase {
        let survivor = self.current.as_ref().and_then(|current| current.survivor);
        sweep::Phase::Versions { after: self.after.clone(), survivor }
    }

    /// Returns the place up to which everything was listed.
    pub(super) fn after(&self) -> Option<Place> {
        self.after.clone()
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Notes the last entry of a page, up to which everything was listed.
    pub(super) fn note_listed(&mut self, key: &Key, entry: &VersionEntry) {
        self.after = Some(Place { key: key.as_str().into(), entry: Some(entry.clone()) });
    }

    /// Notes that all entries were listed. Returns the surviving tombstone of the last key if it
    /// may be removed.
    pub(super) fn finish(&mut self, state: &State) -> Option<Removal> {
        let removal = self.close(state);
        self.is_done = true;
        // The last key is complete: a sweep that resumes need not list it again.
        self.after = self.after.take().map(|place| Place { entry: None, ..place });
        removal
    }

    /// Continues with a key. Returns the surviving tombstone of the previous key if it may be
    /// removed.
    pub(super) fn go_to(&mut self, key: &Key, state: &State) -> Option<Removal> {
        if self.current.as_ref().is_some_and(|current| current.key == *key) {
            return None;
        }
        let removal = self.close(state);
        let key = key.clone();
        self.current = Some(Current { key, survivor: None, tombstone: None, entries: 0 });
        removal
    }

    /// Ends the current key, all of whose entries were listed. Returns its surviving tombstone if
    /// it may be removed.
    fn close(&mut self, state: &State) -> Option<Removal> {
        let Current { key, tombstone, entries, .. } = self.current.take()?;
        let entry = tombstone.filter(|_| may_remove_tombstone(state, entries))?;
        Some(Removal { key, entry, is_dead: false })
    }

    /// Takes an entry of the current key. Returns true if it is superseded.
    pub(super) fn meet(&mut self, entry: &VersionEntry, supersedes: bool) -> bool {
        let current = self.current.as_mut().expect("an entry is met at its key");
        current.entries += 1;
        if let Some(survivor) = current.survivor {
            assert!(entry.txn <= survivor, "entries come newest first");
            return true;
        }
        if supersedes {
            current.survivor = Some(entry.txn);
            current.tombstone = Some(entry.clone()).filter(|entry| entry.meta.kind == Kind::Tombstone);
        }
        false
    }
}

/// Returns true if a surviving tombstone may be removed, given the number of listed entries of its
/// key. With the planted bug: always.
fn may_remove_tombstone(state: &State, entries: u64) -> bool {
    assert!(entries >= 1, "a tombstone is an entry of its key");
    entries == 1 || state.planted(Bug::TombstoneNotAlone)
}

/// The progress over the commit records of a range of hashes.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Commits {
    /// Everything up to here was listed.
    after: Option<RequestHash>,
    is_done: bool,
}

impl Commits {
    /// Starts just before the hashes that begin with `from`.
    pub(super) fn new(from: u32) -> Commits {
        let first = u16::try_from(from).expect("a range begins with two bytes").to_be_bytes();
        let mut least = [0; 32];
        least[..2].copy_from_slice(&first);
        Commits { after: before(RequestHash(least)), is_done: false }
    }

    /// Restores the progress of a sweep that stopped.
    pub(super) fn resumed(after: Option<RequestHash>) -> Commits {
        Commits { after, is_done: false }
    }

    /// Returns the progress for the notes. `unlooked` are hashes that were listed, but whose
    /// records were not read.
    pub(super) fn noted(&self, unlooked: impl Iterator<Item = RequestHash>) -> sweep::Phase {
        let after = match unlooked.min() {
            Some(first) => before(first),
            None => self.after,
        };
        sweep::Phase::Commits { after }
    }

    /// Returns the hash up to which everything was listed.
    pub(super) fn after(&self) -> Option<RequestHash> {
        self.after
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Takes the last hash of a page, if it has one. `is_done` is true if no page follows.
    pub(super) fn note_listed(&mut self, last: Option<RequestHash>, is_done: bool) {
        self.after = last.or(self.after);
        self.is_done = is_done;
    }
}

/// Returns the greatest hash below this one.
fn before(hash: RequestHash) -> Option<RequestHash> {
    let mut bytes = hash.0;
    let last = bytes.iter().rposition(|byte| *byte > 0)?;
    bytes[last] -= 1;
    bytes[last + 1..].fill(0xff);
    Some(RequestHash(bytes))
}

/// The progress over the attempts that have blobs.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Groups {
    /// Everything up to here was listed.
    after: Option<BlobGroup>,
    is_done: bool,
}

impl Groups {
    /// Returns the group up to which everything was listed.
    pub(super) fn after(&self) -> Option<BlobGroup> {
        self.after
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Takes the last group of a page, if it has one. `is_done` is true if no page follows.
    pub(super) fn note_listed(&mut self, last: Option<BlobGroup>, is_done: bool) {
        self.after = last.or(self.after);
        self.is_done = is_done;
    }
}

#[cfg(test)]
mod tests {
    use super::{Commits, before};
    use crate::ids::RequestHash;

    #[test]
    fn a_listing_after_the_hash_before_begins_with_the_hash() {
        let hash = |first: u8, last: u8| {
            let mut bytes = [0; 32];
            (bytes[0], bytes[31]) = (first, last);
            RequestHash(bytes)
        };
        assert_eq!(before(hash(0, 0)), None);
        assert_eq!(before(hash(0, 5)), Some(hash(0, 4)));
        let below = before(hash(2, 0)).unwrap();
        assert!(hash(1, 0xff) < below && below < hash(2, 0));
        assert_eq!(Commits::new(0).after, None);
        assert_eq!(Commits::new(0x0200).after, Some(below));
    }
}
