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
use crate::ids::Key;
use crate::message::Note;
use crate::record::VersionEntry;
use crate::store::{Answer, Call, Found, Scan};

use super::super::base::state::State;
use super::basis::Standing;
use super::flow::{Job, Removal};
use super::progress::Keys;
use super::state::{End, Phase, Sweep};
use super::verify;

/// Returns true if an entry with this standing may supersede older ones. With the planted bug, an
/// undecided one may.
fn may_supersede(state: &State, standing: Standing) -> bool {
    standing == Standing::Settled || state.planted(Bug::SupersedeByUndecided)
}

pub(super) fn page_call(keys: &Keys, state: &State) -> Call {
    let scan = Scan::Versions { prefix: String::new(), after: keys.after(), heads: None };
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
        keys.note_listed(key, entry);
    }
    for (key, entry) in entries {
        if let Some(removal) = keys.go_to(&key, state) {
            remove_tombstone(sweep, removal);
        }
        meet(sweep, state, &mut keys, key, entry);
    }
    if !more && let Some(removal) = keys.finish(state) {
        remove_tombstone(sweep, removal);
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
