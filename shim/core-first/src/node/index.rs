//! What the node knows of committed versions: a cache over the store's version entries, bounded in bytes, never the truth.
//!
//! An entry of a key may be forgotten at any time unless it holds this node's own commit that is not published yet (the store does not list that
//! one) or an operation is working on it. What is forgotten is listed again.
//!
//! Bytes are estimated from sizes and numbers (`weights`), kept up to date with every change, and rather too many than too few.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::bug::Bug;
use crate::ids::{Key, TxnId};
use crate::message::Header;
use crate::record::VersionEntry;

/// What is known of one version.
#[derive(Debug, Clone, Hash)]
pub(super) enum Knowledge {
    /// A listing named it; its cowritten keys are not known yet. Boxed, since most versions are known whole.
    Entry(Box<VersionEntry>),
    /// Its whole write set is known.
    Header(Arc<Header>),
    /// Its record was found slim, gone, or another's: no candidate, and no rejection either. It stays so.
    Dead,
}

#[derive(Debug, Clone, Hash)]
pub(super) struct Known {
    pub(super) txn: TxnId,
    pub(super) knowledge: Knowledge,
    /// By the monotonic clock.
    learned_mono: u64,
    /// The last store call that showed that it is not collected: a listing that named it, a read of its record, or its publishing.
    shown_by_call: Option<u64>,
    /// This node committed it and has not published it: no listing may drop it.
    unpublished: bool,
}

impl Known {
    /// Whether the store has shown it since the listing that a choice rests on was asked. If not, it may be collected, and what it hides with it.
    pub(super) fn shown_since(&self, listing_call: u64) -> bool {
        self.unpublished || self.shown_by_call >= Some(listing_call)
    }
}

/// From where a committed transaction is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// This node has committed it just now.
    Own,
    /// A peer, or a record read some time ago.
    Heard,
    /// A full record that this store call has read.
    Read(u64),
}

/// A listing of a key's version entries.
#[derive(Debug, Clone, Hash)]
pub(super) struct Listing {
    /// When it was asked, by the monotonic clock.
    pub(super) asked_mono: u64,
    /// The number of the store call that asked it.
    pub(super) asked_call: u64,
    /// The oldest entry that was listed, if older ones may follow.
    pub(super) more_after: Option<Box<VersionEntry>>,
}

#[derive(Debug, Clone, Default, Hash)]
pub(super) struct KeyEntry {
    /// Newest first, each transaction once.
    pub(super) versions: Vec<Known>,
    /// `None`: never listed, or listed before something was found gone.
    pub(super) listing: Option<Listing>,
    /// Only a listing asked by this call or a later one counts: something of an earlier one was found gone.
    pub(super) not_before_call: u64,
    pins: u32,
    used: bool,
    /// What this entry counts for in [`Index::bytes`].
    bytes: usize,
}

impl KeyEntry {
    fn place(&self, txn: TxnId) -> Result<usize, usize> {
        self.versions.binary_search_by(|known| txn.cmp(&known.txn))
    }

    fn evictable(&self) -> bool {
        self.pins == 0 && !self.versions.iter().any(|known| known.unpublished)
    }
}

#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Index {
    pub(super) keys: BTreeMap<Key, KeyEntry>,
    /// Every known header with the number of keys that hold it.
    headers: BTreeMap<TxnId, (Arc<Header>, u32)>,
    /// Keys in the order in which they are looked at for eviction; each key of `keys` once.
    clock: VecDeque<Key>,
    /// Estimated bytes of all of this; at least what is allocated for it.
    bytes: usize,
    /// Versions held that are not published yet, over all keys.
    unpublished: usize,
}

/// How many of a key's versions are kept when listings make it grow: older ones are listed again if a scan ever needs them.
const VERSIONS_KEPT_MAX: usize = 32;

/// Keys looked at for eviction in one step: more than a step can add, so the bound holds, and few enough not to be felt.
const LOOKS_PER_STEP_MAX: usize = 4_096;

/// The places that a key's versions have: a power of two, from one on, where a vector's own first step is four; most keys have one version or two.
/// A function of their number, so that a copy of an index weighs what its original does.
fn places(versions: usize) -> usize {
    if versions == 0 { 0 } else { versions.next_power_of_two() }
}

/// Room for one more version.
fn make_room(versions: &mut Vec<Known>) {
    if versions.len() == versions.capacity() {
        versions.reserve_exact(places(versions.len() + 1) - versions.len());
    }
}

/// What things weigh, in bytes. Upper bounds of what is allocated, and above it by less than half for keys of usual length (tests/memory.rs).
mod weights {
    use std::mem::size_of;

    use super::{Arc, Header, Key, KeyEntry, Knowledge, Known, TxnId, VersionEntry, places};
    use crate::record::Meta;

    /// What an allocator adds to an allocation: its own word, and what it rounds up.
    const ALLOCATION: usize = 16;
    /// Two counters before what an `Arc` holds.
    const COUNTERS: usize = 2 * size_of::<usize>();

    /// An entry's share of a B-tree map's nodes. Nodes have 11 places; in keys' order they are left with six taken, and never with fewer than
    /// five. Inner nodes, one to six or more others, add pointers.
    const fn in_tree<K, V>() -> usize {
        (size_of::<K>() + size_of::<V>()) * 11 / 5 + ALLOCATION
    }

    /// A key's place in the map and in the clock, whose buffer doubles when it is full, and its text.
    const KEY: usize = in_tree::<Key, KeyEntry>() + 2 * size_of::<Key>();
    const HEADER: usize = in_tree::<TxnId, (Arc<Header>, u32)>()
        + COUNTERS
        + size_of::<Header>()
        + ALLOCATION
        + COUNTERS
        + ALLOCATION;

    fn text(key: &Key) -> usize {
        COUNTERS + key.as_str().len() + ALLOCATION
    }

    /// A buffer of its own, and the counter beside it.
    fn etag(meta: &Meta) -> usize {
        match meta.etag.len() {
            0 => 0,
            len => len + ALLOCATION + 24 + ALLOCATION,
        }
    }

    fn boxed(entry: &VersionEntry) -> usize {
        size_of::<VersionEntry>() + ALLOCATION + etag(&entry.meta)
    }

    pub(super) fn entry(key: &Key, entry: &KeyEntry) -> usize {
        let known = |known: &Known| match &known.knowledge {
            Knowledge::Entry(entry) => boxed(entry),
            Knowledge::Header(_) | Knowledge::Dead => 0,
        };
        let versions = match places(entry.versions.len()) {
            0 => 0,
            places => places * size_of::<Known>() + ALLOCATION,
        };
        let more_after = entry.listing.as_ref().and_then(|listing| listing.more_after.as_deref());
        KEY + text(key)
            + versions
            + entry.versions.iter().map(known).sum::<usize>()
            + more_after.map_or(0, boxed)
    }

    pub(super) fn header(header: &Header) -> usize {
        let writes = header.writes.iter();
        HEADER + writes.map(|(key, meta)| size_of::<(Key, Meta)>() + text(key) + etag(meta)).sum::<usize>()
    }
}

impl Index {
    /// Bytes held, estimated, and not less than what is allocated.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Versions held that are not published yet, a commit of three keys counting as three.
    pub(super) fn unpublished(&self) -> usize {
        self.unpublished
    }

    pub(super) fn header(&self, txn: TxnId) -> Option<&Arc<Header>> {
        self.headers.get(&txn).map(|(header, _)| header)
    }

    /// What is known of a key; marks it as used.
    pub(super) fn entry(&mut self, key: &Key) -> &mut KeyEntry {
        if !self.keys.contains_key(key) {
            self.keys.insert(key.clone(), KeyEntry::default());
            self.clock.push_back(key.clone());
            self.weigh(key);
        }
        let entry = self.keys.get_mut(key).expect("inserted above");
        entry.used = true;
        entry
    }

    /// Counts a key's entry anew, after a change to it.
    fn weigh(&mut self, key: &Key) {
        let entry = self.keys.get_mut(key).expect("only known keys are weighed");
        entry.versions.shrink_to(places(entry.versions.len()));
        let bytes = weights::entry(key, entry);
        self.bytes = self.bytes - entry.bytes + bytes;
        entry.bytes = bytes;
    }

    pub(super) fn pin(&mut self, key: &Key) {
        self.entry(key).pins += 1;
    }

    pub(super) fn unpin(&mut self, key: &Key) {
        if let Some(entry) = self.keys.get_mut(key) {
            assert!(entry.pins > 0, "unpinned more often than pinned");
            entry.pins -= 1;
        }
    }

    /// Learns a committed transaction: indexes its **whole** write set, so that a half-published transaction reads whole.
    pub(super) fn learn(
        &mut self,
        header: &Arc<Header>,
        now_mono: u64,
        source: Source,
        bug: impl Fn(Bug) -> bool,
        asked: Option<&Key>,
    ) {
        let unpublished = source == Source::Own;
        let shown_by_call = match source {
            Source::Own | Source::Heard => None,
            Source::Read(call) => Some(call),
        };
        for (key, _) in header.writes.iter() {
            if bug(Bug::IndexOnlyTheKeyAsked) && asked.is_some_and(|asked| asked != key) {
                continue;
            }
            let entry = self.entry(key);
            match entry.place(header.txn) {
                Ok(at) => {
                    let known = &mut entry.versions[at];
                    known.learned_mono = now_mono;
                    known.shown_by_call = known.shown_by_call.max(shown_by_call);
                    let newly = unpublished && !known.unpublished;
                    known.unpublished |= unpublished;
                    let whole = matches!(known.knowledge, Knowledge::Entry(_));
                    if whole {
                        known.knowledge = Knowledge::Header(header.clone());
                    }
                    self.unpublished += usize::from(newly);
                    if whole {
                        self.hold(header);
                        self.weigh(key);
                    }
                }
                Err(at) => {
                    make_room(&mut entry.versions);
                    entry.versions.insert(
                        at,
                        Known {
                            txn: header.txn,
                            knowledge: Knowledge::Header(header.clone()),
                            learned_mono: now_mono,
                            shown_by_call,
                            unpublished,
                        },
                    );
                    self.unpublished += usize::from(unpublished);
                    self.hold(header);
                    self.trim(key);
                    self.weigh(key);
                }
            }
        }
    }

    fn hold(&mut self, header: &Arc<Header>) {
        let held = self.headers.entry(header.txn).or_insert_with(|| (header.clone(), 0));
        if held.1 == 0 {
            self.bytes += weights::header(header);
        }
        held.1 += 1;
    }

    /// A version leaves its key's entry.
    fn release(&mut self, known: &Known) {
        self.unpublished -= usize::from(known.unpublished);
        if let Knowledge::Header(header) = &known.knowledge {
            self.release_header(header.txn);
        }
    }

    fn release_header(&mut self, txn: TxnId) {
        let held = self.headers.get_mut(&txn).expect("every held header is counted");
        held.1 -= 1;
        if held.1 == 0 {
            self.bytes -= weights::header(&held.0);
            self.headers.remove(&txn);
        }
    }

    /// Keeps a hot key's history short. What is cut can be listed again, so only a listed key is cut, and never below an unpublished version.
    fn trim(&mut self, key: &Key) {
        let entry = self.keys.get_mut(key).expect("only known keys are trimmed");
        if entry.versions.len() <= 2 * VERSIONS_KEPT_MAX || entry.listing.is_none() {
            return;
        }
        let mut cut = Vec::new();
        while entry.versions.len() > VERSIONS_KEPT_MAX
            && !entry.versions.last().is_some_and(|known| known.unpublished)
        {
            cut.extend(entry.versions.pop());
        }
        let last = entry.versions.last().expect("some are kept");
        let resume = match &last.knowledge {
            Knowledge::Entry(version) => Some(version.clone()),
            Knowledge::Header(header) => Some(Box::new(super::publish::version_entry(header, key))),
            Knowledge::Dead => None,
        };
        match (resume, &mut entry.listing) {
            // The cut must not reach above where the listing stands.
            (Some(resume), Some(listing))
                if listing.more_after.as_ref().is_none_or(|more| more.txn < resume.txn) =>
            {
                listing.more_after = Some(resume);
            }
            (Some(_), Some(_)) => {}
            (None, _) | (_, None) => entry.listing = None,
        }
        for known in &cut {
            self.release(known);
        }
    }

    /// The transaction's versions are all entered in the store.
    pub(super) fn published(&mut self, header: &Header, now_mono: u64, next_call: u64) {
        for (key, _) in header.writes.iter() {
            let Some(entry) = self.keys.get_mut(key) else { continue };
            if let Ok(at) = entry.place(header.txn) {
                let known = &mut entry.versions[at];
                self.unpublished -= usize::from(std::mem::take(&mut known.unpublished));
                known.learned_mono = now_mono;
                known.shown_by_call = Some(next_call);
            }
        }
    }

    /// A record was found slim, gone, or another's. Listings of its keys that named it are out of date.
    pub(super) fn dead(&mut self, txn: TxnId, key: &Key, next_call: u64) {
        let keys: Vec<Key> = match self.header(txn) {
            Some(header) => header.writes.iter().map(|(key, _)| key.clone()).collect(),
            None => vec![key.clone()],
        };
        for key in keys {
            let Some(entry) = self.keys.get_mut(&key) else { continue };
            let Ok(at) = entry.place(txn) else { continue };
            let was = std::mem::replace(&mut entry.versions[at].knowledge, Knowledge::Dead);
            self.unpublished -= usize::from(std::mem::take(&mut entry.versions[at].unpublished));
            entry.listing = None;
            entry.not_before_call = next_call;
            match was {
                Knowledge::Header(header) => self.release_header(header.txn),
                Knowledge::Entry(_) | Knowledge::Dead => {}
            }
            self.weigh(&key);
        }
    }

    /// The transaction was collected by this node: its versions are versions no more. Listings stay true, being made of what remains.
    pub(super) fn forget(&mut self, txn: TxnId, keys: impl Iterator<Item = Key>) {
        for key in keys {
            let Some(entry) = self.keys.get_mut(&key) else { continue };
            if let Ok(at) = entry.place(txn) {
                let known = entry.versions.remove(at);
                self.release(&known);
                self.weigh(&key);
            }
        }
    }

    /// A page of a key's version entries. The first page of a listing **replaces** what was known, except this node's own unpublished commits and
    /// what was learned since the listing was asked or within `recheck_after_ms`.
    pub(super) fn listed(&mut self, key: &Key, page: ListedPage<'_>, bug: impl Fn(Bug) -> bool) {
        let ListedPage { entries, after, more, asked_mono, asked_call, now_mono, recheck_after_ms } = page;
        let more = more && !bug(Bug::SkipSecondPage);
        let keep_from = asked_mono.min(now_mono.saturating_sub(recheck_after_ms));
        let oldest = entries.last().map(|entry| entry.txn);
        let entry = self.entry(key);
        if asked_call < entry.not_before_call {
            return;
        }
        // What this page covers: from `after` (exclusive) down to its last entry, or to the end.
        let covered = |txn: TxnId| {
            after.is_none_or(|after| txn < after) && (!more || oldest.is_some_and(|oldest| txn >= oldest))
        };
        let mut dropped = Vec::new();
        if !bug(Bug::UnionOnRecheck) {
            entry.versions.retain(|known| {
                let keep = !covered(known.txn)
                    || known.unpublished
                    || known.learned_mono >= keep_from
                    || entries.iter().any(|listed| listed.txn == known.txn);
                if !keep {
                    dropped.push(known.clone());
                }
                keep
            });
        }
        match after {
            None => entry.listing = Some(Listing { asked_mono, asked_call, more_after: None }),
            Some(_) => {
                // A later page of a listing that was dropped meanwhile proves nothing: what it names is known, no more.
                if entry.listing.is_none() {
                    dropped.iter().for_each(|known| self.release(known));
                    return self.weigh(key);
                }
            }
        }
        let listing = entry.listing.as_mut().expect("set above");
        listing.more_after = if more { entries.last().cloned().map(Box::new) } else { None };
        let mut single = Vec::new();
        for listed in entries {
            match entry.place(listed.txn) {
                Ok(at) => {
                    let known = &mut entry.versions[at];
                    known.shown_by_call = known.shown_by_call.max(Some(asked_call));
                }
                Err(at) => {
                    let knowledge = if listed.cowritten == 1 {
                        let header = Arc::new(Header {
                            txn: listed.txn,
                            hash: listed.hash,
                            writes: Arc::from([(key.clone(), listed.meta.clone())]),
                        });
                        single.push(header.clone());
                        Knowledge::Header(header)
                    } else {
                        Knowledge::Entry(Box::new(listed.clone()))
                    };
                    // What only a listing told is as old as the listing.
                    let known = Known {
                        txn: listed.txn,
                        knowledge,
                        learned_mono: 0,
                        shown_by_call: Some(asked_call),
                        unpublished: false,
                    };
                    make_room(&mut entry.versions);
                    entry.versions.insert(at, known);
                }
            }
        }
        single.iter().for_each(|header| self.hold(header));
        dropped.iter().for_each(|known| self.release(known));
        self.weigh(key);
    }

    /// Known keys after a bound, in order, as long as they start with the prefix.
    pub(super) fn keys_in<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Key> {
        use std::ops::Bound;
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        self.keys
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(key, _)| key)
            .take_while(move |key| key.as_str().starts_with(prefix))
    }

    /// Forgets cold keys until at most `bytes_max` remain, or enough was looked at for one step.
    pub(super) fn shrink(&mut self, bytes_max: usize) {
        let mut looks = LOOKS_PER_STEP_MAX.min(2 * self.clock.len());
        while self.bytes > bytes_max && looks > 0 {
            looks -= 1;
            let Some(key) = self.clock.pop_front() else { return };
            let entry = self.keys.get_mut(&key).expect("the clock holds each key once");
            if entry.used || !entry.evictable() {
                entry.used = false;
                self.clock.push_back(key);
                continue;
            }
            let entry = self.keys.remove(&key).expect("looked up above");
            self.bytes -= entry.bytes;
            entry.versions.iter().for_each(|known| self.release(known));
        }
    }

    pub(super) fn check_invariants(&self) {
        assert_eq!(self.keys.len(), self.clock.len(), "every key has one place in the clock");
        let known = || self.keys.values().flat_map(|entry| &entry.versions);
        let unpublished = known().filter(|known| known.unpublished).count();
        assert_eq!(self.unpublished, unpublished, "unpublished versions are counted");
        let entries: usize = self.keys.iter().map(|(key, entry)| weights::entry(key, entry)).sum();
        let headers: usize = self.headers.values().map(|(header, _)| weights::header(header)).sum();
        assert_eq!(self.bytes, entries + headers, "bytes are counted");
        let mut held: BTreeMap<TxnId, u32> = BTreeMap::new();
        for (key, entry) in &self.keys {
            assert!(
                entry.versions.windows(2).all(|pair| pair[0].txn > pair[1].txn),
                "versions of {key} are in order, each once"
            );
            for known in &entry.versions {
                if let Knowledge::Header(header) = &known.knowledge {
                    assert_eq!(header.txn, known.txn);
                    *held.entry(header.txn).or_default() += 1;
                }
            }
        }
        assert_eq!(held.len(), self.headers.len(), "headers are counted");
        assert!(held.iter().all(|(txn, count)| self.headers[txn].1 == *count), "headers are counted rightly");
    }
}

/// One page of a key's listing.
#[derive(Debug)]
pub(super) struct ListedPage<'a> {
    pub(super) entries: &'a [VersionEntry],
    /// Where the page began, exclusive.
    pub(super) after: Option<TxnId>,
    pub(super) more: bool,
    pub(super) asked_mono: u64,
    pub(super) asked_call: u64,
    pub(super) now_mono: u64,
    pub(super) recheck_after_ms: u64,
}
