//! Entries first: before a commit is reported, all its entries are in the store (protocol, section
//! 4).
//!
//! Rule. Before an acknowledgement, a replay, a lost create, a look-up, or a commit repeated after
//! *unknown* is answered, the transaction's entries are in place. A node that reports the commit of
//! another attempt reads the mark: if the record is at or below it, all entries have been in place.
//! Otherwise it puts all of them. Such puts rest on a mark that was read recently, so that none
//! lands below a mark that a sweep has settled meanwhile.
//!
//! The store's time must have passed the commit time, too, as for an acknowledgement: a transaction
//! that begins after the report takes a later time, on any node.
//!
//! This is enough: a reader that learns of the commit, or begins fresh afterwards, finds an entry
//! of it in the listing of every key, and its record.

use std::sync::Arc;

use crate::bug::Bug;
use crate::clock::Moment;
use crate::ids::{Fingerprint, SessionEntry, TxnId};
use crate::message::{Header, Refusal, Replayed};
use crate::record::Record;
use crate::store::{Answer, Body, Call, CallError, Name, Writes};

use super::super::base::calls::{Age, Limit};
use super::super::base::script::{Noted, Pending, Run, Wait};
use super::super::base::state::State;

/// The greatest number of pauses before a report. The store's time is checked after each.
const PAUSES_MAX: usize = 16;
/// The longest pause, in milliseconds. It is bounded because answers may narrow the time meanwhile.
const PAUSE_MAX_MS: u64 = 1_000;

/// The number of times that entries are put, each time based on a new read of the mark.
const TRIES_MAX: usize = 4;

/// Makes sure that a committed record may be reported to others than its own attempt: its entries
/// are or were in place, and the store's time has passed its commit time. It is part of a script.
pub(in crate::node) fn may_report(
    run: &mut Run<'_>,
    state: &State,
    record: &Record,
) -> Result<Result<(), CallError>, Pending> {
    match entries_first(run, state, record)? {
        Ok(()) => time_passed(run, state, record),
        Err(error) => Ok(Err(error)),
    }
}

/// Makes sure that the entries of a committed record are or were in place.
fn entries_first(
    run: &mut Run<'_>,
    state: &State,
    record: &Record,
) -> Result<Result<(), CallError>, Pending> {
    let known = run.once_if(|| {
        let entered = state.is_entered(record.hash, record.txn);
        // The mark only grows, so a record at or below an old mark is at or below the present one.
        entered || record.txn <= state.mark.known() || state.planted(Bug::TellBeforeEntries)
    });
    // A whole entry is the commit, so it is in place. Locks were created before their record.
    if known || record.writes.is_empty() || record.is_whole() || record.follows.is_some() {
        return Ok(Ok(()));
    }
    let mut outcome = Err(CallError::Expired);
    for round in 0..TRIES_MAX {
        let (mark, asked) = match recent_mark(run, state, round > 0)? {
            Ok(mark) => mark,
            Err(error) => return Ok(Err(error)),
        };
        if record.txn <= mark {
            return Ok(Ok(()));
        }
        assert!(!record.is_whole() && !record.writes.is_empty(), "there are entries to put");
        let limit = Limit { from: asked, ms: state.settings.put_limit_ms, age: Age::AtMost };
        let limit = if state.planted(Bug::RepairOnOldMark) { None } else { Some(limit) };
        let put = || Call::Commit(Writes { record: None, entries: record.entries() });
        let place = run.start_within(limit, put);
        outcome = match run.wait(place)? {
            Answer::Committed(pieces) => {
                assert_eq!(pieces.entries.len(), record.writes.len(), "every entry has an outcome");
                pieces.entries.into_iter().collect()
            }
            Answer::Failed(error) => Err(error),
            other => unreachable!("entries are put and answered {other:?}"),
        };
        match &outcome {
            // The mark on which the puts rest may have become too old: try again with a new one.
            Err(CallError::Expired | CallError::NoAnswer | CallError::Busy) => {}
            Ok(()) | Err(CallError::Refused(_) | CallError::Damaged(_)) => break,
        }
    }
    if outcome == Err(CallError::Expired) {
        let why = "the store answers too slowly to enter a commit before it is reported";
        return Ok(Err(CallError::Refused(why.into())));
    }
    Ok(outcome)
}

/// Waits until the store's time has passed the commit time of a record, so that a transaction that
/// begins after the report takes a later time (P10).
fn time_passed(run: &mut Run<'_>, state: &State, record: &Record) -> Result<Result<(), CallError>, Pending> {
    for _ in 0..PAUSES_MAX {
        let Noted::Wait(wait) = run.once(|| Noted::Wait(wait_for(state, record.txn))) else {
            unreachable!("the place of a wait")
        };
        match wait {
            Wait::Over => return Ok(Ok(())),
            Wait::For(ms) => run.pause(ms.min(PAUSE_MAX_MS))?,
            Wait::Unknown => match run.ask(|| Call::Get(Name::Format))? {
                // A damaged object is also an answer that carries the time.
                Answer::Got(_) | Answer::Failed(CallError::Damaged(_)) => {}
                Answer::Failed(error) => return Ok(Err(error)),
                other => unreachable!("the mark is read and answered {other:?}"),
            },
        }
    }
    let why = "the store's time is not known well enough to report a commit of a moment ago";
    Ok(Err(CallError::Refused(why.into())))
}

/// Returns the wait before a commit may be reported.
pub(in crate::node) fn wait_for(state: &State, txn: TxnId) -> Wait {
    crate::room!();
    let commit_ms = txn.time.ms();
    // At or below the mark its time has passed long ago. Where one process holds the store, its
    // clock is ahead of all its commits.
    if state.settings.exclusive || txn <= state.mark.known() || state.planted(Bug::SkipCommitWait) {
        return Wait::Over;
    }
    match state.clock.bounds() {
        // It follows a version from the future. Nobody can wait that long, and it still comes after
        // everything that it read.
        Some(bounds) if commit_ms > bounds.latest_ms + state.settings.skew_max_ms => Wait::Over,
        Some(bounds) if bounds.earliest_ms > commit_ms => Wait::Over,
        Some(bounds) => Wait::For(commit_ms + 1 - bounds.earliest_ms),
        None => Wait::Unknown,
    }
}

/// Returns a recently read mark and the instant of its read. If `again` is true, it is read now.
fn recent_mark(
    run: &mut Run<'_>,
    state: &State,
    again: bool,
) -> Result<Result<(TxnId, Moment), CallError>, Pending> {
    let last = run.once(|| {
        let last = state.mark.last().filter(|seen| {
            // Half of the limit is left for the puts that rest on it.
            let young = state.clock.age_at_most_ms(&seen.asked) < state.settings.put_limit_ms / 2;
            (young && !again) || state.planted(Bug::RepairOnOldMark)
        });
        match last {
            Some(seen) => Noted::Mark(seen.format.mark, seen.asked),
            None => Noted::Flag(false),
        }
    });
    if let Noted::Mark(mark, asked) = last {
        return Ok(Ok((mark, asked)));
    }
    // Take the instant before the call is made, so that the mark is not older than it.
    let Noted::Asking(_, asked, _) =
        run.once(|| Noted::Asking(state.calls.next_number(), state.clock.moment(), state.mark.known()))
    else {
        unreachable!("the place of an instant")
    };
    Ok(match run.ask(|| Call::Get(Name::Format))? {
        Answer::Got(Some((Body::Format(format), _))) => Ok((format.mark, asked)),
        Answer::Failed(error) => Err(error),
        _ => Err(CallError::Damaged("the store's format object is missing: run `aft store init`".into())),
    })
}

/// Learns a record that may be reported, because its entries are or were in place.
pub(in crate::node) fn learn_told(state: &mut State, record: &Arc<Record>) {
    let header = Arc::new(Header::of(record, record.is_whole()));
    if !state.planted(Bug::TellBeforeEntries) {
        state.note_entered(record);
    }
    state.learn(&header, false, None);
}

/// Returns the answer that a request's record gives to an attempt with the given fingerprint.
pub(in crate::node) fn verdict(
    state: &State,
    record: &Record,
    fingerprint: Option<Fingerprint>,
    session: &crate::ids::Session,
) -> Result<Replayed, Refusal> {
    match (record.fingerprint, fingerprint) {
        (Some(theirs), Some(ours)) if theirs != ours => Err(Refusal::KeyReused),
        _ => Ok(Replayed {
            txn: record.txn,
            result: record.result.clone(),
            large_result: record.large_result,
            session: session_with(state, session, record, false, &[]),
        }),
    }
}

/// Returns a session that also covers a commit and the reads that were returned to its client.
pub(in crate::node) fn session_with(
    state: &State,
    before: &crate::ids::Session,
    record: &Record,
    whole: bool,
    reads: &[SessionEntry],
) -> crate::ids::Session {
    let now = state.clock.bounds();
    let seen_ms = now.map_or(u64::MAX, |now| now.latest_ms);
    let newest = SessionEntry { txn: record.txn, hash: record.hash, whole, seen_ms };
    let unsure = reads.iter().filter(|entry| !state.is_entered(entry.hash, entry.txn)).copied();
    let mut session = before.clone();
    session.add(unsure.chain([newest]), now, &state.settings, state.id);
    assert!(session.newest() >= record.txn.time, "a session covers the commit that is reported");
    session
}
