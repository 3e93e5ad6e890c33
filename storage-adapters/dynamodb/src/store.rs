//! The store: maps names to places, and calls to requests.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use aft_store::{
    Capabilities, Committed, Costs, Created, Error, GroupPage, ItemPage, Name, Position, Replaced, Result,
    ScanPage, Space, Store, Tag, TimeHeard, Writes,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::failure::Failure;
use crate::layout::{Layout, PREFIX_BYTES_MAX, Place};
use crate::link::{BATCH_MAX, Link, Only, TAG_BYTES};
use crate::meter::Consumed;
use crate::puts::{Put, Puts};
use crate::{OpenError, Options, Prepared, commit, listing, open, scan};

/// The size of the largest item, the names of its attributes included.
const ITEM_BYTES_MAX: usize = 400 << 10;
/// The size of the largest body: that of an item, less the longest key, the tag and the longest
/// group.
const BODY_BYTES_MAX: usize = 400_000;
const _: () = assert!(
    BODY_BYTES_MAX
        + PREFIX_BYTES_MAX
        // A space's name and a partition's number; a sort key; the names of five attributes.
        + 16 + 1_024 + 5
        + TAG_BYTES
        + Name::GROUP_BYTES_MAX
        <= ITEM_BYTES_MAX
);
/// The size of a part of a large value. DynamoDB charges by KB, so larger parts would save only
/// requests.
const BLOB_PART_BYTES: usize = 256 << 10;
const _: () = assert!(BLOB_PART_BYTES < BODY_BYTES_MAX);
/// The time in which a request that nobody waits for any more may still be carried out. DynamoDB
/// rejects signatures older than 15 minutes.
const GRACE_MS: u64 = 60 * 60 * 1_000;
/// The number of batches of deletions in flight at once.
const BATCHES_AT_ONCE: usize = 4;

/// A store in a table, or in a prefix of one. Clones share the connections and the counts.
#[derive(Clone)]
pub struct DynamoDbStore {
    inner: Arc<Inner>,
}

struct Inner {
    link: Arc<Link>,
    layout: Layout,
    puts: Arc<Puts>,
}

impl fmt::Debug for DynamoDbStore {
    // Leaves the client out: its own output is long, and might show a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDbStore").field("url", &self.inner.link.url).finish_non_exhaustive()
    }
}

impl DynamoDbStore {
    /// Opens the store at `dynamodb://TABLE/PREFIX?endpoint=URL&region=R`. First checks that the
    /// table exists, has the right key schema, and can be read and written: six requests, on an
    /// item of its own that is deleted afterwards.
    ///
    /// # Errors
    /// An [`OpenError`] if the URL is wrong, there are no credentials, or the table cannot be read
    /// and written. Its text names the remedy.
    pub async fn open(url: &str, options: &Options) -> std::result::Result<DynamoDbStore, OpenError> {
        let opened = open::open(url, options).await?;
        Ok(DynamoDbStore::from(opened))
    }

    /// Makes the store at `dynamodb://TABLE/PREFIX?endpoint=URL&region=R` without a request: for
    /// processes whose start somebody waits for. Mistakes show at the first call.
    ///
    /// # Errors
    /// An [`OpenError`] if the URL is wrong, there are no credentials, or no region is known. Its
    /// text names the remedy.
    pub async fn attach(url: &str, options: &Options) -> std::result::Result<DynamoDbStore, OpenError> {
        Ok(DynamoDbStore::from(open::connect(url, options).await?))
    }

    /// Opens the store like [`DynamoDbStore::open`], but creates the table if it does not exist,
    /// and waits until it is active.
    ///
    /// # Errors
    /// The errors of [`DynamoDbStore::open`], and an error if the table cannot be created or does
    /// not become active.
    pub async fn init(
        url: &str,
        options: &Options,
    ) -> std::result::Result<(DynamoDbStore, Prepared), OpenError> {
        let (opened, prepared) = open::init(url, options).await?;
        Ok((DynamoDbStore::from(opened), prepared))
    }

    /// Returns the capacity that calls have consumed so far.
    pub fn consumed(&self) -> Consumed {
        self.inner.link.meter.so_far()
    }

    /// Returns the bodies under `names` as of one moment, in the order of `names`, by a transaction
    /// of DynamoDB. Each item costs twice the units of a single read.
    ///
    /// # Errors
    /// Returns [`Error::Busy`] if another transaction conflicted with this one or DynamoDB
    /// throttles the request; retry it after a delay. Returns [`Error::Refused`] if DynamoDB
    /// rejects the request, for instance since it has more than 100 names or one of them twice.
    /// Returns [`Error::NoAnswer`] if there was no answer in time, and [`Error::Damaged`] if an
    /// item does not belong to the store.
    pub async fn transact_get(&self, names: &[Name]) -> Result<Vec<Option<Bytes>>> {
        let Inner { link, layout, .. } = &*self.inner;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let places: Vec<Place> = names.iter().map(|name| layout.place(name)).collect();
        link.transact_get(&places).await
    }

    /// Writes all of `bodies` at one moment or none of them, by a transaction of DynamoDB. Each
    /// item costs twice the units of a single write.
    ///
    /// # Errors
    /// Returns [`Error::Busy`] if another transaction conflicted with this one or DynamoDB
    /// throttles the request: nothing was written, so retry it after a delay. Returns
    /// [`Error::Refused`] if DynamoDB rejects the request, for instance since it has more than 100
    /// names or one of them twice. Returns [`Error::NoAnswer`] if there was no answer in time: the
    /// bodies may be written later, all of them or none.
    pub async fn transact_put(&self, bodies: Vec<(Name, Bytes)>) -> Result<()> {
        let Inner { link, layout, .. } = &*self.inner;
        let places: Vec<(Place, Bytes)> =
            bodies.into_iter().map(|(name, body)| (layout.place(&name), body)).collect();
        link.transact_put(&places, fresh_tag).await
    }

    async fn write(
        &self,
        name: &Name,
        body: &Bytes,
        only: Only<'_>,
    ) -> Result<std::result::Result<(), Lost>> {
        let Inner { link, .. } = &*self.inner;
        let place = self.place_of(name, body)?;
        lost(link.put(&place, body, &fresh_tag(), only).await, || link.asked("write", &place))
    }

    /// Returns the put of a name's item, with a fresh tag.
    ///
    /// # Errors
    /// [`Error::Refused`] if the body is too large.
    pub(crate) fn put_of(&self, name: &Name, body: Bytes) -> Result<Put> {
        let place = self.place_of(name, &body)?;
        Ok(Put { place, body, tag: fresh_tag() })
    }

    pub(crate) fn puts(&self) -> &Arc<Puts> {
        &self.inner.puts
    }

    /// Returns the place of a name's item.
    ///
    /// # Errors
    /// [`Error::Refused`] if the body is too large.
    fn place_of(&self, name: &Name, body: &Bytes) -> Result<Place> {
        let Inner { link, layout, .. } = &*self.inner;
        if body.len() > BODY_BYTES_MAX {
            let text = format!(
                "{}: the body for {name} is too large: it has {} bytes, and the limit is {BODY_BYTES_MAX}, since DynamoDB's items have at most 400 KB",
                link.url,
                body.len()
            );
            return Err(Error::Refused(text));
        }
        Ok(layout.place(name))
    }
}

/// Returns a tag for a write. Each write has another, so that a caller with an older tag is known
/// not to have seen this content.
fn fresh_tag() -> Vec<u8> {
    rand::random::<[u8; TAG_BYTES]>().to_vec()
}

impl From<open::Opened> for DynamoDbStore {
    fn from(opened: open::Opened) -> DynamoDbStore {
        let open::Opened { link, layout } = opened;
        let link = Arc::new(link);
        let puts = Puts::new(link.clone());
        DynamoDbStore { inner: Arc::new(Inner { link, layout, puts }) }
    }
}

/// The outcome of a write whose condition did not hold.
struct Lost;

/// Splits an outcome into success, a condition that did not hold, and an error.
fn lost(
    outcome: std::result::Result<(), Failure>,
    asked: impl FnOnce() -> String,
) -> Result<std::result::Result<(), Lost>> {
    match outcome {
        Ok(()) => Ok(Ok(())),
        Err(Failure::Condition) => Ok(Err(Lost)),
        Err(failure) => Err(failure.into_error(&asked())),
    }
}

fn replaced(outcome: std::result::Result<(), Lost>) -> Replaced {
    match outcome {
        Ok(()) => Replaced::Replaced,
        Err(Lost) => Replaced::Changed,
    }
}

#[async_trait]
impl Store for DynamoDbStore {
    fn url(&self) -> String {
        self.inner.link.url.clone()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            delete_if: true,
            exclusive: false,
            grace_ms: GRACE_MS,
            body_bytes_max: BODY_BYTES_MAX,
            blob_part_bytes: BLOB_PART_BYTES,
            durability: "stored by DynamoDB",
        }
    }

    fn costs(&self) -> Option<Costs> {
        Some(self.inner.link.meter.costs())
    }

    fn times_heard(&self) -> Vec<TimeHeard> {
        self.inner.link.times.take()
    }

    async fn get(&self, name: &Name) -> Result<Option<(Bytes, Tag)>> {
        let Inner { link, layout, .. } = &*self.inner;
        let place = layout.place(name);
        let Some(item) = link.get(&place).await? else { return Ok(None) };
        if item.group != place.group {
            let asked = link.asked("get", &place);
            return Err(Error::Damaged(format!(
                "{asked}: the item belongs to another group; keep other items out of this table"
            )));
        }
        Ok(Some((item.body, Tag(item.tag))))
    }

    async fn put(&self, name: &Name, body: Bytes) -> Result<()> {
        let put = self.put_of(name, body)?;
        self.inner.puts.put(put).await
    }

    async fn create(&self, name: &Name, body: Bytes) -> Result<Created> {
        let created = self.write(name, &body, Only::IfAbsent).await?;
        Ok(if created.is_ok() { Created::Created } else { Created::Exists })
    }

    async fn replace(&self, name: &Name, tag: &Tag, body: Bytes) -> Result<Replaced> {
        self.write(name, &body, Only::IfTag(&tag.0)).await.map(replaced)
    }

    async fn delete(&self, names: &[Name]) -> Result<()> {
        let Inner { link, layout, .. } = &*self.inner;
        // The server rejects a batch that has an item twice.
        let places: BTreeSet<Place> = names.iter().map(|name| layout.place(name)).collect();
        let places: Vec<Place> = places.into_iter().collect();
        if let [place] = places.as_slice() {
            let outcome = link.delete(place, None).await;
            return outcome.map_err(|failure| failure.into_error(&link.asked("delete", place)));
        }
        let batches: Vec<Vec<Place>> = places.chunks(BATCH_MAX).map(<[Place]>::to_vec).collect();
        let deletions =
            futures::stream::iter(batches).map(|places| async move { link.delete_batch(&places).await });
        deletions.buffer_unordered(BATCHES_AT_ONCE).try_collect().await
    }

    async fn delete_if(&self, name: &Name, tag: &Tag) -> Result<Replaced> {
        let Inner { link, layout, .. } = &*self.inner;
        let place = layout.place(name);
        let outcome = link.delete(&place, Some(&tag.0)).await;
        lost(outcome, || link.asked("delete_if", &place)).map(replaced)
    }

    async fn list(&self, space: Space, group: &[u8], after: Option<&[u8]>, limit: usize) -> Result<ItemPage> {
        assert!(limit > 0, "a page holds at least one item");
        let Inner { link, layout, .. } = &*self.inner;
        listing::items(link, layout, space, group, after, limit).await
    }

    async fn commit(&self, writes: Writes) -> Committed {
        commit::commit(self, writes).await
    }

    async fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        limit: usize,
    ) -> Result<ScanPage> {
        assert!(limit > 0, "a page holds at least one name");
        let Inner { link, layout, .. } = &*self.inner;
        scan::page(link, layout, space, prefix, after, limit).await
    }

    async fn groups(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<GroupPage> {
        assert!(limit > 0, "a page holds at least one group");
        let Inner { link, layout, .. } = &*self.inner;
        listing::groups(link, layout, space, prefix, after, limit).await
    }
}
