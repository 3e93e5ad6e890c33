//! Buckets that read through to one outside the store, their *origin* (docs/protocol.md, section
//! 18).
//!
//! A key that such a bucket has never written is read from the origin: that object is the key's
//! version 0. With `mirror`, committed versions are also written to the origin under their plain
//! names, each with a mark, so that none is ever taken for version 0.
//!
//! * [`Origin`] – the requests to a bucket outside. [`Origins`] – those that this process knows.
//! * `mapping` – what the store records about such a bucket, and the keys of its own.
//! * `through` – version 0 as an object. `merge` – listings of both.

pub(crate) mod mapping;
pub(crate) mod merge;
pub(crate) mod through;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aft_core::ids::{AttemptId, Key};
use aft_core::message::ListKeys;
use aft_desk::Desk;
use aft_format::Attributes;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::call::Call;
use crate::failure::{Failure, Result as Outcome};
use crate::object::{bucket_of, marker};
use crate::operations::buckets::is_bucket_name;
use crate::origin::mapping::{Kind, Mapping, NAME_BYTES_MAX};

/// The name of the metadata that marks a mirrored object. Its value is the mapping's ID and the
/// version.
pub const MARK: &str = "aft-mirror";

/// An object of a bucket outside the store, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plain {
    /// The size in bytes.
    pub size: u64,
    /// The entity tag, without quotes.
    pub etag: String,
    /// The time of the last change, in milliseconds since the epoch.
    pub modified_ms: u64,
    /// The attributes, with tags, without the mark.
    pub attributes: Attributes,
    /// The value of the metadata [`MARK`], if there is any.
    pub mark: Option<String>,
}

/// An object of a listing of a bucket outside the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainEntry {
    /// The key below the origin's prefix.
    pub key: String,
    /// The size in bytes.
    pub size: u64,
    /// The entity tag, without quotes.
    pub etag: String,
    /// The time of the last change, in milliseconds since the epoch.
    pub modified_ms: u64,
}

/// A page of a listing of a bucket outside the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlainPage {
    /// The objects, in the order of their keys.
    pub objects: Vec<PlainEntry>,
    /// The common prefixes, in order.
    pub prefixes: Vec<String>,
    /// True if there are more.
    pub more: bool,
}

/// The part of a bucket outside the store that a listing asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlainRange {
    /// The prefix of the keys.
    pub prefix: String,
    /// The delimiter of common prefixes; `None` to list every key.
    pub delimiter: Option<String>,
    /// The text after which the listing begins, exclusive; empty for the start.
    pub after: String,
    /// The most objects and common prefixes.
    pub limit: u32,
}

/// The object that must be there for a request to take effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// None.
    Nothing,
    /// One with this entity tag, without quotes.
    Tag(String),
}

/// An object that is written to a bucket outside the store.
pub struct Outgoing {
    /// The attributes, without the mark.
    pub attributes: Attributes,
    /// The value of the metadata [`MARK`].
    pub mark: String,
    /// The number of bytes.
    pub size: u64,
    /// The sizes of the parts of an object that was uploaded in parts; empty for others.
    pub parts: Vec<u64>,
    /// The bytes. An error, which is a text for people, ends them.
    pub bytes: BoxStream<'static, Result<Bytes, String>>,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("size", &self.size).field("mark", &self.mark).finish_non_exhaustive()
    }
}

/// The reason why a bucket outside the store did not do what a request asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The object is another one than the request expects, or there is none.
    Changed,
    /// Anything else, for people.
    Failed(String),
}

/// A bucket outside the store, below a prefix. Every method is one request or a few; what passes
/// was repeated.
#[async_trait]
pub trait Origin: fmt::Debug + Send + Sync + 'static {
    /// Looks at an object; `None` if there is none.
    async fn head(&self, key: &str) -> Result<Option<Plain>, Trouble>;

    /// Reads bytes of the object that has the entity tag `etag`; without a range, all of them.
    async fn get(
        &self,
        key: &str,
        etag: &str,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, String>>, Trouble>;

    /// Returns the place of a part of the object that has the entity tag `etag`, if it was uploaded
    /// in parts and has one with this number. Any other object has one part.
    async fn part(&self, key: &str, etag: &str, number: u32) -> Result<Option<Range<u64>>, Trouble>;

    /// Lists objects in the order of their keys.
    async fn list(&self, range: PlainRange) -> Result<PlainPage, Trouble>;

    /// Writes an object, and returns its entity tag, without quotes.
    async fn put(&self, key: &str, expect: Expect, outgoing: Outgoing) -> Result<String, Trouble>;

    /// Deletes the object that has the entity tag `etag`. Some servers do not compare it.
    async fn delete(&self, key: &str, etag: &str) -> Result<(), Trouble>;
}

/// A bucket of the endpoint to be mapped onto one outside the store.
#[derive(Debug, Clone)]
pub struct Mapped {
    /// The name of the bucket.
    pub bucket: String,
    /// The place of the origin, as it is recorded and shown.
    pub place: String,
    /// True if committed versions are written to the origin.
    pub mirror: bool,
    /// The requests to it.
    pub origin: Arc<dyn Origin>,
    /// The reason why it did not answer when it was opened, for people.
    pub silent: Option<String>,
}

/// A bucket of the endpoint with its origin.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) mapping: Mapping,
    pub(crate) origin: Arc<dyn Origin>,
    /// The entries of the mirror's list that this process has written, with the instant of that.
    pub(crate) due: Mutex<HashMap<Key, Instant>>,
    /// Notified of each of them.
    pub(crate) wake: Notify,
}

/// The pause between two removals of the pins of transactions that are over.
const PINS_SWEPT_EVERY: Duration = Duration::from_secs(10);
/// The pause between two looks for buckets that another server has mapped.
const WATCH: Duration = Duration::from_secs(60);

/// The version 0 of a key that a transaction has read: its entity tag, or none.
type Pins = HashMap<Key, Option<String>>;

/// The pins of all transactions.
type AllPins = (Instant, HashMap<AttemptId, (Instant, Pins)>);

/// The buckets with an origin that this process knows.
#[derive(Debug)]
pub struct Origins {
    buckets: HashMap<String, Arc<Bucket>>,
    /// The version 0 of keys that open transactions have read, with the instant of the first read;
    /// and the instant at which those of transactions that are over were removed.
    pins: Mutex<AllPins>,
    /// The longest time of a transaction.
    pinned_for: Duration,
    /// The buckets that another server has mapped since this one started.
    unknown: Mutex<HashMap<String, Mapping>>,
    /// Buckets that exist and have no origin, as the process was told: no call looks at their
    /// markers.
    own: HashSet<String>,
}

impl Origins {
    /// Records buckets with their origins in the store, and makes those that do not exist.
    ///
    /// # Errors
    /// Returns the reason why one cannot be mapped; the text names the bucket.
    pub async fn open(desk: &Arc<Desk>, buckets: Vec<Mapped>) -> Result<Arc<Origins>, String> {
        let call = Call::of_server(desk);
        let known: Vec<&str> = buckets.iter().map(|mapped| mapped.bucket.as_str()).collect();
        let mapped = call.mapped_buckets().await.map_err(|failure| failure.message)?;
        if let Some((bucket, mapping)) = mapped.iter().find(|(bucket, _)| !known.contains(&bucket.as_str())) {
            return Err(Failure::unknown_origin(bucket, mapping).message);
        }
        let mut opened = HashMap::new();
        refuse_overlaps(&buckets)?;
        for Mapped { bucket, place, mirror, origin, silent } in buckets {
            let mapping = call.map_bucket(&bucket, &place, mirror, silent).await;
            let mapping = mapping.map_err(|failure| format!("{bucket:?}: {}", failure.message))?;
            info!(bucket, place, mirror, "the bucket reads through to its origin");
            let known =
                Bucket { name: bucket.clone(), mapping, origin, due: Mutex::default(), wake: Notify::new() };
            if opened.insert(bucket.clone(), Arc::new(known)).is_some() {
                return Err(format!("{bucket:?}: the bucket is mapped twice: name it once"));
            }
        }
        Ok(Arc::new(Origins {
            buckets: opened,
            pins: Mutex::new((Instant::now(), HashMap::new())),
            pinned_for: desk.node().over_after(),
            unknown: Mutex::default(),
            own: HashSet::new(),
        }))
    }

    /// Returns the origins of a process that knows none. Calls take it for granted that the buckets
    /// `own` exist and have no origin, which saves a read of the bucket in each transaction;
    /// [`check_own_buckets`](crate::check_own_buckets) finds out. Nothing is sent to the store.
    pub fn none(desk: &Arc<Desk>, own: &[String]) -> Arc<Origins> {
        Arc::new(Origins {
            buckets: HashMap::new(),
            pins: Mutex::new((Instant::now(), HashMap::new())),
            pinned_for: desk.node().over_after(),
            unknown: Mutex::default(),
            own: own.iter().cloned().collect(),
        })
    }

    /// Returns true if a bucket exists and has no origin, as the process was told.
    pub(crate) fn is_own(&self, bucket: &str) -> bool {
        self.own.contains(bucket)
    }

    /// Returns the origin of a bucket that this process does not know.
    pub(crate) fn unknown(&self, bucket: &str) -> Option<Mapping> {
        self.unknown.lock().expect("nothing panics while it holds the names").get(bucket).cloned()
    }

    /// Looks, without an end, for what another server changes about buckets with an origin: one
    /// that is new here is rejected from then on, and a mirror that was switched is logged.
    pub async fn watch(self: Arc<Self>, desk: Arc<Desk>) {
        let call = Call::of_server(&desk);
        let mut told = HashSet::new();
        loop {
            tokio::time::sleep(WATCH).await;
            let Ok(mapped) = call.mapped_buckets().await else { continue };
            for (bucket, mapping) in mapped {
                match self.get(&bucket) {
                    None => {
                        if told.insert(bucket.clone()) {
                            warn!("{}", Failure::unknown_origin(&bucket, &mapping).message);
                        }
                        let mut unknown =
                            self.unknown.lock().expect("nothing panics while it holds the names");
                        unknown.insert(bucket, mapping);
                    }
                    Some(known) if known.mapping != mapping && told.insert(bucket.clone()) => {
                        let (here, there) = (&known.mapping, &mapping);
                        warn!(
                            bucket,
                            "another server was started with another origin or mirror for this bucket, which counts \
                             now ({}, mirror {}; here {}, mirror {}): start this server with the same argument",
                            there.place,
                            there.mirror,
                            here.place,
                            here.mirror
                        );
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// Returns all buckets.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = &Arc<Bucket>> {
        self.buckets.values()
    }

    /// Returns the bucket with a name, if it has an origin.
    pub(crate) fn get(&self, bucket: &str) -> Option<&Arc<Bucket>> {
        self.buckets.get(bucket)
    }

    /// Remembers the version 0 of a key that a transaction has read. Returns false if it has read
    /// another one before.
    pub(crate) fn pin(&self, attempt: AttemptId, key: &Key, etag: Option<&str>) -> bool {
        let (swept, pins) = &mut *self.pins.lock().expect("nothing panics while it holds the pins");
        if swept.elapsed() >= PINS_SWEPT_EVERY {
            // A transaction that has ended needs none.
            pins.retain(|_, (since, _)| since.elapsed() < self.pinned_for);
            *swept = Instant::now();
        }
        let (_, of_attempt) = pins.entry(attempt).or_insert_with(|| (Instant::now(), Pins::new()));
        let pinned = of_attempt.entry(key.clone()).or_insert_with(|| etag.map(str::to_owned));
        pinned.as_deref() == etag
    }
}

impl Bucket {
    /// Remembers entries of the mirror's list that this process is about to write.
    pub(crate) fn expect_due(&self, dues: Vec<Key>) {
        if dues.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut due = self.due.lock().expect("nothing panics while it holds the list");
        due.extend(dues.into_iter().map(|key| (key, now)));
        self.wake.notify_one();
    }

    /// Returns the failure of a request to the origin.
    pub(crate) fn failure(&self, trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Changed => Failure::changed_at_origin(),
            Trouble::Failed(why) => {
                let why = format!("the origin {} did not serve this call: {why}", self.mapping.place);
                Failure::new("ServiceUnavailable", 503, why)
            }
        }
    }
}

impl Call {
    /// Returns all buckets with an origin that the store records.
    async fn mapped_buckets(&self) -> Outcome<Vec<(String, Mapping)>> {
        let prefixes = self.list_all(mapping::PREFIX, Some("/")).await?.prefixes;
        let bucket = |prefix: &String| prefix[mapping::PREFIX.len()..].trim_end_matches('/').to_owned();
        let buckets: Vec<String> = prefixes.iter().map(bucket).filter(|name| is_bucket_name(name)).collect();
        let markers: Vec<Key> = buckets.iter().map(|bucket| marker(bucket)).collect();
        let reads = self.read_all_alone(&markers).await?;
        let mapping = |(bucket, read)| match bucket_of(read) {
            Some((Kind::Mapped(mapping), _)) => Some((bucket, mapping)),
            _ => None,
        };
        Ok(buckets.into_iter().zip(reads).filter_map(mapping).collect())
    }

    /// Returns true if a bucket has any object in the store.
    async fn has_objects(&self, bucket: &str) -> Outcome<bool> {
        let first = marker(bucket).as_str().to_owned();
        let ask = ListKeys { prefix: first.clone(), after: Some(first), limit: 1, delimiter: None };
        Ok(!self.page(ask).await?.keys.is_empty())
    }

    /// Records that a bucket has an origin, and makes the bucket if it does not exist. Returns what
    /// is recorded.
    async fn map_bucket(
        &self,
        bucket: &str,
        place: &str,
        mirror: bool,
        silent: Option<String>,
    ) -> Outcome<Mapping> {
        if bucket.len() > NAME_BYTES_MAX {
            let why = format!(
                "the name of a bucket with an origin has at most {NAME_BYTES_MAX} bytes, and this one has {}: choose a \
                 shorter one; that of the origin may be longer",
                bucket.len()
            );
            return Err(Failure::new("InvalidBucketName", 400, why));
        }
        self.create_if_missing(bucket).await?;
        let before = self.need_bucket(bucket).await?;
        let id = match &before {
            // A mirror would write what the bucket has over what the origin has.
            Kind::Own if self.has_objects(bucket).await? => {
                let why = "it has objects already: give the origin a bucket of its own, with a new name";
                return Err(Failure::invalid_request(why));
            }
            Kind::Own => format!("{:016x}", rand::random::<u64>()),
            Kind::Mapped(mapping) if same_bucket(&mapping.place, place) => mapping.id.clone(),
            Kind::Mapped(mapping) => {
                let why = format!(
                    "the store records that its origin is {}, and not {place}: give that one, or choose another bucket",
                    mapping.place
                );
                return Err(Failure::invalid_request(why));
            }
        };
        let after = Mapping { id, place: place.to_owned(), mirror };
        let (kind, is_checked) = (Kind::Mapped(after.clone()), |key| self.caller.node().is_checked(key));
        let (key, own) = (marker(bucket), mapping::mapped(bucket));
        let beside = [mapping::hidden(bucket, ""), mapping::plain(bucket, ""), mapping::due(bucket, "")];
        if beside.iter().chain([&own]).any(|beside| is_checked(beside) != is_checked(&key)) {
            let level = if is_checked(&key) { "serializable" } else { "read_atomic" };
            let prefix = mapping::prefix(bucket);
            let why = format!(
                "the keys of the bucket are {level}, and those that say what its origin has are not: run `aft store \
                 init STORE --isolation {prefix}={level}` first"
            );
            return Err(Failure::invalid_request(why));
        }
        match silent {
            Some(why) if kind == before => {
                warn!(
                    bucket,
                    place, why, "the origin does not answer; the bucket is served without it meanwhile"
                );
            }
            Some(why) => {
                let why = format!("the origin {place} has to answer at the first start with it: {why}");
                return Err(Failure::new("ServiceUnavailable", 503, why));
            }
            None => {}
        }
        if matches!(&before, Kind::Mapped(mapping) if mapping.mirror && !mirror) {
            warn!(
                bucket,
                place, "the mirror is switched off, for all servers: commits reach the origin no longer"
            );
        }
        if kind != before {
            let mut beside = vec![mapping::mapped(bucket)];
            beside.extend(mirror.then(|| mapping::behind(bucket)));
            self.mark_bucket(bucket, &before, &kind, beside).await?;
        }
        Ok(after)
    }
}

/// Returns true if two places are the same prefix of the same bucket: it may be reached in another
/// way.
fn same_bucket(one: &str, other: &str) -> bool {
    let bucket = |place: &str| place.split('?').next().unwrap_or_default().to_owned();
    bucket(one) == bucket(other)
}

/// Refuses two buckets one of whose places is within the other's: each would take what the other
/// mirrors for its version 0.
fn refuse_overlaps(buckets: &[Mapped]) -> Result<(), String> {
    let path = |mapped: &Mapped| mapped.place.split('?').next().unwrap_or_default().to_owned();
    for (at, one) in buckets.iter().enumerate() {
        for other in &buckets[at + 1..] {
            if one.bucket == other.bucket {
                return Err(format!("--bucket names {:?} twice: name it once", one.bucket));
            }
            let (inner, outer) =
                if path(one).starts_with(&path(other)) { (one, other) } else { (other, one) };
            if path(inner).starts_with(&path(outer)) {
                return Err(format!(
                    "the origin of {:?}, {}, is within that of {:?}, {}: give each bucket a place of its own",
                    inner.bucket,
                    path(inner),
                    outer.bucket,
                    path(outer)
                ));
            }
        }
    }
    Ok(())
}
