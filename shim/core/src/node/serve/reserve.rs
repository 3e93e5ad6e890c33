//! Places for large values: parts are stored before the commit, in a group that leads a sweep to the attempt's record (protocol, section 3).
//!
//! The group's name holds the store's time at the latest when the first place was reserved. The attempt began before, so a sweep can tell from the
//! name alone when it is over.

use crate::ids::AttemptId;
use crate::message::{Bound, Refusal, Reply, Ticket};
use crate::record::BlobGroup;
use crate::store::{Answer, Call, CallError, Name};

use super::super::base::script::{Pending, Run};
use super::super::base::state::{Purpose, State, Work, refusal_of};
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
    if state.clock.bounds().is_some() {
        return carry_out(state, ticket, attempt, None);
    }
    let patience = state.patience();
    state.start_task(Purpose::Reserve(ticket, attempt), patience);
}

/// Learns the store's time, by any answer. Returns the refusal if there is none.
pub(in crate::node) fn script(run: &mut Run<'_>) -> Result<Option<Refusal>, Pending> {
    Ok(match run.ask(|| Call::Get(Name::Format))? {
        // A damaged object is an answer of the store all the same, and brings its time.
        Answer::Got(_) | Answer::Failed(CallError::Damaged(_)) => None,
        answer => Some(refusal_of(&answer)),
    })
}

/// Gives out the place, now that the store's time is known.
pub(in crate::node) fn carry_out(
    state: &mut State,
    ticket: Ticket,
    attempt: AttemptId,
    refusal: Option<Refusal>,
) {
    state.work.push_back(Work::OperationDone(attempt));
    let refusal = refusal.or_else(|| {
        let why = "the store's time is not known: its answers carry none";
        state.clock.bounds().is_none().then(|| Refusal::StoreUnavailable(why.into()))
    });
    if let Some(refusal) = refusal {
        return state.refuse(ticket, refusal);
    }
    let bounds = state.clock.bounds().expect("looked at above");
    let transaction = state.transactions.get_mut(&attempt).expect("a reservation ends with its transaction");
    let hash = transaction.hash;
    let group =
        *transaction.blob_group.get_or_insert(BlobGroup { attempt, hash, reserved_ms: bounds.latest_ms });
    let number = transaction.blobs;
    transaction.blobs += 1;
    state.reply(ticket, Reply::Reserved { group, number });
}
