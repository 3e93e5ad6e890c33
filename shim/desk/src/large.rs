//! Uploads and downloads of large values, part by part, so that memory is bounded for any size.
//!
//! ```text
//!   in:   source ─► pieces ─► parts, stored as they fill ─► an operation that names them
//!   out:  parts, fetched a few ahead ─► pieces, as they arrive ─► the reply
//! ```

use std::collections::VecDeque;
use std::ops::Range;

use aft_core::ids::{AttemptId, Fingerprint, Key, RequestHash};
use aft_core::message::{CommitArgs, Op, Refusal, Replayed};
use aft_core::record::{BlobRef, Location, Value};
use aft_format::FingerprintOfPieces;
use aft_node::{Begun, UPLOAD_PARTS_HELD};
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, unfold};
use tokio::sync::mpsc;

use crate::caller::Caller;
use crate::opening::{Held, Ready};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::refused::{Refused, Result};
use crate::share::Share;

/// The number of parts that are fetched ahead of the one that is sent: one hides the store's
/// latency, and a second one hides a part that is slow.
const PARTS_AHEAD: usize = 2;
/// The most parts that a download holds: one whose end the connection still has, the one that is
/// sent, and those ahead.
const DOWNLOAD_PARTS_HELD: u64 = PARTS_AHEAD as u64 + 2;

/// A source of the bytes of a value, such as a request's body.
pub trait Source: Send {
    /// The reason why the bytes stop before their end.
    type Error: Send;

    /// Returns the size that the client announced, in bytes.
    fn announced(&self) -> Option<usize>;

    /// Returns the next bytes; `None` at the end.
    fn next(&mut self) -> impl Future<Output = std::result::Result<Option<Bytes>, Self::Error>> + Send;

    /// Gives each piece from here on a timeout of its own.
    fn take_time(&mut self);
}

/// A value that was not stored.
#[derive(Debug)]
pub enum StoreError<E> {
    /// The source failed before the end of the value.
    Source(E),
    /// The desk or the node rejected it.
    Refused(Refused),
}

impl<E> From<Refused> for StoreError<E> {
    fn from(refused: Refused) -> StoreError<E> {
        StoreError::Refused(refused)
    }
}

impl<E> From<Refusal> for StoreError<E> {
    fn from(refusal: Refusal) -> StoreError<E> {
        StoreError::Refused(refusal.into())
    }
}

/// A large value that is arriving, with a fingerprint of it if one is needed.
#[derive(Debug)]
pub struct Arriving<S> {
    source: S,
    sum: Option<FingerprintOfPieces>,
}

impl<S: Source> Arriving<S> {
    /// Wraps a source from which nothing was read yet.
    pub fn new(source: S) -> Arriving<S> {
        Arriving { source, sum: None }
    }

    /// Starts a fingerprint that covers `before` and then all bytes of the value.
    pub fn sum_up(&mut self, before: &[u8]) {
        let mut sum = FingerprintOfPieces::default();
        sum.update(before);
        self.sum = Some(sum);
    }

    fn fingerprint(&self) -> Option<Fingerprint> {
        self.sum.clone().map(FingerprintOfPieces::finish)
    }

    async fn next(&mut self) -> std::result::Result<Option<Bytes>, StoreError<S::Error>> {
        let piece = self.source.next().await.map_err(StoreError::Source)?;
        if let (Some(piece), Some(sum)) = (&piece, &mut self.sum) {
            sum.update(piece);
        }
        Ok(piece)
    }
}

/// A value that was stored. It is durable, and not written to any key yet.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// The place of its parts.
    pub blob: BlobRef,
    /// The size in bytes.
    pub size: u64,
    /// The fingerprint, if [`Arriving::sum_up`] was called.
    pub fingerprint: Option<Fingerprint>,
}

impl Stored {
    /// Returns the operation that writes the value to `key`, with the door's entity tag, which may
    /// be empty, and its encoded `attributes`.
    pub fn put(&self, key: Key, etag: Bytes, attributes: Bytes) -> Op {
        let location = Location::Blob(self.blob);
        Op::Put(key, Value { location, size: self.size, etag, attributes })
    }
}

/// Stores a value of an open transaction as it arrives.
///
/// # Errors
/// Returns the reason why not all of it was stored.
pub async fn store<S: Source>(
    caller: &Caller,
    attempt: AttemptId,
    mut value: Arriving<S>,
) -> std::result::Result<Stored, StoreError<S::Error>> {
    let held = UPLOAD_PARTS_HELD * caller.node().part_bytes();
    // A value smaller than the parts in memory needs room for its pieces and for the copy.
    let announced = value.source.announced();
    let _share = caller.share(announced.map_or(held, |bytes| held.min(bytes.saturating_mul(2))))?;
    let mut upload = caller.node().upload(attempt).await?;
    while let Some(piece) = value.next().await? {
        upload.push(piece).await?;
    }
    let (blob, size) = upload.finish().await?;
    Ok(Stored { blob, size, fingerprint: value.fingerprint() })
}

impl Ready {
    /// Opens the transaction, stores a large value in it as it arrives, runs the plan that `plan`
    /// makes of the stored value, and commits. If another attempt of the request has committed, the
    /// value is read to its end, to compare its fingerprint.
    ///
    /// # Errors
    /// Returns the reason why the value was not committed. Then the transaction is aborted, unless
    /// the outcome of its commit is not known.
    pub async fn store<S: Source>(
        self,
        caller: &Caller,
        value: Arriving<S>,
        plan: impl FnOnce(&Stored) -> Plan,
    ) -> std::result::Result<Outcome, StoreError<S::Error>> {
        let Ready { begin, held, asked } = self;
        let (attempt, hash) = (begin.attempt, begin.hash);
        match caller.node().begin(begin).await {
            Ok(Begun::Open { .. }) => {}
            Ok(Begun::Replayed(replayed)) => return replay(caller, hash, replayed, value).await,
            Ok(begun) => panic!("an empty opening was answered {begun:?}"),
            Err(refusal) => return Err(refusal.into()),
        }
        // From here on, an error drops `held`, which aborts the transaction.
        let stored = store(caller, attempt, value).await?;
        let mut plan = plan(&stored);
        plan.extend(stored.fingerprint.map(Op::Fingerprint));
        let outcome = caller.run(attempt, plan, Some(CommitArgs::default()), &asked).await?;
        held.ended();
        Ok(outcome)
    }
}

/// Returns the commit of another attempt, if its payload was the same. That is known only at the
/// end of the value.
async fn replay<S: Source>(
    caller: &Caller,
    hash: RequestHash,
    replayed: Replayed,
    mut value: Arriving<S>,
) -> std::result::Result<Outcome, StoreError<S::Error>> {
    // The client may be on a slower line than at its first attempt, and must learn that it
    // committed.
    value.source.take_time();
    while value.next().await?.is_some() {}
    let theirs = caller.node().look_up(hash).await?.fingerprint;
    match (theirs, value.fingerprint()) {
        (Some(theirs), Some(ours)) if theirs != ours => Err(Refusal::KeyReused.into()),
        _ => Ok(Outcome::Replayed(replayed)),
    }
}

/// Returns true if sending `value` takes long, so that its transaction should stay open meanwhile.
pub fn takes_long(value: &Value) -> bool {
    matches!(value.location, Location::Blob(BlobRef { parts: 2.., .. }))
}

/// A large value that is being read.
pub struct Download {
    /// The first bytes; empty if the range is empty.
    pub first: Bytes,
    /// The bytes after the first ones. An error ends them early.
    pub more: BoxStream<'static, std::result::Result<Bytes, Refusal>>,
    /// The share of memory, to be held until the last byte has left.
    pub share: Option<Share>,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download").field("first", &self.first.len()).finish_non_exhaustive()
    }
}

/// Reads a range of a blob of `size` bytes that a read of `key` found. `held` keeps the transaction
/// open until the last byte was taken.
///
/// # Errors
/// Returns the reason why the first part cannot be read, or [`Refused::NoRoom`].
pub async fn read(
    caller: &Caller,
    key: &Key,
    blob: BlobRef,
    size: u64,
    range: Range<u64>,
    held: Option<Held>,
) -> Result<Download> {
    assert!(range.start <= range.end && range.end <= size, "{range:?} lies within {size} bytes");
    if range.is_empty() {
        return Ok(Download { first: Bytes::new(), more: futures::stream::empty().boxed(), share: None });
    }
    let part_bytes = u64::from(blob.part_bytes);
    // The memory is taken before anything is fetched. Parts are read whole.
    let (first, last) = (range.start / part_bytes, (range.end - 1) / part_bytes);
    let most = (last - first + 1).min(DOWNLOAD_PARTS_HELD) * part_bytes.min(size);
    let share = caller.share(usize::try_from(most).unwrap_or(usize::MAX))?;
    // A part's last piece is held back until the whole part is verified. If the range ends before
    // that piece, the client would have a complete answer before then, so the last part is read
    // whole.
    let ends_within = range.end < size.min((last + 1) * part_bytes);
    // Cuts `bytes`, which begin at `offset` of `part`, to the range.
    let of_range = move |part: u32, offset: usize, bytes: Bytes| {
        let from = u64::from(part) * part_bytes + offset as u64;
        let within =
            |at: u64| usize::try_from(at.saturating_sub(from)).map_or(bytes.len(), |at| at.min(bytes.len()));
        bytes.slice(within(range.start)..within(range.end))
    };
    let number = |part: u64| u32::try_from(part).expect("a blob's parts are counted in 32 bits");
    let (first, last) = (number(first), number(last));
    // The first part is read before the answer's head is sent, so that a problem with it can still
    // be reported.
    let head = of_range(first, 0, caller.node().read_part(key, &blob, size, first).await?);
    // Each of the other parts is fetched by a task of its own, which starts ahead of time and runs
    // while the connection sends the parts before it. Its pieces are sent as they arrive.
    let (node, key) = (caller.node().clone(), key.clone());
    let fetch = move |part: u32| {
        let (node, key) = (node.clone(), key.clone());
        // The channel needs no bound: it holds at most one part.
        let (give, pieces) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut offset = 0;
            let take = |bytes: Bytes| {
                let len = bytes.len();
                // A failed send means that the download was dropped: `closed` ends this task below.
                let _ = give.send(Ok(of_range(part, offset, bytes)));
                offset += len;
            };
            let read = async {
                if part == last && ends_within {
                    return node.read_part(&key, &blob, size, part).await.map(take);
                }
                node.read_part_in_pieces(&key, &blob, size, part, take).await
            };
            let outcome = tokio::select! {
                outcome = read => outcome,
                () = give.closed() => Ok(()),
            };
            if let Err(refusal) = outcome {
                let _ = give.send(Err(refusal));
            }
        });
        (pieces, task)
    };
    let mut waiting = first + 1..=last;
    let mut begin = move || waiting.next().map(&fetch);
    let ahead: VecDeque<_> = (0..=PARTS_AHEAD).filter_map(|_| begin()).collect();
    let more = unfold((ahead, begin, held), |(mut ahead, mut begin, held)| async move {
        loop {
            let (pieces, task) = ahead.front_mut()?;
            if let Some(piece) = pieces.recv().await {
                return Some((piece, (ahead, begin, held)));
            }
            if let Err(why) = task.await {
                // Pass a panic of the task on. Otherwise the runtime is shutting down, and the
                // download ends.
                std::panic::resume_unwind(why.try_into_panic().ok()?);
            }
            // All pieces of this part have been handed on: start the next fetch.
            ahead.pop_front();
            ahead.extend(begin());
        }
    });
    Ok(Download { first: head, more: more.boxed(), share })
}
