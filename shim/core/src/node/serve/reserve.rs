//! Reservations of places for large values: their parts are stored before the commit, in a group
//! that leads a sweep to the attempt's record (protocol, section 3).
//!
//! The group's name contains the upper bound of the store's time when the first place was reserved.
//! The attempt began before that, so a sweep knows from the name alone when the attempt is over.

use crate::ids::AttemptId;
use crate::message::{Bound, Refusal, Reply, Ticket};
use crate::record::BlobGroup;
use crate::store::{Answer, Call, CallError, Name};

use super::super::base::script::{Pending, Run};
use super::super::base::state::{Purpose, State, TIME_TRIES_MAX, Work, refusal_of};
use super::super::base::transaction::Phase;
use super::end;

/// Reserves a place for a large value.
pub(in crate::node) fn reserve(state: &mut State, ticket: Ticket, attempt: AttemptId) {
    let Some(transaction) = state.transactions.get_mut(&attempt) else {
        return end::refuse_ended(state, ticket, attempt);
    };
    if !matches!(transaction.phase, Phase::Open) {
        return state.refuse(ticket, Refusal::Ended);
    }
    if transaction.operations >= state.settings.operations_in_transaction_max {
        return state.refuse(ticket, Refusal::Overloaded(Bound::OperationsInTransaction));
    }
    transaction.operations += 1;
    if is_time_known(state, attempt) {
        return carry_out(state, ticket, attempt, None);
    }
    let patience = state.patience();
    state.start_task(Purpose::Reserve(ticket, attempt), patience);
}

/// Returns true if the group's time is taken, or can be taken from an answer to a call that was
/// made since the transaction began.
fn is_time_known(state: &State, attempt: AttemptId) -> bool {
    let transaction = &state.transactions[&attempt];
    transaction.blob_group.is_some() || state.is_time_known(Some(transaction.began_call))
}

/// Learns the store's time, from any answer. Returns a refusal if the store gives no time.
pub(in crate::node) fn script(
    run: &mut Run<'_>,
    state: &State,
    attempt: AttemptId,
) -> Result<Option<Refusal>, Pending> {
    for _ in 0..TIME_TRIES_MAX {
        if run.once_if(|| is_time_known(state, attempt)) {
            return Ok(None);
        }
        match run.ask(|| Call::Get(Name::Format))? {
            // A damaged object is also an answer that carries the time.
            Answer::Got(_) | Answer::Failed(CallError::Damaged(_)) => {}
            answer => return Ok(Some(refusal_of(&answer))),
        }
    }
    let why = "the store's time is not known: its answers carry none, or they disagree";
    Ok(Some(Refusal::StoreUnavailable(why.into())))
}

/// Assigns the place, now that the store's time is known, or rejects the verb.
pub(in crate::node) fn carry_out(
    state: &mut State,
    ticket: Ticket,
    attempt: AttemptId,
    refusal: Option<Refusal>,
) {
    state.defer(Work::OperationDone(attempt));
    if let Some(refusal) = refusal {
        return state.refuse(ticket, refusal);
    }
    let latest_ms = state.clock.bounds().map(|bounds| bounds.latest_ms);
    let transaction = state.transactions.get_mut(&attempt).expect("a reservation ends with its transaction");
    let hash = transaction.hash;
    // An existing group keeps its time, even if the store's time is no longer known.
    let group = *transaction.blob_group.get_or_insert_with(|| BlobGroup {
        attempt,
        hash,
        reserved_ms: latest_ms.expect("a group is made when the store's time is known"),
    });
    assert_eq!(group.attempt, attempt, "an attempt's blobs are its own");
    assert_eq!(group.hash, hash, "an attempt's blobs lead to its record");
    assert!(transaction.operations > 0, "a reservation is an operation of its transaction");
    let number = transaction.blobs;
    transaction.blobs += 1;
    state.reply(ticket, Reply::Reserved { group, number });
}
