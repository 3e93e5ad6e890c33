//! The store as the core sees it: typed names, typed bodies, synchronous calls, cheap to clone and to hash.
//!
//! One map a space, because the order within a group differs by space (version entries stand newest first). Tags are a hash of the
//! content: the contract lets two puts of equal bytes share a tag (an S3 entity tag does), so that is what the core must bear.
//! A test holds this model against the memory store, through the durable mapping of `aft-wire`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use aft_core::ids::{AttemptId, Hlc, Key, Nonce, RequestHash, TxnId};
use aft_core::record::{CollectEntry, CollectName, Intent, Record, VersionEntry};
use aft_core::store::{Answer, Body, Call, CallError, Group, Groups, Name, Tag};
use bytes::Bytes;

/// The content of a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct StoreModel {
    /// Commit records.
    pub commits: BTreeMap<RequestHash, Arc<Record>>,
    /// Intents, by minute and time.
    pub intents: BTreeSet<Intent>,
    /// Version entries of each key, newest first. No key has an empty set.
    pub versions: BTreeMap<Key, BTreeSet<(Reverse<TxnId>, VersionEntry)>>,
    /// Parts of blobs by attempt, number and part.
    pub blobs: BTreeMap<(AttemptId, u32, u32), Bytes>,
    /// Collect entries, by minute and time.
    pub collects: BTreeMap<CollectName, Arc<CollectEntry>>,
    /// Markers.
    pub markers: BTreeMap<Key, Nonce>,
    /// The mark up to which intents are entered.
    pub entered: Option<Hlc>,
    /// The youngest horizon that a maintainer has collected by.
    pub horizon: Option<Hlc>,
}

/// The tag of a content: a hash of it.
pub fn tag_of(body: &Body) -> Tag {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    Tag(Bytes::copy_from_slice(&hasher.finish().to_be_bytes()))
}

/// Whether a call can change the store.
pub fn is_write(call: &Call) -> bool {
    match call {
        Call::Put(..) | Call::Create(..) | Call::Replace(..) | Call::Delete(..) | Call::DeleteIf(..) => true,
        Call::Get(..) | Call::Fetch { .. } | Call::List { .. } | Call::Groups { .. } => false,
    }
}

impl StoreModel {
    /// The body under a name.
    pub fn get(&self, name: &Name) -> Option<Body> {
        match name {
            Name::Commit(hash) => self.commits.get(hash).map(|record| Body::Record(record.clone())),
            Name::Intent(intent) => self.intents.contains(intent).then_some(Body::Empty),
            Name::Version(key, entry) => {
                let held = self.versions.get(key)?.contains(&(Reverse(entry.txn), entry.clone()));
                held.then_some(Body::Empty)
            }
            Name::Blob { attempt, number, part } => {
                self.blobs.get(&(*attempt, *number, *part)).map(|bytes| Body::Part(bytes.clone()))
            }
            Name::Collect(name) => self.collects.get(name).map(|entry| Body::Collect(entry.clone())),
            Name::Marker(key) => self.markers.get(key).map(|nonce| Body::Marker(*nonce)),
            Name::Entered => self.entered.map(Body::Time),
            Name::Horizon => self.horizon.map(Body::Time),
        }
    }

    fn put(&mut self, name: &Name, body: &Body) {
        match (name, body) {
            (Name::Commit(hash), Body::Record(record)) => {
                self.commits.insert(*hash, record.clone());
            }
            (Name::Intent(intent), Body::Empty) => {
                self.intents.insert(*intent);
            }
            (Name::Version(key, entry), Body::Empty) => {
                self.versions.entry(key.clone()).or_default().insert((Reverse(entry.txn), entry.clone()));
            }
            (Name::Blob { attempt, number, part }, Body::Part(bytes)) => {
                self.blobs.insert((*attempt, *number, *part), bytes.clone());
            }
            (Name::Collect(name), Body::Collect(entry)) => {
                self.collects.insert(*name, entry.clone());
            }
            (Name::Marker(key), Body::Marker(nonce)) => {
                self.markers.insert(key.clone(), *nonce);
            }
            (Name::Entered, Body::Time(time)) => self.entered = Some(*time),
            (Name::Horizon, Body::Time(time)) => self.horizon = Some(*time),
            (name, body) => panic!("{name:?} cannot hold {body:?}"),
        }
    }

    fn delete(&mut self, name: &Name) {
        match name {
            Name::Commit(hash) => {
                self.commits.remove(hash);
            }
            Name::Intent(intent) => {
                self.intents.remove(intent);
            }
            Name::Version(key, entry) => {
                if let Some(entries) = self.versions.get_mut(key) {
                    entries.remove(&(Reverse(entry.txn), entry.clone()));
                    if entries.is_empty() {
                        self.versions.remove(key);
                    }
                }
            }
            Name::Blob { attempt, number, part } => {
                self.blobs.remove(&(*attempt, *number, *part));
            }
            Name::Collect(name) => {
                self.collects.remove(name);
            }
            Name::Marker(key) => {
                self.markers.remove(key);
            }
            Name::Entered => self.entered = None,
            Name::Horizon => self.horizon = None,
        }
    }

    /// Performs a call.
    pub fn apply(&mut self, call: &Call, delete_if: bool) -> Answer {
        match call {
            Call::Get(name) => Answer::Got(self.tagged(name)),
            Call::Fetch { hash, .. } => Answer::Got(self.tagged(&Name::Commit(*hash))),
            Call::Put(name, body) => {
                self.put(name, body);
                Answer::Done
            }
            Call::Create(name, _) if self.get(name).is_some() => Answer::Exists,
            Call::Create(name, body) => {
                self.put(name, body);
                Answer::Created
            }
            Call::Replace(name, tag, body) => {
                if self.tagged(name).is_none_or(|(_, held)| held != *tag) {
                    return Answer::Changed;
                }
                self.put(name, body);
                Answer::Replaced
            }
            Call::Delete(names) => {
                names.iter().for_each(|name| self.delete(name));
                Answer::Done
            }
            Call::DeleteIf(..) if !delete_if => {
                Answer::Failed(CallError::Refused("this store cannot delete by tag".into()))
            }
            Call::DeleteIf(name, tag) => {
                if self.tagged(name).is_none_or(|(_, held)| held != *tag) {
                    return Answer::Changed;
                }
                self.delete(name);
                Answer::Replaced
            }
            Call::List { group, after, limit } => self.list(group, after.as_ref(), *limit as usize),
            Call::Groups { groups, limit } => self.groups(groups, *limit as usize),
        }
    }

    fn tagged(&self, name: &Name) -> Option<(Body, Tag)> {
        let body = self.get(name)?;
        let tag = tag_of(&body);
        Some((body, tag))
    }

    fn list(&self, group: &Group, after: Option<&Name>, limit: usize) -> Answer {
        assert!(limit >= 1, "a page holds at least one name");
        // Each arm walks its group in order; `take(limit + 1)` tells whether more follows.
        let mut names: Vec<Name> = match group {
            Group::Versions(key) => {
                let after = after.map(|name| match name {
                    Name::Version(other, entry) if other == key => (Reverse(entry.txn), entry.clone()),
                    other => panic!("a cursor of another group: {other:?} in {key}"),
                });
                let from = after.map_or(Unbounded, Excluded);
                let entries = self.versions.get(key).into_iter();
                entries
                    .flat_map(|entries| entries.range((from.clone(), Unbounded)))
                    .take(limit + 1)
                    .map(|(_, entry)| Name::Version(key.clone(), entry.clone()))
                    .collect()
            }
            Group::Intents(minute) => {
                let after = after.map(|name| match name {
                    Name::Intent(intent) if intent.minute == *minute => *intent,
                    other => panic!("a cursor of another group: {other:?} in minute {minute}"),
                });
                let in_minute = self.intents.iter().filter(|intent| intent.minute == *minute);
                let later = in_minute.filter(|intent| after.is_none_or(|after| **intent > after));
                later.take(limit + 1).map(|intent| Name::Intent(*intent)).collect()
            }
            Group::Collects(minute) => {
                let after = after.map(|name| match name {
                    Name::Collect(collect) if collect.minute == *minute => *collect,
                    other => panic!("a cursor of another group: {other:?} in minute {minute}"),
                });
                let in_minute = self.collects.keys().filter(|name| name.minute == *minute);
                let later = in_minute.filter(|name| after.is_none_or(|after| **name > after));
                later.take(limit + 1).map(|name| Name::Collect(*name)).collect()
            }
            Group::Blobs(attempt) => {
                let after = after.map(|name| match name {
                    Name::Blob { attempt: other, number, part } if other == attempt => (*number, *part),
                    other => panic!("a cursor of another group: {other:?} in blobs of {attempt}"),
                });
                let of_attempt = self.blobs.keys().filter(|(other, _, _)| other == attempt);
                of_attempt
                    .filter(|(_, number, part)| after.is_none_or(|after| (*number, *part) > after))
                    .take(limit + 1)
                    .map(|(attempt, number, part)| Name::Blob {
                        attempt: *attempt,
                        number: *number,
                        part: *part,
                    })
                    .collect()
            }
        };
        let more = names.len() > limit;
        names.truncate(limit);
        Answer::Listed { names, more }
    }

    fn groups(&self, groups: &Groups, limit: usize) -> Answer {
        assert!(limit >= 1, "a page holds at least one group");
        match groups {
            Groups::Keys { prefix, after } => {
                let after = after.as_deref();
                let keys = self.versions.keys().filter(|key| key.as_str().starts_with(prefix.as_str()));
                let later = keys.filter(|key| after.is_none_or(|after| key.as_str() > after));
                let mut keys: Vec<Key> = later.take(limit + 1).cloned().collect();
                let more = keys.len() > limit;
                keys.truncate(limit);
                Answer::Keys { keys, more }
            }
            Groups::IntentMinutes { after } => {
                minutes(self.intents.iter().map(|intent| intent.minute), *after, limit)
            }
            Groups::CollectMinutes { after } => {
                minutes(self.collects.keys().map(|name| name.minute), *after, limit)
            }
        }
    }
}

fn minutes(all: impl Iterator<Item = u32>, after: Option<u32>, limit: usize) -> Answer {
    let minutes: BTreeSet<u32> = all.filter(|minute| after.is_none_or(|after| *minute > after)).collect();
    let more = minutes.len() > limit;
    Answer::Minutes { minutes: minutes.into_iter().take(limit).collect(), more }
}
