//! The store: maps names to keys, and calls to requests.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use aft_store::{
    Capabilities, Committed, Costs, Created, Damage, Error, GroupPage, ItemPage, Name, Position, Replaced,
    Result, ScanPage, Space, Store, Tag, TimeHeard, Writes,
};
use async_trait::async_trait;
use bytes::Bytes;
use redis::Value;

use crate::failure::not_redis;
use crate::layout;
use crate::link::{Lane, Link, Read, Run};
use crate::open::Facts;
use crate::scripts::Script;
use crate::{OpenError, Options, commit, open, scan};

/// The size of the largest body. Redis takes 512 MB, but it serves one request at a time, and
/// copying 4 MiB through a script takes a few milliseconds, in which no other client is served.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;
/// The size of a part of a large value: it takes about a millisecond of the server's time, so that
/// small requests are served in between.
const BLOB_PART_BYTES: usize = 1 << 20;
const _: () = assert!(BLOB_PART_BYTES <= BODY_BYTES_MAX);
/// The time for which a write may take effect after its deadline: none, since its script checks the
/// server's clock first (`scripts`, `clock`).
const GRACE_MS: u64 = 0;

/// The number of names in one deletion: a few milliseconds of the server's time.
const DELETE_MAX: usize = 1_000;
/// The number of entries in one page: a MiB if all groups have the longest names.
pub(crate) const PAGE_MAX: usize = 1_000;

/// A store in a prefix of a server's database. Clones share the connections and the counts.
#[derive(Clone)]
pub struct RedisStore {
    inner: Arc<Inner>,
    /// The time after which no write takes effect, even if its own timeout is longer.
    until: Option<Instant>,
}

struct Inner {
    link: Link,
    facts: Facts,
}

impl fmt::Debug for RedisStore {
    // Leaves the client out: its own output might show the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("url", &self.inner.link.url())
            .field("fsync", &self.inner.facts.fsync)
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Opens the store at `redis://USER:PASSWORD@HOST:PORT/PREFIX?db=N`, and checks how the server
    /// is configured. Nothing needs to be created before; a store that is opened for the first time
    /// gets an identity, with which its data are compared from then on.
    ///
    /// # Errors
    /// An [`OpenError`] if the URL is wrong, the server does not answer or rejects a request, or it
    /// cannot keep the store's data (eviction, a replica, a cluster). Its text names the remedy.
    pub async fn open(url: &str, options: &Options) -> std::result::Result<RedisStore, OpenError> {
        let (link, facts) = open::open(url, options).await?;
        Ok(RedisStore { inner: Arc::new(Inner { link, facts }), until: None })
    }

    /// Returns warnings for the operator's log, from the opening: acknowledgements that are not
    /// fsynced, or a policy that may evict.
    pub fn cautions(&self) -> &[String] {
        &self.inner.facts.cautions
    }

    /// Runs a script that writes one name, and returns true if it did; false if its condition did
    /// not hold.
    async fn write(
        &self,
        call: &str,
        script: Script,
        name: &Name,
        body: Option<&[u8]>,
        tag: Option<&Tag>,
    ) -> Result<bool> {
        let link = &self.inner.link;
        let asked = link.asked(call, name);
        let bytes = body.map_or(0, <[u8]>::len);
        if bytes > BODY_BYTES_MAX {
            return Err(too_large(&asked, bytes));
        }
        let keys = link.layout().keys(name).into();
        let mut arguments = vec![name.group.clone(), name.item.clone()];
        arguments.extend(body.map(layout::seal));
        arguments.extend(tag.map(|tag| tag.0.clone()));
        let run = Run { script, keys, arguments, bytes };
        let deadline = run.deadline(self.until);
        Ok(link.run(&asked, &run, deadline).await?.done)
    }

    /// Returns up to `limit` members of the sorted set `key` from `from` to `to`, and true if there
    /// are more.
    async fn range(
        &self,
        asked: &str,
        key: &[u8],
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<(Vec<Bytes>, bool)> {
        let limit = limit.min(PAGE_MAX);
        let mut command = redis::cmd("ZRANGEBYLEX");
        // One member more than requested shows whether more follow.
        command.arg(key).arg(from).arg(to).arg("LIMIT").arg(0).arg(limit + 1);
        let link = &self.inner.link;
        let Value::Array(members) = link.read(asked, Read::List, command).await? else {
            return Err(not_redis(asked, "a listing that is not a list"));
        };
        let members = members.into_iter().map(|member| match member {
            Value::BulkString(bytes) => Some(Bytes::from(bytes)),
            _ => None,
        });
        let members: Option<Vec<Bytes>> = members.collect();
        let mut members =
            members.ok_or_else(|| not_redis(asked, "a listing with members that are not bytes"))?;
        // The callers rely on the order: reject an answer that does not keep it.
        if !members.is_sorted_by(|a, b| a < b) || members.len() > limit + 1 {
            return Err(not_redis(asked, "a listing that is out of order, or too long"));
        }
        link.meter().received(members.iter().map(Bytes::len).sum());
        let more = members.len() > limit;
        members.truncate(limit);
        Ok((members, more))
    }
}

/// Returns the error for a body of `bytes`, which is too large.
pub(crate) fn too_large(asked: &str, bytes: usize) -> Error {
    Error::Refused(format!("{asked}: body of {bytes} bytes; at most {BODY_BYTES_MAX} are allowed"))
}

/// Returns a bound of a range of members: `kind` is `[` for an inclusive and `(` for an exclusive
/// one.
pub(crate) fn bound(kind: u8, member: &[u8]) -> Vec<u8> {
    [&[kind], member].concat()
}

fn replaced(done: bool) -> Replaced {
    if done { Replaced::Replaced } else { Replaced::Changed }
}

#[async_trait]
impl Store for RedisStore {
    fn url(&self) -> String {
        self.inner.link.url().to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            delete_if: true,
            exclusive: false,
            grace_ms: GRACE_MS,
            body_bytes_max: BODY_BYTES_MAX,
            blob_part_bytes: BLOB_PART_BYTES,
            durability: self.inner.facts.fsync.durability(),
        }
    }

    fn costs(&self) -> Option<Costs> {
        Some(self.inner.link.meter().costs())
    }

    fn times_heard(&self) -> Vec<TimeHeard> {
        self.inner.link.times_heard()
    }

    fn until(&self, deadline: Instant) -> Option<Arc<dyn Store>> {
        let until = self.until.map_or(deadline, |until| until.min(deadline));
        Some(Arc::new(RedisStore { inner: self.inner.clone(), until: Some(until) }))
    }

    async fn commit(&self, writes: Writes) -> Committed {
        commit::commit(&self.inner.link, writes, self.until).await
    }

    async fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        limit: usize,
    ) -> Result<ScanPage> {
        scan::scan(&self.inner.link, space, prefix, after, limit).await
    }

    async fn get(&self, name: &Name) -> Result<Option<(Bytes, Tag)>> {
        let link = &self.inner.link;
        let asked = link.asked("get", name);
        // Parts of large values are large. The size of anything else is known only from the answer.
        let lane = if name.space == Space::Blob { Lane::Large } else { Lane::Small };
        let mut get = redis::cmd("GET");
        get.arg(&link.layout().object(name)[..]);
        match link.read(&asked, Read::Get(lane), get).await? {
            Value::Nil => Ok(None),
            Value::BulkString(stored) => {
                link.meter().received(stored.len());
                let (tag, body) = layout::unseal(stored).ok_or_else(|| {
                    Error::Damaged(format!(
                        "{asked}: the object there was not written by AFT; keep other keys out of this prefix"
                    ))
                })?;
                Ok(Some((body, Tag(tag))))
            }
            other => Err(not_redis(&asked, &format!("{other:?} for an object"))),
        }
    }

    async fn put(&self, name: &Name, body: Bytes) -> Result<()> {
        match self.write("put", Script::Put, name, Some(&body), None).await? {
            true => Ok(()),
            false => {
                Err(not_redis(&self.inner.link.asked("put", name), "a put without a condition failed on one"))
            }
        }
    }

    async fn create(&self, name: &Name, body: Bytes) -> Result<Created> {
        let created = self.write("create", Script::Create, name, Some(&body), None).await?;
        Ok(if created { Created::Created } else { Created::Exists })
    }

    async fn replace(&self, name: &Name, tag: &Tag, body: Bytes) -> Result<Replaced> {
        self.write("replace", Script::Replace, name, Some(&body), Some(tag)).await.map(replaced)
    }

    async fn delete(&self, names: &[Name]) -> Result<()> {
        let link = &self.inner.link;
        for names in names.chunks(DELETE_MAX) {
            let asked = link.asked(&format!("delete of {} names from", names.len()), &names[0]);
            let mut keys = Vec::with_capacity(names.len() * 3);
            let mut arguments = Vec::with_capacity(names.len() * 2);
            for name in names {
                keys.extend(link.layout().keys(name));
                arguments.extend([name.group.clone(), name.item.clone()]);
            }
            let run = Run { script: Script::Delete, keys, arguments, bytes: 0 };
            let deadline = run.deadline(self.until);
            if !link.run(&asked, &run, deadline).await?.done {
                return Err(not_redis(&asked, "a deletion without a condition failed on one"));
            }
        }
        Ok(())
    }

    async fn delete_if(&self, name: &Name, tag: &Tag) -> Result<Replaced> {
        self.write("delete_if", Script::DeleteIf, name, None, Some(tag)).await.map(replaced)
    }

    async fn list(&self, space: Space, group: &[u8], after: Option<&[u8]>, limit: usize) -> Result<ItemPage> {
        assert!(limit > 0, "a page holds at least one item");
        let link = &self.inner.link;
        let asked = link.asked("list", &format!("{}/{}", space.as_str(), group.escape_ascii()));
        let from = after.map_or_else(|| b"-".to_vec(), |after| bound(b'(', after));
        let key = link.layout().items(space, group);
        let (items, more) = self.range(&asked, &key, &from, b"+", limit).await?;
        Ok(ItemPage { items, more, damaged: Damage::default() })
    }

    async fn groups(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<GroupPage> {
        assert!(limit > 0, "a page holds at least one group");
        let link = &self.inner.link;
        let asked = link.asked("groups", &format!("{}/{}", space.as_str(), prefix.escape_ascii()));
        let from = match after {
            Some(after) if after >= prefix => bound(b'(', after),
            Some(_) | None => bound(b'[', prefix),
        };
        let to = layout::end_of(prefix).map_or_else(|| b"+".to_vec(), |end| bound(b'(', &end));
        let key = link.layout().groups(space);
        let (groups, more) = self.range(&asked, &key, &from, &to, limit).await?;
        Ok(GroupPage { groups, more, damaged: Damage::default() })
    }
}
