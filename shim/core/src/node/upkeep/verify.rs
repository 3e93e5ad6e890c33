//! Verification of attempts between the mark and the target: their records decide (protocol,
//! section 8, step 3).
//!
//! The attempt is over, so its record exists now or never will. If it names the attempt, the
//! transaction is committed, and the entries that the listing did not show are put. If it is absent
//! or names another attempt, the attempt's entries are dead, and are deleted. If it cannot be read,
//! not even a second time, that is noted under `store/damaged`, and the mark passes it.
//!
//! The second read is needed because bytes may be damaged on their way. If the mark passed after
//! the first failure and the record could be read later, its missing entries would be taken for
//! collected ones.
//!
//! A commit of an unnamed request that this node has acknowledged needs no read, if all of its
//! entries were listed, because its record and entries were durable. A commit of a named request
//! does: if its record were deleted by hand, another attempt could commit under the name.
//!
//! The whole TxnId is compared, because an attempt that failed and committed again may have left
//! entries with an earlier time.

use std::sync::Arc;

use crate::bug::Bug;
use crate::ids::{Key, RequestHash};
use crate::message::Note;
use crate::record::{Aborted, Record, VersionEntry};
use crate::store::{Answer, Body, Call, CallError, Pieces, Tag, Writes};
use crate::sweep::Pending;

use super::super::base::state::State;
use super::flow::{Entering, Job, Removal};
use super::state::Sweep;

/// The number of tries of a put, each within the limit of a mark, before the target falls below its
/// transaction.
const ENTER_TRIES_MAX: u32 = 3;

/// The object under a record's name.
#[derive(Debug)]
pub(super) enum Under {
    Record(Arc<Record>, Tag),
    /// The list of attempts that may not commit.
    Aborted(Arc<Aborted>, Tag),
    /// No object, or a stub: no attempt has committed under the name, or none can any more.
    Nothing,
    /// An object that cannot be read.
    Damaged(String),
    /// Unknown, because the call failed.
    Unknown,
}

/// Reads the answer to a get of a commit record.
pub(super) fn under(hash: RequestHash, answer: Answer) -> Under {
    match answer {
        Answer::Got(Some((Body::Record(record), tag))) if record.hash == hash => Under::Record(record, tag),
        Answer::Got(Some((Body::Aborted(aborted), tag))) => Under::Aborted(aborted, tag),
        Answer::Got(Some((Body::Stub(_), _)) | None) => Under::Nothing,
        Answer::Got(Some(_)) => Under::Damaged(format!("the object under the commit {hash} is no record")),
        Answer::Failed(CallError::Damaged(what)) => Under::Damaged(what),
        Answer::Failed(_)
        | Answer::Cached(_)
        | Answer::Done
        | Answer::Created(_)
        | Answer::Committed(_)
        | Answer::Replaced
        | Answer::Changed
        | Answer::Listed { .. }
        | Answer::Scanned { .. } => Under::Unknown,
    }
}

/// Takes an attempt all of whose entries were met. Its record is read, unless this node has
/// acknowledged the commit itself, for an unnamed request. Then it still exists: nothing of a
/// committed transaction above the mark is removed.
pub(super) fn all_met(sweep: &mut Sweep, state: &State, attempt: Pending) {
    assert!(!attempt.entries.is_empty(), "an attempt is known by its entries");
    if state.own_commit(attempt.hash).is_some_and(|own| own.txn == attempt.txn) {
        return attempt.entries.iter().for_each(|(_, entry)| sweep.meet_verified(entry));
    }
    sweep.push(Job::Verify(attempt));
}

/// Takes the answer to the read of an attempt's record.
pub(super) fn answered(sweep: &mut Sweep, state: &mut State, attempt: Pending, answer: Answer) {
    match under(attempt.hash, answer) {
        Under::Record(record, _) if record.txn == attempt.txn => {
            attempt.entries.iter().for_each(|(_, entry)| sweep.meet_verified(entry));
            let is_shown = |key: &Key| attempt.entries.iter().any(|(shown, _)| shown == key);
            let missing = record.entries().into_iter().filter(|(key, _)| !is_shown(key)).collect();
            enter(sweep, state, record, missing);
        }
        Under::Record(..) | Under::Aborted(..) | Under::Nothing => {
            if state.planted(Bug::DeadEntriesCountForWinner) {
                attempt.entries.iter().for_each(|(_, entry)| sweep.meet_verified(entry));
            }
            if must_remove_dead(state) {
                let dead = attempt.entries.into_iter();
                dead.for_each(|(key, entry)| sweep.remove(Removal { key, entry, is_dead: true }));
            }
        }
        Under::Damaged(_) if sweep.doubt(attempt.hash) => sweep.push(Job::Verify(attempt)),
        Under::Damaged(what) => note_damage(sweep, state, attempt.hash, what),
        Under::Unknown => sweep.fall_below(attempt.txn),
    }
}

/// Returns true if dead entries must be removed before the mark passes them. With the planted bug:
/// false.
fn must_remove_dead(state: &State) -> bool {
    !state.planted(Bug::MarkPassesDeadEntries)
}

/// Returns true if missing entries must be put before the mark passes their transaction. With the
/// planted bug: false.
fn must_enter(state: &State) -> bool {
    !state.planted(Bug::MarkPassesHalfEntered)
}

/// Puts entries of a committed transaction that the listing did not show.
pub(super) fn enter(
    sweep: &mut Sweep,
    state: &State,
    record: Arc<Record>,
    entries: Vec<(Key, VersionEntry)>,
) {
    // Locks were created before the record, so a missing one was removed by hand, and is not put.
    if !entries.is_empty() && record.follows.is_none() && must_enter(state) {
        sweep.push(Job::Enter(Entering { record, entries, failed: 0 }));
    }
}

pub(super) fn enter_call(entering: &Entering) -> Call {
    assert!(!entering.entries.is_empty(), "a put names something");
    Call::Commit(Writes { record: None, entries: entering.entries.clone() })
}

/// Takes the outcome of puts. Failed ones are retried with a new read of the mark; after the last
/// try the target falls below the transaction.
pub(super) fn entered(sweep: &mut Sweep, state: &mut State, entering: Entering, answer: Answer) {
    let Entering { record, entries, failed } = entering;
    let outcomes = match answer {
        Answer::Committed(Pieces { record: None, entries }) => entries,
        Answer::Failed(error) => vec![Err(error); entries.len()],
        other => unreachable!("entries are put and answered {other:?}"),
    };
    assert_eq!(outcomes.len(), entries.len(), "every entry has an outcome");
    let put = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    if put > 0 {
        state.note(Note::EntriesRepaired(put as u64));
    }
    let is_final =
        outcomes.iter().any(|outcome| matches!(outcome, Err(CallError::Refused(_) | CallError::Damaged(_))));
    let left = entries.into_iter().zip(outcomes).filter(|(_, outcome)| outcome.is_err());
    let entries: Vec<(Key, VersionEntry)> = left.map(|(entry, _)| entry).collect();
    if entries.is_empty() {
        return;
    }
    if is_final || failed + 1 >= ENTER_TRIES_MAX {
        return sweep.fall_below(record.txn);
    }
    sweep.push(Job::Enter(Entering { record, entries, failed: failed + 1 }));
}

/// Reports an unreadable record, and notes it in the store, so that no sweep relies on it.
pub(super) fn note_damage(sweep: &mut Sweep, state: &mut State, hash: RequestHash, what: String) {
    state.note(Note::Damaged(what.clone()));
    if sweep.damaged.insert(hash) {
        sweep.push(Job::NoteDamage(hash, what));
    }
}

/// Takes the outcome of a note on a damaged record. Without the note the mark must not pass the
/// record, because the next sweep would treat its entries as committed.
pub(super) fn damage_noted(sweep: &mut Sweep, answer: &Answer) {
    if !matches!(answer, Answer::Done) {
        sweep.hold();
    }
}

pub(super) fn remove_call(removals: &[Removal]) -> Call {
    assert!(!removals.is_empty(), "a deletion names something");
    let name = |removal: &Removal| removal.entry.name(&removal.key);
    Call::Delete(removals.iter().map(name).collect())
}

/// Takes an entry that must be deleted by tag. If another object has its name now, it is already
/// gone.
pub(super) fn lock_looked_at(sweep: &mut Sweep, removal: Removal, answer: Answer) {
    match answer {
        Answer::Got(Some((Body::Entry(entry), tag))) if entry.txn == removal.txn() => {
            sweep.push(Job::RemoveLock(removal, tag));
        }
        Answer::Got(Some((Body::Record(record), tag))) if record.txn == removal.txn() => {
            sweep.push(Job::RemoveLock(removal, tag));
        }
        Answer::Got(_) => {}
        _ if removal.is_dead => sweep.fall_below(removal.txn()),
        // A superseded entry is found again by the next sweep.
        _ => {}
    }
}

/// Takes the outcome of a deletion of entries, and updates the node's own index.
pub(super) fn removed(sweep: &mut Sweep, state: &mut State, removals: Vec<Removal>, answer: &Answer) {
    assert!(!removals.is_empty(), "a deletion names something");
    // `Changed` means that another object has the name, so the entry is gone.
    if !matches!(answer, Answer::Done | Answer::Replaced | Answer::Changed) {
        // A superseded entry is found again by the next sweep. The mark must not pass a dead one.
        let dead = removals.iter().filter(|removal| removal.is_dead);
        return dead.for_each(|removal| sweep.fall_below(removal.txn()));
    }
    state.note(Note::EntriesRemoved(removals.len() as u64));
    let bytes = removals.iter().map(|removal| removal.entry.stored_bytes(&removal.key)).sum();
    state.note(Note::BytesReclaimed(bytes));
    for Removal { key, entry, is_dead } in &removals {
        match is_dead {
            true => state.index.forget(entry.txn, key),
            // Forget the older ones, too, or the index would show one of them as the newest
            // version.
            false => state.index.forget_through(entry.txn, key),
        }
    }
}
