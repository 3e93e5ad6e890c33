//! A check of the tree's journals before the tree opens them.
//!
//! The tree takes anything in a journal that it cannot read for the torn end of the last,
//! unfinished write: it drops it *and everything behind it*. That is right for a torn end, but a
//! silent loss if the middle is damaged. So this module checks first:
//!
//! * Batches are numbered without gaps ([`Link`]), across journals too. A gap means that batches
//!   are lost.
//! * Each batch's own digest must match, and the tree's sequence numbers must rise.
//! * Behind bytes that are not a batch, every position is tried. A whole batch there proves that
//!   the bytes before it had been synced, since a batch is only written when the one before it is
//!   durable. So those bytes are damaged.
//! * If no batch follows, the number of the newest acknowledged batch
//!   ([`Acked`](crate::home::Acked)) decides: bytes behind that batch are a torn end, and are cut
//!   off.
//!
//! The layout is that of fjall 3 (`FJL` 3), without compression:
//!
//! ```text
//! batch: start (1) │ items (4) │ seqno (8) ║ item ... ║ end (1) │ checksum (8) │ "FJL" 3
//! item:  item (1) │ type (1) │ compression (1) │ keyspace (8) │ key length (2)
//!        │ value length (4) │ stored length (4) │ key │ value
//! ```

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use crate::OpenError;
use crate::chain::{Digest, Link};
use crate::key;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const VALUE: u8 = 0;
const TOMBSTONE: u8 = 1;
const NOT_COMPRESSED: u8 = 0;
const TRAILER: &[u8] = b"FJL\x03";

/// The first and the last batch of all journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Journals {
    /// The link of the first batch.
    pub(crate) first: Option<Link>,
    /// The link of the last batch.
    pub(crate) last: Option<Link>,
}

/// A batch found in a journal.
struct Batch {
    seqno: u64,
    link: Link,
    /// The position at which the next batch starts.
    end: usize,
}

/// A reader that takes pieces from `bytes`, from the front.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn is(&mut self, byte: u8) -> Option<()> {
        (self.byte()? == byte).then_some(())
    }
}

/// Reads one item: its type, key and value.
fn item<'a>(reader: &mut Reader<'a>) -> Option<(u8, &'a [u8], &'a [u8])> {
    reader.is(ITEM)?;
    let kind = reader.byte()?;
    reader.is(NOT_COMPRESSED)?;
    let _keyspace: [u8; 8] = reader.array()?;
    let key_len = u16::from_le_bytes(reader.array()?);
    let value_len = u32::from_le_bytes(reader.array()?);
    let stored_len = u32::from_le_bytes(reader.array()?);
    if value_len != stored_len {
        return None;
    }
    let key = reader.take(usize::from(key_len))?;
    let value = reader.take(usize::try_from(stored_len).ok()?)?;
    Some((kind, key, value))
}

/// Returns the batch at this position, or `None` if there is no whole and undamaged one.
fn batch(bytes: &[u8], at: usize) -> Option<Batch> {
    let mut reader = Reader { bytes, at };
    reader.is(START)?;
    let items = u32::from_le_bytes(reader.array()?);
    let seqno = u64::from_le_bytes(reader.array()?);
    let after_start = reader.at;

    // The digest is seeded with the link, which is the last item. So the first pass finds the link,
    // and a second one computes the digest.
    let mut link = None;
    for i in 0..items {
        let (_, key, value) = item(&mut reader)?;
        if i == items - 1 && key == key::CHAIN {
            link = Link::decode(value);
        }
    }
    let link = link?;
    reader.is(END)?;
    let _checksum: [u8; 8] = reader.array()?;
    if reader.take(TRAILER.len())? != TRAILER {
        return None;
    }
    let end = reader.at;

    let mut digest = Digest::after(link.number.checked_sub(1)?, link.previous);
    let mut reader = Reader { bytes, at: after_start };
    for _ in 0..items - 1 {
        match item(&mut reader)? {
            (VALUE, key, value) => digest.add(key, Some(value)),
            (TOMBSTONE, key, _) => digest.add(key, None),
            _ => return None,
        }
    }
    (digest.finish() == link.digest).then_some(Batch { seqno, link, end })
}

/// Checks all journals of the tree in `tree`, and cuts off torn ends. `acked` is the number of the
/// newest acknowledged batch, if it is known.
///
/// # Errors
/// Returns [`OpenError::Damaged`] if an acknowledged batch is damaged or missing, and
/// [`OpenError::Io`] if a journal cannot be read or cut.
pub(crate) fn scan(dir: &Path, tree: &Path, acked: Option<u64>) -> Result<Journals, OpenError> {
    let mut found = Journals::default();
    let mut seqno = None;
    let mut torn = Vec::new();
    for path in journal_paths(tree)? {
        let bytes = std::fs::read(&path).map_err(OpenError::io("cannot read", &path))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut at = 0;
        // Walk over the whole batches at the start of the journal.
        while let Some(batch) = batch(&bytes, at) {
            let Batch { seqno: batch_seqno, link, end } = batch;
            if let Some(last) = found.last
                && (link.number != last.number + 1 || link.previous != last.digest)
            {
                let what = format!(
                    "journal {file}, byte {at}: batch {} follows batch {}; acknowledged batches are missing",
                    link.number, last.number
                );
                return Err(OpenError::damaged(dir, what));
            }
            if seqno.is_some_and(|seqno| batch_seqno <= seqno) {
                let what =
                    format!("journal {file}, byte {at}: the header of batch {} is damaged", link.number);
                return Err(OpenError::damaged(dir, what));
            }
            seqno = Some(batch_seqno);
            found.first.get_or_insert(link);
            found.last = Some(link);
            at = end;
        }
        let rest = &bytes[at..];
        let Some(dirt) = rest.iter().position(|&byte| byte != 0) else {
            // Only reserved space follows, which was not used.
            continue;
        };
        // Bytes that are not a batch: damage if a batch follows, else perhaps a torn end.
        if let Some((later, place)) = later_batch(&bytes, at + 1) {
            let next = found.last.map_or(1, |last| last.number + 1);
            let what = format!(
                "journal {file}: batch {next} at byte {at} is damaged; batch {} at byte {place} proves that it had been acknowledged",
                later.number
            );
            return Err(OpenError::damaged(dir, what));
        }
        tracing::warn!(journal = %path.display(), at, dirt = at + dirt, "a journal ends in an unfinished write");
        torn.push((path, at));
    }
    // Torn ends are cut only after all journals were read, when the last batch is known.
    let last = found.last.map_or(0, |last| last.number);
    for (path, at) in torn {
        if let Some(acked) = acked.filter(|&acked| acked > last) {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let what = format!(
                "journal {file}: batch {} at byte {at} is damaged; it had been acknowledged, like all batches up to {acked}",
                last + 1
            );
            return Err(OpenError::damaged(dir, what));
        }
        let cut = || {
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(at as u64)?;
            file.sync_all()
        };
        cut().map_err(OpenError::io("cannot cut the torn end of", &path))?;
    }
    Ok(found)
}

/// Returns the journals in the order in which they were written.
fn journal_paths(tree: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut journals = Vec::new();
    for entry in std::fs::read_dir(tree).map_err(OpenError::io("cannot list", tree))? {
        let path = entry.map_err(OpenError::io("cannot list", tree))?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        journals.extend(number.map(|number| (number, path)));
    }
    journals.sort();
    Ok(journals.into_iter().map(|(_, path)| path).collect())
}

/// Returns the first whole batch at or after `from`, and its position.
fn later_batch(bytes: &[u8], from: usize) -> Option<(Link, usize)> {
    let starts = (from..bytes.len()).filter(|&at| bytes[at] == START && bytes.get(at + 13) == Some(&ITEM));
    starts.into_iter().find_map(|at| batch(bytes, at).map(|batch| (batch.link, at)))
}
