//! Batches: reads, writes and tombstones in order, and optionally a commit (protocol, section 4,
//! step 1, and section 5, step 1).
//!
//! A batch takes effect as a whole: first its reads are resolved, each seeing the writes before it;
//! then its conditions are judged and its sums computed (`condition`); then its writes enter the
//! buffer; then it commits. The bounds are checked at that instant: writes of other batches that
//! took effect meanwhile count, and writes that are replaced do not.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;

use crate::bug::Bug;
use crate::ids::{AttemptId, Key};
use crate::message::{Batch, Bound, CommitArgs, Excess, Found, Measured, Op, Read, Refusal, Reply, Ticket};
use crate::record::{
    BlobRef, ETAG_BYTES_MAX, LARGE_RESULT_BYTES, Location, RECORD_BYTES_BASE, Value, Write, write_bytes_max,
};

use super::super::base::read::{Operation, Purpose, Want};
use super::super::base::state::{State, Work};
use super::super::base::transaction::{CommitForm, CommitWaiter, Phase, Transaction};
use super::{condition, end, failed, level, read};

/// The sizes of a write buffer.
struct Sizes {
    keys: usize,
    inline_bytes: usize,
    /// Its greatest size in the commit record, in bytes.
    record_bytes: usize,
}

/// Returns a digest that distinguishes a batch from others.
fn digest(batch: &Batch) -> u64 {
    let mut hasher = DefaultHasher::new();
    batch.hash(&mut hasher);
    hasher.finish()
}

/// Returns true if this batch is the one that carried the commit of an ended transaction.
fn is_carrier(state: &State, attempt: AttemptId, batch: &Batch) -> bool {
    state.ended.get(&attempt).is_some_and(|ended| ended.carrier == Some(digest(batch)))
}

/// Runs a batch in an open transaction.
pub(in crate::node) fn run(state: &mut State, ticket: Ticket, attempt: AttemptId, batch: Batch) {
    crate::room!();
    match state.transactions.get(&attempt) {
        Some(Transaction { phase: Phase::Open, .. }) => start(state, ticket, attempt, batch, false),
        // The last call of a transaction is repeated, because its answer was lost. Only the outcome
        // of the commit is left to answer it.
        None if is_carrier(state, attempt, &batch)
            && !batch.ops.iter().any(|op| matches!(op, Op::Get(_))) =>
        {
            let waiter = CommitWaiter::new(ticket, CommitForm::Ran(Vec::new()));
            state.defer(Work::Commit(attempt, None, waiter));
        }
        Some(_) => state.refuse(ticket, Refusal::Ended),
        None => end::refuse_ended(state, ticket, attempt),
    }
}

/// Starts a batch. `begun` is true if it came with the transaction's begin.
pub(in crate::node) fn start(
    state: &mut State,
    ticket: Ticket,
    attempt: AttemptId,
    batch: Batch,
    begun: bool,
) {
    if let Err(refusal) = check(state, attempt, &batch) {
        return state.refuse(ticket, refusal);
    }
    // The failure of a condition is an answer, so it must not rest on old listings.
    let old = state.settings.exclusive || state.planted(Bug::JudgeConditionsByOldListings);
    if !old && batch.ops.iter().any(Op::is_conditional) {
        state.transactions.get_mut(&attempt).expect("looked up above").fresh = true;
    }
    let transaction = &state.transactions[&attempt];
    assert!(matches!(transaction.phase, Phase::Open), "a batch runs in an open transaction");
    // A read sees the batch's writes before it, then the transaction's buffer. Conditions look only
    // at committed versions.
    let mut written: BTreeMap<&Key, Write> = BTreeMap::new();
    let mut reads = Vec::new();
    let mut wanted = BTreeSet::new();
    for op in &batch.ops {
        match op {
            Op::Put(key, value) => drop(written.insert(key, Write::Put(value.clone()))),
            Op::Delete(key) => drop(written.insert(key, Write::Tombstone)),
            Op::Result(_) | Op::Fingerprint(_) => {}
            Op::Check(key, _) => {
                wanted.insert(key.clone());
                reads.push((key.clone(), None));
            }
            Op::Get(key) | Op::Add(key, _) => {
                let own = written.get(key).or_else(|| transaction.buffer.get(key));
                if own.is_none() {
                    wanted.insert(key.clone());
                }
                reads.push((key.clone(), own.cloned().map(Found::Own)));
            }
        }
    }
    // A write under a lock follows a version, so a key that was not read is read first.
    let is_read = |key: &Key| transaction.reads.contains_key(key) || wanted.contains(key);
    let locked = written.keys().filter(|key| state.settings.locks(key) && !is_read(key));
    let written: BTreeSet<Key> = locked.map(|key| (*key).clone()).collect();
    wanted.extend(written.iter().cloned());
    let asking = batch.ops.iter().filter(|op| op.is_answered() || op.is_conditional()).count();
    assert_eq!(reads.len(), asking, "every operation that reads has its read");
    if wanted.is_empty() {
        state.transactions.get_mut(&attempt).expect("looked up above").operations += 1;
        return take_effect(state, (ticket, attempt), batch, reads, BTreeMap::new(), begun);
    }
    // Reject a batch that does not fit before its reads are made.
    let sizes = sizes_with(state, attempt, &batch);
    if let Err(refusal) = fit(state, attempt, &batch, &sizes) {
        return state.refuse(ticket, refusal);
    }
    read::start(state, ticket, attempt, Purpose::Batch { batch, reads, written, begun }, wanted);
}

/// Continues a batch whose reads are all resolved.
pub(in crate::node) fn reads_done(state: &mut State, operation: Operation) {
    read::deliver(state, &operation);
    let Operation { ticket, attempt, purpose, wanted, .. } = operation;
    let Purpose::Batch { batch, reads, begun, written: _ } = purpose else { unreachable!("a batch") };
    assert!(wanted.values().all(Want::is_done), "a batch takes effect when all its reads are done");
    take_effect(state, (ticket, attempt), batch, reads, wanted, begun);
}

/// Puts a batch's writes into the buffer, and answers it or commits.
fn take_effect(
    state: &mut State,
    (ticket, attempt): (Ticket, AttemptId),
    batch: Batch,
    reads: Vec<(Key, Option<Found>)>,
    wanted: BTreeMap<Key, Want>,
    begun: bool,
) {
    state.defer(Work::OperationDone(attempt));
    // While its reads were in flight, other batches may have changed the transaction, so the level
    // and the bounds are checked again.
    let level = level::check_batch(state, attempt, &batch);
    let reads = reads.into_iter().map(|(key, own)| {
        let found = own.unwrap_or_else(|| match wanted.get(&key) {
            Some(Want::Found(found)) => found.clone(),
            other => unreachable!("a resolved read has found something, not {other:?}"),
        });
        Read { key, found }
    });
    let mut reads: Vec<Read> = reads.collect();
    let carrier = batch.commit.is_some().then(|| digest(&batch));
    let mut batch = batch;
    if level.is_ok() && batch.ops.iter().any(Op::is_conditional) {
        match condition::settle(batch.ops, reads) {
            Ok(settled) => (batch.ops, reads) = settled,
            Err(refusal) => {
                let replays = begun || batch.commit.is_some();
                return failed::refuse(state, (ticket, attempt), refusal, replays);
            }
        }
    }
    let sizes = sizes_with(state, attempt, &batch);
    let judged = !wanted.is_empty() && state.planted(Bug::CheckBoundsOnlyAtFirst);
    let fits = level.and_then(|()| fit(state, attempt, &batch, &sizes));
    if let (false, Err(refusal)) = (judged, fits) {
        return state.refuse(ticket, refusal);
    }
    let Batch { ops, commit } = batch;
    let transaction = state.transactions.get_mut(&attempt).expect("operations end with their transaction");
    for op in ops {
        let (key, write) = match op {
            Op::Get(_) => continue,
            Op::Put(key, value) => (key, Write::Put(value)),
            Op::Delete(key) => (key, Write::Tombstone),
            Op::Check(..) | Op::Add(..) => unreachable!("they were settled before"),
            Op::Result(result) => {
                transaction.large_result = Some(result);
                continue;
            }
            Op::Fingerprint(fingerprint) => {
                transaction.fingerprint = Some(fingerprint);
                continue;
            }
        };
        transaction.buffer.insert(key, write);
    }
    assert_eq!(transaction.buffer.len(), sizes.keys, "the buffer has the size that was judged");
    transaction.inline_bytes = sizes.inline_bytes;
    transaction.record_bytes = sizes.record_bytes;
    transaction.carrier = carrier.or(transaction.carrier);
    let remaining_ms = transaction.deadline.remaining_ms(&state.clock);
    match commit {
        None => {
            let reply = match begun {
                true => Reply::Begun { attempt, remaining_ms, reads, committed: None },
                false => Reply::Ran { reads, committed: None },
            };
            state.reply(ticket, reply);
        }
        Some(commit) => {
            let form = match begun {
                true => CommitForm::Begun(attempt, reads),
                false => CommitForm::Ran(reads),
            };
            state.defer(Work::Commit(attempt, commit.result, CommitWaiter::new(ticket, form)));
        }
    }
}

fn check(state: &State, attempt: AttemptId, batch: &Batch) -> Result<(), Refusal> {
    let settings = &state.settings;
    let transaction = &state.transactions[&attempt];
    if transaction.operations >= settings.operations_in_transaction_max {
        return Err(Refusal::Overloaded(Bound::OperationsInTransaction));
    }
    if !batch.ops.is_empty() && state.transactions.bytes() >= settings.transactions_bytes_max {
        return Err(Refusal::Overloaded(Bound::Transactions));
    }
    // Count the keys that the batch adds to the read set. A write under a lock reads its key, too.
    let mut new = BTreeSet::new();
    for op in &batch.ops {
        match op {
            Op::Get(key) | Op::Check(key, _) | Op::Add(key, _) if !transaction.reads.contains_key(key) => {
                new.insert(key);
            }
            Op::Get(_) | Op::Check(..) | Op::Add(..) | Op::Fingerprint(_) => {}
            Op::Put(_, value) => check_value(transaction, value)?,
            Op::Delete(_) => {}
            Op::Result(result) => check_blob(transaction, &result.blob)?,
        }
        if let Op::Put(key, _) | Op::Delete(key) = op
            && settings.locks(key)
            && !transaction.reads.contains_key(key)
        {
            new.insert(key);
        }
    }
    level::check_batch(state, attempt, batch)?;
    condition::check_batch(batch)?;
    let reads = transaction.reads.len() + new.len();
    if reads > settings.read_set_len_max {
        return Err(read::too_many_reads(settings.read_set_len_max));
    }
    Ok(())
}

/// Returns the sizes that the transaction's write buffer has with the batch's writes.
fn sizes_with(state: &State, attempt: AttemptId, batch: &Batch) -> Sizes {
    let transaction = &state.transactions[&attempt];
    // Only the last write of each key counts, and it replaces an earlier one in the buffer.
    let longest_sum = condition::longest_sum();
    let mut last: BTreeMap<&Key, Option<&Value>> = BTreeMap::new();
    let mut result = false;
    for op in &batch.ops {
        match op {
            Op::Get(_) | Op::Check(..) | Op::Fingerprint(_) => {}
            // The sum is computed, and its size checked again, when the batch takes effect.
            Op::Add(key, _) => drop(last.insert(key, Some(&longest_sum))),
            Op::Put(key, value) => drop(last.insert(key, Some(value))),
            Op::Delete(key) => drop(last.insert(key, None)),
            Op::Result(_) => result = true,
        }
    }
    let mut keys = transaction.buffer.len();
    let (mut inline_bytes, mut record_bytes) = (transaction.inline_bytes, transaction.record_bytes);
    if result && transaction.large_result.is_none() {
        record_bytes += LARGE_RESULT_BYTES;
    }
    for (key, value) in last {
        match transaction.buffer.get(key) {
            Some(replaced) => {
                inline_bytes -= replaced.inline_bytes();
                record_bytes -= write_bytes_max(key, replaced.value());
            }
            None => keys += 1,
        }
        inline_bytes += value.map_or(0, Value::inline_bytes);
        record_bytes += write_bytes_max(key, value);
    }
    assert!(keys >= transaction.buffer.len(), "a batch takes no key out of the buffer");
    assert!(record_bytes >= inline_bytes, "inline values are a part of the record");
    Sizes { keys, inline_bytes, record_bytes }
}

/// Checks that a write buffer with the given sizes, and the result of the batch's commit or of a
/// commit that waits for the batch, fit into the transaction's commit record.
fn fit(state: &State, attempt: AttemptId, batch: &Batch, sizes: &Sizes) -> Result<(), Refusal> {
    let (settings, transaction) = (&state.settings, &state.transactions[&attempt]);
    let Sizes { keys, inline_bytes, record_bytes } = *sizes;
    if keys > settings.write_set_len_max {
        return Err(Refusal::Invalid(format!(
            "the transaction would write {keys} keys, at most {} are allowed: split the request",
            settings.write_set_len_max
        )));
    }
    if inline_bytes > settings.write_buffer_bytes_max {
        let (actual, limit) = (inline_bytes, settings.write_buffer_bytes_max);
        return Err(Refusal::TooLarge(Excess::new(Measured::InlineValues, actual, limit)));
    }
    let result = match (&batch.commit, &transaction.phase) {
        (Some(args), _) => args.result.as_ref(),
        (None, Phase::Closing(result, _)) => result.as_ref(),
        (None, Phase::Open | Phase::Preparing(..) | Phase::Committing(..) | Phase::Passing(..)) => None,
    };
    if keys > 0 || transaction.named {
        fit_record(state, record_bytes, result)?;
    }
    Ok(())
}

/// Checks that a commit's result fits into the transaction's commit record, if the commit stores
/// one.
pub(in crate::node) fn fit_result(
    state: &State,
    attempt: AttemptId,
    args: &CommitArgs,
) -> Result<(), Refusal> {
    crate::room!();
    match state.transactions.get(&attempt) {
        Some(Transaction { phase: Phase::Open, buffer, named, record_bytes, .. })
            if *named || !buffer.is_empty() =>
        {
            fit_record(state, *record_bytes, args.result.as_ref())
        }
        Some(_) | None => Ok(()),
    }
}

fn fit_record(state: &State, writes: usize, result: Option<&Bytes>) -> Result<(), Refusal> {
    let actual = RECORD_BYTES_BASE + writes + result.map_or(0, Bytes::len);
    let limit = state.settings.record_bytes_max;
    match actual > limit {
        true => Err(Refusal::TooLarge(Excess::new(Measured::Record, actual, limit))),
        false => Ok(()),
    }
}

fn check_value(transaction: &Transaction, value: &Value) -> Result<(), Refusal> {
    if value.etag.len() > ETAG_BYTES_MAX {
        return Err(Refusal::Invalid(format!(
            "an entity tag of {} bytes, at most {ETAG_BYTES_MAX} are allowed",
            value.etag.len()
        )));
    }
    match &value.location {
        Location::Inline(bytes) => {
            assert_eq!(bytes.len() as u64, value.size, "an inline value's size is its length");
            Ok(())
        }
        Location::Blob(blob) => check_blob(transaction, blob),
    }
}

fn check_blob(transaction: &Transaction, blob: &BlobRef) -> Result<(), Refusal> {
    if Some(blob.group) == transaction.blob_group && blob.number < transaction.blobs {
        assert_eq!(blob.group.attempt, transaction.attempt, "an attempt's blobs are its own");
        Ok(())
    } else {
        Err(Refusal::Invalid("a blob that this transaction did not reserve".into()))
    }
}
