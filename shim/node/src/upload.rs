//! A large value that is stored as its bytes arrive: bounded memory, whatever its size.
//!
//! ```text
//!   body ──► pieces of a part ──► sealed ──► put, some at once ──► … ──► finish: the blob's place, to be written to a key
//! ```
//!
//! Nothing is written before the end: a body that breaks off leaves parts that nobody names, and a sweep removes them once the attempt
//! is over.

use aft_core::ids::AttemptId;
use aft_core::message::Refusal;
use aft_core::record::{BlobGroup, BlobRef};
use aft_core::store::Name;
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::handle::NodeHandle;

/// Parts of one value that are stored at once: one hides the time in which the next one arrives, two a slow one.
const PARTS_AT_ONCE: usize = 2;

/// Parts that an upload holds at most: those that are stored, one that arrives, and the copy that is made of it at its end.
pub const UPLOAD_PARTS_HELD: usize = PARTS_AT_ONCE + 2;

/// A value that is being stored. Dropped before its end, it stores nothing more.
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
    /// The size of a part of a large value, in bytes.
    pub fn part_bytes(&self) -> usize {
        self.shared().store.capabilities().blob_part_bytes
    }

    /// Values of up to this size are best put as they are.
    pub fn inline_value_bytes_max(&self) -> usize {
        self.shared().settings.inline_value_bytes_max
    }

    /// Begins to store a large value of an open transaction.
    ///
    /// # Errors
    /// As [`NodeHandle::list`]; [`Refusal::StoreUnavailable`] if the store's time is not known.
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
    /// Takes the next bytes. Waits while as many parts are being stored as may be.
    ///
    /// # Errors
    /// Why a part could not be stored, this one or an earlier one: [`Refusal::StoreUnavailable`], or that the transaction has ended.
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

    /// The place of the whole value, and its size in bytes. It is durable, and not written to any key yet.
    ///
    /// # Errors
    /// As [`Upload::push`].
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
