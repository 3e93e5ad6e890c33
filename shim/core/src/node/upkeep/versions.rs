//! Version entries: a sweep removes superseded ones, and verifies attempts that are over (protocol,
//! section 8, steps 2 and 3).
//!
//! Rule. At each key the newest entry at or below the settled mark survives. It is known to be
//! committed; entries above the mark supersede nothing, because they may be undecided. Every older
//! entry of the key is superseded *there*, and is deleted independently of its transaction's other
//! keys.
//!
//! A surviving tombstone is removed when it is the only listed entry of its key. If there is
//! another one, it stays: the deletion of an older entry may not have taken effect, and a newer
//! entry may be dead.
//!
//! Entries whose record is noted as damaged supersede nothing and stay.

use crate::bug::Bug;
use crate::ids::{Key, TxnId};
use crate::message::Note;
use crate::record::{Kind, VersionEntry};
use crate::store::{Answer, Call, Found, Place, Scan};
use crate::sweep;

use super::super::base::state::State;
use super::flow::{Job, Removal};
use super::mark::Standing;
use super::sweep::{End, Phase, Sweep};
use super::verify;

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

    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Continues with a key. Returns the surviving tombstone of the previous key if it may be
    /// removed.
    fn go_to(&mut self, key: &Key, state: &State) -> Option<Removal> {
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
    fn meet(&mut self, entry: &VersionEntry, supersedes: bool) -> bool {
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

/// Returns true if an entry with this standing may supersede older ones. With the planted bug, an
/// undecided one may.
fn may_supersede(state: &State, standing: Standing) -> bool {
    standing == Standing::Settled || state.planted(Bug::SupersedeByUndecided)
}

/// Returns true if a surviving tombstone may be removed, given the number of listed entries of its
/// key. With the planted bug: always.
fn may_remove_tombstone(state: &State, entries: u64) -> bool {
    assert!(entries >= 1, "a tombstone is an entry of its key");
    entries == 1 || state.planted(Bug::TombstoneNotAlone)
}

pub(super) fn page_call(keys: &Keys, state: &State) -> Call {
    let scan = Scan::Versions { prefix: String::new(), after: keys.after.clone() };
    Call::Scan { scan, limit: state.settings.scan_page_len }
}

/// Takes a page of version entries.
pub(super) fn page_answered(sweep: &mut Sweep, state: &mut State, mut keys: Keys, answer: Answer) {
    let Answer::Scanned { found: Found::Versions(entries), damaged, unread, more } = answer else {
        sweep.note_failure(state, &answer);
        return sweep.end(End::broken());
    };
    assert!(!more || !entries.is_empty(), "an empty page is the last");
    sweep.note_unread(unread);
    if sweep.is_first_pass() {
        damaged.into_iter().for_each(|what| state.note(Note::Damaged(what)));
    }
    if let Some((key, entry)) = entries.last() {
        keys.after = Some(Place { key: key.as_str().into(), entry: Some(entry.clone()) });
    }
    for (key, entry) in entries {
        if let Some(removal) = keys.go_to(&key, state) {
            remove_tombstone(sweep, removal);
        }
        meet(sweep, state, &mut keys, key, entry);
    }
    if !more {
        if let Some(removal) = keys.close(state) {
            remove_tombstone(sweep, removal);
        }
        keys.is_done = true;
        // The last key is complete: a sweep that resumes need not list it again.
        keys.after = keys.after.take().map(|place| Place { entry: None, ..place });
    }
    sweep.shrink_window();
    sweep.phase = Phase::Versions(keys);
}

/// Removes a tombstone that was listed alone, unless another entry of its key cannot be read.
fn remove_tombstone(sweep: &mut Sweep, removal: Removal) {
    if !sweep.is_unread(&removal.key) {
        sweep.remove(removal);
    }
}

/// Takes one entry: notes its record, and decides whether it is removed or verified.
fn meet(sweep: &mut Sweep, state: &State, keys: &mut Keys, key: Key, entry: VersionEntry) {
    let standing = sweep.basis().standing(state, entry.txn);
    let is_damaged = sweep.damaged.contains(&entry.hash);
    let superseded = keys.meet(&entry, may_supersede(state, standing) && !is_damaged);
    match standing {
        Standing::Settled | Standing::Marked => {
            // Also if it is removed now: its record is left to the next sweep, when the deletion
            // has certainly taken effect.
            sweep.meet_verified(&entry);
            if superseded && standing == Standing::Settled && !is_damaged {
                if state.planted(Bug::RemoveRecordSupersededAtOneKey) {
                    sweep.push(Job::Look(entry.hash));
                }
                sweep.remove(Removal { key, entry, is_dead: false });
            }
        }
        // Its record is noted as damaged, and the mark passes; or the entry itself is the commit.
        Standing::Window if is_damaged || entry.whole => {}
        // The first pass has verified it, or would have removed it.
        Standing::Window if !sweep.is_first_pass() => sweep.meet_verified(&entry),
        Standing::Window => {
            if let Some(attempt) = sweep.window.meet(key, entry) {
                verify::all_met(sweep, state, attempt);
            }
        }
        Standing::Beyond => {}
    }
}
