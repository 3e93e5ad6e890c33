//! The store: every call goes to one of the two, by the space of its names.
//!
//! A call whose names lie in both becomes two calls, made at once. No node makes one: a commit has
//! no parts, and parts are deleted by themselves.

use std::sync::Arc;
use std::time::Instant;

use aft_store::{
    Capabilities, Committed, Costs, Created, GroupPage, Heads, ItemPage, Name, Position, Replaced, Requests,
    Result, ScanPage, Space, Store, Tag, TimeHeard, Units, Writes,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join;

use crate::durability;
use crate::url::{Halves, place};

/// A store made of two. Clones share both.
#[derive(Debug, Clone)]
pub struct SplitStore {
    /// The store of everything but parts of large values. Its clock is the store's clock.
    records: Arc<dyn Store>,
    /// The store of parts of large values.
    blobs: Arc<dyn Store>,
}

impl SplitStore {
    /// Makes a store that keeps the parts of large values in `blobs`, and all else in `records`.
    ///
    /// # Panics
    /// Panics if one process holds one of the stores and several may use the other: the promises of
    /// neither would hold.
    pub fn new(records: Arc<dyn Store>, blobs: Arc<dyn Store>) -> SplitStore {
        let exclusive = |store: &dyn Store| store.capabilities().exclusive;
        assert_eq!(
            exclusive(&*records),
            exclusive(&*blobs),
            "one process holds {} or {}, and several may use the other",
            records.url(),
            blobs.url()
        );
        SplitStore { records, blobs }
    }

    /// Returns the store in which the names of a space lie.
    fn home(&self, space: Space) -> &dyn Store {
        match is_of_blobs(space) {
            true => &*self.blobs,
            false => &*self.records,
        }
    }
}

/// Returns true for the space whose names lie in the store of parts.
fn is_of_blobs(space: Space) -> bool {
    match space {
        Space::Blob => true,
        Space::Commit
        | Space::Intent
        | Space::Version
        | Space::Collect
        | Space::Marker
        | Space::Node
        | Space::Lease
        | Space::Store => false,
    }
}

/// A list that was parted by store, from which one of the answers can be made.
struct Parted<T> {
    records: Vec<T>,
    blobs: Vec<T>,
    /// For each element in the order of the list: true if it went to the store of parts.
    order: Vec<bool>,
}

impl<T> Parted<T> {
    fn of(list: impl IntoIterator<Item = T>, space: impl Fn(&T) -> Space) -> Parted<T> {
        let mut parted = Parted { records: Vec::new(), blobs: Vec::new(), order: Vec::new() };
        for element in list {
            let is_blob = is_of_blobs(space(&element));
            parted.order.push(is_blob);
            if is_blob { &mut parted.blobs } else { &mut parted.records }.push(element);
        }
        parted
    }
}

/// Returns the answers of both stores in the order of the list that was parted.
fn merged<A>(order: &[bool], records: Vec<A>, blobs: Vec<A>) -> Vec<A> {
    assert_eq!(records.len() + blobs.len(), order.len(), "each element has an answer");
    let (mut records, mut blobs) = (records.into_iter(), blobs.into_iter());
    let next = |is_blob: &bool| if *is_blob { blobs.next() } else { records.next() };
    order.iter().map(next).map(|answer| answer.expect("each store answers for its elements")).collect()
}

/// Returns the costs of both stores, with one count for a class that both charge by.
fn summed(records: Costs, blobs: Costs) -> Costs {
    let Costs { mut requests, mut consumed, bytes_sent, bytes_received, dollars } = records;
    for Requests { class, count } in blobs.requests {
        match requests.iter_mut().find(|of| of.class == class) {
            Some(of) => of.count += count,
            None => requests.push(Requests { class, count }),
        }
    }
    for Units { unit, amount } in blobs.consumed {
        match consumed.iter_mut().find(|of| of.unit == unit) {
            Some(of) => of.amount += amount,
            None => consumed.push(Units { unit, amount }),
        }
    }
    Costs {
        requests,
        consumed,
        bytes_sent: bytes_sent + blobs.bytes_sent,
        bytes_received: bytes_received + blobs.bytes_received,
        dollars: dollars + blobs.dollars,
    }
}

#[async_trait]
impl Store for SplitStore {
    fn url(&self) -> String {
        Halves { records: self.records.url(), blobs: self.blobs.url() }.joined()
    }

    fn blobs_place(&self) -> Option<String> {
        Some(place(&self.blobs.url()))
    }

    /// Returns what both stores can do together. Bodies are bounded by the store of records, and
    /// parts have the size that suits the other one.
    fn capabilities(&self) -> Capabilities {
        let (records, blobs) = (self.records.capabilities(), self.blobs.capabilities());
        Capabilities {
            delete_if: records.delete_if && blobs.delete_if,
            exclusive: records.exclusive,
            // A late put of a part matters as much as one of an entry: a sweep waits for both.
            grace_ms: records.grace_ms.max(blobs.grace_ms),
            body_bytes_max: records.body_bytes_max,
            blob_part_bytes: blobs.blob_part_bytes,
            durability: durability::of(records.durability, blobs.durability),
        }
    }

    fn ended(&self) -> Option<String> {
        self.records.ended().or_else(|| self.blobs.ended())
    }

    fn costs(&self) -> Option<Costs> {
        match (self.records.costs(), self.blobs.costs()) {
            (Some(records), Some(blobs)) => Some(summed(records, blobs)),
            (records, blobs) => records.or(blobs),
        }
    }

    /// Returns the times that answers of the store of records carried. The other store has another
    /// clock, and a node's decisions rest on one.
    fn times_heard(&self) -> Vec<TimeHeard> {
        self.records.times_heard()
    }

    fn until(&self, deadline: Instant) -> Option<Arc<dyn Store>> {
        let (records, blobs) = (self.records.until(deadline)?, self.blobs.until(deadline)?);
        Some(Arc::new(SplitStore { records, blobs }))
    }

    async fn commit(&self, writes: Writes) -> Committed {
        writes.assert_distinct();
        let created_in_blobs = writes.create.as_ref().map(|(name, _)| is_of_blobs(name.space));
        let Writes { create, puts } = writes;
        let Parted { records, blobs, order } = Parted::of(puts, |(name, _)| name.space);
        let (mut records, mut blobs) =
            (Writes { create: None, puts: records }, Writes { create: None, puts: blobs });
        match created_in_blobs {
            Some(true) => blobs.create = create,
            Some(false) | None => records.create = create,
        }
        let run = async |store: &dyn Store, writes: Writes| match writes == Writes::default() {
            true => Committed { created: None, puts: Vec::new() },
            false => store.commit(writes).await,
        };
        // The call that is polled first begins first: that with the create.
        let (records, blobs) = match created_in_blobs {
            Some(true) => {
                let (blobs, records) = join(run(&*self.blobs, blobs), run(&*self.records, records)).await;
                (records, blobs)
            }
            Some(false) | None => join(run(&*self.records, records), run(&*self.blobs, blobs)).await,
        };
        Committed {
            created: records.created.or(blobs.created),
            puts: merged(&order, records.puts, blobs.puts),
        }
    }

    async fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        limit: usize,
    ) -> Result<ScanPage> {
        self.home(space).scan(space, prefix, after, limit).await
    }

    async fn scan_heads(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        heads: &Heads,
        limit: usize,
    ) -> Result<ScanPage> {
        self.home(space).scan_heads(space, prefix, after, heads, limit).await
    }

    async fn get(&self, name: &Name) -> Result<Option<(Bytes, Tag)>> {
        self.home(name.space).get(name).await
    }

    async fn get_bodies(&self, names: &[Name]) -> Result<Vec<Option<Bytes>>> {
        let Parted { records, blobs, order } = Parted::of(names.iter().cloned(), |name| name.space);
        let both = join(self.records.get_bodies(&records), self.blobs.get_bodies(&blobs));
        let (records, blobs) = both.await;
        Ok(merged(&order, records?, blobs?))
    }

    async fn get_pieces(&self, name: &Name, take: &mut (dyn FnMut(Bytes) + Send)) -> Result<Option<Tag>> {
        self.home(name.space).get_pieces(name, take).await
    }

    async fn put(&self, name: &Name, body: Bytes) -> Result<()> {
        self.home(name.space).put(name, body).await
    }

    async fn create(&self, name: &Name, body: Bytes) -> Result<Created> {
        self.home(name.space).create(name, body).await
    }

    async fn replace(&self, name: &Name, tag: &Tag, body: Bytes) -> Result<Replaced> {
        self.home(name.space).replace(name, tag, body).await
    }

    async fn delete(&self, names: &[Name]) -> Result<()> {
        let Parted { records, blobs, .. } = Parted::of(names.iter().cloned(), |name| name.space);
        let run = async |store: &dyn Store, names: &[Name]| match names.is_empty() {
            true => Ok(()),
            false => store.delete(names).await,
        };
        // Both run to their end: the failure of one is no reason to leave the other's names.
        let (records, blobs) = join(run(&*self.records, &records), run(&*self.blobs, &blobs)).await;
        records.and(blobs)
    }

    async fn delete_if(&self, name: &Name, tag: &Tag) -> Result<Replaced> {
        if !self.capabilities().delete_if {
            return Err(aft_store::Error::Refused(format!(
                "{}: cannot delete {name} on a condition: one of the two stores has no conditional delete",
                self.url()
            )));
        }
        self.home(name.space).delete_if(name, tag).await
    }

    async fn list(&self, space: Space, group: &[u8], after: Option<&[u8]>, limit: usize) -> Result<ItemPage> {
        self.home(space).list(space, group, after, limit).await
    }

    async fn groups(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<GroupPage> {
        self.home(space).groups(space, prefix, after, limit).await
    }
}
