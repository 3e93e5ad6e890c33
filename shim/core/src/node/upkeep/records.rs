//! Commit records: a sweep puts the entries of those that were never entered, and removes those
//! that are no longer needed (protocol, section 8, step 4).
//!
//! Rule. A sweep reads each record to which no entry of a verified attempt led. If it is between
//! mark and target, it was committed and never reported, and all of its entries are put. If it is
//! at or below the settled mark, it was verified, its entries were in place, and none is left; so
//! nobody reads it, and it is removed when its retention has passed. Otherwise a later sweep
//! decides.
//!
//! A record is removed by tag, because another sweeper may have removed it, and its request's ID
//! may be used again. Where the store cannot delete by tag, the name of a named request keeps a
//! stub. The name of an unnamed request is derived from the attempt and never used again, so such
//! records are removed in batches.
//!
//! A node does not read the record of an unnamed request that it has committed itself, as long as
//! it remembers the commit.
//!
//! A listing may say when an object was written. A record that was written before the mark was read
//! by an earlier sweep; another read costs a get, only to find most often that its retention has
//! not passed. So a process reads all of them in its first sweep, and then in one sweep a day.

use std::sync::Arc;

use crate::bug::Bug;
use crate::ids::{RequestHash, TxnId};
use crate::message::Note;
use crate::record::{Aborted, Record, Stub};
use crate::store::{Answer, Body, Call, Found, FoundRecord, Name, Scan, Tag};

use super::super::base::state::{Entered, State};
use super::basis::{Basis, Standing};
use super::flow::Job;
use super::progress::Commits;
use super::state::{End, Phase, Sweep};
use super::verify::{self, Under};

pub(super) fn page_call(commits: &Commits, state: &State) -> Call {
    let scan = Scan::Commits { after: commits.after() };
    Call::Scan { scan, limit: state.settings.scan_page_len }
}

/// Takes a page of commit records.
pub(super) fn page_answered(sweep: &mut Sweep, state: &mut State, mut commits: Commits, answer: Answer) {
    let Answer::Scanned { found: Found::Commits(records), damaged, more, .. } = answer else {
        sweep.note_failure(state, &answer);
        return sweep.end(End::broken());
    };
    assert!(!more || !records.is_empty(), "an empty page is the last");
    let range = sweep.met.range();
    let last = records.last().map(|found| found.hash);
    for found in records.into_iter().filter(|found| range.contains(found.hash)) {
        take(sweep, state, found);
    }
    if sweep.is_first_pass() {
        damaged.into_iter().for_each(|what| state.note(Note::Damaged(what)));
    }
    let is_past = last.is_some_and(|last| range.ends_before(last));
    commits.note_listed(last, !more || is_past);
    sweep.phase = Phase::Commits(commits);
}

/// Takes a record of a listing, and reads it if no entry of a verified attempt led to it.
fn take(sweep: &mut Sweep, state: &mut State, found: FoundRecord) {
    let FoundRecord { hash, body, written_ms } = found;
    if sweep.met.contains(hash) || sweep.damaged.contains(&hash) {
        return;
    }
    match body {
        Some(Body::Record(record)) if record.hash == hash => judge(sweep, state, record, None),
        // This node has acknowledged it, so its entries have been in place: there is nothing to
        // put.
        None if let Some(own) = state.own_commit(hash)
            && !sweep.may_have_unread(None) =>
        {
            if may_remove(state, sweep.basis(), own.txn, own.retention_ms) {
                sweep.remove_unnamed(hash, own);
            }
        }
        // A stub only shows that the name was used.
        Some(Body::Stub(_)) => {}
        // It is not a record, or not the record of this name: read it by itself.
        Some(_) => sweep.push(Job::Look(hash)),
        None if was_looked_at(sweep, state, written_ms) => {}
        None => sweep.push(Job::Look(hash)),
    }
}

/// Returns true if an earlier sweep has verified a record that was written at `written_ms`, and a
/// later sweep may check its retention.
fn was_looked_at(sweep: &Sweep, state: &State, written_ms: Option<u64>) -> bool {
    let mark_ms = sweep.basis().mark().time.ms();
    let before_mark = written_ms.is_some_and(|ms| ms + state.settings.skew_max_ms < mark_ms);
    before_mark && !sweep.looks_at_all(state)
}

/// Takes a record that was read.
pub(super) fn looked(sweep: &mut Sweep, state: &mut State, hash: RequestHash, answer: Answer) {
    match verify::under(hash, answer) {
        Under::Record(record, tag) => judge(sweep, state, record, Some(tag)),
        Under::Aborted(aborted, tag) => {
            if may_remove_aborted(sweep, state, &aborted) {
                sweep.push(Job::RemoveAborted(hash, tag));
            }
        }
        Under::Nothing => {}
        Under::Damaged(_) if sweep.doubt(hash) => sweep.push(Job::Look(hash)),
        Under::Damaged(what) => verify::note_damage(sweep, state, hash, what),
        // The record may be between mark and target, so the mark must not move.
        Under::Unknown => sweep.hold(),
    }
}

/// Decides on a record to which no entry of a verified attempt led.
fn judge(sweep: &mut Sweep, state: &State, record: Arc<Record>, tag: Option<Tag>) {
    if sweep.may_have_unread(Some(&record)) {
        return;
    }
    if may_remove(state, sweep.basis(), record.txn, record.retention_ms) {
        return match tag {
            _ if !record.named => sweep.remove_unnamed(record.hash, Entered::of(&record)),
            Some(tag) => sweep.push(Job::RemoveRecord(record, tag)),
            // The listing included the record without its tag.
            None => sweep.push(Job::Look(record.hash)),
        };
    }
    match sweep.basis().standing(state, record.txn) {
        Standing::Window => {
            let entries = record.entries();
            verify::enter(sweep, state, record, entries);
        }
        Standing::Settled | Standing::Marked | Standing::Beyond => {}
    }
}

/// Returns true if a record without entries may be removed. With the planted bug, the mark is
/// ignored.
fn may_remove(state: &State, basis: &Basis, txn: TxnId, retention_ms: u64) -> bool {
    let is_settled = basis.standing(state, txn) == Standing::Settled;
    (is_settled || state.planted(Bug::RemoveUnverifiedRecord))
        && has_retention_passed(state, basis, txn, retention_ms)
}

/// Returns true if a record's retention has passed by the lower bound of the store's time. With the
/// planted bugs: by the machine's own clock, or always.
fn has_retention_passed(state: &State, basis: &Basis, txn: TxnId, retention_ms: u64) -> bool {
    let by_own_clock = state.planted(Bug::OwnClockForRetention);
    let now_ms = if by_own_clock { state.clock.wall_ms() } else { basis.began_ms() };
    // A record that was written with other settings must also outlast every attempt that began
    // before the record existed.
    let least_ms = retention_ms.max(state.settings.retention_min_ms());
    let kept_ms = if state.planted(Bug::RetentionEndsEarly) { 0 } else { least_ms };
    now_ms >= txn.time.ms() + kept_ms
}

/// Returns true if the attempts that an object excludes are over, and no node remembers them. It is
/// removed only by tag, because the next attempt of the request may replace it by its record. With
/// the planted bug: without regard to time.
fn may_remove_aborted(sweep: &Sweep, state: &State, aborted: &Aborted) -> bool {
    let over_ms = aborted.at_ms.saturating_add(state.settings.retention_min_ms());
    let is_over = sweep.basis().began_ms() >= over_ms || state.planted(Bug::ExclusionGoesEarly);
    is_over && state.settings.delete_if
}

/// Returns the call that removes a named record. With the planted bug: without a tag.
pub(super) fn remove_call(state: &State, record: &Record, tag: &Tag) -> Call {
    assert!(record.named, "an unnamed record goes with others");
    let name = Name::Commit(record.hash);
    if state.planted(Bug::RemoveRecordWithoutTag) {
        return Call::Delete(vec![name]);
    }
    if state.settings.delete_if {
        return Call::DeleteIf(name, tag.clone());
    }
    let stub = Stub { txn: record.txn, hash: record.hash };
    Call::Replace(name, tag.clone(), Body::Stub(stub))
}

/// Returns the call that removes unnamed records.
pub(super) fn remove_unnamed_call(records: &[(RequestHash, u64)]) -> Call {
    assert!(!records.is_empty(), "a deletion names something");
    Call::Delete(records.iter().map(|(hash, _)| Name::Commit(*hash)).collect())
}

/// Takes the outcome of a removal of records, whose sizes are `bytes`. If it failed, or found
/// another object, the next sweep decides.
pub(super) fn removed(state: &mut State, bytes: &[u64], answer: &Answer) {
    if matches!(answer, Answer::Replaced | Answer::Done) {
        state.note(Note::RecordsRemoved(bytes.len() as u64));
        state.note(Note::BytesReclaimed(bytes.iter().sum()));
    }
}
