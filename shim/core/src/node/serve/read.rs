//! The reads of one verb: they turn the wanted keys into versions and values.
//!
//! A choice enters the read set at once, so that several reads of one transaction can be in flight.
//! Until it is returned to the client it may be taken back: this only loosens the bounds under
//! which other versions were chosen, and operations that use the choice choose again. What is
//! missing for a choice (a listing, a record, the mark) is requested once for all operations, and
//! the choice is made again when it has come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::bug::Bug;
use crate::ids::{AttemptId, Key, TxnId};
use crate::message::{Found, Header, Note, Op, Refusal, Ticket};
use crate::record::{Kind, VersionEntry, Write};
use crate::store::{Answer, Body, Call, CallError, Name};

use super::super::base::calls::{Owner, Waiting};
use super::super::base::ids::OperationId;
use super::super::base::index::ListedPage;
use super::super::base::read::{Operation, Purpose, Want};
use super::super::base::state::{State, Work, bug_of, refusal_of};
use super::choose::{Choice, choose};
use super::{choose, prefixes, scan};

/// The outcome of running an operation.
#[derive(Debug)]
pub(in crate::node) enum Advance {
    /// A listing, a record or a value is missing, and was requested.
    Waiting,
    /// Every key has its version, and its value where one is wanted.
    Done(Box<Operation>),
    /// The operation was rejected, and has ended.
    Failed,
}

/// Returns the refusal of a read set that would be too large.
pub(in crate::node) fn too_many_reads(limit: usize) -> Refusal {
    Refusal::Invalid(format!("the transaction would read more than {limit} keys: split the request"))
}

/// Starts reads for a verb of an open transaction.
pub(in crate::node) fn start(
    state: &mut State,
    ticket: Ticket,
    attempt: AttemptId,
    purpose: Purpose,
    wanted: BTreeSet<Key>,
) -> OperationId {
    wanted.iter().for_each(|key| state.index.pin(key));
    let operation = Operation {
        ticket,
        attempt,
        purpose,
        wanted: wanted.into_iter().map(|key| (key, Want::Choosing)).collect(),
        limit: state.patience(),
        began_call: state.calls.next_number(),
        met: BTreeMap::new(),
    };
    let transaction = state.transactions.get_mut(&attempt).expect("verbs are for open transactions");
    transaction.operations += 1;
    let most = state.settings.operations_in_transaction_max;
    assert!(transaction.operations <= most, "operations under way are bounded");
    let id = state.operations.add(operation);
    state.defer(Work::Operation(id));
    id
}

/// Runs an operation: advances each of its keys until it waits or is done.
pub(in crate::node) fn advance(state: &mut State, id: OperationId) -> Advance {
    crate::room!();
    let Some(mut operation) = state.operations.take(id) else { return Advance::Waiting };
    if scan::must_ask_first_page(&operation) {
        let waits = choose::first_look(state, id, &operation);
        state.operations.put_back(id, operation);
        if !waits {
            scan::ask_page(state, id);
        }
        return Advance::Waiting;
    }
    // Choices are repeated until no key is added: records that are learned for one key may add keys
    // to the page of a listing.
    loop {
        let choosing = operation.wanted.iter().filter(|(_, want)| matches!(want, Want::Choosing));
        let choosing: Vec<Key> = choosing.map(|(key, _)| key.clone()).collect();
        if choose::awaits_commits(state, id, &operation, &choosing) {
            state.operations.put_back(id, operation);
            return Advance::Waiting;
        }
        for key in choosing {
            let want = match choose(state, id, &operation, &key) {
                Choice::Missing => continue,
                Choice::ListedAgain => {
                    operation.met.entry(key).or_default().rounds += 1;
                    continue;
                }
                Choice::Gone => {
                    fail(state, operation, Refusal::SnapshotGone(key));
                    return Advance::Failed;
                }
                Choice::Full => {
                    let refusal = too_many_reads(state.settings.read_set_len_max);
                    fail(state, operation, refusal);
                    return Advance::Failed;
                }
                Choice::Damaged(what) => {
                    fail(state, operation, Refusal::Damaged(what));
                    return Advance::Failed;
                }
                Choice::Absent if wants_no_value(&operation, &key) => Want::Listed,
                Choice::Absent => Want::Found(Found::Absent),
                Choice::Version(header) => want_value(state, id, &operation, &key, &header),
            };
            operation.wanted.insert(key, want);
        }
        let scanning = matches!(&operation.purpose, Purpose::List(_, listing) if listing.page.is_none());
        if scanning || !operation.wanted.values().all(Want::is_done) {
            state.operations.put_back(id, operation);
            return Advance::Waiting;
        }
        if scan::want_next(state, &mut operation) {
            continue;
        }
        // Known keys come last: those below prefixes that are settled by then do not matter.
        prefixes::end_at_unsettled(state, &mut operation);
        if !scan::merge_known_keys(state, &mut operation) {
            assert!(operation.wanted.values().all(Want::is_done), "every key has its version");
            return Advance::Done(Box::new(operation));
        }
    }
}

/// Returns true if an operation needs a key's version, but not its value.
fn wants_no_value(operation: &Operation, key: &Key) -> bool {
    matches!(operation.purpose, Purpose::List(..)) || operation.is_only_written(key)
}

/// Requests the value of a chosen version, unless it is not wanted or already known.
fn want_value(
    state: &mut State,
    id: OperationId,
    operation: &Operation,
    key: &Key,
    header: &Arc<Header>,
) -> Want {
    if wants_no_value(operation, key) {
        return Want::Listed;
    }
    let transaction = &state.transactions[&operation.attempt];
    let read = transaction.reads.get(key).and_then(|read| read.header.as_ref());
    assert_eq!(read.map(|read| read.txn), Some(header.txn), "the value of what was chosen is asked for");
    let meta = header.meta(key).expect("a version's key is in its write set");
    if meta.kind == Kind::Tombstone {
        return Want::Found(Found::Version(header.txn, Write::Tombstone));
    }
    let at = match header.whole {
        true => header.entry(key).name(key),
        false => Name::Commit(header.hash),
    };
    let call = Call::Fetch { at, txn: header.txn, key: key.clone() };
    state.call(Owner::Fetch(id, key.clone()), call, Some(operation.limit));
    Want::Fetching(header.txn)
}

/// Resumes operations whose wait has ended.
fn advance_all(state: &mut State, waiters: &BTreeSet<OperationId>) {
    waiters.iter().for_each(|id| state.defer(Work::Operation(*id)));
}

fn fail_all(state: &mut State, waiters: &BTreeSet<OperationId>, answer: &Answer) {
    for id in waiters {
        if let Some(operation) = state.operations.take(*id) {
            fail(state, operation, refusal_of(answer));
        }
    }
}

/// Takes a page of a key's version entries.
pub(in crate::node) fn listing_answered(
    state: &mut State,
    waiting: &Waiting,
    key: &Key,
    after: Option<&VersionEntry>,
    answer: Answer,
) {
    let answer = match answer {
        Answer::Failed(CallError::Damaged(_)) if state.planted(Bug::TakeDamageForAbsence) => {
            Answer::Listed { names: Vec::new(), damaged: Vec::new(), more: false }
        }
        answer => answer,
    };
    let Answer::Listed { names, damaged, more } = answer else {
        return fail_all(state, &waiting.waiters, &answer);
    };
    // Unreadable names are reported, and do not fail the reads.
    damaged.into_iter().for_each(|what| state.note(Note::Damaged(what)));
    let entries: Vec<VersionEntry> = names
        .into_iter()
        .map(|name| match name {
            Name::Version(listed, entry) => {
                assert_eq!(listed, *key, "a listing names its own key");
                entry
            }
            other => unreachable!("a listing of versions holds {other:?}"),
        })
        .collect();
    let page = ListedPage {
        entries: &entries,
        after: after.map(|entry| entry.txn),
        more,
        asked: waiting.asked,
        asked_call: waiting.asked_call,
        next_call: state.calls.next_number(),
        mark: waiting.mark,
    };
    // The index may ignore the page if it came too late; the operations then request another one.
    let bug = bug_of(&state.settings);
    state.index.listed(key, page, |planted| bug == Some(planted));
    advance_all(state, &waiting.waiters);
}

/// Takes the record that a listed entry names.
pub(in crate::node) fn record_answered(state: &mut State, waiting: &Waiting, txn: TxnId, answer: Answer) {
    match answer {
        Answer::Got(got) => {
            match got {
                Some((Body::Record(record), _)) if record.txn == txn => {
                    let of_entry = |name: &Name| matches!(name, Name::Version(..) | Name::Successor(..));
                    let whole = matches!(&waiting.owner, Owner::Record(name, _) if of_entry(name));
                    let header = Arc::new(Header::of(&record, whole));
                    // Only a planted bug uses the key for which the record was read.
                    let asked = wanted(state, waiting, txn).into_iter().next();
                    state.learn(&header, false, asked.as_ref());
                }
                // The record is absent, or another attempt's.
                other => {
                    let next_call = state.calls.next_number();
                    let look = (waiting.asked_call, waiting.mark, other.is_some());
                    for key in wanted(state, waiting, txn) {
                        state.index.undecided((txn, &key), look, next_call);
                    }
                }
            }
            advance_all(state, &waiting.waiters);
        }
        answer => fail_all(state, &waiting.waiters, &answer),
    }
}

/// Returns the keys for which operations wait for the record of a listed entry.
fn wanted(state: &State, waiting: &Waiting, txn: TxnId) -> BTreeSet<Key> {
    let operations = waiting.waiters.iter().filter_map(|id| state.operations.get(*id));
    let keys = operations.flat_map(|operation| operation.wanted.keys());
    let lists = |key: &&Key| {
        let entry = state.index.known(key);
        entry.is_some_and(|entry| entry.versions().iter().any(|known| known.txn == txn))
    };
    keys.filter(lists).cloned().collect()
}

/// Takes the mark that operations waited for. The state has already learned it.
pub(in crate::node) fn mark_answered(state: &mut State, waiting: &Waiting, answer: &Answer) {
    match answer {
        Answer::Got(Some((Body::Format(_), _))) => advance_all(state, &waiting.waiters),
        Answer::Got(None) => {
            let missing =
                CallError::Damaged("the store's format object is missing: run `aft store init`".into());
            fail_all(state, &waiting.waiters, &Answer::Failed(missing));
        }
        answer => fail_all(state, &waiting.waiters, answer),
    }
}

/// Takes the node's first read of the mark. If it failed, reads go on, and only those
/// that need the mark fail.
pub(in crate::node) fn first_mark_answered(state: &mut State, waiting: &Waiting) {
    state.mark.note_look();
    advance_all(state, &waiting.waiters);
}

/// Takes the value of a chosen version.
pub(in crate::node) fn fetch_answered(state: &mut State, id: OperationId, key: Key, answer: Answer) {
    let Some(mut operation) = state.operations.take(id) else { return };
    let Some(Want::Fetching(txn)) = operation.wanted.get(&key).cloned() else {
        unreachable!("a fetched key is being fetched")
    };
    let transaction = &state.transactions[&operation.attempt];
    let read = transaction.reads.get(&key);
    let read = read.filter(|read| read.header.as_ref().is_some_and(|header| header.txn == txn));
    let delivered = read.is_some_and(|read| read.delivered);
    // If another operation found this version removed and chose again, this one chooses again, too.
    let superseded = read.is_none();
    let write = match answer {
        Answer::Cached(write) => Some(write),
        Answer::Got(Some((Body::Record(record), _))) if record.txn == txn => {
            let write = record.write(&key).cloned();
            assert!(write.is_some(), "the record of {txn} has the key that it was chosen for");
            write
        }
        Answer::Got(_) => None,
        answer @ Answer::Failed(_) => return fail(state, operation, refusal_of(&answer)),
        answer => unreachable!("a fetch is answered {answer:?}"),
    };
    match write {
        Some(write) if !superseded => {
            let chosen = state.transactions[&operation.attempt].reads.get(&key);
            let chosen = chosen.and_then(|read| read.header.as_ref()).map(|header| header.txn);
            assert_eq!(chosen, Some(txn), "a fetched value is of the version chosen");
            operation.wanted.insert(key, Want::Found(Found::Version(txn, write)));
        }
        Some(_) => {
            operation.wanted.insert(key, Want::Choosing);
        }
        // The version was removed. It can be replaced by another choice, unless its client has
        // already read it.
        None => {
            let next_call = state.calls.next_number();
            state.index.gone(txn, &key, next_call);
            if delivered {
                return fail(state, operation, Refusal::SnapshotGone(key));
            }
            let met = operation.met.entry(key.clone()).or_default();
            assert!(met.mark_since <= next_call, "the mark is asked after what was found gone last");
            met.values_gone += 1;
            met.mark_since = next_call;
            operation.wanted.insert(key.clone(), Want::Choosing);
            if !superseded {
                take_back(state, operation.attempt, &key);
            }
        }
    }
    state.operations.put_back(id, operation);
    state.defer(Work::Operation(id));
}

/// Takes a choice back that was not returned to the client. Other operations of the transaction
/// that use the choice choose again.
fn take_back(state: &mut State, attempt: AttemptId, key: &Key) {
    let transaction = state.transactions.get_mut(&attempt).expect("operations end with their transaction");
    transaction.take_back(key);
    for want in state.operations.of_mut(attempt).filter_map(|operation| operation.wanted.get_mut(key)) {
        match want {
            // The operation still waits for another key, so it will run again.
            Want::Found(_) | Want::Listed => *want = Want::Choosing,
            // Its own fetch will find that the read set has changed.
            Want::Fetching(_) | Want::Choosing => {}
        }
    }
}

/// Ends an operation that cannot succeed.
pub(in crate::node) fn fail(state: &mut State, operation: Operation, refusal: Refusal) {
    operation.wanted.keys().for_each(|key| state.index.unpin(key));
    state.refuse(operation.ticket, refusal);
    state.defer(Work::OperationDone(operation.attempt));
}

/// Marks an operation's reads as delivered, when they are returned to the client.
pub(in crate::node) fn deliver(state: &mut State, operation: &Operation) {
    operation.wanted.keys().for_each(|key| state.index.unpin(key));
    let bug = bug_of(&state.settings);
    let moves_on = |op: &Op, key: &Key| match op {
        Op::Add(of, _) => of == key && bug == Some(Bug::MoveSumsOn),
        Op::Check(of, _) => of == key && bug == Some(Bug::MoveConditionsOn),
        _ => false,
    };
    let transaction =
        state.transactions.get_mut(&operation.attempt).expect("operations end with their transaction");
    let moves_on = |key: &Key| match &operation.purpose {
        Purpose::Batch { batch, .. } => batch.ops.iter().any(|op| moves_on(op, key)),
        Purpose::List(..) => false,
    };
    let stays = |key: &&Key| !operation.is_only_written(key) && !moves_on(key);
    for key in operation.wanted.keys().filter(stays) {
        let Some(read) = transaction.reads.get_mut(key) else {
            let is_absent = transaction.listed_as_absent(key).is_some();
            assert!(is_absent, "a delivered key is in the read set or in a listed range");
            continue;
        };
        read.delivered = true;
    }
}

/// Forgets a transaction's operations. Returns their tickets.
pub(in crate::node) fn stop(state: &mut State, attempt: AttemptId) -> Vec<Ticket> {
    let ids = state.operations.of(attempt);
    ids.into_iter()
        .map(|id| {
            let operation = state.operations.take(id).expect("listed above");
            assert_eq!(operation.attempt, attempt, "an operation ends with its transaction");
            operation.wanted.keys().for_each(|key| state.index.unpin(key));
            operation.ticket
        })
        .collect()
}
