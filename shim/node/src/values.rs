//! Large values: stored in parts before the commit, read in parts after the version is chosen.
//! Their bytes do not pass through the event loop, which only sees where they are stored.
//!
//! Parts are put only while the transaction is open, and never after its deadline: each put first
//! asks the loop for the deadline, and reads the clocks when it is sent. Sweeps rely on that
//! (protocol, section 4): once an attempt is over, no part of it can appear any more.
//!
//! Cost: for each part one put, and one query to the loop (microseconds).

use std::time::{Duration, Instant};

use aft_core::ids::{AttemptId, Key};
use aft_core::message::{Batch, Refusal};
use aft_core::record::{BlobRef, Location, Value};
use aft_core::store::{Body, Name};
use aft_format::{Gone, PartInPieces, decode_body, describe, encode_name, encode_part};
use aft_store::Error;
use bytes::{Bytes, BytesMut};
use futures::stream::{StreamExt as _, TryStreamExt as _, iter};

use crate::handle::NodeHandle;
use crate::stats::CallKind;
use crate::{calls, clock};

/// The number of parts of one value that are read at once: two hide the store's latency, four also
/// hide a slow part. Each holds up to 8 MiB.
const PARTS_AT_ONCE: usize = 4;
/// The most bytes of parts in flight at once, for one value that is read or one batch that is
/// stored: four large parts. They are copies, and come on top of the value's own bytes.
pub const PARTS_BYTES_AT_ONCE: usize = 32 << 20;
/// The most parts that one batch stores at once, however small they are: enough that a batch of
/// many small values waits for few rounds, and a small share of the store's connections.
const PARTS_AT_ONCE_MAX: usize = 16;
/// The number of tries of one part before the caller gets an error.
const PART_TRIES: u32 = 4;
/// The pause after a part's first failure; it doubles with each further one.
const PART_PAUSE: Duration = Duration::from_millis(50);

impl NodeHandle {
    /// Stores values in parts, and returns their places in the order of `values`. They are durable
    /// when this returns, and not written to any key yet.
    pub(crate) async fn store_values(
        &self,
        attempt: AttemptId,
        values: impl Iterator<Item = &Bytes>,
    ) -> Result<Vec<BlobRef>, Refusal> {
        let part_bytes = self.shared().store.capabilities().blob_part_bytes;
        let mut blobs = Vec::new();
        let mut parts = Vec::new();
        for bytes in values {
            // Reserve one by one: the first may wait for the store's time, which the others find
            // known.
            let (group, number) = self.reserve_blob(attempt).await?;
            let too_large =
                |_| Refusal::Invalid(format!("a value of {} bytes has too many parts", bytes.len()));
            let blob = BlobRef {
                group,
                number,
                parts: u32::try_from(bytes.len().div_ceil(part_bytes)).map_err(too_large)?,
                part_bytes: u32::try_from(part_bytes).expect("a part is some MiB"),
            };
            for part in 0..blob.parts {
                let from = part as usize * part_bytes;
                let slice = bytes.slice(from..bytes.len().min(from + part_bytes));
                parts.push((Name::Blob { group, number, part }, slice));
            }
            blobs.push(blob);
        }
        // Parts of all values are put side by side, within the bounds on bytes and on their number.
        let largest = parts.iter().map(|(_, slice)| slice.len()).max().unwrap_or(1);
        let at_once = (PARTS_BYTES_AT_ONCE / largest.max(1)).clamp(1, PARTS_AT_ONCE_MAX);
        iter(parts)
            .map(|(name, slice)| self.store_part(name, vec![slice]))
            .buffer_unordered(at_once)
            .try_collect::<()>()
            .await?;
        Ok(blobs)
    }

    /// Stores the part `name`, whose bytes come in pieces, if its transaction is open.
    pub(crate) async fn store_part(&self, name: Name, pieces: Vec<Bytes>) -> Result<(), Refusal> {
        let Name::Blob { group, .. } = name else { panic!("{name:?} is not a part of a blob") };
        let (at, body) = encode_part(&name, &pieces);
        drop(pieces);
        for again in 0..PART_TRIES {
            let Some(deadline) = self.open_until(group.attempt).await else {
                // The transaction is not open. An empty batch is rejected with the reason.
                return Err(match self.run_inline(group.attempt, Batch::default()).await {
                    Ok(_) => Refusal::Lost,
                    Err(refusal) => refusal,
                });
            };
            let remaining_ms = deadline.remaining_ms(clock::now());
            if remaining_ms == 0 {
                return Err(Refusal::Lost);
            }
            // The store drops a put at the transaction's deadline, if it can.
            let store = &self.shared().store;
            let held = store.until(Instant::now() + Duration::from_millis(remaining_ms));
            let store = held.unwrap_or_else(|| store.clone());
            match self.timed(CallKind::PutPart, store.put(&at, body.clone())).await {
                Ok(()) => return Ok(()),
                Err(error) => give_up_or_pause(again, error).await?,
            }
        }
        panic!("the last try returns its error");
    }

    /// Returns the bytes of `value`, which a read of `key` found.
    ///
    /// # Errors
    /// Returns [`Refusal::SnapshotGone`] if a part and its record are gone: the version was
    /// collected meanwhile, so run the request again. Returns [`Refusal::StoreUnavailable`] if the
    /// store does not answer, and [`Refusal::Damaged`] if the stored bytes are not those that were
    /// written, or if a part is missing while its record is there.
    pub async fn read_value(&self, key: &Key, value: &Value) -> Result<Bytes, Refusal> {
        let blob = match &value.location {
            Location::Inline(bytes) => return Ok(bytes.clone()),
            Location::Blob(blob) => blob,
        };
        let part = |part| self.read_part(key, blob, value.size, part);
        let mut parts = iter(0..blob.parts).map(part).buffered(PARTS_AT_ONCE);
        // Most blobs have one part: it is returned without a copy.
        let first = parts.try_next().await?.unwrap_or_default();
        let mut whole = BytesMut::new();
        while let Some(part) = parts.try_next().await? {
            if whole.is_empty() {
                // Reserve the whole size at once: a buffer that grows needs twice the bytes
                // meanwhile. A damaged size must not reserve more than the parts can hold.
                let bytes_max = blob.parts as usize * blob.part_bytes as usize;
                whole.reserve(usize::try_from(value.size).unwrap_or(bytes_max).min(bytes_max));
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&part);
        }
        let whole = if whole.is_empty() { first } else { whole.freeze() };
        // Every part was checked against its length in the record. A record without parts was not.
        assert!(
            blob.parts == 0 || whole.len() as u64 == value.size,
            "parts of the right lengths add up to the value's size"
        );
        if whole.len() as u64 != value.size {
            let (number, attempt, size) = (blob.number, blob.group.attempt, value.size);
            return Err(Refusal::Damaged(format!(
                "blob {number} of transaction {attempt} has no parts, and its record says that it holds {size} bytes"
            )));
        }
        Ok(whole)
    }

    /// Returns part number `part`, from 0, of a large value of `size` bytes, which a read of `key`
    /// found.
    ///
    /// # Errors
    /// Returns the errors of [`NodeHandle::read_value`].
    pub async fn read_part(&self, key: &Key, blob: &BlobRef, size: u64, part: u32) -> Result<Bytes, Refusal> {
        let name = Name::Blob { group: blob.group, number: blob.number, part };
        let Some(bytes) = self.get_part(&name).await? else { return Err(self.missing(key, &name).await) };
        if part_bytes(blob, size, part) != Some(bytes.len()) {
            return Err(Refusal::Damaged(wrong_length(blob, size, part, bytes.len()).to_string()));
        }
        Ok(bytes)
    }

    /// Reads a part as [`NodeHandle::read_part`] does, and calls `take` with its pieces in order as
    /// they arrive. The last piece is only passed on once the checksum of the whole part was found
    /// right; pieces that were passed on before an error may be wrong.
    ///
    /// # Errors
    /// Returns the errors of [`NodeHandle::read_value`].
    pub async fn read_part_in_pieces(
        &self,
        key: &Key,
        blob: &BlobRef,
        size: u64,
        part: u32,
        mut take: impl FnMut(Bytes) + Send,
    ) -> Result<(), Refusal> {
        let name = Name::Blob { group: blob.group, number: blob.number, part };
        let at = encode_name(&name);
        let store = &*self.shared().store;
        let expected = part_bytes(blob, size, part);
        // The pieces that were passed on already: a further try skips them, and checks that they
        // are the same.
        let mut gone = Gone::default();
        for again in 0..PART_TRIES {
            let mut opening = PartInPieces::new(name.clone(), gone);
            let got = self.timed(CallKind::GetPart, async {
                let mut right = Ok(());
                let mut push = |piece| {
                    // After the first error the rest of the body is ignored.
                    if right.is_err() {
                        return;
                    }
                    match opening.push(piece) {
                        Ok(bytes) if bytes.is_empty() => {}
                        // A piece is held back behind these bytes, so the part is longer than it
                        // should be.
                        Ok(_) if expected.is_none_or(|expected| opening.gone().bytes >= expected) => {
                            right = Err(wrong_length(blob, size, part, opening.gone().bytes));
                        }
                        Ok(bytes) => take(bytes),
                        Err(error) => right = Err(error),
                    }
                };
                let found = store.get_pieces(&at, &mut push).await?;
                right?;
                if found.is_none() {
                    return Ok(None);
                }
                let (last, len) = (opening.end()?, opening.gone().bytes);
                match expected == Some(len + last.len()) {
                    true => Ok(Some(last)),
                    false => Err(wrong_length(blob, size, part, len + last.len())),
                }
            });
            let got = got.await;
            gone = opening.gone();
            match got {
                Ok(Some(last)) => {
                    take(last);
                    return Ok(());
                }
                Ok(None) => return Err(self.missing(key, &name).await),
                Err(error) => give_up_or_pause(again, error).await?,
            }
        }
        panic!("the last try returns its error");
    }

    async fn get_part(&self, name: &Name) -> Result<Option<Bytes>, Refusal> {
        Ok(self.get_body(CallKind::GetPart, name).await?.map(|body| match body {
            Body::Part(bytes) => bytes,
            body => panic!("{} holds {body:?}", describe(name)),
        }))
    }

    async fn get_body(&self, kind: CallKind, name: &Name) -> Result<Option<Body>, Refusal> {
        let at = encode_name(name);
        let store = &*self.shared().store;
        for again in 0..PART_TRIES {
            let got = self.timed(kind, async {
                let Some((body, _)) = store.get(&at).await? else { return Ok(None) };
                decode_body(name, &body).map(Some)
            });
            match got.await {
                Ok(body) => return Ok(body),
                Err(error) => give_up_or_pause(again, error).await?,
            }
        }
        panic!("the last try returns its error");
    }

    /// Returns the reason why `part` is missing: its record was collected before it, or is still
    /// there, which makes it damage (protocol, section 11).
    async fn missing(&self, key: &Key, part: &Name) -> Refusal {
        let Name::Blob { group, .. } = part else { panic!("{part:?} is not a part of a blob") };
        match self.get_body(CallKind::Get, &Name::Commit(group.hash)).await {
            Ok(Some(Body::Record(record))) if record.txn.attempt == group.attempt => {
                Refusal::Damaged(format!(
                    "{} is missing, but the record of its transaction is there: restore it, or write {key} again",
                    describe(part)
                ))
            }
            Ok(_) => Refusal::SnapshotGone(key.clone()),
            Err(refusal) => refusal,
        }
    }

    /// Runs a store call that does not pass through the loop: within its kind's timeout, and
    /// counted.
    async fn timed<T>(
        &self,
        kind: CallKind,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let shared = self.shared();
        let since = Instant::now();
        let limit = calls::limit(kind, &shared.settings.timeouts);
        let outcome = calls::within(limit, &*shared.store, kind, call).await;
        shared.meters.called(kind, since.elapsed(), outcome.as_ref().err());
        shared.health.called(kind, outcome.as_ref().err());
        outcome
    }
}

/// Returns the length in bytes of a part of a blob, if a value of `size` bytes has that part. All
/// parts but the last are full.
fn part_bytes(blob: &BlobRef, size: u64, part: u32) -> Option<usize> {
    let from = u64::from(part) * u64::from(blob.part_bytes);
    let bytes = size.checked_sub(from)?.min(blob.part_bytes.into());
    let is_last = from + bytes == size;
    usize::try_from(bytes).ok().filter(|_| is_last == (part + 1 == blob.parts))
}

fn wrong_length(blob: &BlobRef, size: u64, part: u32, found: usize) -> Error {
    Error::Damaged(format!(
        "part {part} of {} of blob {} of transaction {} holds {found} bytes; the record says {size} bytes in parts of {}",
        blob.parts, blob.number, blob.group.attempt, blob.part_bytes
    ))
}

/// Waits after the failed try number `again`, from 0, if another try is worth it; else returns the
/// reason why not.
async fn give_up_or_pause(again: u32, error: Error) -> Result<(), Refusal> {
    match error {
        Error::Damaged(what) => Err(Refusal::Damaged(what)),
        Error::Refused(_) => Err(Refusal::StoreUnavailable(error.to_string())),
        Error::NoAnswer(_) | Error::Busy(_) if again + 1 == PART_TRIES => {
            Err(Refusal::StoreUnavailable(error.to_string()))
        }
        Error::NoAnswer(_) | Error::Busy(_) => {
            tokio::time::sleep(PART_PAUSE * 2_u32.pow(again)).await;
            Ok(())
        }
    }
}
