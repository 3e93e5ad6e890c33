//! The trait and its contract.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join_all;

use crate::scan::scan_by_groups;
use crate::{Damage, Error, Name, Result, Space};

/// An opaque token for one content of one name. Two puts of equal bytes may have different tags;
/// different contents under one name never share a tag. Compare for equality only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub Bytes);

/// The answer of [`Store::create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The name did not exist, and now holds the given body. If several creates race, exactly one
    /// gets this answer.
    Created,
    /// The name existed already; nothing changed.
    Exists,
}

/// The answer of [`Store::replace`] and [`Store::delete_if`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// The tag matched; the change is made.
    Replaced,
    /// The name holds another content by now, or does not exist; nothing changed.
    Changed,
}

/// A page of the items of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ItemPage {
    /// Items in byte order.
    pub items: Vec<Bytes>,
    /// True if more items may follow the last one. Always false if `items` is empty.
    pub more: bool,
    /// Objects found on the way that are not items of the group.
    pub damaged: Damage,
}

/// A page of the groups of a space.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupPage {
    /// Groups that hold at least one item, in byte order.
    pub groups: Vec<Bytes>,
    /// True if more groups may follow the last one. Always false if `groups` is empty.
    pub more: bool,
    /// Objects found on the way that do not belong to a group.
    pub damaged: Damage,
}

/// A position in the order of a space's names: just after one item of a group, or just after all
/// items of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The group. It need not exist.
    pub group: Bytes,
    /// The item, which need not exist either. `None` means after every item of the group.
    pub item: Option<Bytes>,
}

impl Position {
    /// Returns true if the name of `group` and `item` comes after this position.
    pub fn is_before(&self, group: &[u8], item: &[u8]) -> bool {
        match &self.item {
            Some(last) => (&self.group[..], &last[..]) < (group, item),
            None => self.group[..] < *group,
        }
    }

    /// Returns the position after which a scan of the groups with `prefix` starts if it continues
    /// after `after`.
    ///
    /// The result is `None` if no group with the prefix comes after `after`, and `Some(None)` if
    /// all of them do: the groups with a prefix are neighbours in byte order.
    pub fn within<'a>(prefix: &[u8], after: Option<&'a Position>) -> Option<Option<&'a Position>> {
        match after {
            Some(after) if after.group.starts_with(prefix) => Some(Some(after)),
            Some(after) if after.group > prefix => None,
            Some(_) | None => Some(None),
        }
    }
}

impl ScanPage {
    /// Asserts the invariants of a page of a scan for `limit` names.
    pub fn check_invariants(&self, limit: usize) {
        assert!(self.names.len() <= limit, "{} names in a page of {limit}", self.names.len());
        assert!(!self.more || !self.names.is_empty(), "an empty page says that more follow");
    }
}

/// A name that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// The name's group.
    pub group: Bytes,
    /// The name's item.
    pub item: Bytes,
    /// The body, if the store's listing includes it at no extra cost.
    pub body: Option<Bytes>,
    /// The time at which the object was last written, by the store's clock, in milliseconds since
    /// the epoch, if the store's listing reports it.
    pub written_ms: Option<u64>,
}

/// The first groups below each common prefix, as a scan may be limited to. The common prefix of a
/// group goes through the first delimiter behind the scan's prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heads {
    /// The delimiter, which is not empty.
    pub delimiter: Bytes,
    /// The number of groups of each common prefix; at least 1.
    pub each: usize,
}

/// A page of the names of a space.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScanPage {
    /// Names in byte order of groups, and of items within a group.
    pub names: Vec<Scanned>,
    /// True if more names may follow the last one. Always false if `names` is empty.
    pub more: bool,
    /// Objects found on the way whose names cannot be read. A later page may report them again.
    pub damaged: Damage,
}

/// The writes of one commit: a record, which is created if its name does not exist, and entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Writes {
    /// The record, created if absent. `None` if the commit has entries alone.
    pub create: Option<(Name, Bytes)>,
    /// The entries; each overwrites what its name holds. No name is written twice, the record's
    /// included.
    pub puts: Vec<(Name, Bytes)>,
}

/// The outcome of [`Store::commit`], piece by piece: a store may carry out any of the pieces and
/// not the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The outcome of the create; `None` if there was none. If the name existed, the store may have
    /// skipped the puts.
    pub created: Option<Result<Created>>,
    /// The outcome of each put, in order.
    pub puts: Vec<Result<()>>,
}

impl Writes {
    /// Checks that no name is written twice.
    ///
    /// # Panics
    /// Panics if one is: the caller names its entries by keys, and writes each key once.
    pub fn assert_distinct(&self) {
        let created = self.create.iter().map(|(name, _)| name);
        let mut names: Vec<&Name> = created.chain(self.puts.iter().map(|(name, _)| name)).collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            assert!(pair[0] != pair[1], "one commit writes {} twice", pair[0]);
        }
    }
}

impl Committed {
    /// Returns the outcome in which every piece of `writes` failed with `error`.
    pub fn failed(writes: &Writes, error: &Error) -> Committed {
        Committed {
            created: writes.create.as_ref().map(|_| Err(error.clone())),
            puts: vec![Err(error.clone()); writes.puts.len()],
        }
    }
}

/// The store's own time, as carried by one answer. At some moment between `sent` and `received` the
/// store's clock read a value in `[at_ms, at_ms + span_ms)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeHeard {
    /// The earliest instant at which the request may have been sent.
    pub sent: Instant,
    /// The latest instant at which its answer may have arrived.
    pub received: Instant,
    /// The earliest value that the clock may have read, in milliseconds since the epoch.
    pub at_ms: u64,
    /// The resolution of the store's time, in milliseconds: 1,000 for an HTTP `Date`.
    pub span_ms: u64,
}

/// The most times that a store keeps until [`Store::times_heard`] takes them. Beyond it the oldest
/// is dropped.
pub const TIMES_KEPT_MAX: usize = 64;

/// The bytes by which a body that holds a part of a large value may be longer than the part.
pub const PART_BYTES_BEYOND: usize = 64;

/// The features and limits of a store, and the delays to expect of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// True if the store supports [`Store::delete_if`].
    pub delete_if: bool,
    /// True if no other process can write to the store while this one runs (embedded stores).
    pub exclusive: bool,
    /// The time, in milliseconds, within which a call without an answer takes effect, if it ever
    /// does; 0 if a call cannot outlive its caller.
    ///
    /// The time counts from the call's deadline if the store enforces one ([`Store::until`]), else
    /// from the moment at which the call was made.
    pub grace_ms: u64,
    /// The largest body of one object, in bytes; that of a part of a large value may be larger.
    pub body_bytes_max: usize,
    /// The size of a part of a large value, in bytes. A body in [`Space::Blob`] may have that many,
    /// and [`PART_BYTES_BEYOND`] more for its frame.
    pub blob_part_bytes: usize,
    /// The meaning of "acknowledged" on this store, as a text for people: for instance `fsynced` or
    /// `in memory only`.
    pub durability: &'static str,
}

/// The cost of the calls made so far, at the store's own prices.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Costs {
    /// The requests sent, by the classes by which the store charges.
    pub requests: Vec<Requests>,
    /// The units consumed, if the store charges by consumption and not by the number of requests.
    pub consumed: Vec<Units>,
    /// The bytes of bodies sent.
    pub bytes_sent: u64,
    /// The bytes of bodies received.
    pub bytes_received: u64,
    /// The price of those requests, in US dollars.
    pub dollars: f64,
}

/// The requests of one class, which have one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requests {
    /// The class, as a label: for instance `get`.
    pub class: &'static str,
    /// The number of requests sent.
    pub count: u64,
}

/// The consumption of one unit by which a store charges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Units {
    /// The unit, as a label: for instance `write_units`.
    pub unit: &'static str,
    /// The amount consumed.
    pub amount: f64,
}

/// The most bodies that [`Store::get_bodies`] gets at once.
pub const BODIES_AT_ONCE: usize = 32;

/// A flat store of named objects.
///
/// # Contract (protocol, section 10)
/// * `put` is atomic for its name: a `get` sees one body, whole, never a mix of two.
/// * `create` has exactly one winner under any race, also against `put` and `delete` of the name.
/// * `replace` and `delete_if` act only if the name still holds the content with that tag.
/// * After an acknowledged put, create or replace, every `get`, `list`, `groups` and `scan` sees
///   it, from any process.
/// * A call that ends in [`Error::NoAnswer`](crate::Error::NoAnswer) may take effect now, later
///   within `grace_ms`, or never. The same holds for a call whose future was dropped.
/// * Acknowledged means durable, in the sense that [`Capabilities::durability`] states.
/// * Every call is safe to repeat. Adapters retry on their own only within their own timeouts.
/// * An object that another program put among a store's names is reported as [`Damage`] beside the
///   names of a page, and does not keep anything else from being read.
///
/// Nothing else is assumed: no transactions, no multi-name atomicity.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// Returns the store's URL, without secrets, for messages.
    fn url(&self) -> String;

    /// Returns the features and limits of this store.
    fn capabilities(&self) -> Capabilities;

    /// Returns the reason for which this store takes no more writes in this process, or `None`
    /// while it takes them. With a reason, the process has to be restarted by its supervisor.
    fn ended(&self) -> Option<String> {
        None
    }

    /// Returns the place of the parts of large values ([`Space::Blob`]), if they lie in another
    /// store than everything else. The store's description names it, and nodes compare the two.
    fn blobs_place(&self) -> Option<String> {
        None
    }

    /// Returns the cost of this process's calls so far, if the store charges by request.
    fn costs(&self) -> Option<Costs> {
        None
    }

    /// Returns the times that answers carried since the last call, oldest first, at most
    /// [`TIMES_KEPT_MAX`]. A store that one process holds has none: its clock is the process's own.
    fn times_heard(&self) -> Vec<TimeHeard> {
        Vec::new()
    }

    /// Performs the writes of one commit, in as few requests and round trips as the store can. The
    /// create is sent first.
    ///
    /// Pieces are independent: each has the outcome that its own [`Store::create`] or
    /// [`Store::put`] would have. A store that finds the name of the create taken may skip the
    /// puts, and then answers `Ok` for them.
    async fn commit(&self, writes: Writes) -> Committed {
        writes.assert_distinct();
        let Writes { create, puts } = writes;
        let create = async {
            match create {
                Some((name, body)) => Some(self.create(&name, body).await),
                None => None,
            }
        };
        let puts = puts.into_iter().map(|(name, body)| async move { self.put(&name, body).await });
        let (created, puts) = futures::future::join(create, futures::future::join_all(puts)).await;
        Committed { created, puts }
    }

    /// Returns a page of the names of a space whose group starts with `prefix`, across groups, in
    /// byte order of groups and items: those after `after`, at most `limit` (at least 1).
    ///
    /// A page takes one request if the store can do so. It may be shorter than `limit` and still
    /// say that more follow.
    async fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        limit: usize,
    ) -> Result<ScanPage> {
        scan_by_groups(self, space, prefix, after, limit).await
    }

    /// Returns a page of a scan that leaves names out: of the groups behind `after` with one common
    /// prefix, it has the first [`Heads::each`], and of each group that it has, all items. Groups
    /// without a common prefix are all there. Otherwise like [`Store::scan`].
    ///
    /// The default filters a page of [`Store::scan`]. It is for stores whose requests cost more
    /// than the names that they bring; a store that can seek skips the names.
    async fn scan_heads(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        heads: &Heads,
        limit: usize,
    ) -> Result<ScanPage> {
        let mut page = self.scan(space, prefix, after, limit).await?;
        let mut picking = heads.pick(prefix);
        page.names.retain(|name| picking.takes(&name.group));
        Ok(page)
    }

    /// Returns a handle on this store whose writes take effect before `deadline`, or within
    /// [`Capabilities::grace_ms`] after it, or never, however long they are in transit and even if
    /// nobody waits for them any more. Returns `None` if the store cannot enforce a deadline; the
    /// grace then counts from the moment at which a call was made.
    ///
    /// Calls made on the store itself are bounded by the store's own timeouts.
    fn until(&self, _deadline: Instant) -> Option<Arc<dyn Store>> {
        None
    }

    /// Returns the body under a name and its tag, or `None` if the name does not exist.
    async fn get(&self, name: &Name) -> Result<Option<(Bytes, Tag)>>;

    /// Returns the bodies under `names`, which a listing or a scan has just shown, in their order.
    ///
    /// An adapter whose listings show which objects are unchanged may cache the bodies, and return
    /// them with its next [`Store::scan`] ([`Scanned::body`]).
    async fn get_bodies(&self, names: &[Name]) -> Result<Vec<Option<Bytes>>> {
        let mut bodies = Vec::with_capacity(names.len());
        for some in names.chunks(BODIES_AT_ONCE) {
            let gets = some.iter().map(|name| self.get(name));
            bodies.extend(try_join_all(gets).await?.into_iter().map(|found| found.map(|(body, _)| body)));
        }
        Ok(bodies)
    }

    /// Passes the pieces of the body under a name to `take`, in order, as they arrive; then returns
    /// the tag. Otherwise like [`Store::get`]. After an error `take` may have received some of the
    /// pieces.
    ///
    /// This is for large bodies that are passed on: an adapter that receives them in pieces need
    /// not assemble them.
    async fn get_pieces(&self, name: &Name, take: &mut (dyn FnMut(Bytes) + Send)) -> Result<Option<Tag>> {
        let Some((body, tag)) = self.get(name).await? else { return Ok(None) };
        take(body);
        Ok(Some(tag))
    }

    /// Writes a body, and overwrites the old one if there is one.
    async fn put(&self, name: &Name, body: Bytes) -> Result<()>;

    /// Writes a body if the name does not exist.
    async fn create(&self, name: &Name, body: Bytes) -> Result<Created>;

    /// Writes a body if the name still holds the content with this tag.
    async fn replace(&self, name: &Name, tag: &Tag, body: Bytes) -> Result<Replaced>;

    /// Deletes `names`; those that do not exist count as deleted. The call is not atomic: after an
    /// error any of the names may be gone.
    async fn delete(&self, names: &[Name]) -> Result<()>;

    /// Deletes a name if it still holds the content with this tag.
    ///
    /// # Errors
    /// Returns [`Error::Refused`](crate::Error::Refused) if the store cannot do so: see
    /// [`Capabilities::delete_if`].
    async fn delete_if(&self, name: &Name, tag: &Tag) -> Result<Replaced>;

    /// Returns a page of the items of a group, in byte order: those after `after` (exclusive), at
    /// most `limit` (at least 1). A page may be shorter than `limit` and still say that more
    /// follow.
    async fn list(&self, space: Space, group: &[u8], after: Option<&[u8]>, limit: usize) -> Result<ItemPage>;

    /// Returns a page of the groups of a space that start with `prefix`, in byte order: those after
    /// `after` (exclusive), at most `limit` (at least 1). A page may be shorter than `limit` and
    /// still say that more follow.
    async fn groups(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<GroupPage>;
}
