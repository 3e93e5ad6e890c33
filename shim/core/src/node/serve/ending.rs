//! The endings of a commit's script, and the decision of a commit whose record's name was taken: by
//! its own earlier try, by another attempt, or by the list of excluded attempts.

use std::sync::Arc;

use crate::bug::Bug;
use crate::message::{Conflict, Refusal};
use crate::record::{Aborted, Record};
use crate::store::{Answer, Body, Call, CallError, Name, Tag, Writes};

use super::super::base::script::{Pending, Run};
use super::super::base::state::{State, refusal_of};
use super::report;

/// The ending of a commit's script.
#[derive(Debug, PartialEq)]
pub(in crate::node) enum Ending {
    /// The record and every entry are durable.
    Durable,
    /// Another attempt has committed, and may be reported.
    Lost(Arc<Record>),
    /// Another attempt has committed, and cannot be reported now.
    LostUntold(Refusal),
    /// A record existed and was removed: the request committed long ago.
    LostLongAgo,
    /// The outcome is unknown.
    Unknown,
    /// The outcome is unknown, because the object that decides is damaged.
    Doubt(String),
    /// The commit took no effect, and the transaction is open again.
    Reopen(Refusal),
    /// Another transaction came first, or has excluded this one. Nothing took effect.
    Conflict(Conflict),
    /// The commit took no effect, and its one entry, which is the commit, now follows another
    /// version: it must be written under the new name.
    Renamed,
}

/// Returns the ending of a commit whose record exists, by the outcomes of its entries.
pub(super) fn all_durable(state: &State, put: Vec<Result<(), CallError>>) -> Ending {
    let durable = put.iter().filter(|outcome| outcome.is_ok()).count();
    if durable == put.len() || state.planted(Bug::AcknowledgeRecordAlone) {
        return Ending::Durable;
    }
    assert!(durable < put.len(), "an entry is not durable, or its outcome is open");
    // It is committed, but may not be reported yet. A repeated commit or a look-up first puts the
    // missing entries.
    Ending::Unknown
}

/// Decides a commit whose record's name was taken, by its own earlier try or by another attempt.
pub(super) fn exists(run: &mut Run<'_>, state: &State, record: &Arc<Record>) -> Result<Ending, Pending> {
    let found = run.ask(|| Call::Get(Name::Commit(record.hash)))?;
    if let Answer::Got(Some((Body::Aborted(aborted), tag))) = found {
        // An earlier attempt of the request held locks, and was excluded.
        return match replace_aborted(run, state, record, &aborted, tag)? {
            Some(Ending::Durable) => own_exists(run, state, record),
            Some(ending) => Ok(ending),
            None => Ok(Ending::Unknown),
        };
    }
    exists_as(run, state, record, found)
}

/// Completes a commit whose record exists.
fn own_exists(run: &mut Run<'_>, state: &State, record: &Arc<Record>) -> Result<Ending, Pending> {
    // Entries that are locks were created before it.
    if record.writes.is_empty() || record.follows.is_some() {
        return Ok(Ending::Durable);
    }
    // The store may have skipped the entries when it found the record.
    let put = || Call::Commit(Writes { record: None, entries: record.entries() });
    match run.ask(put)? {
        Answer::Committed(pieces) => Ok(all_durable(state, pieces.entries)),
        answer => unreachable!("entries are put and answered {answer:?}"),
    }
}

/// Decides a commit by the object that was found under the record's name.
pub(super) fn exists_as(
    run: &mut Run<'_>,
    state: &State,
    record: &Arc<Record>,
    found: Answer,
) -> Result<Ending, Pending> {
    match found {
        Answer::Got(Some((Body::Record(found), _))) if found.txn == record.txn => {
            own_exists(run, state, record)
        }
        Answer::Got(Some((Body::Record(winner), _))) => {
            assert!(
                winner.txn.attempt != record.txn.attempt,
                "an attempt takes one commit time that may land"
            );
            Ok(match report::may_report(run, state, &winner)? {
                Ok(()) => Ending::Lost(winner),
                Err(error) => Ending::LostUntold(refusal_of(&Answer::Failed(error))),
            })
        }
        Answer::Got(Some((Body::Stub(_), _)) | None) => Ok(Ending::LostLongAgo),
        // The damaged object may be this attempt's own record, from a try without an answer:
        // nothing may be committed in its place.
        Answer::Failed(CallError::Damaged(what)) if state.planted(Bug::ReopenAfterDamage) => {
            Ok(Ending::Reopen(Refusal::Damaged(what)))
        }
        Answer::Failed(CallError::Damaged(what)) => Ok(Ending::Doubt(what)),
        _ => Ok(Ending::Unknown),
    }
}

/// Replaces the list of excluded attempts by a record, unless its own attempt is excluded. Returns
/// `None` if the object has changed, or the outcome is unknown.
pub(super) fn replace_aborted(
    run: &mut Run<'_>,
    state: &State,
    record: &Arc<Record>,
    aborted: &Aborted,
    tag: Tag,
) -> Result<Option<Ending>, Pending> {
    aborted.check_invariants();
    if aborted.excludes(record.txn.attempt) && !state.planted(Bug::CommitThoughExcluded) {
        return Ok(Some(Ending::Conflict(Conflict { key: None, by: None })));
    }
    let replace = || Call::Replace(Name::Commit(record.hash), tag.clone(), Body::Record(record.clone()));
    Ok(match run.ask(replace)? {
        Answer::Replaced => Some(Ending::Durable),
        Answer::Changed | Answer::Failed(CallError::NoAnswer) => None,
        answer => Some(Ending::Reopen(refusal_of(&answer))),
    })
}
