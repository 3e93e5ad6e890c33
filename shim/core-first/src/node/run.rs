//! Batches: reads, writes and tombstones in order, and perhaps a commit (protocol, sections 4 and 5.1).
//!
//! A batch takes effect as a whole: its reads are resolved first, each seeing the writes before it, then its writes enter the buffer, then it commits.
//! Whether they fit is decided at that instant: what other batches wrote meanwhile counts, and what they and this one replace does not.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::bug::Bug;
use crate::ids::{AttemptId, Key};
use crate::message::{Batch, Bound, CommitArgs, Excess, Found, Measured, Op, Read, Refusal, Reply, Ticket};
use crate::record::{
    BlobRef, ETAG_BYTES_MAX, LARGE_RESULT_BYTES, Location, RECORD_BYTES_BASE, Value, Write, write_bytes_max,
};
use crate::store::Answer;

use super::Node;
use super::begin::refusal_of;
use super::commit::digest;
use super::reading::{OperationPurpose, Want};
use super::script::{Pending, Run};
use super::tasks::Purpose;
use super::transaction::{CommitForm, CommitWaiter, Phase, Transaction};

/// Sizes of a write buffer.
struct Sizes {
    keys: usize,
    inline_bytes: usize,
    /// At most so many bytes in the commit record.
    record_bytes: usize,
}

impl Node {
    pub(super) fn run(&mut self, ticket: Ticket, attempt: AttemptId, batch: Batch) {
        match self.transactions.get(&attempt) {
            Some(Transaction { phase: Phase::Open, .. }) => self.run_batch(ticket, attempt, batch, false),
            // A repeated last call whose answer was lost: the outcome of the commit is all that is left of it.
            None if self.is_carrier(attempt, &batch)
                && !batch.ops.iter().any(|op| matches!(op, Op::Get(_))) =>
            {
                let waiter = CommitWaiter::new(ticket, CommitForm::Ran(Vec::new()));
                self.commit(attempt, None, waiter);
            }
            Some(_) => self.refuse(ticket, Refusal::Ended),
            None => self.refuse_ended(ticket, attempt),
        }
    }

    pub(super) fn run_batch(&mut self, ticket: Ticket, attempt: AttemptId, batch: Batch, begun: bool) {
        if let Err(refusal) = self.check_batch(attempt, &batch) {
            return self.refuse(ticket, refusal);
        }
        let transaction = &self.transactions[&attempt];
        let mut written: BTreeMap<&Key, Write> = BTreeMap::new();
        let mut reads = Vec::new();
        let mut wanted = BTreeSet::new();
        for op in &batch.ops {
            match op {
                Op::Put(key, value) => drop(written.insert(key, Write::Put(value.clone()))),
                Op::Delete(key) => drop(written.insert(key, Write::Tombstone)),
                Op::Result(_) | Op::Fingerprint(_) => {}
                Op::Get(key) => {
                    let own = written.get(key).or_else(|| transaction.buffer.get(key));
                    if own.is_none() {
                        wanted.insert(key.clone());
                    }
                    reads.push((key.clone(), own.cloned().map(Found::Own)));
                }
            }
        }
        drop(written);
        if wanted.is_empty() {
            self.transactions.get_mut(&attempt).expect("looked up above").operations += 1;
            return self.batch_read(ticket, attempt, batch, reads, BTreeMap::new(), begun);
        }
        // Told before the reads are made rather than after.
        let sizes = self.sizes_with(attempt, &batch);
        if let Err(refusal) = self.fit(attempt, &batch, &sizes) {
            return self.refuse(ticket, refusal);
        }
        self.start_operation(ticket, attempt, OperationPurpose::Batch { batch, reads, begun }, wanted);
    }

    /// The batch's reads are resolved: its writes take effect, and it is answered.
    pub(super) fn batch_read(
        &mut self,
        ticket: Ticket,
        attempt: AttemptId,
        batch: Batch,
        reads: Vec<(Key, Option<Found>)>,
        mut wanted: BTreeMap<Key, Want>,
        begun: bool,
    ) {
        // While its reads were under way, batches beside it may have taken the room.
        let sizes = self.sizes_with(attempt, &batch);
        let judged = !wanted.is_empty() && self.planted(Bug::CheckBoundsOnlyAtFirst);
        if let (false, Err(refusal)) = (judged, self.fit(attempt, &batch, &sizes)) {
            self.refuse(ticket, refusal);
            return self.operation_done(attempt);
        }
        let reads = reads
            .into_iter()
            .map(|(key, own)| {
                let found = own.unwrap_or_else(|| match wanted.get_mut(&key) {
                    Some(Want::Found(found)) => found.clone(),
                    other => unreachable!("a resolved read has found something, not {other:?}"),
                });
                Read { key, found }
            })
            .collect::<Vec<_>>();
        let carrier = batch.commit.is_some().then(|| digest(&batch));
        let Batch { ops, commit } = batch;
        let transaction = self.transactions.get_mut(&attempt).expect("operations end with their transaction");
        for op in ops {
            let (key, write) = match op {
                Op::Get(_) => continue,
                Op::Put(key, value) => (key, Write::Put(value)),
                Op::Delete(key) => (key, Write::Tombstone),
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
        transaction.inline_bytes = sizes.inline_bytes;
        transaction.record_bytes = sizes.record_bytes;
        transaction.carrier = carrier.or(transaction.carrier);
        let remaining_ms = transaction.deadline_mono.saturating_sub(self.now.mono_ms);
        let Some(commit) = commit else {
            let reply = match begun {
                true => Reply::Begun { attempt, remaining_ms, reads, committed: None },
                false => Reply::Ran { reads, committed: None },
            };
            self.reply(ticket, reply);
            return self.operation_done(attempt);
        };
        let form = match begun {
            true => CommitForm::Begun(attempt, reads),
            false => CommitForm::Ran(reads),
        };
        self.commit(attempt, commit.result, CommitWaiter::new(ticket, form));
        self.operation_done(attempt);
    }

    fn check_batch(&self, attempt: AttemptId, batch: &Batch) -> Result<(), Refusal> {
        let settings = &self.settings;
        let transaction = &self.transactions[&attempt];
        if transaction.operations >= settings.operations_in_transaction_max {
            return Err(Refusal::Overloaded(Bound::OperationsInTransaction));
        }
        if !batch.ops.is_empty() && self.transactions_bytes >= settings.transactions_bytes_max {
            return Err(Refusal::Overloaded(Bound::Transactions));
        }
        let mut new = BTreeSet::new();
        for op in &batch.ops {
            match op {
                Op::Get(key) if !transaction.reads.contains_key(key) => drop(new.insert(key)),
                Op::Get(_) | Op::Delete(_) | Op::Fingerprint(_) => {}
                Op::Put(_, value) => check_value(transaction, value)?,
                Op::Result(result) => check_blob(transaction, &result.blob)?,
            }
        }
        let reads = transaction.reads.len() + new.len();
        if reads > settings.read_set_len_max {
            return Err(too_many_reads(settings.read_set_len_max));
        }
        Ok(())
    }

    /// The sizes that the transaction's write buffer would have with the batch's writes.
    fn sizes_with(&self, attempt: AttemptId, batch: &Batch) -> Sizes {
        let transaction = &self.transactions[&attempt];
        let mut last: BTreeMap<&Key, Option<&Value>> = BTreeMap::new();
        let mut result = false;
        for op in &batch.ops {
            match op {
                Op::Get(_) | Op::Fingerprint(_) => {}
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
        Sizes { keys, inline_bytes, record_bytes }
    }

    /// Whether a write buffer of these sizes, and the result of the batch's commit or of one that waits for it, fit into the transaction's commit
    /// record.
    fn fit(&self, attempt: AttemptId, batch: &Batch, sizes: &Sizes) -> Result<(), Refusal> {
        let (settings, transaction) = (&self.settings, &self.transactions[&attempt]);
        let Sizes { keys, inline_bytes, record_bytes } = *sizes;
        if keys > settings.write_set_len_max {
            return Err(Refusal::Invalid(format!(
                "the transaction would write {keys} keys, at most {} are allowed: split the request",
                settings.write_set_len_max
            )));
        }
        if inline_bytes > settings.write_buffer_bytes_max {
            let (actual, limit) = (inline_bytes, settings.write_buffer_bytes_max);
            return Err(Refusal::TooLarge(Excess { of: Measured::InlineValues, actual, limit }));
        }
        let result = match (&batch.commit, &transaction.phase) {
            (Some(args), _) => args.result.as_ref(),
            (None, Phase::Closing(result, _)) => result.as_ref(),
            (None, Phase::Open | Phase::Committing(..)) => None,
        };
        if keys > 0 || transaction.named {
            self.fit_record(record_bytes, result)?;
        }
        Ok(())
    }

    /// Whether a commit's result fits into the transaction's commit record, if this commit is the one that stores it.
    pub(super) fn fit_result(&self, attempt: AttemptId, args: &CommitArgs) -> Result<(), Refusal> {
        match self.transactions.get(&attempt) {
            Some(Transaction { phase: Phase::Open, buffer, named, record_bytes, .. })
                if *named || !buffer.is_empty() =>
            {
                self.fit_record(*record_bytes, args.result.as_ref())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn fit_record(&self, writes: usize, result: Option<&Bytes>) -> Result<(), Refusal> {
        let actual = RECORD_BYTES_BASE + writes + result.map_or(0, Bytes::len);
        let limit = self.settings.record_bytes_max;
        match actual > limit {
            true => Err(Refusal::TooLarge(Excess { of: Measured::Record, actual, limit })),
            false => Ok(()),
        }
    }

    /// Makes the attempt's intent durable, so that the parts to come are found if nobody ever commits.
    pub(super) fn reserve_blob(&mut self, ticket: Ticket, attempt: AttemptId) {
        let Some(transaction) = self.transactions.get_mut(&attempt) else {
            return self.refuse_ended(ticket, attempt);
        };
        if !matches!(transaction.phase, Phase::Open) {
            return self.refuse(ticket, Refusal::Ended);
        }
        if transaction.operations >= self.settings.operations_in_transaction_max {
            return self.refuse(ticket, Refusal::Overloaded(Bound::OperationsInTransaction));
        }
        transaction.operations += 1;
        let until = transaction.deadline_mono.min(self.now.mono_ms + self.settings.store_patience_ms);
        self.start_task(Purpose::Reserve(ticket, attempt), Some(until));
    }

    pub(super) fn reserve_script(
        &mut self,
        run: &mut Run<'_>,
        ticket: Ticket,
        attempt: AttemptId,
    ) -> Result<(), Pending> {
        let transaction = &self.transactions[&attempt];
        let (hash, durable) = (transaction.hash, transaction.intent_durable);
        if !run.note_if(|| durable) {
            match run.ask(|| self.put_intent(hash, attempt))? {
                Answer::Done => {}
                answer => {
                    self.refuse(ticket, refusal_of(&answer));
                    self.operation_done(attempt);
                    return Ok(());
                }
            }
        }
        let transaction =
            self.transactions.get_mut(&attempt).expect("a reservation stops with its transaction");
        transaction.intent_durable = true;
        let number = transaction.blobs;
        transaction.blobs += 1;
        self.reply(ticket, Reply::Reserved { number });
        self.operation_done(attempt);
        Ok(())
    }
}

pub(super) fn too_many_reads(limit: usize) -> Refusal {
    Refusal::Invalid(format!("the transaction would read more than {limit} keys: split the request"))
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
    if blob.attempt == transaction.attempt && blob.number < transaction.blobs {
        Ok(())
    } else {
        Err(Refusal::Invalid("a blob that this transaction did not reserve".into()))
    }
}
