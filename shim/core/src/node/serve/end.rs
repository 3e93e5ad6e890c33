//! The ends of transactions, and the memory of them (protocol, sections 4 and 6).
//!
//! An attempt ends by commit, abort, or deadline. An attempt that does nothing is aborted at its
//! deadline, unless a commit may have been sent: then the outcome is *unknown* until the record is
//! read.

use std::sync::Arc;

use bytes::Bytes;

use crate::bug::Bug;
use crate::ids::{AttemptId, Key, Session, TxnId};
use crate::message::{Committed, Conflict, End, Header, Note, Refusal, Replayed, Reply, Ticket};
use crate::record::Record;

use super::super::base::state::{Ended, Outcome, Purpose, State, Task, Work};
use super::super::base::timers::Timer;
use super::super::base::transaction::{Checked, CommitForm, CommitWaiter, Phase, Transaction};
use super::read;

/// The length of the longest result of a winner that is remembered: 100,000 of them take about 100
/// MiB at worst.
const RESULT_KEPT_BYTES_MAX: usize = 1_024;

/// Returns the outcome of an attempt that lost. A short result is copied, because a slice would
/// keep the winner's whole record in memory.
fn other(verdict: &Result<Replayed, Refusal>) -> Outcome {
    match verdict {
        Ok(Replayed { result: Some(result), .. }) if result.len() > RESULT_KEPT_BYTES_MAX => {
            Outcome::OtherAtLength
        }
        Ok(replayed) => {
            let result = replayed.result.as_deref().map(Bytes::copy_from_slice);
            Outcome::Other(Ok(Replayed { result, ..replayed.clone() }))
        }
        Err(refusal) => Outcome::Other(Err(refusal.clone())),
    }
}

fn end_of(outcome: &Outcome) -> End {
    match outcome {
        Outcome::Committed(_) => End::Committed,
        Outcome::Other(_) | Outcome::OtherAtLength => End::LostToOther,
        Outcome::Conflicted(_) => End::Conflicted,
        Outcome::Aborted => End::Aborted,
        Outcome::Expired => End::Expired,
        Outcome::Unknown => End::Unknown,
    }
}

/// Ends an open transaction and remembers its outcome. `record` is the record that decides its
/// request, if there is one that may be reported.
pub(in crate::node) fn end(
    state: &mut State,
    attempt: AttemptId,
    outcome: Outcome,
    record: Option<Arc<Record>>,
) {
    let refusal = match &outcome {
        Outcome::Expired => Refusal::Lost,
        Outcome::Committed(_)
        | Outcome::Other(_)
        | Outcome::OtherAtLength
        | Outcome::Conflicted(_)
        | Outcome::Aborted
        | Outcome::Unknown => Refusal::Ended,
    };
    // Answer the verbs in flight, and drop their reads and scripts.
    let dropped = stop_tasks(state, attempt);
    let stopped = read::stop(state, attempt);
    dropped.into_iter().chain(stopped).for_each(|ticket| state.refuse(ticket, refusal.clone()));
    let transaction = state.transactions.remove(&attempt);
    assert!(!state.ended.contains(&attempt), "an attempt ends once");
    assert!(state.operations.of(attempt).is_empty(), "operations end with their transaction");
    state.timers.cancel(transaction.deadline_mono, Timer::Deadline(attempt));
    // Resume the reads and commits that waited for this one.
    let freed = state.checks.end(attempt);
    state.free(attempt, freed);
    if let Some(Checked { began, .. }) = transaction.checked {
        state.checks.close(began, attempt);
    }
    state.note(Note::Ended(attempt, end_of(&outcome)));
    if let (Outcome::Committed(committed), Some(record)) = (&outcome, &record) {
        assert_eq!(committed.txn, Some(record.txn), "the acknowledged transaction is the written one");
    }
    // Remember the name of the object that is the commit, for look-ups.
    let commit = match &transaction.phase {
        Phase::Committing(record, _) | Phase::Passing(record, _) => Some(record.commit_name()),
        // An acknowledged commit: a look-up finds a record by the request's hash, but not a whole
        // entry.
        Phase::Open | Phase::Closing(..) | Phase::Preparing(..) => {
            record.as_deref().filter(|record| record.is_whole()).map(Record::commit_name)
        }
    };
    let Transaction { hash, fingerprint, session, carrier, deadline, .. } = transaction;
    state.ended.insert(attempt, Ended { hash, fingerprint, session, outcome, carrier, commit, deadline });
    state.defer(Work::RequestEnded(hash, attempt, record));
}

/// Drops a transaction's scripts, and thereby the answers to their calls. Returns the tickets of
/// verbs that only these scripts would have answered.
fn stop_tasks(state: &mut State, attempt: AttemptId) -> Vec<Ticket> {
    let dropped = state.tasks.drop_if(|task| match &task.purpose {
        Purpose::Reserve(_, of)
        | Purpose::Failed { attempt: of, .. }
        | Purpose::Prepare(of)
        | Purpose::Commit(of) => *of == attempt,
        Purpose::Begin(..) | Purpose::Resolve(..) | Purpose::LookUp(..) | Purpose::Release(_) => false,
    });
    let ticket = |purpose: Purpose| match purpose {
        Purpose::Reserve(ticket, _) | Purpose::Failed { ticket, .. } => Some(ticket),
        Purpose::Prepare(_)
        | Purpose::Commit(_)
        | Purpose::Begin(..)
        | Purpose::Resolve(..)
        | Purpose::LookUp(..)
        | Purpose::Release(_) => None,
    };
    let carries = |task: &&Task| matches!(task.purpose, Purpose::Prepare(_) | Purpose::Commit(_));
    let carriers = dropped.iter().filter(carries).count();
    assert!(carriers <= 1, "one script at a time carries a commit");
    dropped.into_iter().filter_map(|task| ticket(task.purpose)).collect()
}

/// Takes the waiters of a commit. The transaction's phase keeps its record.
fn take_waiters(state: &mut State, attempt: AttemptId) -> Vec<CommitWaiter> {
    let transaction = state.transactions.get_mut(&attempt).expect("it is committing");
    let waiters = std::mem::take(transaction.waiters_mut().expect("it is committing"));
    assert_eq!(transaction.attempt, attempt, "a transaction is its attempt's");
    for waiter in &waiters {
        state.timers.cancel(waiter.until_mono, Timer::CommitPatience(attempt));
    }
    waiters
}

pub(in crate::node) fn reply_committed(state: &mut State, waiter: CommitWaiter, committed: Committed) {
    crate::room!();
    let reply = match waiter.form {
        CommitForm::Alone => Reply::Committed(committed),
        CommitForm::Ran(reads) => Reply::Ran { reads, committed: Some(committed) },
        CommitForm::Begun(attempt, reads) => {
            Reply::Begun { attempt, remaining_ms: 0, reads, committed: Some(committed) }
        }
    };
    state.reply(waiter.ticket, reply);
}

/// Answers waiters with the outcome of an attempt that lost.
pub(in crate::node) fn reply_other(
    state: &mut State,
    waiters: Vec<CommitWaiter>,
    verdict: &Result<Replayed, Refusal>,
) {
    for waiter in waiters {
        match verdict {
            Ok(replayed) => state.reply(waiter.ticket, Reply::Replayed(replayed.clone())),
            Err(refusal) => state.refuse(waiter.ticket, refusal.clone()),
        }
    }
}

/// Ends an attempt, because another attempt of the request has committed. If the winner's record is
/// given, its entries are in place.
pub(in crate::node) fn lost(
    state: &mut State,
    attempt: AttemptId,
    winner: Option<Arc<Record>>,
    verdict: Result<Replayed, Refusal>,
) {
    let phase = &state.transactions[&attempt].phase;
    assert!(matches!(phase, Phase::Committing(..)), "an attempt loses when it commits");
    let is_other = winner.as_ref().is_none_or(|winner| winner.txn.attempt != attempt);
    assert!(is_other, "an attempt does not lose to itself");
    let waiters = take_waiters(state, attempt);
    end(state, attempt, other(&verdict), winner);
    reply_other(state, waiters, &verdict);
}

/// Ends an attempt whose outcome is unknown. A repeated commit only reads the outcome.
pub(in crate::node) fn in_doubt(state: &mut State, attempt: AttemptId, refusal: &Refusal) {
    let phase = &state.transactions[&attempt].phase;
    assert!(matches!(phase, Phase::Committing(..) | Phase::Passing(..)), "only what may be sent is in doubt");
    let waiters = take_waiters(state, attempt);
    // It may have committed, so earlier listings of its keys may be incomplete. Where one process
    // holds the store, they would otherwise be used for ever.
    let transaction = &state.transactions[&attempt];
    let keys: Vec<Key> = transaction.buffer.keys().cloned().collect();
    let next_call = state.calls.next_number();
    keys.iter().for_each(|key| state.index.list_again(key, next_call));
    end(state, attempt, Outcome::Unknown, None);
    waiters.into_iter().for_each(|waiter| state.refuse(waiter.ticket, refusal.clone()));
}

/// Reopens a transaction whose commit took no effect.
pub(in crate::node) fn reopen(state: &mut State, attempt: AttemptId, refusal: &Refusal) {
    let waiters = take_waiters(state, attempt);
    let freed = state.checks.undo(attempt);
    state.free(attempt, freed);
    state.transactions.get_mut(&attempt).expect("looked up above").reopen();
    waiters.into_iter().for_each(|waiter| state.refuse(waiter.ticket, refusal.clone()));
}

/// Ends a transaction that only read, and whose reads are valid, without storing anything.
pub(in crate::node) fn nothing_to_store(state: &mut State, attempt: AttemptId, session: Session) {
    let waiters = take_waiters(state, attempt);
    let transaction = state.transactions.get_mut(&attempt).expect("looked up above");
    assert!(transaction.buffer.is_empty(), "a transaction with writes stores them");
    transaction.reopen();
    let committed = Committed { txn: None, session };
    end(state, attempt, Outcome::Committed(committed.clone()), None);
    waiters.into_iter().for_each(|waiter| reply_committed(state, waiter, committed.clone()));
}

/// The finder of a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) enum FoundBy {
    /// This node, which knows the transaction that came first.
    Node,
    /// The store: the conflict may be with a commit of another node that this one does not know.
    Store,
}

/// Ends a transaction with a conflict: another one has written what it read, and nothing of its
/// commit took effect.
pub(in crate::node) fn conflict(state: &mut State, attempt: AttemptId, found: &Conflict, by: FoundBy) {
    let phase = &state.transactions[&attempt].phase;
    let is_asked = matches!(phase, Phase::Preparing(..) | Phase::Committing(..));
    assert!(is_asked, "reads are checked when a commit was asked");
    let waiters = take_waiters(state, attempt);
    let freed = state.checks.undo(attempt);
    state.free(attempt, freed);
    if by == FoundBy::Store {
        list_reads_again(state, attempt, found.key.as_ref());
    }
    state.transactions.get_mut(&attempt).expect("looked up above").reopen();
    end(state, attempt, Outcome::Conflicted(found.clone()), None);
    waiters.into_iter().for_each(|waiter| state.refuse(waiter.ticket, Refusal::Conflict(found.clone())));
}

/// Drops the listings of the keys that a transaction read, and of the key that its conflict names,
/// where several processes share the store.
///
/// A listing that was young enough to be used was too old to commit with, and so may those of the
/// other keys be: a conflict names only one key, even if several have changed. The next attempt
/// must list all of them again, or it could get one conflict for each.
pub(super) fn list_reads_again(state: &mut State, attempt: AttemptId, named: Option<&Key>) {
    if state.settings.exclusive {
        return;
    }
    let reads = &state.transactions[&attempt].reads;
    let keys = reads.keys().filter(|key| state.settings.locks(key)).chain(named);
    let (keys, next_call) = (keys.cloned().collect::<Vec<Key>>(), state.calls.next_number());
    keys.iter().for_each(|key| state.index.list_again(key, next_call));
}

/// Ends a transaction at its deadline: it expires, unless a commit may have been sent.
pub(in crate::node) fn deadline(state: &mut State, attempt: AttemptId) {
    let Some(transaction) = state.transactions.get(&attempt) else { return };
    if !transaction.deadline.has_passed(&state.clock) {
        // The timer fired a little early: set it again.
        let at_mono = state.clock.mono_ms() + transaction.deadline.remaining_ms(&state.clock);
        assert!(at_mono > state.clock.mono_ms(), "a deadline that has not passed is in the future");
        state.transactions.get_mut(&attempt).expect("looked up above").deadline_mono = at_mono;
        return state.timers.set(at_mono, Timer::Deadline(attempt));
    }
    let hash = transaction.hash;
    match &transaction.phase {
        Phase::Committing(..) | Phase::Passing(..) => in_doubt(state, attempt, &Refusal::Unknown(hash)),
        Phase::Closing(..) | Phase::Preparing(..) => expire(state, attempt),
        Phase::Open => end(state, attempt, Outcome::Expired, None),
    }
}

/// Ends a transaction whose deadline has passed, and whose commit took no effect.
pub(in crate::node) fn expire(state: &mut State, attempt: AttemptId) {
    let waiters = take_waiters(state, attempt);
    let transaction = state.transactions.get_mut(&attempt).expect("looked up above");
    assert!(transaction.deadline.has_passed(&state.clock), "a transaction expires only after its deadline");
    transaction.reopen();
    end(state, attempt, Outcome::Expired, None);
    waiters.into_iter().for_each(|waiter| state.refuse(waiter.ticket, Refusal::Lost));
}

/// Ends every transaction whose deadline has passed by any clock.
pub(in crate::node) fn deadlines(state: &mut State) {
    let expired = state.transactions.iter().filter(|(_, open)| open.deadline.has_passed(&state.clock));
    let expired: Vec<AttemptId> = expired.map(|(attempt, _)| *attempt).collect();
    expired.into_iter().for_each(|attempt| deadline(state, attempt));
    let late = state.transactions.values().any(|open| open.deadline.has_passed(&state.clock));
    assert!(!late, "no transaction is open after its deadline");
}

/// Aborts a transaction.
pub(in crate::node) fn abort(state: &mut State, ticket: Ticket, attempt: AttemptId) {
    match state.transactions.get(&attempt).map(|transaction| &transaction.phase) {
        Some(Phase::Open) => {
            if state.planted(Bug::IndexAborted) {
                index_aborted(state, attempt);
            }
            end(state, attempt, Outcome::Aborted, None);
            state.reply(ticket, Reply::Aborted);
        }
        Some(Phase::Closing(..) | Phase::Preparing(..) | Phase::Committing(..) | Phase::Passing(..)) => {
            state.refuse(ticket, Refusal::Ended);
        }
        None => match state.ended.get(&attempt).map(|ended| end_of(&ended.outcome)) {
            Some(End::Aborted | End::Expired) => state.reply(ticket, Reply::Aborted),
            Some(End::Conflicted) => state.reply(ticket, Reply::Aborted),
            Some(End::Committed | End::LostToOther) => state.refuse(ticket, Refusal::Ended),
            Some(End::Unknown) => refuse_ended(state, ticket, attempt),
            None => state.refuse(ticket, Refusal::NotFound),
        },
    }
}

/// Rejects any other verb of a transaction that is not open.
pub(in crate::node) fn refuse_ended(state: &mut State, ticket: Ticket, attempt: AttemptId) {
    let refusal = match state.ended.get(&attempt) {
        None => Refusal::NotFound,
        Some(ended) => match &ended.outcome {
            Outcome::Committed(_) | Outcome::Other(_) | Outcome::OtherAtLength | Outcome::Aborted => {
                Refusal::Ended
            }
            Outcome::Conflicted(found) => Refusal::Conflict(found.clone()),
            Outcome::Expired => Refusal::Lost,
            Outcome::Unknown => Refusal::Unknown(ended.hash),
        },
    };
    state.refuse(ticket, refusal);
}

/// The planted bug: treats the writes of an aborted transaction as committed.
fn index_aborted(state: &mut State, attempt: AttemptId) {
    let Some(bounds) = state.clock.bounds() else { return };
    let transaction = &state.transactions[&attempt];
    let time = state.clock.tick(transaction.newest_seen(), bounds.latest_ms);
    let writes = transaction.buffer.iter().map(|(key, write)| (key.clone(), write.meta())).collect();
    let header =
        Header { txn: TxnId { time, attempt }, hash: transaction.hash, writes, follows: None, whole: false };
    state.learn(&Arc::new(header), true, None);
    state.note(Note::AheadOfTime(TxnId { time, attempt }));
}
