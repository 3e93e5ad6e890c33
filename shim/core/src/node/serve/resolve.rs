//! Commits that are repeated after the attempt has ended: the record answers (protocol, section 7).
//!
//! Nothing is sent after the deadline, but a call that was sent before it may have landed, or may
//! land within the store's grace. So while there is no record, the outcome is *unknown* until the
//! attempt is over, and *lost* from then on.

use std::sync::Arc;

use crate::ids::{AttemptId, RequestHash, Session};
use crate::message::{Committed, Refusal, Reply, Ticket};
use crate::record::Record;
use crate::store::{Answer, Body, Call, CallError, Name};

use super::super::base::script::{Pending, Run};
use super::super::base::state::{Outcome, Purpose, State, refusal_of};
use super::super::base::transaction::CommitWaiter;
use super::{end, report};

/// Answers a commit of a transaction that has ended, or that this node does not remember.
pub(in crate::node) fn commit_again(
    state: &mut State,
    attempt: AttemptId,
    waiter: CommitWaiter,
    request: Option<RequestHash>,
) {
    let Some(ended) = state.ended.get(&attempt).cloned() else {
        // The caller may have given the request, so that it can be looked up.
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

/// The ending of a search for an outcome.
#[derive(Debug, PartialEq)]
pub(in crate::node) enum Resolved {
    /// The attempt committed, and its entries are in place.
    Ours(Arc<Record>),
    /// Another attempt of the request committed, and its entries are in place.
    Other(Arc<Record>),
    Refuse(Refusal),
}

/// Searches for the commit of an attempt.
pub(in crate::node) fn script(
    run: &mut Run<'_>,
    state: &State,
    attempt: AttemptId,
    hash: RequestHash,
) -> Result<Resolved, Pending> {
    // The ended attempt may be forgotten between two runs, so facts about it are noted once; the
    // name is used only in the first run.
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
    // Decided before the read: if the attempt is over then, a commit that is not found cannot come
    // any more.
    let over = run.once_if(|| is_over(state));
    let record = match run.ask(|| Call::Get(name()))? {
        // The name of this attempt's whole entry, which follows a version, is taken by another
        // request, so this attempt's entry cannot land.
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
    Ok(match report::may_report(run, state, &record)? {
        Ok(()) if ours => Resolved::Ours(record),
        Ok(()) => Resolved::Other(record),
        // It did commit, but may not be reported yet: the answer stays *unknown*.
        Err(_) if ours => Resolved::Refuse(Refusal::Unknown(hash)),
        Err(error) => Resolved::Refuse(refusal_of(&Answer::Failed(error))),
    })
}

/// Carries out the ending of a search.
pub(in crate::node) fn carry_out(state: &mut State, ticket: Ticket, attempt: AttemptId, ending: Resolved) {
    let ended = state.ended.get(&attempt).cloned();
    let session = ended.as_ref().map_or_else(Session::default, |ended| ended.session.clone());
    match ending {
        Resolved::Ours(record) => {
            assert_eq!(record.txn.attempt, attempt, "the record is the attempt's own");
            let whole = record.is_whole();
            let session = report::session_with(state, &session, &record, whole, &[]);
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
            report::learn_told(state, &record);
            // If the attempt is forgotten, its payload cannot be compared with the winner's: the
            // next begin does that.
            let Some(ended) = ended else { return state.refuse(ticket, Refusal::Lost) };
            let fingerprint = ended.fingerprint;
            match report::verdict(state, &record, fingerprint, &session) {
                Ok(replayed) => state.reply(ticket, Reply::Replayed(replayed)),
                Err(refusal) => state.refuse(ticket, refusal),
            }
        }
        Resolved::Refuse(refusal) => state.refuse(ticket, refusal),
    }
}
