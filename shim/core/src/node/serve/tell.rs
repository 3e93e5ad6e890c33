//! Entries first: before anybody hears of a commit, every entry of it is in the store (protocol,
//! section 4).
//!
//! Rule. Before an acknowledgement, a replay, a lost create, a look-up, or a commit repeated after
//! *unknown*, the transaction's entries are in place. A node that is not the attempt itself reads
//! the mark: if the record is at or below it, its entries have stood. Otherwise it puts all of
//! them. Such puts rest on a mark read a short while ago, so that none lands below a mark that a
//! sweep has settled meanwhile.
//!
//! Why it is enough: a reader that hears of the commit, or begins fresh afterwards, lists an
//! entry of it at every key, and its record is there.

use crate::bug::Bug;
use crate::clock::Moment;
use crate::ids::{Fingerprint, SessionEntry, TxnId};
use crate::message::{Refusal, Replayed};
use crate::record::Record;
use crate::store::{Answer, Body, Call, CallError, Name, Writes};

use super::super::base::calls::{Age, Limit};
use super::super::base::script::{Noted, Pending, Run};
use super::super::base::state::State;

/// The number of times that entries are put, each time on a mark read again.
const TRIES_MAX: usize = 4;

/// Makes sure that the entries of a committed record are in place, or have been. Part of a script.
pub(in crate::node) fn entries_first(
    run: &mut Run<'_>,
    state: &State,
    record: &Record,
) -> Result<Result<(), CallError>, Pending> {
    let known = run.once_if(|| {
        let entered = state.entered.contains(&record.txn.attempt);
        // A mark only grows: at or below an old one is at or below this one.
        entered || record.txn <= state.mark.known() || state.planted(Bug::TellBeforeEntries)
    });
    // A whole entry is the commit: it is in place.
    if known || record.writes.is_empty() || record.is_whole() {
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
            // The mark that the puts rested on became too old on the way.
            Err(CallError::Expired | CallError::NoAnswer | CallError::Busy) => {}
            Ok(()) | Err(CallError::Refused(_) | CallError::Damaged(_)) => break,
        }
    }
    Ok(outcome)
}

/// Returns a mark that was asked a short while ago, and when; `again`: it is asked now.
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
    // The instant before the call is made: the mark is at least as young.
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

/// Returns the answer of a request's record to an attempt with this fingerprint.
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

/// Returns a session that covers one more commit, and reads that its client has had.
pub(in crate::node) fn session_with(
    state: &State,
    before: &crate::ids::Session,
    record: &Record,
    whole: bool,
    reads: &[SessionEntry],
) -> crate::ids::Session {
    let seen_ms = state.clock.bounds().map_or(record.txn.time.ms(), |bounds| bounds.latest_ms);
    let newest = SessionEntry { txn: record.txn, hash: record.hash, whole, seen_ms };
    let unsure = reads.iter().filter(|entry| !state.entered.contains(&entry.txn.attempt)).copied();
    let mut session = before.clone();
    session.add(unsure.chain([newest]), seen_ms, state.settings.recheck_after_ms);
    assert!(session.newest() >= record.txn.time, "a session covers the commit that its client hears of");
    session
}
