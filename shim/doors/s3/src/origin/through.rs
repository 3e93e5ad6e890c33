//! Version 0: the object that the origin has under a key that its bucket has never written.
//!
//! A read of such a key asks the origin *first* and then whether the bucket has deleted the key.
//! The order matters. The mirror changes the origin only after the commit that it carries out, so
//! what it has removed or overwritten is known by then.

use std::ops::Range;
use std::sync::Arc;

use aft_core::ids::{AttemptId, Key, TxnId};
use aft_core::message::Refusal;
use aft_core::record::Value;
use aft_desk::{Version, large, value_of};
use bytes::Bytes;
use futures::StreamExt as _;

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::object::{Object, inline, name};
use crate::origin::mapping::hidden;
use crate::origin::{Bucket, Plain};

/// The place of the bytes of version 0.
#[derive(Debug, Clone)]
pub(crate) struct Through {
    bucket: Arc<Bucket>,
    key: String,
    etag: String,
}

impl Through {
    /// Returns the place of the part with a number, if there is one.
    pub(crate) async fn part(&self, number: i32) -> Result<Option<Range<u64>>> {
        let Through { bucket, key, etag } = self;
        let Ok(number) = u32::try_from(number) else { return Ok(None) };
        bucket.origin.part(key, etag, number).await.map_err(|trouble| bucket.failure(trouble))
    }
}

/// The version of what the origin has: it comes before every transaction.
const ZERO: Version = Version::Committed(TxnId::ZERO);

impl Call {
    /// Returns version 0 of a key without a version of its own, if there is one. `attempt` is the
    /// transaction in which that was read, if it is still open.
    pub(crate) async fn through(
        &self,
        bucket: &str,
        key: &str,
        attempt: Option<AttemptId>,
    ) -> Result<Option<Object>> {
        let Some(bucket) = self.origins.as_ref().and_then(|origins| origins.get(bucket)).cloned() else {
            return Ok(None);
        };
        let attempt = self.within.or(attempt);
        let object = Key::parse(&name(&bucket.name, key)).expect("the call may use the key");
        let there = bucket.origin.head(key).await.map_err(|trouble| bucket.failure(trouble))?;
        let is_hidden = match attempt {
            Some(attempt) => self.caller.read(attempt, hidden(&bucket.name, key)).await?,
            None => self.read(hidden(&bucket.name, key)).await?,
        };
        if value_of(is_hidden.found).is_some() {
            return Ok(None);
        }
        let is_mirrored = |there: &Plain| {
            there.mark.as_deref().is_some_and(|mark| bucket.mapping.marked(key, mark).is_some())
        };
        let etag = match &there {
            Some(there) if is_mirrored(there) => {
                self.need_unwritten(&bucket, key, &object).await?;
                let why = format!(
                    "the origin {} has {key:?} with the mark of this bucket's mirror, and the bucket has no version of it: \
                     it was deleted through the native API, or the store was restored from an older copy; delete the \
                     object there, or its metadata {}",
                    bucket.mapping.place,
                    super::MARK
                );
                return Err(Failure::new("InternalError", 500, why));
            }
            Some(there) => Some(there.etag.as_str()),
            // Version 0 may have been there when the transaction began. If the call's own
            // transaction reads nothing but this key, what it says is true now.
            None => {
                if attempt.is_some() {
                    self.need_unwritten(&bucket, key, &object).await?;
                }
                None
            }
        };
        if let (Some(attempt), Some(origins)) = (attempt, &self.origins)
            && !origins.pin(attempt, &object, etag)
        {
            return Err(Failure::changed_at_origin());
        }
        let Some(Plain { size, etag, modified_ms, attributes, .. }) = there else { return Ok(None) };
        let value = Value { size, etag: Bytes::from(etag.clone()), ..inline(Bytes::new()) };
        let about = aft_format::Attributes { modified_ms: Some(modified_ms), ..attributes };
        let through = Through { bucket, key: key.to_owned(), etag };
        Ok(Some(Object { key: object, value, version: ZERO, about, through: Some(through) }))
    }

    /// Checks that the bucket has not written or deleted a key by now. If it has, version 0 may be
    /// gone from the origin, and the transaction cannot read it any more.
    async fn need_unwritten(&self, bucket: &Bucket, key: &str, object: &Key) -> Result<()> {
        let keys = [object.clone(), hidden(&bucket.name, key)];
        let reads = self.alone().read_all_alone(&keys).await?;
        match reads.into_iter().any(|read| value_of(read.found).is_some()) {
            true => Err(Refusal::SnapshotGone(object.clone()).into()),
            false => Ok(()),
        }
    }

    /// Reads bytes of an object.
    pub(crate) async fn download(
        &self,
        object: &Object,
        range: Range<u64>,
        held: Option<aft_desk::Held>,
    ) -> Result<large::Download> {
        assert!(range.start <= range.end && range.end <= object.size(), "{range:?} is within the object");
        let Some(through) = &object.through else {
            let content = large::Content::of(&self.caller, &object.key, &object.value).await?;
            return Ok(large::read(&self.caller, &object.key, &content, range, held).await?);
        };
        let Through { bucket, key, etag } = through;
        let more = match range.is_empty() {
            true => futures::stream::empty().boxed(),
            false => {
                let part = (range != (0..object.size())).then(|| range.clone());
                let bytes = bucket.origin.get(key, etag, part).await;
                let place = name(&bucket.mapping.place, key);
                let broken = move |why| Refusal::StoreUnavailable(format!("{place}: {why}"));
                let bytes = bytes.map_err(|trouble| bucket.failure(trouble))?;
                bytes.map(move |piece| piece.map_err(&broken)).boxed()
            }
        };
        Ok(large::Download { first: Bytes::new(), more, share: None })
    }
}
