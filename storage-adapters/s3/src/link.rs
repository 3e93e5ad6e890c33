//! Requests: each is one call of the SDK, bounded in number and time, counted, and with its failure
//! turned into a message.
//!
//! Nothing is retried here, and the SDK's own retries are off: the store's callers retry, with
//! pauses, and must know that they do. A request that times out is dropped with its connection.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use aft_store::Error;
use aft_store_aws::Times;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use bytes::{Bytes, BytesMut};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::failure::{Failure, classify, not_s3};
use crate::meter::{Class, Meter};
use crate::remembered::Remembered;

/// The number of requests in flight at once. Each has a connection, and many systems allow a
/// process 1,024 open files. At 30 ms a request these are 8,000 requests a second, more than S3
/// takes for one prefix.
const REQUESTS_MAX: usize = 256;

/// The timeout of listings, and of reads of a few bytes. All timeouts here include the wait for a
/// permit and the reading of the body. They are longer than those of a node's own calls (5, 10 and
/// 30 s), which end those calls first; these here are for other callers.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of writes and deletes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// The timeout of writes of a body above [`LARGE_BYTES`], and of all reads of a whole object, which
/// may have such a body. 8 MiB at 2 Mbit/s take half a minute.
const LARGE_TIMEOUT: Duration = Duration::from_secs(45);
/// The size above which a body is given more time.
const LARGE_BYTES: usize = 1 << 20;

/// The size from which on pieces are passed on as they arrive. It is more than half of the largest
/// buffer that the HTTP library reads into (408 KiB), so that a caller who keeps pieces holds at
/// most twice their bytes in memory.
const PIECE_BYTES_MIN: usize = 208 << 10;
/// The size of the pieces that smaller ones are gathered into.
const GATHERED_BYTES: usize = 256 << 10;

/// The number of keys that S3 takes in one batched deletion, and returns in one page of a listing.
pub(crate) const BATCH_MAX: usize = 1_000;

/// The condition of a write on what the key holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Only<'a> {
    /// No condition.
    Always,
    /// The key holds nothing.
    IfAbsent,
    /// The key holds content with this ETag, written as the server wants it.
    IfTag(&'a str),
}

/// An object as a listing shows it.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) key: String,
    /// The time of its last write, in milliseconds since the epoch.
    pub(crate) written_ms: Option<u64>,
    /// Its ETag, in quotes.
    pub(crate) tag: Option<String>,
}

/// One page of objects, in order. If the listing is by directory, it has the directories in place
/// of the objects in them.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) objects: Vec<Object>,
    /// The directories, each ending in `/`.
    pub(crate) directories: Vec<String>,
    /// True if more follow.
    pub(crate) more: bool,
}

impl Page {
    /// Returns the key after which to list the next page; `None` if this page is empty.
    pub(crate) fn end(&self) -> Option<String> {
        let directory = self.directories.last().map(|last| crate::layout::past(last));
        directory.max(self.objects.last().map(|last| last.key.clone()))
    }
}

/// The number of resolved groups that are cached: a kilobyte each, and only if keys are that long.
const RESOLVED_MAX: usize = 20_000;

/// A client for one bucket.
pub(crate) struct Link {
    client: Client,
    bucket: String,
    /// The store's URL, for messages.
    pub(crate) url: String,
    pub(crate) meter: Meter,
    /// The server's own time, as its answers carried it.
    pub(crate) times: Times,
    /// The permits for requests in flight.
    turns: Semaphore,
    /// The cache of groups by their digests.
    pub(crate) resolved: Resolved,
    /// The cache of small bodies by their keys and ETags.
    pub(crate) remembered: Remembered,
}

/// A cache of groups whose names end in a digest, by the last segment of their directories. A
/// digest always means the same group, so nothing becomes stale.
#[derive(Default)]
pub(crate) struct Resolved {
    groups: Mutex<BTreeMap<String, Bytes>>,
}

impl Resolved {
    pub(crate) fn get(&self, digest: &str) -> Option<Bytes> {
        self.groups.lock().expect("never held across a panic").get(segment(digest)).cloned()
    }

    pub(crate) fn put(&self, digest: &str, group: &Bytes) {
        let mut groups = self.groups.lock().expect("never held across a panic");
        // A copy: a slice would keep the whole buffer alive that it was read with.
        groups.insert(segment(digest).to_owned(), Bytes::copy_from_slice(group));
        if groups.len() > RESOLVED_MAX {
            // Digests are read in order, so the first ones are needed again before the last.
            groups.pop_last();
        }
    }
}

/// Returns the last segment of a directory.
fn segment(directory: &str) -> &str {
    directory.trim_end_matches('/').rsplit('/').next().expect("a split has a part")
}

impl Link {
    pub(crate) fn new(client: Client, bucket: String, url: String, meter: Meter, times: Times) -> Link {
        Link {
            client,
            bucket,
            url,
            meter,
            times,
            turns: Semaphore::new(REQUESTS_MAX),
            resolved: Resolved::default(),
            remembered: Remembered::default(),
        }
    }

    /// Returns the ETag and the body of the object under a key; `None` if there is none. A body of
    /// more than `bytes_max` is an error.
    pub(crate) async fn get(&self, key: &str, bytes_max: usize) -> Result<Option<(String, Bytes)>, Error> {
        let mut whole = Whole::default();
        let tag = self.get_object(key, bytes_max, &mut |piece, len| whole.append(piece, len)).await?;
        Ok(tag.map(|tag| (tag, whole.freeze())))
    }

    /// Passes an object's body to `take` piece by piece as it arrives, and returns the ETag; `None`
    /// if there is no object. After an error, `take` may have got some pieces.
    pub(crate) async fn get_pieces(
        &self,
        key: &str,
        bytes_max: usize,
        take: &mut (dyn FnMut(Bytes) + Send),
    ) -> Result<Option<String>, Error> {
        let mut gathered = Gathered { room: BytesMut::new(), take };
        let tag = self.get_object(key, bytes_max, &mut |piece, _| gathered.append(piece)).await?;
        gathered.pass();
        Ok(tag)
    }

    /// Passes the pieces of an object's body to `take`, each with the announced length of the
    /// whole, and returns the ETag.
    async fn get_object(
        &self,
        key: &str,
        bytes_max: usize,
        take: &mut (dyn FnMut(Bytes, Option<usize>) + Send),
    ) -> Result<Option<String>, Error> {
        let asked = self.asked("get", key);
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let got = self.within(&asked, LARGE_TIMEOUT, Class::Read, 0, async {
            let mut output = Box::pin(request.send()).await.map_err(|error| classify(&asked, &error))?;
            let no_tag = || Failure::Failed(Error::NoAnswer(not_s3(&asked, "no ETag")));
            let tag = output.e_tag.take().and_then(quoted).ok_or_else(no_tag)?;
            let len = output.content_length.and_then(|len| usize::try_from(len).ok());
            let received =
                pass_on(&asked, output.body, len, bytes_max, take).await.map_err(Failure::Failed)?;
            Ok((tag, received))
        });
        match got.await {
            Ok((tag, received)) => {
                self.meter.received(received);
                Ok(Some(tag))
            }
            Err(Failure::Missing) => Ok(None),
            Err(failure) => Err(failure.into_error(&asked)),
        }
    }

    /// Returns the first `len` bytes of an object, or all of a shorter one; `None` if there is
    /// none.
    pub(crate) async fn get_start(&self, key: &str, len: usize) -> Result<Option<Bytes>, Error> {
        let asked = self.asked("get the start of", key);
        let request =
            self.client.get_object().bucket(&self.bucket).key(key).range(format!("bytes=0-{}", len - 1));
        let got = self.within(&asked, READ_TIMEOUT, Class::Read, 0, async {
            let mut output = Box::pin(request.send()).await.map_err(|error| classify(&asked, &error))?;
            let mut start = BytesMut::new();
            // A server that does not support ranges sends more.
            while start.len() < len
                && let Some(chunk) = output.body.next().await
            {
                let broken = |error| Error::NoAnswer(format!("{asked}: the body broke off: {error}"));
                let chunk = chunk.map_err(|error| Failure::Failed(broken(aft_store_aws::chain(&error))))?;
                start.extend_from_slice(&chunk[..chunk.len().min(len - start.len())]);
            }
            Ok(start.freeze())
        });
        match got.await {
            Ok(start) => {
                self.meter.received(start.len());
                Ok(Some(start))
            }
            Err(Failure::Missing) => Ok(None),
            // The object is empty.
            Err(Failure::OutOfRange) => Ok(Some(Bytes::new())),
            Err(failure) => Err(failure.into_error(&asked)),
        }
    }

    /// Writes an object under the condition `only`, and returns its ETag.
    pub(crate) async fn put(&self, key: &str, body: Bytes, only: Only<'_>) -> Result<String, Failure> {
        let (call, len) = (call_of(only), body.len());
        let asked = self.asked(call, key);
        let limit = if len > LARGE_BYTES { LARGE_TIMEOUT } else { WRITE_TIMEOUT };
        let request = self.client.put_object().bucket(&self.bucket).key(key);
        let request = match only {
            Only::Always => request,
            Only::IfAbsent => request.if_none_match("*"),
            Only::IfTag(tag) => request.if_match(tag),
        };
        let mut request = request.body(ByteStream::from(body)).customize();
        if len > LARGE_BYTES {
            // The SDK does the same for every body that it streams. A hash of all bytes in the
            // signature costs both sides more than everything else together, and the formats that
            // are stored here have checksums of their own.
            request = request.disable_payload_signing();
        }
        self.within(&asked, limit, Class::Write, len, async {
            let output = Box::pin(request.send()).await.map_err(|error| classify(&asked, &error))?;
            // A web page that answers "200 OK" to everything does so to a write as well, but
            // without an ETag.
            let no_tag = || Failure::Failed(Error::NoAnswer(not_s3(&asked, "no ETag")));
            output.e_tag.and_then(quoted).ok_or_else(no_tag)
        })
        .await
    }

    /// Deletes one key, on the condition that it holds content with the ETag `tag`, if one is
    /// given.
    pub(crate) async fn delete(&self, key: &str, tag: Option<&str>) -> Result<(), Failure> {
        let asked = self.asked(if tag.is_some() { "delete_if" } else { "delete" }, key);
        let request = self.client.delete_object().bucket(&self.bucket).key(key);
        let request = request.set_if_match(tag.map(str::to_owned));
        self.within(&asked, WRITE_TIMEOUT, Class::Free, 0, async {
            Box::pin(request.send()).await.map_err(|error| classify(&asked, &error)).map(drop)
        })
        .await
    }

    /// Deletes up to [`BATCH_MAX`] keys in one request.
    pub(crate) async fn delete_batch(&self, keys: &[String]) -> Result<(), Error> {
        assert!((1..=BATCH_MAX).contains(&keys.len()), "a batch of {} keys", keys.len());
        let asked = format!("{}: delete of {} keys from {}", self.url, keys.len(), keys[0]);
        let object = |key: &String| ObjectIdentifier::builder().key(key).build().expect("it has its key");
        let batch = Delete::builder().set_objects(Some(keys.iter().map(object).collect())).quiet(true);
        let batch = batch.build().expect("it has its objects");
        let request = self.client.delete_objects().bucket(&self.bucket).delete(batch);
        let output = self
            .within(&asked, WRITE_TIMEOUT, Class::Write, 0, async {
                Box::pin(request.send()).await.map_err(|error| classify(&asked, &error))
            })
            .await
            .map_err(|failure| failure.into_error(&asked))?;
        // A key that did not exist counts as deleted. Of the others, the first error stands for
        // all.
        let mut failed = output.errors().iter().filter(|error| error.code() != Some("NoSuchKey"));
        let Some(first) = failed.next() else { return Ok(()) };
        let (code, message) = (first.code().unwrap_or_default(), first.message().unwrap_or_default());
        let (key, others) = (first.key().unwrap_or_default(), failed.count());
        let text = format!("{asked}: {key} and {others} others were not deleted: {code}: {message}");
        Err(match code {
            "SlowDown" | "RequestLimitExceeded" | "TooManyRequests" => Error::Busy(text),
            "AccessDenied" | "NotImplemented" | "MethodNotAllowed" => Error::Refused(text),
            _ => Error::NoAnswer(text),
        })
    }

    /// Returns a page of up to `limit` keys that start with `prefix` and come after `after`. With
    /// `by_directory`, keys with a `/` after the prefix are replaced by their directory.
    pub(crate) async fn list(
        &self,
        prefix: &str,
        by_directory: bool,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, Failure> {
        let asked = self.asked("list", prefix);
        let limit = limit.clamp(1, BATCH_MAX) as i32;
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).max_keys(limit);
        let request = request
            .set_delimiter(by_directory.then(|| "/".to_owned()))
            .set_start_after(after.map(str::to_owned));
        let output = self
            .within(&asked, READ_TIMEOUT, Class::Write, 0, async {
                Box::pin(request.send()).await.map_err(|error| classify(&asked, &error))
            })
            .await?;
        let broken = |what: &str| Failure::Failed(Error::NoAnswer(not_s3(&asked, what)));
        let more =
            output.is_truncated.ok_or_else(|| broken("a listing that does not say whether it ends"))?;
        let object = |object: aws_sdk_s3::types::Object| {
            let written = object.last_modified.and_then(|time| time.to_millis().ok());
            let written_ms = written.and_then(|ms| u64::try_from(ms).ok());
            Some(Object { key: object.key?, written_ms, tag: object.e_tag.and_then(quoted) })
        };
        let objects: Option<Vec<Object>> =
            output.contents.unwrap_or_default().into_iter().map(object).collect();
        let directories = output.common_prefixes.unwrap_or_default().into_iter().map(|one| one.prefix);
        let directories: Option<Vec<String>> = directories.collect();
        let (Some(objects), Some(mut directories)) = (objects, directories) else {
            return Err(broken("a listing with an entry that has no key"));
        };
        // Some servers repeat a directory that lies before `after`.
        directories
            .retain(|directory| after.is_none_or(|after| crate::layout::past(directory).as_str() > after));
        // The callers rely on the order of listings: reject a server or a bucket that does not keep
        // it.
        let keys = || objects.iter().map(|object| object.key.as_str());
        let ordered = keys().is_sorted_by(|a, b| a < b) && directories.is_sorted_by(|a, b| a < b);
        let below = keys().chain(directories.iter().map(String::as_str)).all(|key| key.starts_with(prefix));
        let behind = keys().next().is_none_or(|first| after.is_none_or(|after| first > after));
        if !ordered || !below || !behind {
            let text = format!(
                "{asked}: the listing is not in the order of the keys, or has keys that were not asked for; AFT cannot use buckets that list in another order"
            );
            return Err(Failure::Failed(Error::Refused(text)));
        }
        self.meter.received(keys().map(str::len).sum());
        Ok(Page { objects, directories, more })
    }

    /// The bucket's name.
    pub(crate) fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Creates the bucket; succeeds if these credentials own it already.
    pub(crate) async fn create_bucket(&self, region: &str) -> Result<(), Error> {
        let asked = format!("{}: create bucket", self.url);
        let mut request = self.client.create_bucket().bucket(&self.bucket);
        // S3 does not accept this region as a location constraint; it is the default.
        if region != "us-east-1" {
            let place = aws_sdk_s3::types::CreateBucketConfiguration::builder();
            request = request.create_bucket_configuration(place.location_constraint(region.into()).build());
        }
        let made = self.within(&asked, WRITE_TIMEOUT, Class::Write, 0, async {
            match Box::pin(request.send()).await {
                Ok(_) => Ok(()),
                Err(error) if error.code() == Some("BucketAlreadyOwnedByYou") => Ok(()),
                Err(error) => Err(classify(&asked, &error)),
            }
        });
        made.await.map_err(|failure| failure.into_error(&asked))
    }

    /// Returns the name of a call for messages: the store, the call and the key.
    pub(crate) fn asked(&self, call: &str, key: &str) -> String {
        format!("{}: {call} {key}", self.url)
    }

    /// Waits for a permit, counts the request, sends it, and drops it after `limit`.
    async fn within<T>(
        &self,
        asked: &str,
        limit: Duration,
        class: Class,
        bytes: usize,
        request: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + limit;
        let turn = timeout_at(deadline, self.turns.acquire()).await;
        let Ok(turn) = turn else {
            let text =
                format!("{asked}: not sent: {REQUESTS_MAX} other requests have been in flight for {limit:?}");
            return Err(Failure::Failed(Error::Busy(text)));
        };
        let _turn = turn.expect("never closed");
        self.meter.sent(class, bytes);
        timeout_at(deadline, request).await.unwrap_or_else(|_| {
            Err(Failure::Failed(Error::NoAnswer(format!("{asked}: took longer than {limit:?}"))))
        })
    }
}

/// Returns an ETag in quotes, as conditions need it; some servers leave them out. `None` if it is
/// empty.
fn quoted(tag: String) -> Option<String> {
    match tag.as_str() {
        "" => None,
        quoted if quoted.starts_with('"') => Some(tag),
        _ => Some(format!("\"{tag}\"")),
    }
}

fn call_of(only: Only<'_>) -> &'static str {
    match only {
        Only::Always => "put",
        Only::IfAbsent => "create",
        Only::IfTag(_) => "replace",
    }
}

/// A body that is put together from its pieces.
#[derive(Default)]
struct Whole {
    /// The only piece so far: a body of one piece is not copied.
    piece: Bytes,
    /// All pieces so far, from the second one on.
    together: BytesMut,
}

impl Whole {
    /// Appends a piece. `len` is the length of the whole body, if it is known.
    fn append(&mut self, piece: Bytes, len: Option<usize>) {
        if self.piece.is_empty() && self.together.is_empty() {
            self.piece = piece;
            return;
        }
        if self.together.is_empty() {
            self.together.reserve(len.unwrap_or(self.piece.len() + piece.len()));
            self.together.extend_from_slice(&std::mem::take(&mut self.piece));
        }
        self.together.extend_from_slice(&piece);
    }

    fn freeze(self) -> Bytes {
        if self.together.is_empty() { self.piece } else { self.together.freeze() }
    }
}

/// Gathers small pieces into larger ones. An arriving piece keeps the whole buffer alive into which
/// it was read, which may be many times as large, so a caller who keeps many of them would use more
/// memory than it counts.
struct Gathered<'a> {
    room: BytesMut,
    take: &'a mut (dyn FnMut(Bytes) + Send),
}

impl Gathered<'_> {
    /// Passes on a large piece, after what was gathered before it; gathers a small one.
    fn append(&mut self, mut piece: Bytes) {
        if piece.len() >= PIECE_BYTES_MIN {
            self.pass();
            return (self.take)(piece);
        }
        while !piece.is_empty() {
            if self.room.capacity() == 0 {
                self.room.reserve(GATHERED_BYTES);
            }
            let fits = piece.len().min(GATHERED_BYTES - self.room.len());
            self.room.extend_from_slice(&piece.split_to(fits));
            if self.room.len() == GATHERED_BYTES {
                self.pass();
            }
        }
    }

    /// Passes on what has been gathered.
    fn pass(&mut self) {
        if !self.room.is_empty() {
            (self.take)(std::mem::take(&mut self.room).freeze());
        }
    }
}

/// Passes the pieces of a body to `take` as they arrive, and returns the number of bytes. It is an
/// error if there are more than `bytes_max`, or if their number is not the announced `len`.
async fn pass_on(
    asked: &str,
    mut body: ByteStream,
    len: Option<usize>,
    bytes_max: usize,
    take: &mut (dyn FnMut(Bytes, Option<usize>) + Send),
) -> Result<usize, Error> {
    let too_large = || {
        Error::Damaged(format!("{asked}: more than {bytes_max} bytes; AFT does not write objects that large"))
    };
    if len.is_some_and(|len| len > bytes_max) {
        return Err(too_large());
    }
    let broken = |why: String| Error::NoAnswer(format!("{asked}: the body broke off: {why}"));
    let mut received = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| broken(aft_store_aws::chain(&error)))?;
        received += piece.len();
        if received > bytes_max {
            return Err(too_large());
        }
        if let Some(len) = len.filter(|len| received > *len) {
            return Err(broken(format!("more than the {len} bytes that were announced")));
        }
        take(piece, len);
    }
    match len {
        Some(len) if len != received => Err(broken(format!("{received} of {len} bytes"))),
        Some(_) | None => Ok(received),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the sizes of the pieces that are passed on if pieces of these sizes arrive.
    fn gathered(sizes: &[usize]) -> Vec<usize> {
        let mut next = 0_u8;
        let mut bytes = |len: usize| -> Bytes {
            let mut byte = || {
                next = next.wrapping_add(1) % 251;
                next
            };
            (0..len).map(|_| byte()).collect()
        };
        let pieces: Vec<Bytes> = sizes.iter().map(|len| bytes(*len)).collect();
        let (mut came, mut passed) = (Vec::new(), Vec::new());
        let mut take = |piece: Bytes| {
            passed.push(piece.len());
            came.extend_from_slice(&piece);
        };
        let mut gathered = Gathered { room: BytesMut::new(), take: &mut take };
        pieces.iter().cloned().for_each(|piece| gathered.append(piece));
        gathered.pass();
        assert!(came == pieces.concat(), "all bytes, in their order");
        passed
    }

    #[test]
    fn small_pieces_are_gathered_and_large_ones_pass() {
        let (large, full) = (PIECE_BYTES_MIN, GATHERED_BYTES);
        assert_eq!(gathered(&[]), []);
        assert_eq!(gathered(&[7, 0, 1]), [8]);
        assert_eq!(gathered(&[large, large + 1, 3 * large]), [large, large + 1, 3 * large]);
        // Small pieces that arrived before a large one are passed on before it.
        assert_eq!(gathered(&[10, large, 20, 30, large, 5]), [10, large, 50, large, 5]);
        assert_eq!(gathered(&[1_448; 400]), [full, full, 400 * 1_448 - 2 * full]);
        assert_eq!(gathered(&[large - 1, large - 1]), [full, 2 * (large - 1) - full]);
    }
}
