//! Batches with values of any size: what does not fit into the commit record goes into parts first.
//!
//! The core alone knows what is left of a transaction's room, since batches of one transaction may run side by side: a batch that does not fit is
//! refused as a whole, with the number of bytes it is too many; so many bytes of its values are stored as blobs, the largest first, and
//! it runs again. Each round stores one value at least, so this ends.
//!
//! Cost: nothing while all fits. Beyond it, for each value that is stored, what `values` says; for each batch, one more question to the loop.

use std::time::Instant;

use aft_core::ids::AttemptId;
use aft_core::message::{Batch, Begin, Excess, Op, Refusal};
use aft_core::record::{LARGE_RESULT_BYTES, Location, RECORD_BYTES_BASE, SUM_BYTES_MAX, write_bytes_max};
use bytes::Bytes;

use crate::handle::NodeHandle;
use crate::verbs::{Begun, Ran};

impl NodeHandle {
    /// Opens a transaction and runs its batch, whose values may be of any size and come as [`Location::Inline`].
    ///
    /// # Errors
    /// As [`NodeHandle::run`]; nothing stays open then. If values had to be stored in parts, the transaction was opened before: whoever drops
    /// this future forgets it ([`NodeHandle::forget`]).
    pub async fn begin(&self, mut begin: Box<Begin>) -> Result<Begun, Refusal> {
        if self.fits_afresh(&begin.batch) {
            return self.begin_inline(begin).await;
        }
        begin.choose_level();
        let batch = std::mem::take(&mut begin.batch);
        let (attempt, remaining_ms) = match self.begin_inline(begin).await? {
            Begun::Open { attempt, remaining_ms, .. } => (attempt, remaining_ms),
            Begun::Replayed(replayed) => return Ok(Begun::Replayed(replayed)),
            begun @ Begun::Committed { .. } => panic!("an empty opening was answered {begun:?}"),
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

    /// Runs a batch in an open transaction. Its values may be of any size and come as [`Location::Inline`].
    ///
    /// # Errors
    /// As [`NodeHandle::commit`]; [`Refusal::StoreUnavailable`] if a part could not be stored: then nothing of the batch took effect.
    pub async fn run(&self, attempt: AttemptId, mut batch: Batch) -> Result<Ran, Refusal> {
        let settings = &self.shared().settings;
        let inline_bytes: usize = inline_values(&batch.ops).map(|(_, bytes)| bytes.len()).sum();
        // What is too much whatever else the transaction holds need not be asked.
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

    /// Whether all of a batch has room in the commit record of a new transaction.
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

    /// Stores values in parts: those that are too large to be inline, and the largest others until so many bytes are spared. Whether the
    /// batch has as many; if not, nothing is stored.
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

/// The inline values of a batch, each with the place of its operation.
fn inline_values(ops: &[Op]) -> impl Iterator<Item = (usize, &Bytes)> {
    ops.iter().enumerate().filter_map(|(at, op)| match op {
        Op::Put(_, value) => match &value.location {
            Location::Inline(bytes) => Some((at, bytes)),
            Location::Blob(_) => None,
        },
        Op::Get(_) | Op::Delete(_) | Op::Check(..) | Op::Add(..) | Op::Result(_) | Op::Fingerprint(_) => None,
    })
}
