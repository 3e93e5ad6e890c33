//! The store: maps names to keys, and calls to requests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aft_store::{
    BODIES_AT_ONCE, Capabilities, Committed, Costs, Created, Damage, Error, GroupPage, ItemPage, Name,
    Position, Replaced, Result, ScanPage, Space, Store, Tag, TimeHeard, Writes,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join_all;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::failure::Failure;
use crate::layout::{self, Layout, SEAL_BYTES_MAX};
use crate::link::{BATCH_MAX, Link, Only};
use crate::open::{Abilities, Prepared};
use crate::{OpenError, Options, commit, groups, open, scan};

/// The size of the largest body: the same as in the other stores, so that tests on those meet the
/// same bound. S3 itself takes 5 GB in one request, but every body in flight is in memory.
const BODY_BYTES_MAX: usize = 16 << 20;
/// The size of a part of a large value. It is large because S3 charges by request; two parts in
/// flight take 16 MiB of memory.
pub(crate) const BLOB_PART_BYTES: usize = 8 << 20;
const _: () = assert!(BLOB_PART_BYTES <= BODY_BYTES_MAX);
/// The time in which a request that nobody waits for any more may still be carried out. S3 rejects
/// signatures older than 15 minutes.
const GRACE_MS: u64 = 60 * 60 * 1_000;

/// The number of attempts of a write that S3 did not carry out because of a concurrent one to the
/// same key. In a race of many writers, S3 gives that answer to all but a few.
const CONFLICT_TRIES: u32 = 8;
/// The longest pause before the first retry. It doubles for each further one: a few seconds in all.
const CONFLICT_PAUSE: Duration = Duration::from_millis(20);
/// The number of single deletions in flight at once, if the server has no batches.
const DELETES_AT_ONCE: usize = 16;
/// The number of batches of deletions in flight at once.
const BATCHES_AT_ONCE: usize = 4;

/// A store in a bucket, or in a prefix of one. Clones share the connections and the counts.
#[derive(Clone)]
pub struct S3Store {
    inner: Arc<Inner>,
}

struct Inner {
    link: Link,
    layout: Layout,
    abilities: Abilities,
    caution: Option<String>,
}

impl fmt::Debug for S3Store {
    // Leaves the client out: its own output is long, and might show a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store")
            .field("url", &self.inner.link.url)
            .field("abilities", &self.inner.abilities)
            .finish_non_exhaustive()
    }
}

impl S3Store {
    /// Opens the store at `s3://BUCKET/PREFIX?endpoint=URL&region=R`. First checks that the bucket
    /// exists and can be written, and tests what the server can do: about a dozen requests, on an
    /// object of its own that is deleted afterwards.
    ///
    /// # Errors
    /// An [`OpenError`] if the URL is wrong, there are no credentials, or the bucket cannot be
    /// listed, written and read. Its text names the remedy.
    pub async fn open(url: &str, options: &Options) -> std::result::Result<S3Store, OpenError> {
        let opened = open::open(url, options).await?;
        Ok(S3Store::from(opened))
    }

    /// Makes the store at `s3://BUCKET/PREFIX?endpoint=URL&region=R` without a request: for
    /// processes whose start somebody waits for. Mistakes show at the first call. Amazon's own
    /// abilities are known; any other server is treated as one that neither checks the condition
    /// of a deletion nor deletes in batches.
    ///
    /// # Errors
    /// An [`OpenError`] if the URL is wrong, there are no credentials, or no region is known. Its
    /// text names the remedy.
    pub async fn attach(url: &str, options: &Options) -> std::result::Result<S3Store, OpenError> {
        Ok(S3Store::from(open::attach(url, options).await?))
    }

    /// Opens the store like [`S3Store::open`], but creates the bucket if it does not exist, and
    /// examines what else lies at the store's place. A repeated call finds what the first one
    /// created.
    ///
    /// # Errors
    /// The errors of [`S3Store::open`], and an error if the bucket cannot be created.
    /// [`OpenError::Occupied`] if there is no store yet, but there are other objects, or a store
    /// within or around the place, and `among_others` is false: choose another prefix, or set it.
    pub async fn init(
        url: &str,
        options: &Options,
        among_others: bool,
    ) -> std::result::Result<(S3Store, Prepared), OpenError> {
        let (opened, prepared) = open::init(url, options, among_others).await?;
        Ok((S3Store::from(opened), prepared))
    }

    /// Returns a warning for the operator's log if, at the opening, the store did not exist yet and
    /// its place was within another store, around one, or among other objects.
    pub fn caution(&self) -> Option<&str> {
        self.inner.caution.as_deref()
    }

    /// Writes a body under the condition `only`, and retries while S3 reports a concurrent write.
    async fn write(&self, name: &Name, body: Bytes, only: Only<'_>) -> Result<std::result::Result<(), Lost>> {
        let Inner { link, layout, .. } = &*self.inner;
        let key = layout.key(name);
        if body.len() > BODY_BYTES_MAX {
            let text = format!(
                "{}: the body of {name} has {} bytes; at most {BODY_BYTES_MAX} are allowed",
                link.url,
                body.len()
            );
            return Err(Error::Refused(text));
        }
        let body = layout::seal(name, body);
        let mut conflicts = Conflicts::new();
        loop {
            let outcome = link.put(&key, body.clone(), only).await;
            if !conflicts.again(&outcome).await {
                return lost(outcome, &link.asked("write", &key));
            }
        }
    }
}

impl From<open::Opened> for S3Store {
    fn from(opened: open::Opened) -> S3Store {
        let open::Opened { link, layout, abilities, caution } = opened;
        S3Store { inner: Arc::new(Inner { link, layout, abilities, caution }) }
    }
}

/// The outcome of a write whose condition did not hold.
struct Lost;

/// The retries of a request that meets concurrent ones for the same key.
struct Conflicts {
    left: u32,
    pause_max: Duration,
}

impl Conflicts {
    fn new() -> Conflicts {
        Conflicts { left: CONFLICT_TRIES - 1, pause_max: CONFLICT_PAUSE }
    }

    /// Returns true if `outcome` is a conflict and attempts are left, after a pause of random
    /// length.
    async fn again<T>(&mut self, outcome: &std::result::Result<T, Failure>) -> bool {
        if self.left == 0 || !matches!(outcome, Err(Failure::Conflict(_))) {
            return false;
        }
        let pause = self.pause_max.mul_f64(rand::random());
        self.left -= 1;
        self.pause_max *= 2;
        tokio::time::sleep(pause).await;
        true
    }
}

impl Inner {
    async fn delete(&self, key: &str, tag: Option<&str>) -> std::result::Result<(), Failure> {
        let mut conflicts = Conflicts::new();
        loop {
            let outcome = self.link.delete(key, tag).await;
            if !conflicts.again(&outcome).await {
                return outcome;
            }
        }
    }
}

/// Splits an outcome into success, a condition that did not hold, and an error.
fn lost<T>(outcome: std::result::Result<T, Failure>, asked: &str) -> Result<std::result::Result<(), Lost>> {
    match outcome {
        Ok(_) => Ok(Ok(())),
        Err(Failure::Precondition | Failure::Missing) => Ok(Err(Lost)),
        Err(failure) => Err(failure.into_error(asked)),
    }
}

fn replaced(outcome: std::result::Result<(), Lost>) -> Replaced {
    match outcome {
        Ok(()) => Replaced::Replaced,
        Err(Lost) => Replaced::Changed,
    }
}

/// Returns the ETag in a tag; `None` if no content of this store can have had it.
fn etag(tag: &Tag) -> Option<&str> {
    std::str::from_utf8(&tag.0).ok().filter(|tag| tag.starts_with('"') && tag.ends_with('"'))
}

#[async_trait]
impl Store for S3Store {
    fn url(&self) -> String {
        self.inner.link.url.clone()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            delete_if: self.inner.abilities.delete_if,
            exclusive: false,
            grace_ms: GRACE_MS,
            body_bytes_max: BODY_BYTES_MAX,
            blob_part_bytes: BLOB_PART_BYTES,
            durability: "stored by S3",
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
        let key = layout.key(name);
        let Some((tag, stored)) = link.get(&key, SEAL_BYTES_MAX + BODY_BYTES_MAX).await? else {
            return Ok(None);
        };
        let tag = Tag(tag.into());
        if !layout::is_hashed(name.space, &name.group) {
            return Ok(Some((stored, tag)));
        }
        match layout::unseal(stored) {
            Some((group, body)) if group == name.group => Ok(Some((body, tag))),
            Some(_) | None => {
                Err(Error::Damaged(format!("{}: {key} does not begin with its group", link.url)))
            }
        }
    }

    async fn get_bodies(&self, names: &[Name]) -> Result<Vec<Option<Bytes>>> {
        let Inner { link, layout, .. } = &*self.inner;
        let mut bodies = Vec::with_capacity(names.len());
        for some in names.chunks(BODIES_AT_ONCE) {
            let got = try_join_all(some.iter().map(|name| self.get(name))).await?;
            for (name, found) in some.iter().zip(got) {
                // The next listing then gives these bodies without a request.
                if let Some((body, tag)) = &found
                    && let Some(tag) = etag(tag)
                {
                    link.remembered.put(&layout.key(name), tag, body);
                }
                bodies.push(found.map(|(body, _)| body));
            }
        }
        Ok(bodies)
    }

    async fn get_pieces(&self, name: &Name, take: &mut (dyn FnMut(Bytes) + Send)) -> Result<Option<Tag>> {
        if layout::is_hashed(name.space, &name.group) {
            // The body begins with its group, which must be taken off. None of these bodies is
            // large.
            return Ok(self.get(name).await?.map(|(body, tag)| {
                take(body);
                tag
            }));
        }
        let Inner { link, layout, .. } = &*self.inner;
        let tag = link.get_pieces(&layout.key(name), BODY_BYTES_MAX, take).await?;
        Ok(tag.map(|tag| Tag(tag.into())))
    }

    async fn put(&self, name: &Name, body: Bytes) -> Result<()> {
        match self.write(name, body, Only::Always).await? {
            Ok(()) => Ok(()),
            Err(Lost) => Err(Error::NoAnswer(format!(
                "{}: a put of {name} without a condition failed on one",
                self.url()
            ))),
        }
    }

    async fn create(&self, name: &Name, body: Bytes) -> Result<Created> {
        let created = self.write(name, body, Only::IfAbsent).await?;
        Ok(if created.is_ok() { Created::Created } else { Created::Exists })
    }

    async fn replace(&self, name: &Name, tag: &Tag, body: Bytes) -> Result<Replaced> {
        match etag(tag) {
            Some(tag) => {
                let tag = self.inner.abilities.quotes.write(tag);
                self.write(name, body, Only::IfTag(tag)).await.map(replaced)
            }
            None => Ok(Replaced::Changed),
        }
    }

    async fn delete(&self, names: &[Name]) -> Result<()> {
        let Inner { link, layout, abilities, .. } = &*self.inner;
        let keys: Vec<String> = names.iter().map(|name| layout.key(name)).collect();
        // A single deletion is free; a batch is charged as one request.
        if keys.len() > 1 && abilities.delete_batch {
            let batches: Vec<Vec<String>> = keys.chunks(BATCH_MAX).map(<[String]>::to_vec).collect();
            let deletions =
                futures::stream::iter(batches).map(|keys| async move { link.delete_batch(&keys).await });
            return deletions.buffer_unordered(BATCHES_AT_ONCE).try_collect().await;
        }
        let deletions = futures::stream::iter(keys).map(|key| async move {
            match self.inner.delete(&key, None).await {
                Ok(()) | Err(Failure::Missing) => Ok(()),
                Err(failure) => Err(failure.into_error(&link.asked("delete", &key))),
            }
        });
        deletions.buffer_unordered(DELETES_AT_ONCE).try_collect().await
    }

    async fn delete_if(&self, name: &Name, tag: &Tag) -> Result<Replaced> {
        let Inner { link, layout, abilities, .. } = &*self.inner;
        if !abilities.delete_if {
            let text = format!(
                "{}: cannot delete {name} on a condition: this server has no conditional delete",
                link.url
            );
            return Err(Error::Refused(text));
        }
        let Some(tag) = etag(tag) else { return Ok(Replaced::Changed) };
        let key = layout.key(name);
        let outcome = self.inner.delete(&key, Some(tag)).await;
        lost(outcome, &link.asked("delete_if", &key)).map(replaced)
    }

    async fn list(&self, space: Space, group: &[u8], after: Option<&[u8]>, limit: usize) -> Result<ItemPage> {
        assert!(limit > 0, "a page holds at least one item");
        let Inner { link, layout, .. } = &*self.inner;
        let directory = layout.group(space, group);
        let mut after = after.map(|item| format!("{directory}{}", layout::item(item)));
        let mut damaged = Damage::default();
        loop {
            let page = link.list(&directory, false, after.as_deref(), limit).await;
            let page = page.map_err(|failure| failure.into_error(&link.asked("list", &directory)))?;
            after = page.end();
            let keys = page.objects.iter().map(|object| object.key.as_str());
            let texts = keys.map(|key| (key, &key[directory.len()..]));
            // A directory's own empty object, as some programs create it, is harmless.
            let texts = texts.filter(|(_, text)| !text.is_empty());
            let mut items = Vec::new();
            for (key, text) in texts {
                match layout::decode_item(text) {
                    Some(item) => items.push(item),
                    None => damaged.add(|| groups::foreign(link, key)),
                }
            }
            // A page of nothing but foreign objects must not look like the end of the group: go on
            // to the next.
            if !items.is_empty() || !page.more {
                return Ok(ItemPage { items, more: page.more, damaged });
            }
            if after.is_none() {
                let text = format!(
                    "{}: the listing of {directory} has an empty page that is not the last",
                    link.url
                );
                return Err(Error::NoAnswer(text));
            }
        }
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
        groups::page(link, layout, space, prefix, after, limit).await
    }
}
