//! Uploads and downloads of large values, part by part, so that memory is bounded for any size.
//!
//! ```text
//!   in:   source ─► pieces ─► parts, stored as they fill ─► an operation that names them
//!   out:  parts, fetched a few ahead ─► pieces, as they arrive ─► the reply
//! ```

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use aft_core::ids::{AttemptId, Fingerprint, Key, RequestHash};
use aft_core::message::{CommitArgs, Op, Refusal, Replayed};
use aft_core::record::{BlobRef, Location, Value};
use aft_format::{ComposedTag, FingerprintOfPieces, Manifest, Piece};
use aft_node::{Begun, NodeHandle, UPLOAD_PARTS_HELD};
use bytes::{Bytes, BytesMut};
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

/// Returns the size of a value in bytes. What is stored under the key of a composed value is
/// shorter.
pub fn size_of(etag: &[u8], stored: u64) -> u64 {
    ComposedTag::of(etag).map_or(stored, |tag| tag.size)
}

/// Returns true if sending `value` takes long, so that its transaction should stay open meanwhile.
pub fn takes_long(value: &Value) -> bool {
    let in_parts = matches!(value.location, Location::Blob(BlobRef { parts: 2.., .. }));
    in_parts || ComposedTag::of(&value.etag).is_some()
}

/// The bytes of a value: where they are, and how many.
#[derive(Debug, Clone)]
pub struct Content {
    pieces: Arc<[Piece]>,
    size: u64,
}

impl Content {
    /// Finds the bytes of a value that a read of `key` found. The pieces of a composed value are
    /// read.
    ///
    /// # Errors
    /// Returns the reason why they cannot be read.
    pub async fn of(caller: &Caller, key: &Key, value: &Value) -> Result<Content> {
        let Some(tag) = ComposedTag::of(&value.etag) else {
            let piece = match &value.location {
                Location::Inline(bytes) => Piece::Inline(bytes.clone()),
                Location::Blob(blob) => Piece::Blob { blob: *blob, size: value.size },
            };
            return Ok(Content { pieces: [piece].into(), size: value.size });
        };
        let bytes = caller.node().read_value(key, value).await?;
        let pieces = Manifest::from_bytes(&bytes).map(|manifest| manifest.pieces);
        match pieces {
            Some(pieces) if pieces.iter().map(Piece::size).sum::<u64>() == tag.size => {
                Ok(Content { pieces: pieces.into(), size: tag.size })
            }
            _ => {
                Err(Refusal::Damaged(format!("the list of the parts of {key:?} is not what was written"))
                    .into())
            }
        }
    }

    /// Returns the bytes of a blob as those of a value.
    pub fn of_blob(blob: BlobRef, size: u64) -> Content {
        Content { pieces: [Piece::Blob { blob, size }].into(), size }
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the range of the piece with an index: a part of a composed value.
    pub fn piece(&self, at: usize) -> Option<Range<u64>> {
        let piece = self.pieces.get(at)?;
        let start: u64 = self.pieces[..at].iter().map(Piece::size).sum();
        Some(start..start + piece.size())
    }

    /// Returns the bytes of a range, if all of them are in memory.
    pub fn in_memory(&self, range: &Range<u64>) -> Option<Bytes> {
        let [Piece::Inline(bytes)] = &self.pieces[..] else { return None };
        let at = |offset| usize::try_from(offset).expect("an inline value is in memory");
        Some(bytes.slice(at(range.start)..at(range.end)))
    }

    /// Returns the stretches that hold bytes of a range, in order.
    fn stretches(&self, range: &Range<u64>) -> Stretches {
        Stretches { pieces: self.pieces.clone(), range: range.clone(), at: 0, from: 0, part: 0 }
    }

    /// Returns the number of stretches that hold bytes of a range, and the size of the longest one.
    fn count_stretches(&self, range: &Range<u64>) -> (u64, u64) {
        let (mut count, mut longest, mut from) = (0, 0, 0);
        for piece in self.pieces.iter() {
            let end = from + piece.size();
            let (first, last) = (range.start.max(from), range.end.min(end));
            if first < last {
                let part_bytes = match piece {
                    Piece::Inline(bytes) => bytes.len() as u64,
                    Piece::Blob { blob, size } => u64::from(blob.part_bytes).min(*size).max(1),
                };
                count += (last - 1 - from) / part_bytes - (first - from) / part_bytes + 1;
                longest = longest.max(part_bytes);
            }
            from = end;
        }
        (count, longest)
    }
}

/// The stretches that hold bytes of a range, in order. They are made one at a time, because a value
/// of 5 TiB has hundreds of thousands.
#[derive(Debug, Clone)]
struct Stretches {
    pieces: Arc<[Piece]>,
    range: Range<u64>,
    /// The index of the next piece, and the place of its first byte in the value.
    at: usize,
    from: u64,
    /// The next part of that piece.
    part: u32,
}

impl Iterator for Stretches {
    type Item = Stretch;

    fn next(&mut self) -> Option<Stretch> {
        while let Some(piece) = self.pieces.get(self.at) {
            if self.range.end <= self.from {
                return None;
            }
            let stretch = match piece {
                Piece::Inline(bytes) if self.part == 0 => {
                    self.part = 1;
                    let place = Place::Inline(bytes.clone());
                    Some(Stretch { from: self.from, len: bytes.len() as u64, place })
                }
                Piece::Inline(_) => None,
                Piece::Blob { blob, size } => {
                    let part_bytes = u64::from(blob.part_bytes);
                    // Parts in front of the range are passed over at once.
                    let before = self.range.start.saturating_sub(self.from) / part_bytes.max(1);
                    let part = self.part.max(u32::try_from(before).unwrap_or(u32::MAX));
                    self.part = part.saturating_add(1);
                    (part < blob.parts).then(|| {
                        let before = u64::from(part) * part_bytes;
                        let len = part_bytes.min(size.saturating_sub(before));
                        let place = Place::Part { blob: *blob, size: *size, part };
                        Stretch { from: self.from + before, len, place }
                    })
                }
            };
            match stretch {
                Some(stretch) if stretch.overlaps(&self.range) => return Some(stretch),
                Some(_) => {}
                None => {
                    self.from += piece.size();
                    self.at += 1;
                    self.part = 0;
                }
            }
        }
        None
    }
}

/// Bytes of a value that are read at once.
#[derive(Debug, Clone)]
struct Stretch {
    /// The place of its first byte in the value.
    from: u64,
    len: u64,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Inline(Bytes),
    /// Part `part` of a blob of `size` bytes.
    Part {
        blob: BlobRef,
        size: u64,
        part: u32,
    },
}

impl Stretch {
    /// Returns true if it holds bytes of a range.
    fn overlaps(&self, range: &Range<u64>) -> bool {
        self.from < range.end && range.start < self.from + self.len
    }

    /// Cuts bytes, which begin at `offset` of the stretch, to a range of the value.
    fn cut(&self, range: &Range<u64>, offset: usize, bytes: &Bytes) -> Bytes {
        let from = self.from + offset as u64;
        let within =
            |at: u64| usize::try_from(at.saturating_sub(from)).map_or(bytes.len(), |at| at.min(bytes.len()));
        bytes.slice(within(range.start)..within(range.end))
    }

    /// Reads the whole stretch.
    async fn read(&self, node: &NodeHandle, key: &Key) -> std::result::Result<Bytes, Refusal> {
        match &self.place {
            Place::Inline(bytes) => Ok(bytes.clone()),
            Place::Part { blob, size, part } => node.read_part(key, blob, *size, *part).await,
        }
    }
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

/// Reads a range of the content that a read of `key` found. `held` keeps the transaction open until
/// the last byte was taken.
///
/// # Errors
/// Returns the reason why the first bytes cannot be read, or [`Refused::NoRoom`].
pub async fn read(
    caller: &Caller,
    key: &Key,
    content: &Content,
    range: Range<u64>,
    held: Option<Held>,
) -> Result<Download> {
    let size = content.size;
    assert!(range.start <= range.end && range.end <= size, "{range:?} lies within {size} bytes");
    if range.is_empty() {
        return Ok(Download { first: Bytes::new(), more: futures::stream::empty().boxed(), share: None });
    }
    let mut stretches = content.stretches(&range);
    let Some(first) = stretches.next() else {
        return Err(Refusal::Damaged(format!("the parts of {key:?} do not hold what its size says")).into());
    };
    // The memory is taken before anything is fetched. Parts are read whole.
    let (count, longest) = content.count_stretches(&range);
    let most = count.min(DOWNLOAD_PARTS_HELD) * longest;
    let share = caller.share(usize::try_from(most).unwrap_or(usize::MAX))?;
    // The first part is read before the answer's head is sent, so that a problem with it can still
    // be reported.
    let head = first.cut(&range, 0, &first.read(caller.node(), key).await?);
    // Each of the other parts is fetched by a task of its own, which starts ahead of time and runs
    // while the connection sends the parts before it. Its pieces are sent as they arrive.
    let (node, key) = (caller.node().clone(), key.clone());
    let fetch = move |stretch: Stretch| {
        let (node, key, range) = (node.clone(), key.clone(), range.clone());
        // The channel needs no bound: it holds at most one part.
        let (give, pieces) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let outcome = tokio::select! {
                outcome = stretch.send(&node, &key, &range, &give) => outcome,
                () = give.closed() => Ok(()),
            };
            if let Err(refusal) = outcome {
                let _ = give.send(Err(refusal));
            }
        });
        (pieces, task)
    };
    let mut begin = move || stretches.next().map(&fetch);
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

/// Reads all bytes of a value that a read of `key` found.
///
/// # Errors
/// Returns the reason why they cannot be read.
pub(crate) async fn read_whole(caller: &Caller, key: &Key, value: &Value) -> Result<Bytes> {
    let content = Content::of(caller, key, value).await?;
    let mut download = read(caller, key, &content, 0..content.size, None).await?;
    let mut whole = BytesMut::from(&download.first[..]);
    while let Some(piece) = download.more.next().await {
        whole.extend_from_slice(&piece?);
    }
    Ok(whole.freeze())
}

impl Stretch {
    /// Gives the bytes of the stretch that are in a range of the value to `give`, in pieces.
    async fn send(
        &self,
        node: &NodeHandle,
        key: &Key,
        range: &Range<u64>,
        give: &mpsc::UnboundedSender<std::result::Result<Bytes, Refusal>>,
    ) -> std::result::Result<(), Refusal> {
        let mut offset = 0;
        let take = |bytes: Bytes| {
            let len = bytes.len();
            // A failed send means that the download was dropped: its task ends then.
            let _ = give.send(Ok(self.cut(range, offset, &bytes)));
            offset += len;
        };
        match &self.place {
            // A part's last piece is held back until the whole part is verified. If the range ends
            // before that piece, the client would have a complete answer before then, so the last
            // part is read whole.
            Place::Part { blob, size, part } if range.end >= self.from + self.len => {
                node.read_part_in_pieces(key, blob, *size, *part, take).await
            }
            Place::Part { .. } | Place::Inline(_) => self.read(node, key).await.map(take),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aft_core::record::BlobGroup;

    /// The stretches of a range, cut to it, are its bytes, whatever the pieces are.
    #[test]
    fn stretches_cover_a_range() {
        let group = BlobGroup { attempt: AttemptId([0; 16]), hash: RequestHash([0; 32]), reserved_ms: 0 };
        let blob = |size: u64, part_bytes: u32| {
            let parts = u32::try_from(size.div_ceil(part_bytes.into())).unwrap();
            Piece::Blob { blob: BlobRef { group, number: 0, parts, part_bytes }, size }
        };
        let pieces = vec![blob(10, 4), Piece::Inline(Bytes::from_static(b"abc")), blob(4, 4), blob(1, 4)];
        let size = pieces.iter().map(Piece::size).sum();
        let content = Content { pieces: pieces.into(), size };
        let all: Vec<u64> = (0..size).collect();
        for start in 0..=size {
            for end in start + 1..=size {
                let (mut covered, mut seen) = (Vec::new(), (0, 0));
                for stretch in content.stretches(&(start..end)) {
                    // Counted by the size of their blob's parts.
                    seen = (seen.0 + 1, stretch.len.max(seen.1));
                    // Bytes that are the low parts of their places in the value.
                    let bytes: Vec<u8> =
                        (stretch.from..stretch.from + stretch.len).map(|at| at as u8).collect();
                    let cut = stretch.cut(&(start..end), 0, &bytes.into());
                    assert!(!cut.is_empty(), "a stretch has bytes of the range");
                    covered.extend(cut.iter().map(|byte| u64::from(*byte)));
                }
                assert_eq!(covered, all[start as usize..end as usize], "{start}..{end}");
                let (count, longest) = content.count_stretches(&(start..end));
                assert_eq!(count, seen.0, "{start}..{end}");
                assert!(longest >= seen.1, "{start}..{end}: {longest} bytes of {}", seen.1);
            }
        }
    }
}
