//! A condition that failed: an answer, unless it rests on something that is no longer so, or is its
//! own request's doing (protocol, section 13, *Conditions and sums*).
//!
//! Rule. A condition is reported as failed only if it was false at a moment after the transaction
//! began, and no attempt of its request had committed by then. Otherwise the caller is told what
//! makes it run again: its next attempt judges by what is, or finds the record, and is a replay.
//!
//! Why the record is looked up after the condition was judged: if it is not there then, no attempt
//! had committed when the key was read, so what was read is somebody else's doing. The look at the
//! begin came before, and another attempt may have committed since.

use crate::bug::Bug;
use crate::ids::{AttemptId, RequestHash};
use crate::message::{Conflict, Failed, Refusal, Reply, Ticket};
use crate::store::Name;

use super::super::base::script::{Pending, Run};
use super::super::base::state::{Purpose, State, Work, bug_of};
use super::begin::{self, Found};
use super::{end, tell};

/// Refuses a batch whose conditions do not hold, or could not be judged. `replays` says that its
/// caller may be answered with a replay: the batch came with the begin, or commits.
pub(super) fn refuse(
    state: &mut State,
    (ticket, attempt): (Ticket, AttemptId),
    refusal: Refusal,
    replays: bool,
) {
    let bug = bug_of(&state.settings);
    let transaction = &state.transactions[&attempt];
    if let Some(found) = transaction.conflict(&state.checks, |planted| bug == Some(planted)) {
        // What it rests on is no longer so: the next attempt judges by what is.
        return state.refuse(ticket, Refusal::Conflict(found));
    }
    let Refusal::ConditionFailed(failed) = refusal else { return state.refuse(ticket, refusal) };
    let is_old = match transaction.reads.get(&failed.key) {
        Some(read) => !read.basis.newest,
        // It stood in a range that was listed, which no store allows whose listings age.
        None => !state.settings.exclusive,
    };
    if is_old && !state.planted(Bug::JudgeConditionsByOldListings) {
        // The key was read before the transaction was fresh, and a key is read once; or what is
        // newest does not go with what was read before, which is overtaken then.
        end::list_reads_again(state, attempt, Some(&failed.key));
        return state.refuse(ticket, Refusal::Conflict(Conflict { key: Some(failed.key), by: None }));
    }
    if !transaction.named {
        return state.refuse(ticket, Refusal::ConditionFailed(failed));
    }
    let patience = state.patience();
    // A commit waits until the batch is answered.
    state.transactions.get_mut(&attempt).expect("looked up above").operations += 1;
    state.start_task(Purpose::Failed { ticket, attempt, failed, replays }, patience);
}

/// Looks for a commit of the request.
pub(in crate::node) fn script(run: &mut Run<'_>, state: &State, hash: RequestHash) -> Result<Found, Pending> {
    if state.planted(Bug::FailConditionsOfTheCommitted) {
        return Ok(Found::Refuse(Refusal::NotFound));
    }
    begin::look_up_script(run, state, (&Name::Commit(hash), hash))
}

/// Answers the batch. Where the request has committed, the transaction stays open, and cannot
/// commit any more: its time ends it.
pub(in crate::node) fn carry_out(
    state: &mut State,
    (ticket, attempt): (Ticket, AttemptId),
    failed: &Failed,
    replays: bool,
    found: Found,
) {
    state.work.push_back(Work::OperationDone(attempt));
    match found {
        Found::Record(record) => {
            assert!(record.txn.attempt != attempt, "what is open has not committed");
            begin::learn_told(state, &record);
            let transaction = &state.transactions[&attempt];
            match tell::verdict(state, &record, transaction.fingerprint, &transaction.session) {
                Ok(replayed) if replays => state.reply(ticket, Reply::Replayed(replayed)),
                // The next attempt is told at its begin.
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
