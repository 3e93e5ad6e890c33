//! Names for the checks, and store calls whose errors say which call failed.
//!
//! On a store in use, every group starts with a random prefix and lies in a space that no node
//! lists or scans ([`GUEST`]). So a running deployment never sees the names of a check, not even
//! those that a killed check left behind. Every name that may have been written is recorded, to be
//! removed at the end.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;

use super::Outcome;
use crate::{
    Committed, Created, Error, GroupPage, Heads, ItemPage, Name, Position, Replaced, Result, ScanPage, Space,
    Store, Tag, Writes,
};

/// The spaces that a guest uses: those that only the first version of the protocol used. Adapters
/// store the first two in the ways in which they store records and keys.
const GUEST: [Space; 3] = [Space::Lease, Space::Marker, Space::Intent];

/// The most names that one call removes at the end.
const CLEAN_UP_NAMES: usize = 200;
/// The most calls in flight when many names are written or read.
pub(super) const CALLS_AT_ONCE: usize = 32;
/// The most tries of a call that may be repeated, and the pause after the first: 3 s in all, which
/// outlasts a lost packet and a failover within a region.
const TRIES_MAX: usize = 6;
const PAUSE_FIRST: Duration = Duration::from_millis(100);

pub(super) struct Scratch {
    pub(super) store: Arc<dyn Store>,
    /// The number of writers that race for one name.
    pub(super) writers: usize,
    /// The number of rounds of each race.
    pub(super) rounds: usize,
    /// The prefix of every group; empty on a fresh store.
    prefix: Bytes,
    /// The spaces in which the checks may write.
    pub(super) spaces: &'static [Space],
    /// The spaces in which races are run and large bodies are written: two, since adapters store
    /// them in different ways.
    pub(super) races: &'static [Space],
    /// The names that may have been written and are not removed yet.
    written: Mutex<BTreeSet<Name>>,
    /// The reason for which the running check does not apply, if it does not.
    skipped: Mutex<Option<&'static str>>,
}

impl Scratch {
    pub(super) fn fresh(store: Arc<dyn Store>, writers: usize, rounds: usize) -> Scratch {
        let races = &[Space::Commit, Space::Blob];
        Scratch::new(store, Bytes::new(), &Space::ALL, races, writers, rounds)
    }

    pub(super) fn guest(store: Arc<dyn Store>, writers: usize, rounds: usize) -> Scratch {
        let prefix = format!("aft-probe-{:032x}/", rand::random::<u128>());
        Scratch::new(store, prefix.into(), &GUEST, &GUEST[..2], writers, rounds)
    }

    fn new(
        store: Arc<dyn Store>,
        prefix: Bytes,
        spaces: &'static [Space],
        races: &'static [Space],
        writers: usize,
        rounds: usize,
    ) -> Scratch {
        assert!(
            writers >= 2 && rounds >= 1,
            "{writers} writers, {rounds} rounds: a race needs 2 writers and 1 round"
        );
        let (written, skipped) = (Mutex::default(), Mutex::default());
        Scratch { store, writers, rounds, prefix, spaces, races, written, skipped }
    }

    pub(super) fn url(&self) -> String {
        self.store.url()
    }

    /// Records that the running check does not apply, and why.
    pub(super) fn skip(&self, why: &'static str) {
        *self.skipped.lock().expect("never held across a panic") = Some(why);
    }

    pub(super) fn take_skipped(&self) -> Option<&'static str> {
        self.skipped.lock().expect("never held across a panic").take()
    }

    /// Returns `group`, a group or a prefix of groups, with the scratch prefix before it.
    pub(super) fn group(&self, group: &[u8]) -> Bytes {
        [&self.prefix[..], group].concat().into()
    }

    /// Returns a group of the maximum length that starts with `start` and goes on with `fill`.
    pub(super) fn longest_group(&self, start: &[u8], fill: u8) -> Bytes {
        let mut group = [&self.prefix[..], start].concat();
        group.resize(Name::GROUP_BYTES_MAX, fill);
        group.into()
    }

    /// Returns a name in the first space.
    pub(super) fn name(&self, group: &[u8], item: &[u8]) -> Name {
        self.name_in(self.spaces[0], group, item)
    }

    pub(super) fn name_in(&self, space: Space, group: &[u8], item: &[u8]) -> Name {
        Name::new(space, self.group(group), Bytes::copy_from_slice(item))
    }

    /// Records a name that may be written, so that it is removed at the end.
    pub(super) fn will_write(&self, name: &Name) {
        self.written.lock().expect("never held across a panic").insert(name.clone());
    }

    /// Removes every name that may have been written.
    pub(super) async fn clean_up(&self) -> Outcome {
        let names = std::mem::take(&mut *self.written.lock().expect("never held across a panic"));
        let names = Vec::from_iter(names);
        for names in names.chunks(CLEAN_UP_NAMES) {
            self.delete(names).await?;
        }
        Ok(())
    }

    pub(super) async fn get(&self, name: &Name) -> Outcome<Option<(Bytes, Tag)>> {
        settled(|| self.store.get(name), || format!("get {}", short(name))).await
    }

    /// Returns a body, assembled from its pieces, and its tag.
    pub(super) async fn get_pieces(&self, name: &Name) -> Outcome<Option<(Bytes, Tag)>> {
        let mut body = Vec::new();
        let mut take = |piece: Bytes| body.extend_from_slice(&piece);
        let tag =
            said(self.store.get_pieces(name, &mut take), || format!("get_pieces {}", short(name))).await?;
        match tag {
            Some(tag) => Ok(Some((body.into(), tag))),
            None if body.is_empty() => Ok(None),
            None => Err(format!("get_pieces {}: no such name, but {} bytes", short(name), body.len())),
        }
    }

    /// Returns the body and tag of a name that must exist.
    pub(super) async fn get_some(&self, name: &Name) -> Outcome<(Bytes, Tag)> {
        self.get(name)
            .await?
            .ok_or_else(|| format!("get {}: no such name, although it was written", short(name)))
    }

    pub(super) async fn put(&self, name: &Name, body: impl Into<Bytes>) -> Outcome {
        self.will_write(name);
        let body = body.into();
        settled(|| self.store.put(name, body.clone()), || format!("put {}", short(name))).await
    }

    /// Puts many names, each with its item as its body.
    pub(super) async fn put_all(&self, names: &[Name]) -> Outcome {
        let puts: Vec<_> = names.iter().map(|name| self.put(name, name.item.clone())).collect();
        let mut puts = futures::stream::iter(puts).buffer_unordered(CALLS_AT_ONCE);
        while let Some(put) = puts.next().await {
            put?;
        }
        Ok(())
    }

    pub(super) async fn create(&self, name: &Name, body: impl Into<Bytes>) -> Outcome<Created> {
        self.will_write(name);
        said(self.store.create(name, body.into()), || format!("create {}", short(name))).await
    }

    /// Commits, and checks that there is an answer for every piece.
    pub(super) async fn commit(&self, writes: &Writes) -> Outcome<Committed> {
        writes.create.iter().chain(&writes.puts).for_each(|(name, _)| self.will_write(name));
        let committed = self.store.commit(writes.clone()).await;
        let complete = committed.created.is_some() == writes.create.is_some()
            && committed.puts.len() == writes.puts.len();
        match complete {
            true => Ok(committed),
            false => Err(format!(
                "a commit of {} records and {} entries has {} and {} answers",
                writes.create.iter().len(),
                writes.puts.len(),
                committed.created.iter().len(),
                committed.puts.len()
            )),
        }
    }

    pub(super) async fn replace(&self, name: &Name, tag: &Tag, body: impl Into<Bytes>) -> Outcome<Replaced> {
        self.will_write(name);
        said(self.store.replace(name, tag, body.into()), || format!("replace {}", short(name))).await
    }

    pub(super) async fn delete(&self, names: &[Name]) -> Outcome {
        settled(|| self.store.delete(names), || format!("delete of {} names", names.len())).await
    }

    pub(super) async fn delete_if(&self, name: &Name, tag: &Tag) -> Outcome<Replaced> {
        said(self.store.delete_if(name, tag), || format!("delete_if {}", short(name))).await
    }

    pub(super) async fn list(
        &self,
        space: Space,
        group: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Outcome<ItemPage> {
        let group = self.group(group);
        settled(|| self.store.list(space, &group, after, limit), || format!("list {}", group.escape_ascii()))
            .await
    }

    /// Returns a page of the names whose groups start with the scratch prefix and `prefix`. `after`
    /// is a full position, scratch prefix included.
    pub(super) async fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        limit: usize,
    ) -> Outcome<ScanPage> {
        let prefix = self.group(prefix);
        let scan = || self.store.scan(space, &prefix, after, limit);
        settled(scan, || format!("scan of {} after {:?}", prefix.escape_ascii(), after)).await
    }

    /// Returns the same page, limited to heads.
    pub(super) async fn scan_heads(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        heads: &Heads,
        limit: usize,
    ) -> Outcome<ScanPage> {
        let prefix = self.group(prefix);
        let scan = || self.store.scan_heads(space, &prefix, after, heads, limit);
        settled(scan, || format!("scan of heads of {} after {:?}", prefix.escape_ascii(), after)).await
    }

    /// Returns a page of the groups that start with the scratch prefix and `prefix`. `after` is a
    /// full group, scratch prefix included.
    pub(super) async fn groups(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Outcome<GroupPage> {
        let prefix = self.group(prefix);
        let groups = || self.store.groups(space, &prefix, after, limit);
        settled(groups, || format!("groups of {} after {:?}", prefix.escape_ascii(), after)).await
    }
}

/// Makes a call that may be repeated until it is answered, at most [`TRIES_MAX`] times. A check is
/// of the store's answers, and one lost answer among hundreds says nothing about them.
async fn settled<T, F: Future<Output = Result<T>>>(
    call: impl Fn() -> F,
    what: impl FnOnce() -> String,
) -> Outcome<T> {
    let mut pause = PAUSE_FIRST;
    for _ in 1..TRIES_MAX {
        match call().await {
            Err(Error::NoAnswer(_) | Error::Busy(_)) => tokio::time::sleep(pause).await,
            answer => return said(async { answer }, what).await,
        }
        pause *= 2;
    }
    said(call(), what).await
}

async fn said<T>(call: impl Future<Output = Result<T>>, what: impl FnOnce() -> String) -> Outcome<T> {
    call.await.map_err(|error| format!("{}: {error}", what()))
}

/// Formats a name for messages; a very long one is cut.
pub(super) fn short(name: &Name) -> String {
    const CHARS_MAX: usize = 120;
    let full = name.to_string();
    match full.char_indices().nth(CHARS_MAX) {
        None => full,
        Some((cut, _)) => format!("{}... ({} bytes)", &full[..cut], name.group.len() + name.item.len()),
    }
}
