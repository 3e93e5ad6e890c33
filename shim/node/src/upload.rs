//! Uploads: large values that are stored as their bytes arrive, in bounded memory for any size.
//!
//! ```text
//!   body ──► pieces of a part ──► sealed ──► put, some at once ──► … ──► finish: the blob's place
//! ```
//!
//! The place is then written to a key. No key is written before the end: a body that breaks off
//! leaves parts that no record refers to, and a sweep removes them once the attempt is over.

use aft_core::ids::AttemptId;
use aft_core::message::Refusal;
use aft_core::record::{BlobGroup, BlobRef};
use aft_core::store::Name;
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::handle::NodeHandle;

/// The number of parts of one value that are stored at once: one is stored while the next one
/// arrives, and a second covers a slow put.
const PARTS_AT_ONCE: usize = 2;

/// The most parts that an upload holds in memory: those that are being stored, one that arrives,
/// and the copy that is made of it when it is complete.
pub const UPLOAD_PARTS_HELD: usize = PARTS_AT_ONCE + 2;

/// A value that is being stored. An upload that is dropped before [`Upload::finish`] stores nothing
/// more.
#[derive(Debug)]
pub struct Upload {
    node: NodeHandle,
    group: BlobGroup,
    number: u32,
    part_bytes: usize,
    puts: JoinSet<Result<(), Refusal>>,
    pieces: Vec<Bytes>,
    pieces_bytes: usize,
    parts: u32,
    size: u64,
}

impl NodeHandle {
    /// Returns the size of a part of a large value, in bytes.
    pub fn part_bytes(&self) -> usize {
        self.shared().store.capabilities().blob_part_bytes
    }

    /// Returns the size, in bytes, up to which a value is best put in a batch instead of uploaded.
    pub fn inline_value_bytes_max(&self) -> usize {
        self.shared().settings.inline_value_bytes_max
    }

    /// Begins to store a large value of an open transaction.
    ///
    /// # Errors
    /// Returns the errors of [`NodeHandle::list`]; and [`Refusal::StoreUnavailable`] if the store's
    /// time is not known: retry later.
    pub async fn upload(&self, attempt: AttemptId) -> Result<Upload, Refusal> {
        let (group, number) = self.reserve_blob(attempt).await?;
        Ok(Upload {
            node: self.clone(),
            group,
            number,
            part_bytes: self.part_bytes(),
            puts: JoinSet::new(),
            pieces: Vec::new(),
            pieces_bytes: 0,
            parts: 0,
            size: 0,
        })
    }
}

impl Upload {
    /// Takes the next bytes of the value. Waits while the most parts allowed are being stored.
    ///
    /// # Errors
    /// Returns the reason why this part or an earlier one could not be stored:
    /// [`Refusal::StoreUnavailable`], or a refusal that says that the transaction has ended. Drop
    /// the upload then.
    pub async fn push(&mut self, mut bytes: Bytes) -> Result<(), Refusal> {
        while self.pieces_bytes + bytes.len() >= self.part_bytes {
            let rest = bytes.split_off(self.part_bytes - self.pieces_bytes);
            self.keep(std::mem::replace(&mut bytes, rest));
            self.store().await?;
        }
        if !bytes.is_empty() {
            self.keep(bytes);
        }
        Ok(())
    }

    fn keep(&mut self, piece: Bytes) {
        self.size += piece.len() as u64;
        self.pieces_bytes += piece.len();
        self.pieces.push(piece);
    }

    async fn store(&mut self) -> Result<(), Refusal> {
        while self.puts.len() >= PARTS_AT_ONCE {
            self.one_is_stored().await?;
        }
        let name = Name::Blob { group: self.group, number: self.number, part: self.parts };
        let (node, pieces) = (self.node.clone(), std::mem::take(&mut self.pieces));
        self.puts.spawn(async move { node.store_part(name, pieces).await });
        self.pieces_bytes = 0;
        self.parts =
            self.parts.checked_add(1).ok_or_else(|| Refusal::Invalid("a value of too many parts".into()))?;
        Ok(())
    }

    async fn one_is_stored(&mut self) -> Result<(), Refusal> {
        match self.puts.join_next().await {
            Some(Ok(stored)) => stored,
            Some(Err(why)) => std::panic::resume_unwind(why.into_panic()),
            None => Ok(()),
        }
    }

    /// Stores the rest, and returns the place of the whole value and its size in bytes. The value
    /// is durable then, and not written to any key yet. An empty value has one empty part.
    ///
    /// # Errors
    /// Returns the errors of [`Upload::push`].
    pub async fn finish(mut self) -> Result<(BlobRef, u64), Refusal> {
        if !self.pieces.is_empty() || self.parts == 0 {
            self.store().await?;
        }
        while !self.puts.is_empty() {
            self.one_is_stored().await?;
        }
        let part_bytes = u32::try_from(self.part_bytes).expect("a part is some MiB");
        let blob = BlobRef { group: self.group, number: self.number, parts: self.parts, part_bytes };
        Ok((blob, self.size))
    }
}
