//! The trait and its contract.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join_all;

use crate::scan::scan_by_groups;
use crate::{Damage, Error, Name, Result, Space};

/// An opaque token for one content of one name. Two puts of equal bytes may have different tags; different contents under one name
/// never share a tag. Compare for equality only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub Bytes);

/// The answer of [`Store::create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The name did not exist, and now holds the given body. Of any number of racing creates, one gets this answer.
    Created,
    /// The name existed already; nothing changed.
    Exists,
}

/// The answer of [`Store::replace`] and [`Store::delete_if`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// The tag matched; the change is made.
    Replaced,
    /// The name holds something else by now, or nothing; nothing changed.
    Changed,
}

/// One page of the items of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ItemPage {
    /// Items in byte order.
    pub items: Vec<Bytes>,
    /// Whether more may follow after the last item. Never true with no items.
    pub more: bool,
    /// Objects met on the way that are no item of the group.
    pub damaged: Damage,
}

/// One page of the groups of a space.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupPage {
    /// Groups that hold at least one item, in byte order.
    pub groups: Vec<Bytes>,
    /// Whether more may follow after the last group. Never true with no groups.
    pub more: bool,
    /// Objects met on the way that are no group.
    pub damaged: Damage,
}

/// A place in the order of a space's names, exclusive: after one item of a group, or after all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The group. It need not exist.
    pub group: Bytes,
    /// The item; `None`: after every item of the group.
    pub item: Option<Bytes>,
}

impl Position {
    /// Returns true if this place is before a name.
    pub fn is_before(&self, group: &[u8], item: &[u8]) -> bool {
        match &self.item {
            Some(last) => (&self.group[..], &last[..]) < (group, item),
            None => self.group[..] < *group,
        }
    }

    /// Returns the place from which a scan of the groups with `prefix` goes on: `None` if none of them
    /// comes after this one. They all come after what is before the prefix, and before what is after it
    /// and does not start so.
    pub fn within<'a>(prefix: &[u8], after: Option<&'a Position>) -> Option<Option<&'a Position>> {
        match after {
            Some(after) if after.group.starts_with(prefix) => Some(Some(after)),
            Some(after) if after.group > prefix => None,
            Some(_) | None => Some(None),
        }
    }
}

impl ScanPage {
    /// Asserts what holds for every page of a scan for `limit` names.
    pub fn check_invariants(&self, limit: usize) {
        assert!(self.names.len() <= limit, "{} names in a page of {limit}", self.names.len());
        assert!(!self.more || !self.names.is_empty(), "an empty page says that more follow");
    }
}

/// One name that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// The name's group.
    pub group: Bytes,
    /// The name's item.
    pub item: Bytes,
    /// The body, where the store's listing brings it along for nothing.
    pub body: Option<Bytes>,
    /// The time at which the object was last written, by the store's clock, in milliseconds since the epoch, where the store's listing says so.
    pub written_ms: Option<u64>,
}

/// One page of the names of a space.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScanPage {
    /// Names in byte order of groups, and of items within a group.
    pub names: Vec<Scanned>,
    /// True if more may follow after the last name. Never true with no names.
    pub more: bool,
    /// Objects met on the way whose names cannot be read. A later page may meet them again.
    pub damaged: Damage,
}

/// All that one commit writes: a record that is created if its name is free, and entries beside it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Writes {
    /// Created if absent. `None`: the entries alone.
    pub create: Option<(Name, Bytes)>,
    /// Written whatever was there. No name twice.
    pub puts: Vec<(Name, Bytes)>,
}

/// The outcome of [`Store::commit`], piece by piece: a store may carry out any of the pieces and not the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The outcome of the create; `None` if there was none. If the name existed, the puts may have been left undone.
    pub created: Option<Result<Created>>,
    /// The outcome of each put, in order.
    pub puts: Vec<Result<()>>,
}

impl Writes {
    /// Checks that no name is written twice.
    ///
    /// # Panics
    /// If one is: the caller names its entries by keys, and each key once.
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
    /// The same outcome for every piece of `writes`: this error.
    pub fn failed(writes: &Writes, error: &Error) -> Committed {
        Committed {
            created: writes.create.as_ref().map(|_| Err(error.clone())),
            puts: vec![Err(error.clone()); writes.puts.len()],
        }
    }
}

/// The store's own time as one answer carried it. At some moment between `sent` and `received` the store's clock read a value in
/// `[at_ms, at_ms + span_ms)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeHeard {
    /// The earliest instant at which the request was sent.
    pub sent: Instant,
    /// The latest instant at which its answer had come.
    pub received: Instant,
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    /// The resolution of the store's time, in milliseconds: 1,000 for an HTTP `Date`.
    pub span_ms: u64,
}

/// The number of times that a store keeps until [`Store::times_heard`] takes them; the oldest is dropped.
pub const TIMES_KEPT_MAX: usize = 64;

/// What a store can do, and what must be assumed of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// [`Store::delete_if`] works.
    pub delete_if: bool,
    /// This process is the only one that can write here while it runs (embedded stores).
    pub exclusive: bool,
    /// A call without an answer takes effect within this time or never, in milliseconds; 0 where a call cannot outlive its caller.
    ///
    /// It counts from the deadline that the call was given, where the store can hold it to one
    /// ([`Store::until`]), else from the moment at which it was made.
    pub grace_ms: u64,
    /// The largest body of one object, in bytes.
    pub body_bytes_max: usize,
    /// The size of a part of a large value, in bytes.
    pub blob_part_bytes: usize,
    /// What "acknowledged" means here, for people: for instance `fsynced` or `in memory only`.
    pub durability: &'static str,
}

/// What calls have cost so far, at a store's own prices.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Costs {
    /// Requests by the classes by which the store charges.
    pub requests: Vec<Requests>,
    /// Where the store charges by what requests consume and not by their number: that.
    pub consumed: Vec<Units>,
    /// Bytes of bodies that were sent.
    pub bytes_sent: u64,
    /// Bytes of bodies that came.
    pub bytes_received: u64,
    /// The price of those requests, in US dollars.
    pub dollars: f64,
}

/// Requests that have one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requests {
    /// Their class, as a label: for instance `get`.
    pub class: &'static str,
    /// How many were sent.
    pub count: u64,
}

/// What was consumed of one unit by which a store charges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Units {
    /// The unit, as a label: for instance `write_units`.
    pub unit: &'static str,
    /// How much.
    pub amount: f64,
}

/// Bodies that [`Store::get_bodies`] gets at once.
pub const BODIES_AT_ONCE: usize = 32;

/// A flat store of named objects.
///
/// # Contract (protocol, section 10)
/// * `put` is atomic for its name: a `get` sees one whole body or another, never a mix.
/// * `create` has exactly one winner under any race, also against `put` and `delete` of the name.
/// * `replace` and `delete_if` act only if the name still holds the content with that tag.
/// * After an acknowledged put, create or replace, `get`, `list` and `groups` see it, from anywhere.
/// * A call that ends in [`Error::NoAnswer`](crate::Error::NoAnswer) may take effect now, later within `grace_ms`, or never. So may a call whose
///   future was dropped.
/// * Acknowledged means durable, in the sense that [`Capabilities::durability`] states.
/// * Every call is safe to repeat, adapters do so themselves only within their own time-outs.
/// * What somebody else put among a store's names is reported beside the names of a page, and holds up nothing but itself.
///
/// Nothing else is assumed: no transactions, no multi-name atomicity.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// The store's URL, without secrets, for messages.
    fn url(&self) -> String;

    /// What this store can do.
    fn capabilities(&self) -> Capabilities;

    /// Why this store takes no more writes as long as the process lives, if something has put an end to them: whoever watches over the process
    /// should start it again.
    fn ended(&self) -> Option<String> {
        None
    }

    /// What the calls of this process have cost so far, if the store charges by request.
    fn costs(&self) -> Option<Costs> {
        None
    }

    /// The bodies under several names at one moment, in their order, where the store has transactions of its own; elsewhere
    /// [`Error::Refused`](crate::Error::Refused). The shim needs none: this is what it is compared with. [`Error::Busy`](crate::Error::Busy) if another
    /// transaction was in the way. No name twice.
    async fn transact_get(&self, _names: &[Name]) -> Result<Vec<Option<Bytes>>> {
        Err(no_transactions(&self.url()))
    }

    /// Writes all of these bodies at one moment or none; otherwise as [`Store::transact_get`].
    async fn transact_put(&self, _bodies: Vec<(Name, Bytes)>) -> Result<()> {
        Err(no_transactions(&self.url()))
    }

    /// The times that answers carried since the last call, oldest first, at most [`TIMES_KEPT_MAX`]. Stores that one process holds have none:
    /// the process's own clock is theirs.
    fn times_heard(&self) -> Vec<TimeHeard> {
        Vec::new()
    }

    /// Writes what one commit writes, in as few requests and round trips as the store can. The create is sent first.
    ///
    /// Pieces are independent: each has the outcome that its own [`Store::create`] or [`Store::put`] would have. A store that finds the name of
    /// the create taken may leave the puts undone, and then answers `Ok` for them.
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

    /// The names of a space whose group starts with `prefix`, across groups, in byte order of groups and items, those after `after`, at most
    /// `limit` (at least 1). One request a page where the store can; a page may be shorter than the limit and still say that more follow.
    async fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        limit: usize,
    ) -> Result<ScanPage> {
        scan_by_groups(self, space, prefix, after, limit).await
    }

    /// A handle on this store whose writes take effect before `deadline`, or within
    /// [`Capabilities::grace_ms`] after it, or never, however long they are on their way and
    /// whether or not somebody still waits for them. `None` where a store cannot hold a write to a
    /// deadline: then the grace counts from the moment at which the call was made.
    ///
    /// Calls made on the store itself are held to time-outs of its own.
    fn until(&self, _deadline: Instant) -> Option<Arc<dyn Store>> {
        None
    }

    /// The body under a name, and its tag.
    async fn get(&self, name: &Name) -> Result<Option<(Bytes, Tag)>>;

    /// The bodies under names that a listing or a scan has just shown, in their order.
    ///
    /// An adapter whose listings tell unchanged objects apart may remember them, and give them along with its next
    /// [`Store::scan`] ([`Scanned::body`]).
    async fn get_bodies(&self, names: &[Name]) -> Result<Vec<Option<Bytes>>> {
        let mut bodies = Vec::with_capacity(names.len());
        for some in names.chunks(BODIES_AT_ONCE) {
            let gets = some.iter().map(|name| self.get(name));
            bodies.extend(try_join_all(gets).await?.into_iter().map(|found| found.map(|(body, _)| body)));
        }
        Ok(bodies)
    }

    /// As [`Store::get`], but gives `take` the body's pieces in order, as they arrive; the tag when all have. After an error some may have been given.
    ///
    /// For large bodies that go on elsewhere: an adapter that gets them piece by piece need not put them together.
    async fn get_pieces(&self, name: &Name, take: &mut (dyn FnMut(Bytes) + Send)) -> Result<Option<Tag>> {
        let Some((body, tag)) = self.get(name).await? else { return Ok(None) };
        take(body);
        Ok(Some(tag))
    }

    /// Writes a body, whatever was there.
    async fn put(&self, name: &Name, body: Bytes) -> Result<()>;

    /// Writes a body if the name does not exist.
    async fn create(&self, name: &Name, body: Bytes) -> Result<Created>;

    /// Writes a body if the name still holds the content with this tag.
    async fn replace(&self, name: &Name, tag: &Tag, body: Bytes) -> Result<Replaced>;

    /// Deletes names; those that do not exist count as deleted. Not atomic over the names: on an error any of them may be gone.
    async fn delete(&self, names: &[Name]) -> Result<()>;

    /// Deletes a name if it still holds the content with this tag. A store without the capability answers
    /// [`Error::Refused`](crate::Error::Refused).
    async fn delete_if(&self, name: &Name, tag: &Tag) -> Result<Replaced>;

    /// The items of a group, in byte order, those after `after` (exclusive), at most `limit` (at least 1). A page may be shorter than the
    /// limit and still say that more follow.
    async fn list(&self, space: Space, group: &[u8], after: Option<&[u8]>, limit: usize) -> Result<ItemPage>;

    /// The groups of a space that start with `prefix`, in byte order, those after `after` (exclusive), at most `limit` (at least 1).
    async fn groups(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<GroupPage>;
}

fn no_transactions(url: &str) -> Error {
    Error::Refused(format!("{url} has no transactions of its own"))
}
