//! Batches: reads, writes and tombstones in order, and perhaps a commit (protocol, sections 4 and 5.1).
//!
//! A batch takes effect as a whole: its reads are resolved first, each seeing the writes before it, then its writes enter the buffer, then it commits.

use std::collections::{BTreeMap, BTreeSet};

use crate::bug::Bug;
use crate::ids::{AttemptId, Key};
use crate::message::{Batch, Bound, Found, Op, Read, Refusal, Reply, Ticket};
use crate::record::{ETAG_BYTES_MAX, Location, Value, Write};
use crate::store::Answer;

use super::Node;
use super::begin::refusal_of;
use super::reading::{OperationPurpose, Want};
use super::script::{Pending, Run};
use super::tasks::Purpose;
use super::transaction::{CommitForm, CommitWaiter, Phase, Transaction};

impl Node {
    pub(super) fn run(&mut self, ticket: Ticket, attempt: AttemptId, batch: Batch) {
        match self.transactions.get(&attempt) {
            Some(Transaction { phase: Phase::Open, .. }) => self.run_batch(ticket, attempt, batch, false),
            // A repeated last call whose answer was lost: the outcome of the commit is all that is left of it.
            None if batch.commit.is_some() && !batch.ops.iter().any(|op| matches!(op, Op::Get(_))) => {
                let waiter = CommitWaiter { ticket, form: CommitForm::Ran(Vec::new()) };
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
        // While its reads were under way, batches beside it may have filled the buffer.
        if !wanted.is_empty()
            && !self.planted(Bug::CheckBoundsOnlyAtFirst)
            && let Err(refusal) = self.check_writes(attempt, &batch.ops)
        {
            self.refuse(ticket, refusal);
            return self.operation_done(attempt);
        }
        let Batch { ops, commit } = batch;
        let transaction = self.transactions.get_mut(&attempt).expect("operations end with their transaction");
        for op in ops {
            let (key, write) = match op {
                Op::Get(_) => continue,
                Op::Put(key, value) => (key, Write::Put(value)),
                Op::Delete(key) => (key, Write::Tombstone),
            };
            transaction.buffer_bytes += write.inline_bytes();
            if let Some(before) = transaction.buffer.insert(key, write) {
                transaction.buffer_bytes -= before.inline_bytes();
            }
        }
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
        self.commit(attempt, commit.result, CommitWaiter { ticket, form });
        self.operation_done(attempt);
    }

    fn check_batch(&self, attempt: AttemptId, batch: &Batch) -> Result<(), Refusal> {
        let settings = &self.settings;
        let transaction = &self.transactions[&attempt];
        if transaction.operations >= settings.operations_in_transaction_max {
            return Err(Refusal::Overloaded(Bound::OperationsInTransaction));
        }
        let new = batch.ops.iter().filter_map(|op| match op {
            Op::Get(key) => Some(key).filter(|key| !transaction.reads.contains_key(*key)),
            Op::Put(..) | Op::Delete(_) => None,
        });
        let reads = transaction.reads.len() + new.collect::<BTreeSet<&Key>>().len();
        if reads > settings.read_set_len_max {
            return Err(Refusal::Invalid(format!(
                "the transaction would read {reads} keys, at most {} are allowed: split the request",
                settings.read_set_len_max
            )));
        }
        self.check_writes(attempt, &batch.ops)
    }

    /// Whether the write buffer, with these operations, would be within its bounds.
    fn check_writes(&self, attempt: AttemptId, ops: &[Op]) -> Result<(), Refusal> {
        let settings = &self.settings;
        let transaction = &self.transactions[&attempt];
        // The last write of a key is the one that stays.
        let mut writes: BTreeMap<&Key, usize> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Get(_) => {}
                Op::Delete(key) => drop(writes.insert(key, 0)),
                Op::Put(key, value) => {
                    check_value(transaction, value)?;
                    writes.insert(key, Write::Put(value.clone()).inline_bytes());
                }
            }
        }
        let (mut keys, mut bytes) = (transaction.buffer.len(), transaction.buffer_bytes);
        for (key, size) in writes {
            let before = transaction.buffer.get(key);
            keys += usize::from(before.is_none());
            bytes = bytes - before.map_or(0, Write::inline_bytes) + size;
        }
        if bytes > settings.write_buffer_bytes_max {
            return Err(Refusal::Invalid(format!(
                "the transaction's writes would be {bytes} bytes in its commit record, at most {} are allowed: store large values as blobs",
                settings.write_buffer_bytes_max
            )));
        }
        if keys > settings.write_set_len_max {
            return Err(Refusal::Invalid(format!(
                "the transaction would write {keys} keys, at most {} are allowed: split the request",
                settings.write_set_len_max
            )));
        }
        Ok(())
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
        Location::Blob(blob) if blob.attempt == transaction.attempt && blob.number < transaction.blobs => {
            Ok(())
        }
        Location::Blob(_) => Err(Refusal::Invalid("a blob that this transaction did not reserve".into())),
    }
}
