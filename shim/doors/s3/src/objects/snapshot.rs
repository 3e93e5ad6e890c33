//! A snapshot: one transaction that lists buckets and reads objects, read atomic, until it is
//! dropped or its time is over.

use std::time::Duration;

use aft_access::Right;
use aft_core::ids::{Key, TxnId};
use aft_core::message::ListKeys;
use aft_desk::large::{self, Content, size_of};
use aft_desk::{Open, Opened, Version};
use aft_format::Attributes;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};

use crate::call::{Call, Runs};
use crate::failure::Failure;
use crate::object::{Object, etag, name};
use crate::objects::{Objects, Problem};
use crate::origin::mapping::Kind;

/// The most objects of a page.
const PAGE_LEN: u32 = 1_000;
/// The number of tries of a call that the store does not answer, and the pause between two.
const TRIES_MAX: usize = 4;
const PAUSE: Duration = Duration::from_millis(500);
/// The code of a call whose transaction has ended, or cannot go on.
const ENDED: &str = "OperationAborted";

impl Problem {
    /// Returns true if the snapshot has ended: its time is over, or a version that it needs is not
    /// kept any more. Another snapshot may succeed. The message is for a client of the protocol.
    pub fn is_end_of_snapshot(&self) -> bool {
        self.code == ENDED
    }
}

/// A transaction that reads.
#[derive(Debug)]
pub struct Snapshot {
    call: Call,
    /// Ends the transaction when this is dropped.
    _open: Open,
}

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key within its bucket.
    pub key: String,
    /// The size in bytes.
    pub size: u64,
    /// The entity tag, without quotes.
    pub etag: String,
    /// The version.
    pub version: TxnId,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The objects, in the order of their keys.
    pub objects: Vec<Entry>,
    /// The key after which the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// An object that was read, with the places of its bytes.
#[derive(Debug)]
pub struct Found {
    object: Object,
    content: Content,
}

impl Objects {
    /// Opens a snapshot. It sees everything that was acknowledged, by any node, before this call.
    ///
    /// # Errors
    /// Returns the node's refusal.
    pub async fn snapshot(&self) -> Result<Snapshot, Problem> {
        let mut runs = Runs::default();
        loop {
            let mut ready = Call::reading().prepare(&self.call.caller, None).map_err(Failure::from)?;
            ready.as_long_as_possible();
            let opened = ready.open(&self.call.caller, Vec::new()).await;
            match runs.end(opened.map_err(Failure::from)).await {
                None => {}
                Some(Err(failure)) => return Err(failure.into()),
                Some(Ok(Opened::Replayed(replayed))) => {
                    unreachable!("a request without an ID has no {replayed:?}")
                }
                Some(Ok(Opened::Open { open, .. })) => {
                    let call = self.call.within(open.attempt());
                    return Ok(Snapshot { call, _open: open });
                }
            }
        }
    }
}

/// Runs a part of a snapshot, again if the store does not answer: the transaction goes on.
async fn patiently<T>(run: impl AsyncFn() -> Result<T, Failure>) -> Result<T, Failure> {
    for _ in 1..TRIES_MAX {
        match run().await {
            Err(failure) if ["ServiceUnavailable", "SlowDown"].contains(&failure.code) => {
                tokio::time::sleep(PAUSE).await;
            }
            ended => return ended,
        }
    }
    run().await
}

impl Snapshot {
    /// Checks that a bucket exists, and has all its objects in the store.
    ///
    /// # Errors
    /// Returns a problem with the code `NoSuchBucket` if it does not exist, one with the code
    /// `InvalidBucketState` if it has an origin, or the node's refusal.
    pub async fn need_whole_bucket(&self, bucket: &str) -> Result<(), Problem> {
        match self.call.need_bucket(bucket).await? {
            Kind::Own => Ok(()),
            Kind::Mapped(mapping) => {
                let why = format!(
                    "the bucket {bucket:?} reads through to {}, so the store has only a part of it: import that into \
                     a bucket of its own, or mirror this one to its origin",
                    mapping.place
                );
                Err(Failure::new("InvalidBucketState", 409, why).into())
            }
        }
    }

    /// Lists objects of a bucket whose keys come after `after`.
    ///
    /// # Errors
    /// Returns the node's refusal, or [`Problem::is_end_of_snapshot`].
    pub async fn list(&self, bucket: &str, after: Option<&str>) -> Result<Page, Problem> {
        // The bucket's marker comes before all its objects, and is none of them.
        let first = name(bucket, "");
        let after = Some(name(bucket, after.unwrap_or_default()));
        let ask = ListKeys { prefix: first.clone(), after, limit: PAGE_LEN, delimiter: None };
        let page = patiently(|| self.call.page(ask.clone())).await?;
        let of_bucket = |text: &str| text.strip_prefix(&first).expect("a listing has its prefix").to_owned();
        let objects = page.keys.iter().map(|listed| {
            let version = listed.txn.expect("a snapshot writes nothing");
            Entry {
                key: of_bucket(listed.key.as_str()),
                size: size_of(&listed.meta.etag, listed.meta.size),
                etag: etag(&listed.meta.etag, Version::Committed(version)),
                version,
            }
        });
        Ok(Page { objects: objects.collect(), next: page.next.as_deref().map(of_bucket) })
    }

    /// Reads an object, without its bytes; `None` if there is none.
    ///
    /// # Errors
    /// Returns the errors of [`Snapshot::list`].
    pub async fn read(&self, bucket: &str, key: &str) -> Result<Option<Found>, Problem> {
        let key: Key = self.call.key(bucket, key, Right::Read)?;
        let read = patiently(|| self.call.read(key.clone())).await?;
        let Some(object) = Object::of(read)? else { return Ok(None) };
        let content = patiently(async || {
            Content::of(&self.call.caller, &object.key, &object.value).await.map_err(Failure::from)
        });
        Ok(Some(Found { content: content.await?, object }))
    }

    /// Returns the bytes of an object. An error, which says that the snapshot has ended or why not,
    /// ends them early.
    ///
    /// # Errors
    /// Returns the errors of [`Snapshot::list`].
    pub async fn bytes(&self, found: &Found) -> Result<BoxStream<'static, Result<Bytes, Problem>>, Problem> {
        let Found { object, content } = found;
        let all = 0..content.size();
        if let Some(bytes) = content.in_memory(&all) {
            return Ok(stream::once(async { Ok(bytes) }).boxed());
        }
        let download = patiently(async || {
            let read = large::read(&self.call.caller, &object.key, content, all.clone(), None).await;
            read.map_err(Failure::from)
        });
        let large::Download { first, more, share } = download.await?;
        let more = more.map(move |piece| {
            // The memory is given back with the stream.
            let _held = &share;
            piece.map_err(|refusal| Problem::from(Failure::from(refusal)))
        });
        Ok(stream::once(async { Ok(first) }).chain(more).boxed())
    }
}

impl Found {
    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.content.size()
    }

    /// Returns the entity tag, without quotes.
    pub fn etag(&self) -> String {
        self.object.etag()
    }

    /// Returns the version.
    pub fn version(&self) -> TxnId {
        match self.object.version {
            Version::Committed(version) => version,
            Version::Uncommitted => unreachable!("a snapshot writes nothing"),
        }
    }

    /// Returns the time of the last change of the bytes, in milliseconds since the epoch.
    pub fn modified_ms(&self) -> u64 {
        self.object.modified_ms(self.version().time.ms())
    }

    /// Returns the attributes.
    pub fn attributes(&self) -> &Attributes {
        &self.object.about
    }

    /// Returns the sizes of the parts of an object that was uploaded in parts; empty for others.
    pub fn parts(&self) -> Vec<u64> {
        let count = self.object.parts().map_or(0, |count| usize::try_from(count).unwrap_or(0));
        let range = |at| self.content.piece(at).expect("each part is a piece");
        (0..count).map(range).map(|range| range.end - range.start).collect()
    }
}
