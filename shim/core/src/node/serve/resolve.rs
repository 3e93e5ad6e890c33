//! Commits asked again after the attempt has ended: the record answers (protocol, section 7).
//!
//! Nothing is created after the deadline, but what was sent before may have landed, or land within
//! the store's grace. So *no record* stays *unknown* until the attempt is over, and is *lost* from
//! then on.

use std::sync::Arc;

use crate::ids::{AttemptId, RequestHash, Session};
use crate::message::{Committed, Refusal, Reply, Ticket};
use crate::record::Record;
use crate::store::{Answer, Body, Call, CallError, Name};

use super::super::base::script::{Pending, Run};
use super::super::base::state::{Outcome, Purpose, State, refusal_of};
use super::super::base::transaction::CommitWaiter;
use super::{begin, end, tell};

/// A commit of a transaction that has ended, or that this node does not remember.
pub(in crate::node) fn commit_again(
    state: &mut State,
    attempt: AttemptId,
    waiter: CommitWaiter,
    request: Option<RequestHash>,
) {
    let Some(ended) = state.ended.get(&attempt).cloned() else {
        // The caller may know the request where this node does not.
        let Some(hash) = request else { return state.refuse(waiter.ticket, Refusal::NotFound) };
        let patience = state.patience();
        return state.start_task(Purpose::Resolve(waiter.ticket, attempt, hash), patience);
    };
    match ended.outcome {
        Outcome::Committed(committed) => end::reply_committed(state, waiter, committed),
        Outcome::Other(verdict) => end::reply_other(state, vec![waiter], &verdict),
        Outcome::Conflicted(found) => state.refuse(waiter.ticket, Refusal::Conflict(found)),
        Outcome::Aborted => state.refuse(waiter.ticket, Refusal::Ended),
        Outcome::Expired => state.refuse(waiter.ticket, Refusal::Lost),
        Outcome::Unknown | Outcome::OtherAtLength => {
            let patience = state.patience();
            state.start_task(Purpose::Resolve(waiter.ticket, attempt, ended.hash), patience);
        }
    }
}

/// The ending of a look after an unknown outcome.
#[derive(Debug, PartialEq)]
pub(in crate::node) enum Resolved {
    /// The attempt committed, and its entries are in place.
    Ours(Arc<Record>),
    /// Another attempt of the request committed, and its entries are in place.
    Other(Arc<Record>),
    Refuse(Refusal),
}

/// Looks for the commit of an attempt.
pub(in crate::node) fn script(
    run: &mut Run<'_>,
    state: &State,
    attempt: AttemptId,
    hash: RequestHash,
) -> Result<Resolved, Pending> {
    // What is remembered may be forgotten between two answers; the commit's name is asked for once.
    let at_length = run.once_if(|| {
        state.ended.get(&attempt).is_some_and(|ended| matches!(ended.outcome, Outcome::OtherAtLength))
    });
    let name = || {
        let ended = state.ended.get(&attempt);
        ended.and_then(|ended| ended.commit.clone()).unwrap_or(Name::Commit(hash))
    };
    let is_over = |state: &State| {
        state.ended.get(&attempt).is_some_and(|ended| {
            let over_ms = ended.deadline.ms + state.settings.grace_ms;
            state.clock.age_at_least_ms(&ended.deadline.from) > over_ms
        })
    };
    // Before the look: what is not there then cannot come any more.
    let over = run.once_if(|| is_over(state));
    let record = match run.ask(|| Call::Get(name()))? {
        // The name of a whole entry that follows a version is somebody else's: this one cannot land.
        Answer::Got(Some((Body::Record(record), _))) if record.hash != hash => {
            return Ok(Resolved::Refuse(Refusal::Lost));
        }
        Answer::Got(Some((Body::Record(record), _))) => record,
        Answer::Got(Some((Body::Stub(_), _))) => return Ok(Resolved::Refuse(Refusal::ResultGone)),
        // An attempt that was excluded cannot commit any more.
        Answer::Got(Some((Body::Aborted(aborted), _))) if aborted.excludes(attempt) => {
            return Ok(Resolved::Refuse(Refusal::Lost));
        }
        Answer::Got(None) if at_length => return Ok(Resolved::Refuse(Refusal::ResultGone)),
        Answer::Got(None | Some((Body::Aborted(_), _))) if over => {
            return Ok(Resolved::Refuse(Refusal::Lost));
        }
        answer if at_length => return Ok(Resolved::Refuse(refusal_of(&answer))),
        Answer::Failed(CallError::Damaged(what)) => {
            return Ok(Resolved::Refuse(Refusal::UnknownDamaged(hash, what)));
        }
        _ => return Ok(Resolved::Refuse(Refusal::Unknown(hash))),
    };
    let ours = record.txn.attempt == attempt;
    Ok(match tell::may_report(run, state, &record)? {
        Ok(()) if ours => Resolved::Ours(record),
        Ok(()) => Resolved::Other(record),
        // It did commit; that nobody may hear of it yet is no reason to deny it.
        Err(_) if ours => Resolved::Refuse(Refusal::Unknown(hash)),
        Err(error) => Resolved::Refuse(refusal_of(&Answer::Failed(error))),
    })
}

/// Carries the ending of a look out.
pub(in crate::node) fn carry_out(state: &mut State, ticket: Ticket, attempt: AttemptId, ending: Resolved) {
    let ended = state.ended.get(&attempt).cloned();
    let session = ended.as_ref().map_or_else(Session::default, |ended| ended.session.clone());
    match ending {
        Resolved::Ours(record) => {
            assert_eq!(record.txn.attempt, attempt, "the record is the attempt's own");
            let whole = record.is_whole();
            let session = tell::session_with(state, &session, &record, whole, &[]);
            let committed = Committed { txn: Some(record.txn), session };
            if let Some(ended) = ended {
                let outcome = Outcome::Committed(committed.clone());
                state.ended.insert(attempt, super::super::base::state::Ended { outcome, ..ended });
            }
            state.note_entered(&record);
            if !record.writes.is_empty() {
                let header = Arc::new(crate::message::Header::of(&record, whole));
                state.learn(&header, false, None);
            }
            state.reply(ticket, Reply::Committed(committed));
        }
        Resolved::Other(record) => {
            assert!(record.txn.attempt != attempt, "the record is another attempt's");
            begin::learn_told(state, &record);
            // Nothing is known of the attempt but that it lost: a begin compares payloads.
            let Some(ended) = ended else { return state.refuse(ticket, Refusal::Lost) };
            let fingerprint = ended.fingerprint;
            match tell::verdict(state, &record, fingerprint, &session) {
                Ok(replayed) => state.reply(ticket, Reply::Replayed(replayed)),
                Err(refusal) => state.refuse(ticket, refusal),
            }
        }
        Resolved::Refuse(refusal) => state.refuse(ticket, refusal),
    }
}
