//! The answer to a condition that failed. It is a failure unless it rests on old versions, or on a
//! commit of the same request (protocol, section 13, *Conditions and sums*).
//!
//! Rule. A condition is reported as failed only if it was false at a moment after the transaction
//! began, and no attempt of its request had committed by then. Otherwise the caller gets an answer
//! that makes it run the request again: the next attempt judges the newest versions, or finds the
//! record and is a replay.
//!
//! The record is looked up after the condition was judged: if there is none then, no attempt had
//! committed when the key was read, so another request wrote the version that was read. The look-up
//! at the begin came before the read, and another attempt may have committed in between.

use crate::bug::Bug;
use crate::ids::{AttemptId, RequestHash};
use crate::message::{Conflict, Failed, Refusal, Reply, Ticket};
use crate::store::Name;

use super::super::base::script::{Pending, Run};
use super::super::base::state::{Purpose, State, Work, bug_of};
use super::look_up::{self, Found};
use super::{end, report};

/// Rejects a batch whose conditions do not hold, or could not be judged. `replays` is true if its
/// caller can be answered with a replay, because the batch came with the begin, or commits.
pub(super) fn refuse(
    state: &mut State,
    (ticket, attempt): (Ticket, AttemptId),
    refusal: Refusal,
    replays: bool,
) {
    let bug = bug_of(&state.settings);
    let transaction = &state.transactions[&attempt];
    if let Some(found) = transaction.conflict(&state.checks, |planted| bug == Some(planted)) {
        // A read is out of date: the next attempt judges the newest versions.
        return state.refuse(ticket, Refusal::Conflict(found));
    }
    let Refusal::ConditionFailed(failed) = refusal else { return state.refuse(ticket, refusal) };
    let is_old = match transaction.reads.get(&failed.key) {
        Some(read) => !read.basis.newest,
        // The key was read as absent by a listing of a range. Serializable transactions can make
        // one only where one process holds the store, and there listings do not expire.
        None => !state.settings.exclusive,
    };
    if is_old && !state.planted(Bug::JudgeConditionsByOldListings) {
        // The key was read before the transaction became fresh, and a key is read only once. Or the
        // newest version is not compatible with an earlier read, which then is out of date.
        end::list_reads_again(state, attempt, Some(&failed.key));
        return state.refuse(ticket, Refusal::Conflict(Conflict { key: Some(failed.key), by: None }));
    }
    if !transaction.named {
        return state.refuse(ticket, Refusal::ConditionFailed(failed));
    }
    let patience = state.patience();
    // Count an operation, so that a commit waits until the batch is answered.
    state.transactions.get_mut(&attempt).expect("looked up above").operations += 1;
    state.start_task(Purpose::Failed { ticket, attempt, failed, replays }, patience);
}

/// Looks for a commit of the request.
pub(in crate::node) fn script(run: &mut Run<'_>, state: &State, hash: RequestHash) -> Result<Found, Pending> {
    if state.planted(Bug::FailConditionsOfTheCommitted) {
        return Ok(Found::Refuse(Refusal::NotFound));
    }
    look_up::script(run, state, (&Name::Commit(hash), hash))
}

/// Answers the batch. If the request has committed, the transaction stays open until its deadline,
/// but cannot commit any more.
pub(in crate::node) fn carry_out(
    state: &mut State,
    (ticket, attempt): (Ticket, AttemptId),
    failed: &Failed,
    replays: bool,
    found: Found,
) {
    state.defer(Work::OperationDone(attempt));
    match found {
        Found::Record(record) => {
            assert!(record.txn.attempt != attempt, "an open attempt has not committed");
            report::learn_told(state, &record);
            let transaction = &state.transactions[&attempt];
            match report::verdict(state, &record, transaction.fingerprint, &transaction.session) {
                Ok(replayed) if replays => state.reply(ticket, Reply::Replayed(replayed)),
                // The batch has no form for a replay; the next attempt gets it at its begin.
                Ok(_) => state.refuse(ticket, Refusal::Lost),
                Err(refusal) => state.refuse(ticket, refusal),
            }
        }
        Found::Refuse(Refusal::NotFound) => {
            state.refuse(ticket, Refusal::ConditionFailed(failed.clone()));
        }
        Found::Refuse(refusal) => state.refuse(ticket, refusal),
    }
}
