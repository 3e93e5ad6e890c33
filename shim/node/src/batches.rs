//! Batches with values of any size: values that do not fit into the commit record are stored in
//! parts first.
//!
//! Only the core knows how many bytes a transaction may still hold, since batches of one
//! transaction may run side by side. It rejects a batch that does not fit as a whole, with the
//! number of bytes by which it is too large. At least that many bytes of the batch's values are
//! then stored as blobs, the largest first, and the batch runs again. Each round stores at least
//! one value, so this ends.
//!
//! Cost: nothing while everything fits. Otherwise the cost of each stored value (see `values`), and
//! one more query to the loop for each batch.

use std::time::Instant;

use aft_core::ids::AttemptId;
use aft_core::message::{Batch, Begin, Excess, Op, Refusal};
use aft_core::record::{LARGE_RESULT_BYTES, Location, RECORD_BYTES_BASE, SUM_BYTES_MAX, write_bytes_max};
use bytes::Bytes;

use crate::handle::NodeHandle;
use crate::verbs::{Begun, Ran};

impl NodeHandle {
    /// Opens a transaction and runs its batch. The batch's values may be of any size, and are
    /// passed as [`Location::Inline`].
    ///
    /// # Errors
    /// Returns the errors of [`NodeHandle::run`]; no transaction stays open then. If values have to
    /// be stored in parts, the transaction is opened first: a caller that drops this future must
    /// call [`NodeHandle::forget`].
    pub async fn begin(&self, mut begin: Box<Begin>) -> Result<Begun, Refusal> {
        if self.fits_afresh(&begin.batch) {
            return self.begin_inline(begin).await;
        }
        // Open the transaction without its batch, since parts are only stored for an open one. Its
        // level follows from the batch, so it is chosen before the batch is taken out.
        begin.choose_level();
        let batch = std::mem::take(&mut begin.batch);
        let (attempt, remaining_ms) = match self.begin_inline(begin).await? {
            Begun::Open { attempt, remaining_ms, .. } => (attempt, remaining_ms),
            Begun::Replayed(replayed) => return Ok(Begun::Replayed(replayed)),
            begun @ Begun::Committed { .. } => panic!("an empty opening was answered with {begun:?}"),
        };
        let since = Instant::now();
        match self.run(attempt, batch).await {
            Ok(Ran::Open { reads }) => {
                let remaining_ms = remaining_ms.saturating_sub(since.elapsed().as_millis() as u64);
                Ok(Begun::Open { attempt, remaining_ms, reads })
            }
            Ok(Ran::Committed { committed, reads }) => Ok(Begun::Committed { committed, reads }),
            Ok(Ran::Replayed(replayed)) => Ok(Begun::Replayed(replayed)),
            Err(refusal) => {
                self.forget(attempt).await;
                Err(refusal)
            }
        }
    }

    /// Runs a batch in an open transaction. Its values may be of any size, and are passed as
    /// [`Location::Inline`].
    ///
    /// # Errors
    /// Returns the errors of [`NodeHandle::commit`]; and [`Refusal::StoreUnavailable`] if a part
    /// could not be stored: then nothing of the batch took effect.
    pub async fn run(&self, attempt: AttemptId, mut batch: Batch) -> Result<Ran, Refusal> {
        aft_core::room!();
        let settings = &self.shared().settings;
        let inline_bytes: usize = inline_values(&batch.ops).map(|(_, bytes)| bytes.len()).sum();
        // Bytes above the bound of a whole transaction do not fit in any case: spill them before
        // the core is asked.
        let surplus = inline_bytes.saturating_sub(settings.core.write_buffer_bytes_max);
        self.spill(attempt, &mut batch.ops, surplus).await?;
        loop {
            match self.run_inline(attempt, batch.clone()).await {
                Err(Refusal::TooLarge(Excess { of, actual, limit })) => {
                    if !self.spill(attempt, &mut batch.ops, actual - limit).await? {
                        return Err(Refusal::TooLarge(Excess { of, actual, limit }));
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// Returns true if a batch fits completely into the commit record of a new transaction.
    fn fits_afresh(&self, batch: &Batch) -> bool {
        let settings = &self.shared().settings;
        let result = batch.commit.as_ref().and_then(|args| args.result.as_ref()).map_or(0, Bytes::len);
        let (mut inline_bytes, mut record_bytes) = (0, RECORD_BYTES_BASE + result);
        for op in &batch.ops {
            match op {
                Op::Get(_) | Op::Check(..) | Op::Fingerprint(_) => {}
                Op::Add(key, _) => record_bytes += write_bytes_max(key, None) + SUM_BYTES_MAX,
                Op::Result(_) => record_bytes += LARGE_RESULT_BYTES,
                Op::Delete(key) => record_bytes += write_bytes_max(key, None),
                Op::Put(key, value) => {
                    if value.inline_bytes() > settings.inline_value_bytes_max {
                        return false;
                    }
                    inline_bytes += value.inline_bytes();
                    record_bytes += write_bytes_max(key, Some(value));
                }
            }
        }
        let core = &settings.core;
        inline_bytes <= core.write_buffer_bytes_max && record_bytes <= core.record_bytes_max
    }

    /// Stores values in parts: all that are too large to be inline, and of the others the largest,
    /// until at least `bytes` bytes are moved. Returns false, and stores nothing, if the batch does
    /// not hold that many bytes.
    async fn spill(&self, attempt: AttemptId, ops: &mut [Op], bytes: usize) -> Result<bool, Refusal> {
        let inline_value_bytes_max = self.shared().settings.inline_value_bytes_max;
        let mut values: Vec<(usize, Bytes)> =
            inline_values(ops).map(|(at, bytes)| (at, bytes.clone())).collect();
        values.sort_by_key(|(_, bytes)| std::cmp::Reverse(bytes.len()));
        let mut spared = 0;
        let chosen = values.iter().take_while(|(_, value)| {
            let chosen = value.len() > inline_value_bytes_max || spared < bytes;
            spared += if chosen { value.len() } else { 0 };
            chosen
        });
        values.truncate(chosen.count());
        if spared < bytes {
            return Ok(false);
        }
        let blobs = self.store_values(attempt, values.iter().map(|(_, bytes)| bytes)).await?;
        for ((at, _), blob) in values.into_iter().zip(blobs) {
            let Op::Put(_, value) = &mut ops[at] else { unreachable!("only puts have values") };
            value.location = Location::Blob(blob);
        }
        Ok(true)
    }
}

/// Returns the inline values of a batch, each with the index of its operation.
fn inline_values(ops: &[Op]) -> impl Iterator<Item = (usize, &Bytes)> {
    ops.iter().enumerate().filter_map(|(at, op)| match op {
        Op::Put(_, value) => match &value.location {
            Location::Inline(bytes) => Some((at, bytes)),
            Location::Blob(_) => None,
        },
        Op::Get(_) | Op::Delete(_) | Op::Check(..) | Op::Add(..) | Op::Result(_) | Op::Fingerprint(_) => None,
    })
}
