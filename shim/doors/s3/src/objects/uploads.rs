//! Objects in parts, as an import writes large ones: each part in a transaction of its own, so that
//! no object is too large for the time of one.

use aft_access::Right;
use aft_format::{Attributes, Checksum, ChecksumAlgorithm};
use bytes::Bytes;

use crate::body::Content;
use crate::checksum::{NamedSum, Wanted, text_of};
use crate::failure::Failure;
use crate::objects::arriving::{Arrival, Expected, Incoming};
use crate::objects::tag::{TagSum, md5_in};
use crate::objects::{Objects, Only, Problem, checked};
use crate::operations::uploads::{self, Chosen, PART_BYTES_MIN, UploadId};

/// An upload in parts that was made here.
#[derive(Debug)]
pub struct Upload {
    id: UploadId,
    key: String,
    /// The MD5s of the parts so far, in hexadecimal digits.
    parts: Vec<Bytes>,
    expected: Expected,
}

impl Objects {
    /// Returns true if an object can be written in parts of these sizes.
    ///
    /// # Errors
    /// Returns a problem if the key cannot be that of an object.
    pub fn can_upload(&self, bucket: &str, key: &str, parts: &[u64]) -> Result<bool, Problem> {
        let object = self.call.key(bucket, key, Right::Write)?;
        let state = UploadId { bucket: bucket.to_owned(), id: String::new() }.state();
        let node = self.call.caller.node();
        let Some((_, all_but_last)) = parts.split_last() else { return Ok(false) };
        let are_large = all_but_last.iter().all(|bytes| *bytes >= PART_BYTES_MIN);
        Ok(are_large && node.is_checked(&state) && node.is_checked(&object))
    }

    /// Makes an upload for an object that will have these attributes and digests.
    ///
    /// # Errors
    /// Returns a problem if the bucket does not exist, or the node's refusal.
    pub async fn begin_upload(
        &self,
        (bucket, key): (&str, &str),
        attributes: Attributes,
        expected: Expected,
    ) -> Result<Upload, Problem> {
        let checksum = expected.checksum.as_ref();
        let algorithm = checksum.and_then(|sum| ChecksumAlgorithm::try_from(sum.algorithm).ok());
        let full_object = checksum.is_some_and(|sum| sum.parts == 0);
        let about = checked(attributes)?;
        let id = self.call.create_upload(bucket, key, about, algorithm, full_object).await?;
        let id = UploadId { bucket: bucket.to_owned(), id };
        Ok(Upload { id, key: key.to_owned(), parts: Vec::new(), expected })
    }

    /// Stores the next part of an upload.
    ///
    /// # Errors
    /// Returns a problem if the bytes end early, or the node's refusal.
    pub async fn put_part(&self, upload: &mut Upload, incoming: Incoming) -> Result<(), Problem> {
        let number = i32::try_from(upload.parts.len() + 1).expect("an upload has at most 10,000 parts");
        let algorithm = upload.expected.checksum.as_ref().map_or(0, |sum| sum.algorithm);
        let wanted = Wanted::default().of_upload(algorithm)?;
        let is_small = incoming.size <= self.call.caller.node().inline_value_bytes_max() as u64;
        let arrival = Arrival::new(incoming, Some(wanted));
        let (id, key) = (&upload.id, &upload.key);
        let verified = if is_small {
            let (bytes, verified) = arrival.whole().await?;
            self.call.upload_part(id, key, number, Content::Whole { bytes, verified, _share: None }).await?
        } else {
            let verified = arrival.verified();
            self.call.store_part(id, key, number, arrival, &verified).await?
        };
        upload.parts.push(verified.etag);
        Ok(())
    }

    /// Completes an upload, if its parts make the expected tag and checksum, and if the condition
    /// holds.
    ///
    /// # Errors
    /// Returns a problem as [`Objects::put`] does. The upload is still open then.
    pub async fn end_upload(&self, upload: &Upload, only: Only) -> Result<(), Problem> {
        let Upload { id, key, parts, expected } = upload;
        let md5 = |digits: &Bytes| std::str::from_utf8(digits).ok().and_then(md5_in).expect("an MD5");
        let md5s: Vec<u8> = parts.iter().flat_map(md5).collect();
        let tag = TagSum::of_parts(&md5s, parts.len());
        if expected.etag.as_ref().is_some_and(|expected| *expected != tag) {
            return Err(Failure::bad_digest("ETag").into());
        }
        let chosen: Vec<Chosen> = (1..)
            .zip(parts)
            .map(|(number, etag)| {
                let etag = String::from_utf8_lossy(etag).into_owned();
                Chosen { number, etag, checksum: None }
            })
            .collect();
        let target = self.target(&id.bucket, key, only)?;
        let named = |sum: &Checksum| {
            let algorithm = ChecksumAlgorithm::try_from(sum.algorithm).ok()?;
            Some(NamedSum { algorithm, text: text_of(sum) })
        };
        let checksum = expected.checksum.as_ref().and_then(named);
        let whole = uploads::Expected { checksum, size: None };
        self.call.complete_upload(id, &target, &chosen, &whole).await?;
        Ok(())
    }

    /// Aborts an upload, whose parts are deleted.
    ///
    /// # Errors
    /// Returns the node's refusal. The upload is still open then, and listed.
    pub async fn abort_upload(&self, upload: &Upload) -> Result<(), Problem> {
        Ok(self.call.abort_upload(&upload.id, &upload.key).await?)
    }

    /// Aborts the open uploads into a bucket that earlier imports left. Returns their number.
    ///
    /// # Errors
    /// Returns the node's refusal.
    pub async fn abort_leftovers(&self, bucket: &str) -> Result<usize, Problem> {
        let mut count = 0;
        for listed in self.call.list_uploads(bucket, "").await? {
            let about = listed.upload.about.unwrap_or_default();
            if about.source_etag.is_none() {
                continue;
            }
            let id = UploadId { bucket: bucket.to_owned(), id: listed.id };
            match self.call.abort_upload(&id, &listed.upload.key).await {
                Ok(()) => count += 1,
                // Somebody else has ended it.
                Err(failure) if failure.code == "NoSuchUpload" => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(count)
    }
}
