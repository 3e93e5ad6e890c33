//! Parts of large values: a sweep removes those of attempts that are over and did not commit
//! (protocol, section 8, step 6).
//!
//! A group's name contains the time of its first reservation, so a sweep knows when its attempt is
//! over. Then the record decides: if it is absent, or names another attempt, nobody reads these
//! parts. The blobs of a removed record are removed by the same rule.
//!
//! Entries of a winner that led to the record say nothing about a loser's blobs. So entries with
//! blobs are noted together with their attempt, which saves the get for large values in use. In the
//! other cases (results, hashes of another range) the record is read.

use crate::bug::Bug;
use crate::message::Note;
use crate::record::BlobGroup;
use crate::store::{Answer, Call, CallError, Found, Group, Name, Scan};

use super::super::base::state::State;
use super::basis::Basis;
use super::flow::Job;
use super::progress::Groups;
use super::state::{End, Phase, Sweep};
use super::verify::{self, Under};

pub(super) fn page_call(groups: &Groups, state: &State) -> Call {
    let scan = Scan::Blobs { after: groups.after() };
    Call::Scan { scan, limit: state.settings.scan_page_len }
}

/// Takes a page of attempts that have blobs.
pub(super) fn page_answered(sweep: &mut Sweep, state: &mut State, mut groups: Groups, answer: Answer) {
    let Answer::Scanned { found: Found::Blobs(found), damaged, more, .. } = answer else {
        sweep.note_failure(state, &answer);
        return sweep.end(End::broken());
    };
    assert!(!more || !found.is_empty(), "an empty page is the last");
    damaged.into_iter().for_each(|what| state.note(Note::Damaged(what)));
    groups.note_listed(found.last().copied(), !more);
    for group in found {
        if is_over(state, sweep.basis(), &group) && !is_in_use(sweep, state, &group) {
            sweep.push(Job::LookForBlobs(group));
        }
    }
    sweep.phase = Phase::Blobs(groups);
}

/// Returns true if a group's attempt can no longer commit: it is over by the store's time, and this
/// node is not working on it. With the planted bug: always.
fn is_over(state: &State, basis: &Basis, group: &BlobGroup) -> bool {
    if state.planted(Bug::BlobsGoEarly) {
        return true;
    }
    let is_open = state.transactions.contains_key(&group.attempt);
    let is_committing = state.calls.commits().any(|txn| txn.attempt == group.attempt);
    let over_ms = group.reserved_ms.saturating_add(state.settings.target_lag_ms());
    basis.began_ms() >= over_ms && !is_open && !is_committing
}

/// Returns true if a group's parts are certainly in use, or must stay. With the planted bug, the
/// winner's entries count for the loser.
fn is_in_use(sweep: &Sweep, state: &State, group: &BlobGroup) -> bool {
    if state.planted(Bug::LoserBlobsStay) && sweep.met.range().contains(group.hash) {
        return sweep.met.contains(group.hash);
    }
    // A damaged record may be repaired, so its parts stay.
    sweep.met.contains_blobs(group.hash, group.attempt) || sweep.damaged.contains(&group.hash)
}

/// Takes the record of an attempt that has blobs.
pub(super) fn looked(sweep: &mut Sweep, group: BlobGroup, answer: Answer) {
    match verify::under(group.hash, answer) {
        Under::Record(record, _) if record.txn.attempt == group.attempt => {}
        Under::Record(..) | Under::Aborted(..) | Under::Nothing => sweep.push(Job::ListParts(group, None)),
        Under::Damaged(_) | Under::Unknown => {}
    }
}

pub(super) fn list_call(state: &State, group: BlobGroup, after: Option<Name>) -> Call {
    let limit = u32::try_from(state.settings.delete_batch_len).unwrap_or(u32::MAX);
    Call::List { group: Group::Blobs(group), after, limit: limit.min(state.settings.scan_page_len) }
}

/// Takes a page of unused parts.
pub(super) fn listed(sweep: &mut Sweep, state: &mut State, group: BlobGroup, answer: Answer) {
    let (names, damaged, more) = match answer {
        Answer::Listed { names, damaged, more } => (names, damaged, more),
        Answer::Failed(CallError::Damaged(what)) => return state.note(Note::Damaged(what)),
        _ => return,
    };
    damaged.into_iter().for_each(|what| state.note(Note::Damaged(what)));
    let is_own = |name: &Name| matches!(name, Name::Blob { group: of, .. } if *of == group);
    assert!(names.iter().all(is_own), "a listing of parts names its own attempt's");
    if more {
        sweep.push(Job::ListParts(group, names.last().cloned()));
    }
    if !names.is_empty() {
        sweep.push(Job::RemoveParts(names));
    }
}

/// Takes the outcome of a deletion of parts. If it failed, the next sweep deletes them.
pub(super) fn removed(state: &mut State, parts: usize, answer: &Answer) {
    if matches!(answer, Answer::Done) {
        state.note(Note::PartsRemoved(parts as u64));
    }
}
