//! The store as the core sees it: typed names, typed bodies, synchronous calls, cheap to clone and
//! to hash.
//!
//! One map per space, because the order within a group differs by space (version entries are newest
//! first). Tags are a hash of the content: the contract lets two puts of equal bytes share a tag
//! (an S3 entity tag does), so the core must cope with it. What is damaged stays damaged until it
//! is repaired.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use aft_core::ids::{Key, RequestHash, TxnId};
use aft_core::record::{BlobGroup, Format, Record, VersionEntry};
use aft_core::store::{
    Answer, Body, Call, CallError, Created, Found, FoundRecord, Group, Heads, Name, Pieces, Place, Scan, Tag,
    Writes,
};
use aft_core::sweep::Notes;
use bytes::Bytes;

/// The version entries of one key, newest first; whole entries with their records.
pub type Entries = BTreeMap<(Reverse<TxnId>, VersionEntry), Option<Arc<Record>>>;

/// The abilities in which stores differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Abilities {
    /// Deletion by tag works.
    pub delete_if: bool,
    /// A scan of commit records returns their bodies as well.
    pub scan_bodies: bool,
    /// True if a scan leaves names out that are no heads.
    pub scan_heads: bool,
    /// A scan of commit records says when each was written.
    pub scan_written: bool,
    /// A commit takes effect at once as a whole; if the record exists, it has no effect at all.
    pub commit_at_once: bool,
}

impl Default for Abilities {
    fn default() -> Abilities {
        Abilities {
            delete_if: true,
            scan_bodies: false,
            scan_heads: true,
            scan_written: true,
            commit_at_once: false,
        }
    }
}

/// The content of a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct StoreModel {
    /// Its abilities.
    pub abilities: Abilities,
    /// The objects under the names of requests (records, stubs, exclusions of attempts), each with
    /// the store's time of its last write.
    pub commits: BTreeMap<RequestHash, (Body, u64)>,
    /// The version entries of each key. No key has an empty map.
    pub versions: BTreeMap<Key, Entries>,
    /// The version entries of each checked key, by the version that they follow, newest first. No
    /// key has an empty map.
    pub locks: BTreeMap<Key, BTreeMap<Reverse<TxnId>, Body>>,
    /// Parts of blobs by group, number and part.
    pub blobs: BTreeMap<(BlobGroup, u32, u32), Bytes>,
    /// The object that holds the mark.
    pub format: Option<Arc<Format>>,
    /// Notes on damage.
    pub damaged: BTreeMap<RequestHash, String>,
    /// Notes of a sweep that stopped.
    pub notes: Option<Arc<Notes>>,
    /// The names whose bodies cannot be read.
    pub unreadable: BTreeSet<Name>,
    /// Keys with a name among their version entries that cannot be parsed, each with the damage
    /// that a listing reports.
    pub strangers: BTreeMap<Key, String>,
    /// Names among the commit records that cannot be parsed.
    pub strange_commits: BTreeSet<String>,
}

/// Returns the tag of `body`: a hash of it.
pub fn tag_of(body: &Body) -> Tag {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    Tag(Bytes::copy_from_slice(&hasher.finish().to_be_bytes()))
}

/// Sorts version entries, newest first. In the order of names those of checked keys are sorted by
/// the version that they follow, and a dead one may follow a newer version than an entry below it
/// does.
pub(crate) fn sort_entries(names: &mut [Name]) {
    names.sort_by_key(|name| match name {
        Name::Version(_, entry) => Reverse(Some(entry.txn)),
        _ => Reverse(None),
    });
}

impl StoreModel {
    /// Returns a new store, as a server creates it at its first start.
    pub fn new(abilities: Abilities) -> StoreModel {
        let format = Some(Arc::new(Format::new(Bytes::from_static(b"made by the simulator"))));
        StoreModel { abilities, format, ..StoreModel::default() }
    }

    /// Returns the body under `name`, damaged or not.
    pub fn get(&self, name: &Name) -> Option<Body> {
        match name {
            Name::Commit(hash) => self.commits.get(hash).map(|(body, _)| body.clone()),
            Name::Version(key, entry) => {
                let held = self.versions.get(key)?.get(&(Reverse(entry.txn), entry.clone()))?;
                Some(held.clone().map_or(Body::Empty, Body::Record))
            }
            Name::Successor(key, before) => self.locks.get(key)?.get(&Reverse(*before)).cloned(),
            Name::Blob { group, number, part } => {
                self.blobs.get(&(*group, *number, *part)).map(|bytes| Body::Part(bytes.clone()))
            }
            Name::Format => self.format.clone().map(Body::Format),
            Name::Damaged(hash) => self.damaged.get(hash).map(|text| Body::Text(text.clone())),
            Name::Notes => self.notes.clone().map(Body::Notes),
        }
    }

    /// Returns the commit record of a request; `None` if something else or nothing has its name.
    pub fn record(&self, hash: &RequestHash) -> Option<&Arc<Record>> {
        match self.commits.get(hash) {
            Some((Body::Record(record), _)) => Some(record),
            Some(_) | None => None,
        }
    }

    /// Returns every version entry of `key`, in the order of their names.
    pub fn entries(&self, key: &Key) -> impl Iterator<Item = VersionEntry> + use<'_> {
        let named = self.versions.get(key).into_iter().flat_map(|entries| entries.keys());
        let locks = self.locks.get(key).into_iter().flat_map(|locks| locks.values());
        named.map(|(_, entry)| entry.clone()).chain(locks.filter_map(VersionEntry::of_lock))
    }

    /// Returns every version entry of every key.
    pub fn all_entries(&self) -> impl Iterator<Item = (&Key, VersionEntry)> {
        let keys: BTreeSet<&Key> = self.versions.keys().chain(self.locks.keys()).collect();
        keys.into_iter().flat_map(|key| self.entries(key).map(move |entry| (key, entry)))
    }

    /// Returns true if `txn` has an entry at `key`.
    pub fn has_entry(&self, key: &Key, txn: TxnId) -> bool {
        self.entries(key).any(|entry| entry.txn == txn)
    }

    /// Puts an entry by hand, as an operator does.
    pub fn enter(&mut self, key: &Key, entry: &VersionEntry) {
        if let Some(before) = entry.follows {
            let locks = self.locks.entry(key.clone()).or_default();
            locks.entry(Reverse(before)).or_insert_with(|| Body::Entry(entry.clone()));
            return;
        }
        let entries = self.versions.entry(key.clone()).or_default();
        entries.entry((Reverse(entry.txn), entry.clone())).or_insert(None);
    }

    /// Returns true if the request has entries above `mark`.
    pub fn has_entries_above(&self, hash: RequestHash, mark: TxnId) -> bool {
        self.all_entries().any(|(_, entry)| entry.hash == hash && entry.txn > mark)
    }

    /// Returns true if the mark has passed a dead entry of `key` whose transaction wrote no other
    /// key, because its record could not be read. Readers take such an entry for committed until it
    /// is removed by hand (protocol, section 11).
    pub fn has_passed_dead(&self, key: &Key) -> bool {
        let mark = self.format.as_ref().map_or(TxnId::ZERO, |format| format.mark);
        self.entries(key).any(|entry| {
            let is_passed = entry.txn <= mark && self.damaged.contains_key(&entry.hash);
            let is_dead = self.record(&entry.hash).is_some_and(|record| record.txn != entry.txn);
            is_passed && is_dead && entry.cowritten == 1 && !entry.whole
        })
    }

    /// Removes by hand the entries of a request that do not belong to `record`, the transaction in
    /// its record.
    pub fn remove_dead(&mut self, hash: RequestHash, record: Option<TxnId>) {
        let stays = |entry: &VersionEntry| entry.hash != hash || entry.whole || record == Some(entry.txn);
        self.versions.values_mut().for_each(|entries| entries.retain(|(_, entry), _| stays(entry)));
        self.versions.retain(|_, entries| !entries.is_empty());
        let lock_stays = |body: &Body| VersionEntry::of_lock(body).is_none_or(|entry| stays(&entry));
        self.locks.values_mut().for_each(|locks| locks.retain(|_, body| lock_stays(body)));
        self.locks.retain(|_, locks| !locks.is_empty());
    }

    fn put(&mut self, name: &Name, body: &Body, store_ms: u64) {
        // A body that is replaced can be read again.
        self.unreadable.remove(name);
        match (name, body) {
            (Name::Successor(key, before), Body::Entry(_) | Body::Record(_) | Body::Free) => {
                self.locks.entry(key.clone()).or_default().insert(Reverse(*before), body.clone());
            }
            (Name::Commit(hash), Body::Record(_) | Body::Stub(_) | Body::Aborted(_)) => {
                self.commits.insert(*hash, (body.clone(), store_ms));
            }
            (Name::Version(key, entry), Body::Empty) if !entry.whole => {
                self.versions
                    .entry(key.clone())
                    .or_default()
                    .insert((Reverse(entry.txn), entry.clone()), None);
            }
            (Name::Version(key, entry), Body::Record(record)) if entry.whole => {
                let entries = self.versions.entry(key.clone()).or_default();
                entries.insert((Reverse(entry.txn), entry.clone()), Some(record.clone()));
            }
            (Name::Blob { group, number, part }, Body::Part(bytes)) => {
                self.blobs.insert((*group, *number, *part), bytes.clone());
            }
            (Name::Format, Body::Format(format)) => self.format = Some(format.clone()),
            (Name::Damaged(hash), Body::Text(text)) => {
                self.damaged.insert(*hash, text.clone());
            }
            (Name::Notes, Body::Notes(notes)) => self.notes = Some(notes.clone()),
            (name, body) => panic!("{name:?} cannot hold {body:?}"),
        }
    }

    fn delete(&mut self, name: &Name) {
        self.unreadable.remove(name);
        match name {
            Name::Commit(hash) => {
                self.commits.remove(hash);
            }
            Name::Version(key, entry) => {
                if let Some(entries) = self.versions.get_mut(key) {
                    entries.remove(&(Reverse(entry.txn), entry.clone()));
                    if entries.is_empty() {
                        self.versions.remove(key);
                    }
                }
            }
            Name::Successor(key, before) => {
                if let Some(locks) = self.locks.get_mut(key) {
                    locks.remove(&Reverse(*before));
                    if locks.is_empty() {
                        self.locks.remove(key);
                    }
                }
            }
            Name::Blob { group, number, part } => {
                self.blobs.remove(&(*group, *number, *part));
            }
            Name::Format => self.format = None,
            Name::Damaged(hash) => {
                self.damaged.remove(hash);
            }
            Name::Notes => self.notes = None,
        }
    }

    /// Performs `call` when the store's clock reads `store_ms`.
    pub fn apply(&mut self, call: &Call, store_ms: u64) -> Answer {
        match call {
            Call::Get(name) | Call::Fetch { at: name, .. } => self.read(name),
            Call::Put(name, body) => {
                self.put(name, body, store_ms);
                Answer::Done
            }
            Call::Create(name, _) if self.get(name).is_some() => Answer::Created(Created::Exists),
            Call::Create(name, body) => {
                self.put(name, body, store_ms);
                Answer::Created(Created::Created)
            }
            Call::Commit(writes) => Answer::Committed(self.commit(writes, store_ms)),
            Call::Replace(name, tag, body) => {
                if !self.holds(name, tag) {
                    return Answer::Changed;
                }
                self.put(name, body, store_ms);
                Answer::Replaced
            }
            Call::Delete(names) => {
                names.iter().for_each(|name| self.delete(name));
                Answer::Done
            }
            Call::DeleteIf(..) if !self.abilities.delete_if => {
                Answer::Failed(CallError::Refused("this store cannot delete by tag".into()))
            }
            Call::DeleteIf(name, tag) => {
                if !self.holds(name, tag) {
                    return Answer::Changed;
                }
                self.delete(name);
                Answer::Replaced
            }
            Call::List { group, after, limit } => self.list(group, after.as_ref(), *limit as usize),
            Call::Scan { scan, limit } => self.scan(scan, *limit as usize),
        }
    }

    /// Returns true if the body under `name` has this tag.
    pub fn holds(&self, name: &Name, tag: &Tag) -> bool {
        self.get(name).is_some_and(|held| tag_of(&held) == *tag)
    }

    fn is_unreadable_lock(&self, name: &Name) -> bool {
        matches!(name, Name::Successor(..)) && self.unreadable.contains(name)
    }

    /// Returns the text of the error that a read of a damaged body gets.
    pub fn damage_of(name: &Name) -> String {
        format!("the body of {name:?} cannot be read")
    }

    fn read(&self, name: &Name) -> Answer {
        let Some(body) = self.get(name) else { return Answer::Got(None) };
        if self.unreadable.contains(name) {
            return Answer::Failed(CallError::Damaged(StoreModel::damage_of(name)));
        }
        let tag = tag_of(&body);
        Answer::Got(Some((body, tag)))
    }

    fn commit(&mut self, writes: &Writes, store_ms: u64) -> Pieces {
        let record = writes.record.as_ref().map(|record| {
            let name = Name::Commit(record.hash);
            if self.get(&name).is_some() {
                return Ok(Created::Exists);
            }
            self.put(&name, &Body::Record(record.clone()), store_ms);
            Ok(Created::Created)
        });
        // A store that commits at once writes no entries for a record that lost; others do.
        let lost = record == Some(Ok(Created::Exists)) && self.abilities.commit_at_once;
        for (key, entry) in writes.entries.iter().filter(|_| !lost) {
            self.put(&Name::Version(key.clone(), entry.clone()), &Body::Empty, store_ms);
        }
        Pieces { record, entries: vec![Ok(()); writes.entries.len()] }
    }

    fn list(&self, group: &Group, after: Option<&Name>, limit: usize) -> Answer {
        assert!(limit >= 1, "a page holds at least one name");
        // Each arm walks its group in order and takes one name more than the limit, which says that
        // more follows.
        let mut names: Vec<Name> = match group {
            Group::Versions(key) => {
                let after = after.map(|name| match name {
                    Name::Version(other, entry) if other == key => entry,
                    other => panic!("the cursor {other:?} is not among the version entries of {key}"),
                });
                let entries: Vec<VersionEntry> = self.entries_after(key, after).take(limit + 1).collect();
                // An entry of a checked key has its TxnId in its body: without it the listing says
                // nothing about the key, and fails.
                let unreadable = entries.iter().take(limit).map(|entry| entry.name(key));
                if let Some(name) = unreadable.into_iter().find(|name| self.is_unreadable_lock(name)) {
                    return Answer::Failed(CallError::Damaged(StoreModel::damage_of(&name)));
                }
                entries.into_iter().map(|entry| Name::Version(key.clone(), entry)).collect()
            }
            Group::Blobs(group) => {
                let after = after.map(|name| match name {
                    Name::Blob { group: other, number, part } if other == group => (*number, *part),
                    other => panic!("the cursor {other:?} is not among the blobs of {group:?}"),
                });
                let of_group = self.blobs.keys().filter(|(other, _, _)| other == group);
                of_group
                    .filter(|(_, number, part)| after.is_none_or(|after| (*number, *part) > after))
                    .take(limit + 1)
                    .map(|(group, number, part)| Name::Blob { group: *group, number: *number, part: *part })
                    .collect()
            }
        };
        let more = names.len() > limit;
        names.truncate(limit);
        sort_entries(&mut names);
        let damaged = match group {
            // Names that cannot be parsed are reported with the first page.
            Group::Versions(key) if after.is_none() => self.strangers.get(key).into_iter().cloned().collect(),
            Group::Versions(_) | Group::Blobs(_) => Vec::new(),
        };
        Answer::Listed { names, damaged, more }
    }

    fn scan(&self, scan: &Scan, limit: usize) -> Answer {
        assert!(limit >= 1, "a page holds at least one name");
        let (mut damaged, mut unread) = (Vec::new(), Vec::new());
        let (found, more) = match scan {
            Scan::Versions { prefix, after, heads } => {
                let heads = heads.as_ref().filter(|_| self.abilities.scan_heads);
                let mut page = self.scan_versions(prefix, after.as_ref(), heads, limit + 1);
                let more = page.len() > limit;
                page.truncate(limit);
                page.sort_by(|(a, x), (b, y)| (a, Reverse(x.txn)).cmp(&(b, Reverse(y.txn))));
                // An entry of a checked key without a readable body is damage, and leaves its key
                // unread.
                for (key, entry) in &page {
                    if self.is_unreadable_lock(&entry.name(key)) {
                        damaged.push(StoreModel::damage_of(&entry.name(key)));
                        unread.push(key.clone());
                    }
                }
                // Names that cannot be parsed are reported with the page that reaches their key.
                let last = page.last().map(|(key, _)| key.clone());
                let begun = |key: &Key| after.as_ref().is_none_or(|after| key.as_str() > after.key.as_str());
                let reached = |key: &Key| !more || last.as_ref().is_some_and(|last| key <= last);
                let here =
                    |key: &&Key| key.as_str().starts_with(prefix.as_str()) && begun(key) && reached(key);
                damaged.extend(self.strangers.keys().filter(here).map(|key| self.strangers[key].clone()));
                // Unreadable entries are left out, but the last one of a page stays: it is the
                // cursor.
                let readable = |at: usize, (key, entry): &(Key, VersionEntry), len: usize| {
                    at + 1 == len && more || !self.is_unreadable_lock(&entry.name(key))
                };
                let len = page.len();
                let mut at = 0;
                page.retain(|found| {
                    at += 1;
                    readable(at - 1, found, len)
                });
                (Found::Versions(page), more)
            }
            Scan::Commits { after } => {
                if after.is_none() {
                    damaged.extend(self.strange_commits.iter().cloned());
                }
                let from = after.map_or(Unbounded, Excluded);
                let mut page: Vec<_> = self.commits.range((from, Unbounded)).take(limit + 1).collect();
                let more = page.len() > limit;
                page.truncate(limit);
                let found = page.into_iter().map(|(hash, (body, written_ms))| FoundRecord {
                    hash: *hash,
                    body: (self.abilities.scan_bodies && !self.unreadable.contains(&Name::Commit(*hash)))
                        .then(|| body.clone()),
                    written_ms: self.abilities.scan_written.then_some(*written_ms),
                });
                (Found::Commits(found.collect()), more)
            }
            Scan::Blobs { after } => {
                let groups: BTreeSet<BlobGroup> = self.blobs.keys().map(|(group, _, _)| *group).collect();
                let later = groups.into_iter().filter(|group| after.is_none_or(|after| *group > after));
                let mut page: Vec<BlobGroup> = later.take(limit + 1).collect();
                let more = page.len() > limit;
                page.truncate(limit);
                (Found::Blobs(page), more)
            }
            Scan::Damaged { after } => {
                let from = after.map_or(Unbounded, Excluded);
                let mut page: Vec<RequestHash> =
                    self.damaged.range((from, Unbounded)).take(limit + 1).map(|(hash, _)| *hash).collect();
                let more = page.len() > limit;
                page.truncate(limit);
                (Found::Damaged(page), more)
            }
        };
        Answer::Scanned { found, damaged, unread, more }
    }

    fn scan_versions(
        &self,
        prefix: &str,
        after: Option<&Place>,
        heads: Option<&Heads>,
        limit: usize,
    ) -> Vec<(Key, VersionEntry)> {
        let start = after.map_or(prefix, |after| after.key.as_str().max(prefix));
        let from = (Included(start), Unbounded);
        let named = self.versions.range::<str, _>(from).map(|(key, _)| key);
        let keys: BTreeSet<&Key> =
            named.chain(self.locks.range::<str, _>(from).map(|(key, _)| key)).collect();
        let keys = keys.into_iter().take_while(|key| key.as_str().starts_with(prefix));
        let names = keys.flat_map(|key| {
            let from = match after {
                // At the cursor's key: continue after its entry, or skip the key if it has none.
                Some(after) if after.key == key.as_str() => after.entry.as_ref().map(Some),
                Some(_) | None => Some(None),
            };
            let entries = from.into_iter().flat_map(move |from| self.entries_after(key, from));
            entries.map(move |entry| (key.clone(), entry))
        });
        let Some(Heads { delimiter, each }) = heads else { return names.take(limit).collect() };
        let mut below: BTreeMap<String, BTreeSet<Key>> = BTreeMap::new();
        let is_head = |(key, _): &(Key, VersionEntry)| {
            let Some((folder, _)) = key.as_str()[prefix.len()..].split_once(delimiter.as_str()) else {
                return true;
            };
            let keys = below.entry(folder.to_owned()).or_default();
            keys.insert(key.clone());
            keys.len() <= *each as usize
        };
        names.filter(is_head).take(limit).collect()
    }

    /// Returns the entries of `key` in the order of their names, from the one after `after` on.
    fn entries_after<'a>(
        &'a self,
        key: &Key,
        after: Option<&VersionEntry>,
    ) -> impl Iterator<Item = VersionEntry> + use<'a> {
        let named = after.map_or(Unbounded, |entry| Excluded((Reverse(entry.txn), entry.clone())));
        let named = self
            .versions
            .get(key)
            .into_iter()
            .flat_map(move |entries| entries.range((named.clone(), Unbounded)));
        let follows = after.and_then(|entry| entry.follows);
        let follows = follows.map_or(Unbounded, |before| Excluded(Reverse(before)));
        let locks = self.locks.get(key).into_iter().flat_map(move |locks| locks.range((follows, Unbounded)));
        let locks = locks.filter_map(|(_, body)| VersionEntry::of_lock(body));
        named.map(|((_, entry), _)| entry.clone()).chain(locks)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Abilities, StoreModel};
    use aft_core::ids::{AttemptId, Hlc, Key, RequestHash, TxnId};
    use aft_core::record::{Format, Kind, Meta, Record, VersionEntry, Write};
    use aft_core::store::{Answer, Body, Call, Found, Place, Scan, Writes};
    use bytes::Bytes;

    fn entry(time: u64) -> VersionEntry {
        let mut id = [0; 16];
        id[15] = time as u8;
        VersionEntry {
            txn: TxnId { time: Hlc(time), attempt: AttemptId(id) },
            hash: RequestHash([time as u8; 32]),
            meta: Meta { kind: Kind::Tombstone, size: 0, etag: Bytes::new() },
            cowritten: 1,
            whole: false,
            follows: None,
        }
    }

    #[test]
    fn only_a_noted_dead_entry_of_one_key_at_or_below_the_mark_was_passed() {
        let key = Key::parse("k").expect("it is a key");
        let check = |mark: u64, noted: bool, other: VersionEntry, winner: u64, expected: bool| {
            let mut store = StoreModel::new(Abilities::default());
            let mark = TxnId::at(Hlc(mark));
            store.format = Some(Arc::new(Format { mark, ..Format::new(Bytes::new()) }));
            let record = Record {
                txn: entry(winner).txn,
                hash: other.hash,
                named: true,
                fingerprint: None,
                retention_ms: 0,
                result: None,
                large_result: None,
                writes: Arc::from([(key.clone(), Write::Tombstone)]),
                follows: None,
            };
            store.commits.insert(other.hash, (Body::Record(Arc::new(record)), 0));
            if noted {
                store.damaged.insert(other.hash, "it could not be read".into());
            }
            store.enter(&key, &other);
            let said = store.has_passed_dead(&key);
            assert_eq!(said, expected, "{mark}, noted: {noted}, {other:?}, the winner {winner}");
        };
        check(5, true, entry(3), 2, true);
        check(2, true, entry(3), 2, false);
        check(5, false, entry(3), 2, false);
        check(5, true, entry(3), 3, false);
        check(5, true, VersionEntry { cowritten: 2, ..entry(3) }, 2, false);
    }

    /// Goal: a scan in pages of any size, from cursor to cursor, returns every name once, in order.
    #[test]
    fn a_scan_continues_after_its_cursor() {
        let key = |text: &str| Key::parse(text).expect("it is a key");
        let mut all = Vec::new();
        for (text, times) in [("a", vec![3, 2, 1]), ("a/b", vec![5]), ("a/c", vec![9, 4]), ("b", vec![7])] {
            all.extend(times.into_iter().map(|time| (key(text), entry(time))));
        }
        let mut store = StoreModel::new(Abilities::default());
        for place in [3, 1, 0, 6, 4, 2, 5] {
            let entries = vec![all[place].clone()];
            store.apply(&Call::Commit(Writes { record: None, entries }), 0);
        }
        for (prefix, expected) in [("", &all[..]), ("a/", &all[3..6]), ("c", &[])] {
            for limit in 1..=8 {
                let mut found = Vec::new();
                let mut after: Option<Place> = None;
                loop {
                    let scan = Scan::Versions { prefix: prefix.into(), after: after.clone(), heads: None };
                    let Answer::Scanned { found: Found::Versions(page), more, .. } =
                        store.apply(&Call::Scan { scan, limit }, 0)
                    else {
                        panic!("a scan answers a scan");
                    };
                    assert!(page.len() <= limit as usize && (!more || !page.is_empty()));
                    found.extend(page);
                    if !more {
                        break;
                    }
                    let (key, entry) = found.last().expect("more comes after something").clone();
                    after = Some(Place { key: key.as_str().into(), entry: Some(entry) });
                }
                assert_eq!(found, expected, "{prefix:?} in pages of {limit}");
            }
        }
        let after = Some(Place { key: "a".into(), entry: None });
        let scan = Scan::Versions { prefix: String::new(), after, heads: None };
        let answer = store.apply(&Call::Scan { scan, limit: 8 }, 0);
        assert!(matches!(answer, Answer::Scanned { found: Found::Versions(page), .. } if page == all[3..]));
    }
}
