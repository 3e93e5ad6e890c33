//! Bytes of an object that arrive from another place, verified before they are committed.

use std::sync::{Arc, OnceLock};

use aft_desk::large::Source;
use aft_format::Checksum;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::BoxStream;

use crate::checksum::{Digests, Verified, Wanted};
use crate::failure::{Failure, Result};
use crate::objects::tag::{TagSum, md5_in};

/// The digests that bytes must have.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// The entity tag, without quotes. If it is an MD5, it is that of the bytes.
    pub etag: Option<String>,
    /// The sizes of the parts of which the tag is made, if it is that of an upload in parts. The
    /// object keeps such a tag.
    pub parts: Vec<u64>,
    /// A checksum of the bytes, which is kept.
    pub checksum: Option<Checksum>,
}

/// The bytes of an object, and their number.
pub struct Incoming {
    /// The bytes. An error, which is a text for people, ends them.
    pub bytes: BoxStream<'static, std::result::Result<Bytes, String>>,
    /// The number of bytes.
    pub size: u64,
    /// The digests that they must have.
    pub expected: Expected,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Bytes that are arriving, as the desk takes them.
pub(super) struct Arrival {
    incoming: Incoming,
    /// The digests so far; `None` once the bytes have ended.
    sums: Option<(Digests, Option<TagSum>)>,
    length: u64,
    verified: Arc<OnceLock<Verified>>,
}

impl Arrival {
    pub(super) fn new(incoming: Incoming, wanted: Option<Wanted>) -> Arrival {
        let Expected { etag, parts, checksum } = &incoming.expected;
        let by_parts = (!parts.is_empty()).then(|| TagSum::new(parts));
        let md5 = etag.as_deref().filter(|_| by_parts.is_none()).and_then(md5_in);
        let wanted = wanted.unwrap_or_else(|| Wanted::known(md5, checksum.as_ref()));
        let sums = Some((Digests::new(wanted), by_parts));
        Arrival { incoming, sums, length: 0, verified: Arc::default() }
    }

    /// Returns the place in which the digests of all bytes are, once they have ended.
    pub(super) fn verified(&self) -> Arc<OnceLock<Verified>> {
        self.verified.clone()
    }

    /// Takes all bytes, which are few.
    pub(super) async fn whole(mut self) -> Result<(Bytes, Verified)> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.next().await? {
            whole.extend_from_slice(&piece);
        }
        let verified = self.verified.get().expect("the bytes have ended").clone();
        Ok((whole.freeze(), verified))
    }

    /// Compares the bytes that have ended with those that were expected.
    fn end(&self, digests: Digests, by_parts: Option<TagSum>) -> Result<Verified> {
        let (size, length) = (self.incoming.size, self.length);
        if size != length {
            let why = format!("{length} bytes arrived, and {size} were announced: nothing was stored");
            return Err(Failure::new("IncompleteBody", 400, why));
        }
        let verified = digests.verify(&[])?;
        let Some(sum) = by_parts else { return Ok(verified) };
        let expected = self.incoming.expected.etag.as_deref();
        match sum.finish() {
            Some(tag) if expected.is_none_or(|expected| expected == tag) => {
                Ok(Verified { etag: tag.into(), ..verified })
            }
            _ => Err(Failure::bad_digest("ETag")),
        }
    }
}

impl Source for Arrival {
    type Error = Failure;

    fn announced(&self) -> Option<usize> {
        usize::try_from(self.incoming.size).ok()
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        let next = self.incoming.bytes.next().await.transpose();
        let broken = |why| Failure::new("IncompleteBody", 400, why);
        if let Some(piece) = next.map_err(broken)? {
            let (digests, by_parts) = self.sums.as_mut().expect("nothing follows the end");
            digests.update(&piece);
            if let Some(by_parts) = by_parts {
                by_parts.update(&piece);
            }
            self.length += piece.len() as u64;
            return Ok(Some(piece));
        }
        if let Some((digests, by_parts)) = self.sums.take() {
            let verified = self.end(digests, by_parts)?;
            self.verified.set(verified).expect("the bytes end once");
        }
        Ok(None)
    }

    fn take_time(&mut self) {}
}
