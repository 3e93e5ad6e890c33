//! The index of committed versions: a cache over the store's version entries, bounded in bytes, and
//! never authoritative.
//!
//! A key may be forgotten at any time unless an operation works on it; then it is listed again. For
//! each key the index holds the entries of its last listing, and the transactions whose record the
//! node knows, whether that listing showed them or not (protocol, section 5, step 4). Learning a
//! record indexes its whole write set, so that a transaction is read as a whole while only some of
//! its entries exist.
//!
//! The size in bytes is estimated from sizes and counts (`weights`), updated with every change, and
//! rather too high than too low.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::bug::Bug;
use crate::clock::Moment;
use crate::ids::{Key, TxnId};
use crate::message::Header;
use crate::record::VersionEntry;

use super::weights;

/// The node's knowledge of one version.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) enum Knowledge {
    /// A listing showed the version, and its record is not known. Boxed, because most versions have
    /// a header.
    Entry(Box<VersionEntry>),
    /// The version is committed, and its transaction's whole write set is known.
    Header(Arc<Header>),
}

#[derive(Debug, Clone, Hash)]
pub(in crate::node) struct Known {
    pub(in crate::node) txn: TxnId,
    pub(in crate::node) knowledge: Knowledge,
    /// The listing that showed it last, by the number of its first call.
    listed_by: Option<u64>,
    /// The last read of its record, if the record was absent or names another attempt.
    undecided: Option<Vain>,
}

/// A read of an entry's record that did not find it.
#[derive(Debug, Clone, Copy, Hash)]
struct Vain {
    /// The listing after which the read was made, by the number of its first call.
    listing: u64,
    /// The number of the call after its answer.
    next_call: u64,
    /// True if it found the record of another attempt, or the remainder of one.
    found_other: bool,
    /// The number of the call after the answer to the first such read that was made when the mark
    /// was known to have passed the entry.
    below_mark: Option<u64>,
}

/// The state of an entry that the mark has passed, and to which no record belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) enum Stray {
    /// Another attempt has committed under the record's name: the entry never was a version.
    Dead,
    /// No object has the record's name. A sweep would have removed the entry, so the record was
    /// lost.
    Lost,
}

impl Known {
    /// Returns true if the listing showed the version.
    pub(in crate::node) fn is_listed_by(&self, listing: u64) -> bool {
        self.listed_by == Some(listing)
    }

    /// Returns the number of the call after the one that found no record of the version, if that
    /// was made after the listing.
    pub(in crate::node) fn undecided_since(&self, listing: u64) -> Option<u64> {
        self.undecided.filter(|vain| vain.listing == listing).map(|vain| vain.next_call)
    }

    /// Returns the entry's state if certainly no record belongs to it: a read found no record while
    /// the mark had passed the entry, and the listing was made later and still shows the entry.
    ///
    /// At or below the mark no record is created any more, and a record is removed only after all
    /// its entries. So the read would have found the record if there had been one and it was not
    /// lost.
    pub(in crate::node) fn stray(&self, listing: u64) -> Option<Stray> {
        let vain = self.undecided.filter(|_| self.is_listed_by(listing))?;
        let is_certain = vain.below_mark.is_some_and(|next_call| listing >= next_call);
        is_certain.then_some(if vain.found_other { Stray::Dead } else { Stray::Lost })
    }

    /// Returns a version that is known by its record, and that no listing has shown.
    pub(in crate::node) fn unlisted(header: &Arc<Header>) -> Known {
        let knowledge = Knowledge::Header(header.clone());
        Known { txn: header.txn, knowledge, listed_by: None, undecided: None }
    }

    /// Notes that the version is committed, because its record was found after all.
    pub(in crate::node) fn decide(&mut self, header: &Arc<Header>) {
        assert_eq!(self.txn, header.txn, "a version is its own transaction's");
        self.knowledge = Knowledge::Header(header.clone());
        self.undecided = None;
    }

    /// Returns true if the last read of the record did not find it.
    pub(in crate::node) fn was_undecided(&self) -> bool {
        self.undecided.is_some()
    }
}

/// A listing of a key's version entries.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) struct Listing {
    /// The instant at which it was asked.
    pub(in crate::node) asked: Moment,
    /// The number of the call that asked its first page.
    pub(in crate::node) asked_call: u64,
    /// The number of the call after the answer to its last page: calls from this one on are made
    /// after everything that the listing shows.
    pub(in crate::node) answered_call: u64,
    /// The mark that the node knew before it asked.
    pub(in crate::node) mark: TxnId,
    /// The oldest entry that was listed, if older ones may follow.
    pub(in crate::node) more_after: Option<Box<VersionEntry>>,
}

#[derive(Debug, Clone, Default, Hash)]
pub(in crate::node) struct KeyEntry {
    /// Newest first, each transaction once.
    versions: Vec<Known>,
    /// The listing in use; `None` if the key was never listed, or its listing was found out of
    /// date.
    listing: Option<Listing>,
    /// The first call whose listing may be used: an earlier one was found out of date.
    not_before_call: u64,
    /// The number of operations that work on the key.
    pins: u32,
    /// True if the key was used since the last look for eviction.
    used: bool,
    /// The key's share of [`Index::bytes`].
    bytes: usize,
}

impl KeyEntry {
    fn place(&self, txn: TxnId) -> Result<usize, usize> {
        self.versions.binary_search_by(|known| txn.cmp(&known.txn))
    }

    pub(in crate::node) fn versions(&self) -> &[Known] {
        &self.versions
    }

    pub(in crate::node) fn listing(&self) -> Option<&Listing> {
        self.listing.as_ref()
    }

    pub(in crate::node) fn not_before_call(&self) -> u64 {
        self.not_before_call
    }

    /// Returns true if an operation works on this key, and there is a listing.
    pub(in crate::node) fn is_in_use(&self) -> bool {
        self.pins > 0 && self.listing.is_some()
    }

    fn weight(&self, key: &Key) -> usize {
        let hints = self.versions.iter().map(|known| match &known.knowledge {
            Knowledge::Entry(entry) => weights::hint(entry),
            Knowledge::Header(_) => 0,
        });
        let more_after = self.listing.as_ref().and_then(|listing| listing.more_after.as_deref());
        weights::key::<KeyEntry>(key, self.versions.len(), size_of::<Known>())
            + hints.sum::<usize>()
            + more_after.map_or(0, weights::hint)
    }
}

/// One page of a key's listing.
#[derive(Debug)]
pub(in crate::node) struct ListedPage<'a> {
    /// Newest first.
    pub(in crate::node) entries: &'a [VersionEntry],
    /// The place where the page began, exclusive; `None` for a first page.
    pub(in crate::node) after: Option<TxnId>,
    pub(in crate::node) more: bool,
    pub(in crate::node) asked: Moment,
    pub(in crate::node) asked_call: u64,
    /// The number of the next call.
    pub(in crate::node) next_call: u64,
    /// The mark that the node knew before it asked.
    pub(in crate::node) mark: TxnId,
}

/// The index.
#[derive(Debug, Clone, Default, Hash)]
pub(in crate::node) struct Index {
    keys: BTreeMap<Key, KeyEntry>,
    /// Every known header with the number of keys that hold it.
    headers: BTreeMap<TxnId, (Arc<Header>, u32)>,
    /// Keys in the order in which they are considered for eviction; each key of `keys` once.
    clock: VecDeque<Key>,
    /// The estimated size of the index in bytes; at least what is allocated for it.
    bytes: usize,
    /// The first call whose listing is not stale. It is raised after a pause of the process,
    /// because earlier listings may be older than they seem.
    stale_before_call: u64,
    /// The first call whose listing may be used for a key that was forgotten: an earlier listing
    /// may miss a commit that the node knew and forgot meanwhile. 0 where listings expire, because
    /// such a listing soon does so, too.
    forgotten_before_call: u64,
    versions_kept_max: usize,
}

/// The number of keys considered for eviction in one step: more than a step can add, so that the
/// bound holds, and few enough to keep steps short.
const LOOKS_PER_STEP_MAX: usize = 4_096;

/// Makes room for one more version.
fn make_room(versions: &mut Vec<Known>) {
    if versions.len() == versions.capacity() {
        versions.reserve_exact(weights::places(versions.len() + 1) - versions.len());
    }
}

impl Index {
    pub(in crate::node) fn new(versions_kept_max: usize) -> Index {
        Index { versions_kept_max, ..Index::default() }
    }

    /// Returns the estimated size in bytes, which is at least what is allocated.
    pub(in crate::node) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(in crate::node) fn header(&self, txn: TxnId) -> Option<&Arc<Header>> {
        self.headers.get(&txn).map(|(header, _)| header)
    }

    /// Marks all listings made before a call as stale.
    pub(in crate::node) fn distrust_before(&mut self, call: u64) {
        self.stale_before_call = self.stale_before_call.max(call);
    }

    pub(in crate::node) fn stale_before_call(&self) -> u64 {
        self.stale_before_call
    }

    /// Returns the entry of a key, creates it if there is none, and marks it as used.
    pub(in crate::node) fn entry(&mut self, key: &Key) -> &mut KeyEntry {
        if !self.keys.contains_key(key) {
            let not_before_call = self.forgotten_before_call;
            self.keys.insert(key.clone(), KeyEntry { not_before_call, ..KeyEntry::default() });
            self.clock.push_back(key.clone());
            self.weigh(key);
        }
        let entry = self.keys.get_mut(key).expect("inserted above");
        entry.used = true;
        entry
    }

    /// Returns the entry of a key, if there is one.
    pub(in crate::node) fn known(&self, key: &Key) -> Option<&KeyEntry> {
        self.keys.get(key)
    }

    /// Updates the size of a key's entry, after a change to it.
    fn weigh(&mut self, key: &Key) {
        let entry = self.keys.get_mut(key).expect("only known keys are weighed");
        assert!(self.bytes >= entry.bytes, "the sum has every part");
        // A page may have dropped most of a key's versions: free their places.
        entry.versions.shrink_to(weights::places(entry.versions.len()));
        let bytes = entry.weight(key);
        self.bytes = self.bytes - entry.bytes + bytes;
        entry.bytes = bytes;
    }

    pub(in crate::node) fn pin(&mut self, key: &Key) {
        let entry = self.entry(key);
        entry.pins += 1;
        assert!(entry.pins > 0, "a key that an operation works on is pinned");
    }

    pub(in crate::node) fn unpin(&mut self, key: &Key) {
        let entry = self.keys.get_mut(key).expect("a pinned key is not forgotten");
        assert!(entry.pins > 0, "unpinned more often than pinned");
        entry.pins -= 1;
    }

    /// Learns a committed transaction: indexes its **whole** write set, so that it is read as a
    /// whole while only some of its entries exist. If `durable` is true, its entries are known to
    /// be in the store now, and a listing in use counts as showing them.
    pub(in crate::node) fn learn(
        &mut self,
        header: &Arc<Header>,
        durable: bool,
        bug: impl Fn(Bug) -> bool,
        asked: Option<&Key>,
    ) {
        header.check_invariants();
        // Index all keys, not only the requested one: a sibling whose entry is not put yet becomes
        // a candidate only by this, and without it half of the commit would be read.
        for (key, _) in header.writes.iter() {
            if bug(Bug::IndexOnlyTheKeyAsked) && asked.is_some_and(|asked| asked != key) {
                continue;
            }
            let entry = self.entry(key);
            // Only if the listing's mark is below this transaction: else a missing entry means that
            // the version was collected at this key.
            let listing = entry.listing.as_ref().filter(|listing| durable && listing.mark < header.txn);
            let listed_by = listing.map(|listing| listing.asked_call);
            match entry.place(header.txn) {
                Ok(at) => {
                    let known = &mut entry.versions[at];
                    assert_eq!(known.txn, header.txn, "a version is its own transaction's");
                    // A read that found no record was too early, or its answer was old.
                    known.listed_by = listed_by.or(known.listed_by);
                    known.undecided = None;
                    if matches!(known.knowledge, Knowledge::Entry(_)) {
                        known.knowledge = Knowledge::Header(header.clone());
                        self.hold(header);
                    }
                }
                Err(at) => {
                    make_room(&mut entry.versions);
                    let knowledge = Knowledge::Header(header.clone());
                    let known = Known { txn: header.txn, knowledge, listed_by, undecided: None };
                    entry.versions.insert(at, known);
                    self.hold(header);
                    self.trim(key);
                }
            }
            self.weigh(key);
        }
    }

    fn hold(&mut self, header: &Arc<Header>) {
        let held = self.headers.entry(header.txn).or_insert_with(|| (header.clone(), 0));
        // Keys of one transaction share its header, so it counts once.
        if held.1 == 0 {
            self.bytes += weights::header(header);
        }
        held.1 += 1;
        assert_eq!(held.0.txn, header.txn, "a header is held under its own name");
    }

    /// Releases the header of a version that leaves its key's entry.
    fn release(&mut self, known: &Known) {
        let Knowledge::Header(header) = &known.knowledge else { return };
        let held = self.headers.get_mut(&header.txn).expect("every held header is counted");
        assert!(held.1 > 0, "released more often than held");
        held.1 -= 1;
        if held.1 == 0 {
            self.bytes -= weights::header(&held.0);
            self.headers.remove(&header.txn);
        }
    }

    /// Shortens the history of a hot key. What is cut can be listed again, so only a listed key is
    /// cut. A key on which an operation works is not cut: the operation may be paging down to an
    /// old version, and would have to start again with each commit.
    fn trim(&mut self, key: &Key) {
        let kept_max = self.versions_kept_max;
        let entry = self.keys.get_mut(key).expect("only known keys are trimmed");
        if entry.versions.len() <= 2 * kept_max || entry.listing.is_none() || entry.pins > 0 {
            return;
        }
        let cut: Vec<Known> = entry.versions.drain(kept_max..).collect();
        assert_eq!(entry.versions.len(), kept_max, "the newest are kept");
        let last = entry.versions.last().expect("some are kept");
        assert!(cut.iter().all(|known| known.txn < last.txn), "the oldest are cut");
        // The listing now shows less: it continues from the oldest kept version, as if its page had
        // ended there.
        let resume = match &last.knowledge {
            Knowledge::Entry(version) => (**version).clone(),
            Knowledge::Header(header) => header.entry(key),
        };
        if let Some(listing) = &mut entry.listing
            // If the listing ended above the cut, it continues from its own end.
            && listing.more_after.as_ref().is_none_or(|more| more.txn < resume.txn)
        {
            listing.more_after = Some(Box::new(resume));
        }
        for known in &cut {
            self.release(known);
        }
    }

    /// Forgets a transaction whose record was found to be removed, and drops every listing of its
    /// keys.
    pub(in crate::node) fn gone(&mut self, txn: TxnId, key: &Key, next_call: u64) {
        let keys: Vec<Key> = match self.header(txn) {
            Some(header) => header.writes.iter().map(|(key, _)| key.clone()).collect(),
            None => vec![key.clone()],
        };
        // A record is removed only when it is superseded at every key that it wrote, so the
        // listings of all these keys may be out of date.
        for key in keys {
            self.forget(txn, &key);
            if let Some(entry) = self.keys.get_mut(&key) {
                entry.listing = None;
                entry.not_before_call = next_call;
                self.weigh(&key);
            }
        }
    }

    /// Drops the listing of a key, because something that it showed was removed, or something that
    /// it did not show was entered since.
    pub(in crate::node) fn list_again(&mut self, key: &Key, next_call: u64) {
        let entry = self.entry(key);
        assert!(entry.not_before_call <= next_call, "the next call is later than the last invalid listing");
        // A listing in flight was made before, and may show the same: ignore its answer.
        entry.listing = None;
        entry.not_before_call = next_call;
        self.weigh(key);
    }

    /// Forgets a version of a key whose entry this node has removed because it is superseded, and
    /// all older ones, which another sweep may have removed. The listing remains valid.
    pub(in crate::node) fn forget_through(&mut self, txn: TxnId, key: &Key) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        let (Ok(at) | Err(at)) = entry.place(txn);
        let gone = entry.versions.split_off(at);
        assert!(gone.iter().all(|known| known.txn <= txn), "no newer version is forgotten");
        gone.iter().for_each(|known| self.release(known));
        self.weigh(key);
    }

    /// Forgets one version of a key that was no version, after its entry was removed. The listing
    /// remains valid.
    pub(in crate::node) fn forget(&mut self, txn: TxnId, key: &Key) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        if let Ok(at) = entry.place(txn) {
            let known = entry.versions.remove(at);
            self.release(&known);
            self.weigh(key);
        }
    }

    /// Notes that the record of a listed entry is absent, or is another attempt's. Call
    /// `asked_call` found this, when the known mark was at `mark`; it proves nothing about an entry
    /// of a listing that was made later.
    pub(in crate::node) fn undecided(
        &mut self,
        (txn, key): (TxnId, &Key),
        (asked_call, mark, found_other): (u64, TxnId, bool),
        next_call: u64,
    ) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        assert!(asked_call < next_call, "a call is answered after it was made");
        let (Some(listing), Ok(at)) = (entry.listing.as_ref(), entry.place(txn)) else { return };
        let known = &mut entry.versions[at];
        if matches!(known.knowledge, Knowledge::Entry(_)) && listing.asked_call <= asked_call {
            let before = known.undecided.and_then(|vain| vain.below_mark);
            let below_mark = before.or((txn <= mark).then_some(next_call));
            known.undecided = Some(Vain { listing: listing.asked_call, next_call, found_other, below_mark });
        }
    }

    /// Takes a page of a key's version entries. A first page begins a listing, which replaces the
    /// entries of an earlier one. Transactions whose record the node knows stay, unless the page
    /// shows that they were collected at this key.
    pub(in crate::node) fn listed(&mut self, key: &Key, page: ListedPage<'_>, bug: impl Fn(Bug) -> bool) {
        let ListedPage { entries, after, more, asked, asked_call, next_call, mark } = page;
        assert!(asked_call < next_call, "a page is answered after it was asked");
        assert!(entries.iter().all(|entry| entry.cowritten > 0), "an entry's own key was written");
        assert!(entries.is_sorted_by(|a, b| a.txn >= b.txn), "entries come newest first");
        assert!(!more || !entries.is_empty(), "an empty page is the last");
        let more = more && !bug(Bug::SkipSecondPage);
        let stale_before_call = self.stale_before_call;
        let entry = self.entry(key);
        // Ignore a page that was requested before the process paused, or before an entry that it
        // may show was found to be removed.
        if asked_call < entry.not_before_call.max(stale_before_call) {
            return;
        }
        let more_after = if more { entries.last().cloned().map(Box::new) } else { None };
        match (after, &mut entry.listing) {
            // Answers may overtake each other; the listing that was made last is the newest.
            (None, Some(listing)) if listing.asked_call > asked_call => return,
            (None, listing) => {
                *listing = Some(Listing { asked, asked_call, answered_call: next_call, mark, more_after });
            }
            // A later page belongs to the listing that ended where the page begins.
            (Some(after), Some(listing))
                if listing.more_after.as_ref().is_some_and(|more| more.txn == after) =>
            {
                listing.answered_call = next_call;
                listing.more_after = more_after;
            }
            // The page belongs to a listing that was dropped meanwhile.
            (Some(_), _) => return,
        }
        let listing = entry.listing.as_ref().expect("set above");
        assert!(listing.asked_call < listing.answered_call, "a listing is answered after it was asked");
        assert_eq!(listing.more_after.is_some(), more, "a listing goes on if the page says so");
        let (listing_call, listing_mark) = (listing.asked_call, listing.mark);
        // The page covers all versions from `after` (exclusive) down to its last entry, or to the
        // end of the key if it is the last page.
        let oldest = entries.last().map(|entry| entry.txn);
        let covered = |txn: TxnId| {
            after.is_none_or(|after| txn < after) && (!more || oldest.is_some_and(|oldest| txn >= oldest))
        };
        // Drop what the page covers but does not show, if that proves that it is gone.
        let whatever_the_mark = bug(Bug::IndexWhateverTheMark);
        let mut dropped = Vec::new();
        entry.versions.retain(|known| {
            let shown = entries.iter().any(|listed| listed.txn == known.txn);
            let keep = match &known.knowledge {
                _ if shown || !covered(known.txn) => true,
                Knowledge::Entry(_) => false,
                // At or below the mark a missing entry was collected at this key; above it, the
                // entry may not be put yet.
                Knowledge::Header(_) => known.txn > listing_mark || whatever_the_mark,
            };
            if !keep {
                dropped.push(known.clone());
            }
            keep
        });
        // Add what the page shows.
        let mut single = Vec::new();
        for listed in entries {
            match entry.place(listed.txn) {
                Ok(at) => entry.versions[at].listed_by = Some(listing_call),
                Err(at) => {
                    // The entry of a transaction of one key contains its header. It is certainly
                    // committed if it is whole, or at or below the mark, where only committed
                    // transactions have entries.
                    let certain = listed.cowritten == 1 && (listed.whole || listed.txn <= listing_mark);
                    let knowledge = if certain {
                        let header = Arc::new(Header::of_single(key, listed));
                        single.push(header.clone());
                        Knowledge::Header(header)
                    } else {
                        Knowledge::Entry(Box::new(listed.clone()))
                    };
                    make_room(&mut entry.versions);
                    let listed_by = Some(listing_call);
                    entry
                        .versions
                        .insert(at, Known { txn: listed.txn, knowledge, listed_by, undecided: None });
                }
            }
        }
        assert!(entry.versions.is_sorted_by(|a, b| a.txn > b.txn), "newest first, each once");
        // Hold before releasing, so that a header that stays is not removed in between.
        single.iter().for_each(|header| self.hold(header));
        dropped.iter().for_each(|known| self.release(known));
        self.weigh(key);
    }

    /// Returns the keys with a prefix that have known versions and come after `after`, in order.
    pub(in crate::node) fn keys_in<'a>(
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
            .take_while(move |(key, _)| key.as_str().starts_with(prefix))
            .filter(|(_, entry)| !entry.versions.is_empty())
            .map(|(key, _)| key)
    }

    /// Forgets cold keys until the size is at most `bytes_max`, or [`LOOKS_PER_STEP_MAX`] keys were
    /// considered.
    ///
    /// `next_call` is the number of the next call where listings do not expire: listings that are
    /// in flight now may not be used for keys that are forgotten.
    pub(in crate::node) fn shrink(&mut self, bytes_max: usize, next_call: Option<u64>) {
        let mut looks = LOOKS_PER_STEP_MAX.min(2 * self.clock.len());
        while self.bytes > bytes_max && looks > 0 {
            looks -= 1;
            let Some(key) = self.clock.pop_front() else { return };
            let entry = self.keys.get_mut(&key).expect("the clock holds each key once");
            // A key that was used since it was last considered stays for one more round.
            if entry.used || entry.pins > 0 {
                entry.used = false;
                self.clock.push_back(key);
                continue;
            }
            let entry = self.keys.remove(&key).expect("looked up above");
            assert!(entry.pins == 0, "a pinned key is not forgotten");
            assert!(self.bytes >= entry.bytes, "the sum has every part");
            self.bytes -= entry.bytes;
            entry.versions.iter().for_each(|known| self.release(known));
            self.forgotten_before_call = next_call.unwrap_or(0).max(self.forgotten_before_call);
        }
    }

    /// Panics if an invariant is broken. `next_call` is the number of the next call, `pins` the
    /// number of keys that operations work on.
    pub(in crate::node) fn check_invariants(&self, next_call: u64, pins: usize) {
        assert_eq!(self.keys.len(), self.clock.len(), "every key has one place in the clock");
        assert!(self.clock.iter().all(|key| self.keys.contains_key(key)), "the clock is of known keys");
        let pinned: usize = self.keys.values().map(|entry| entry.pins as usize).sum();
        assert_eq!(pinned, pins, "every key of an operation is pinned, and no other");
        assert!(self.stale_before_call <= next_call, "listings to come are not stale");
        let entries: usize = self.keys.iter().map(|(key, entry)| entry.weight(key)).sum();
        let headers: usize = self.headers.values().map(|(header, _)| weights::header(header)).sum();
        assert_eq!(self.bytes, entries + headers, "bytes are counted");
        let mut held: BTreeMap<TxnId, u32> = BTreeMap::new();
        for (key, entry) in &self.keys {
            assert!(
                entry.versions.is_sorted_by(|a, b| a.txn > b.txn),
                "versions of {key} are in order, each once"
            );
            assert_eq!(entry.bytes, entry.weight(key), "the weight of {key} is up to date");
            assert!(entry.not_before_call <= next_call, "listings to come count");
            if let Some(listing) = &entry.listing {
                assert!(listing.asked_call >= entry.not_before_call, "a listing that counts is kept");
                assert!(listing.asked_call < listing.answered_call, "an answer follows its call");
                assert!(listing.answered_call <= next_call, "a listing that is kept was answered");
            }
            for known in &entry.versions {
                if let Some(Vain { listing, next_call: next, below_mark, .. }) = known.undecided {
                    assert!(listing < next && next <= next_call, "a look follows its listing");
                    assert!(below_mark.is_none_or(|first| first <= next), "the first look comes first");
                }
                if let Knowledge::Header(header) = &known.knowledge {
                    assert_eq!(header.txn, known.txn, "a version is its own transaction's");
                    assert!(known.undecided.is_none(), "a committed version is not undecided");
                    *held.entry(header.txn).or_default() += 1;
                }
            }
        }
        assert_eq!(held.len(), self.headers.len(), "headers are counted");
        assert!(held.iter().all(|(txn, count)| self.headers[txn].1 == *count), "headers are counted rightly");
    }
}
