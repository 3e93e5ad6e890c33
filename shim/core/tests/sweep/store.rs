//! A store in memory, with typed names and bodies, that checks every change of the mark.

use std::collections::BTreeMap;
use std::sync::Arc;

use aft_core::ids::{RequestHash, TxnId};
use aft_core::record::{BlobGroup, Format, VersionEntry};
use aft_core::store::{
    Answer, Body, Call, CallError, Created, Found, FoundRecord, Group, Name, Pieces, Scan, Tag, Writes,
};

/// Returns an object's place in the order of listings: version entries of a key come newest first.
fn place(name: &Name) -> (u8, String, u64, [u8; 16], &Name) {
    match name {
        Name::Version(key, entry) => {
            let attempt = entry.txn.attempt.0.map(|byte| !byte);
            (1, key.as_str().into(), !entry.txn.time.0, attempt, name)
        }
        Name::Successor(key, before) => {
            (1, key.as_str().into(), !before.time.0, before.attempt.0.map(|byte| !byte), name)
        }
        other => (0, String::new(), 0, [0; 16], other),
    }
}

/// The store.
#[derive(Debug, Default)]
pub(crate) struct Store {
    objects: BTreeMap<Name, (Body, u64)>,
    next_tag: u64,
    /// The store's time, in milliseconds.
    pub(crate) now_ms: u64,
    /// True if listings of commits include the records.
    pub(crate) brings_records: bool,
    /// True if listings of commits include the time of writing.
    pub(crate) says_written: bool,
    written_ms: BTreeMap<Name, u64>,
    /// Names that cannot be read.
    pub(crate) damaged: Vec<Name>,
    /// Names that cannot be written or deleted.
    pub(crate) refuses: Vec<Name>,
    /// The number of gets of each commit record.
    pub(crate) gets: BTreeMap<RequestHash, u32>,
    /// The time at which the mark moved to its place, in milliseconds.
    mark_since_ms: u64,
    /// The forbidden changes of the mark that were made.
    pub(crate) faults: Vec<String>,
}

impl Store {
    /// Returns the mark's object.
    pub(crate) fn format(&self) -> Arc<Format> {
        match self.objects.get(&Name::Format) {
            Some((Body::Format(format), _)) => format.clone(),
            other => panic!("the mark is {other:?}"),
        }
    }

    /// Returns all names, in the order of listings.
    pub(crate) fn names(&self) -> Vec<&Name> {
        let mut names: Vec<&Name> = self.objects.keys().collect();
        names.sort_by(|a, b| place(a).cmp(&place(b)));
        names
    }

    pub(crate) fn body(&self, name: &Name) -> Option<&Body> {
        self.objects.get(name).map(|(body, _)| body)
    }

    pub(crate) fn put(&mut self, name: Name, body: Body) {
        if let Body::Format(format) = &body {
            self.watch(format);
        }
        self.next_tag += 1;
        self.written_ms.insert(name.clone(), self.now_ms);
        self.objects.insert(name, (body, self.next_tag));
    }

    /// Sets the time at which an object was written.
    pub(crate) fn backdate(&mut self, name: Name, ms: u64) {
        self.written_ms.insert(name, ms);
    }

    fn watch(&mut self, format: &Format) {
        let before = match self.objects.get(&Name::Format) {
            Some((Body::Format(before), _)) => before.mark,
            _ => TxnId::ZERO,
        };
        if format.mark < before {
            self.faults.push(format!("the mark went back from {before} to {}", format.mark));
        }
        if format.mark != before {
            self.mark_since_ms = self.now_ms;
        }
        if format.moved_ms.is_some_and(|moved_ms| moved_ms < self.mark_since_ms) {
            let (moved, since) = (format.moved_ms, self.mark_since_ms);
            self.faults.push(format!("the mark's time {moved:?} is before it was in its place, at {since}"));
        }
    }

    fn tag(&self, name: &Name) -> Option<Tag> {
        let (_, tag) = self.objects.get(name)?;
        Some(Tag(tag.to_be_bytes().to_vec().into()))
    }

    /// Carries out a call.
    pub(crate) fn apply(&mut self, call: &Call) -> Answer {
        let names: Vec<&Name> = match call {
            Call::Put(name, _)
            | Call::Create(name, _)
            | Call::Replace(name, ..)
            | Call::DeleteIf(name, _) => vec![name],
            Call::Delete(names) => names.iter().collect(),
            _ => Vec::new(),
        };
        if names.iter().any(|name| self.refuses.contains(name)) {
            return Answer::Failed(CallError::Refused("not allowed".into()));
        }
        match call {
            Call::Get(name) | Call::Fetch { at: name, .. } => self.get(name),
            Call::Put(name, body) => {
                self.put(name.clone(), body.clone());
                Answer::Done
            }
            Call::Create(name, _) if self.objects.contains_key(name) => Answer::Created(Created::Exists),
            Call::Create(name, body) => {
                self.put(name.clone(), body.clone());
                Answer::Created(Created::Created)
            }
            Call::Commit(writes) => Answer::Committed(self.commit(writes)),
            Call::Replace(name, tag, body) => {
                if self.tag(name).as_ref() != Some(tag) {
                    return Answer::Changed;
                }
                self.put(name.clone(), body.clone());
                Answer::Replaced
            }
            Call::Delete(names) => {
                names.iter().for_each(|name| drop(self.objects.remove(name)));
                Answer::Done
            }
            Call::DeleteIf(name, tag) => {
                if self.tag(name).as_ref() != Some(tag) {
                    return Answer::Changed;
                }
                self.objects.remove(name);
                Answer::Replaced
            }
            Call::List { group, after, limit } => {
                let in_group = |name: &&Name| match (group, name) {
                    (Group::Versions(key), Name::Version(of, _)) => key == of,
                    (Group::Blobs(wanted), Name::Blob { group, .. }) => wanted == group,
                    _ => false,
                };
                let names = self.names().into_iter().filter(in_group);
                let names = names.filter(|name| after.as_ref().is_none_or(|a| place(a) < place(name)));
                let mut names: Vec<Name> = names.cloned().collect();
                let more = names.len() > *limit as usize;
                names.truncate(*limit as usize);
                Answer::Listed { names, damaged: Vec::new(), more }
            }
            Call::Scan { scan, limit } => self.scan(scan, *limit as usize),
        }
    }

    fn get(&mut self, name: &Name) -> Answer {
        if let Name::Commit(hash) = name {
            *self.gets.entry(*hash).or_default() += 1;
        }
        if self.damaged.contains(name) {
            return Answer::Failed(CallError::Damaged(format!("{name:?}")));
        }
        let body = self.objects.get(name).map(|(body, _)| body.clone());
        Answer::Got(body.zip(self.tag(name)))
    }

    fn commit(&mut self, writes: &Writes) -> Pieces {
        let record = writes.record.as_ref().map(|record| {
            let name = Name::Commit(record.hash);
            if self.objects.contains_key(&name) {
                return Ok(Created::Exists);
            }
            self.put(name, Body::Record(record.clone()));
            Ok(Created::Created)
        });
        let entries = writes.entries.iter().map(|(key, entry)| {
            let name = Name::Version(key.clone(), entry.clone());
            if self.refuses.contains(&name) {
                return Err(CallError::Refused("not allowed".into()));
            }
            self.put(name, Body::Empty);
            Ok(())
        });
        let entries = entries.collect();
        Pieces { record, entries }
    }

    fn scan(&self, scan: &Scan, limit: usize) -> Answer {
        let names = self.names().into_iter();
        let page = |len: usize| len > limit;
        match scan {
            Scan::Versions { prefix, after, .. } => {
                let of = |name: &Name| match name {
                    Name::Version(key, entry) => Some((key.clone(), entry.clone())),
                    Name::Successor(key, _) => {
                        let entry = VersionEntry::of_lock(self.body(name).expect("a name has a body"));
                        entry.map(|entry| (key.clone(), entry))
                    }
                    _ => None,
                };
                let is_after = |key: &str, name: &Name| match after {
                    None => true,
                    Some(after) if after.key != *key => *after.key < *key,
                    Some(after) => after.entry.as_ref().is_some_and(|entry| {
                        let (Name::Version(key, _) | Name::Successor(key, _)) = name else { return false };
                        place(&entry.name(key)) < place(name)
                    }),
                };
                let found = names.filter_map(|name| of(name).map(|found| (name, found)));
                let found = found.filter(|(name, (key, _))| {
                    key.as_str().starts_with(prefix.as_str()) && is_after(key.as_str(), name)
                });
                let mut found: Vec<_> = found.map(|(_, found)| found).collect();
                let more = page(found.len());
                found.truncate(limit);
                Answer::Scanned {
                    found: Found::Versions(found),
                    damaged: Vec::new(),
                    unread: Vec::new(),
                    more,
                }
            }
            Scan::Commits { after } => {
                let of = |name: &Name| match name {
                    Name::Commit(hash) if after.is_none_or(|after| after < *hash) => Some(FoundRecord {
                        hash: *hash,
                        body: self.body(name).filter(|_| self.brings_records).cloned(),
                        written_ms: self.written_ms.get(name).copied().filter(|_| self.says_written),
                    }),
                    _ => None,
                };
                let mut found: Vec<FoundRecord> = names.filter_map(of).collect();
                let more = page(found.len());
                found.truncate(limit);
                Answer::Scanned {
                    found: Found::Commits(found),
                    damaged: Vec::new(),
                    unread: Vec::new(),
                    more,
                }
            }
            Scan::Blobs { after } => {
                let of = |name: &Name| match name {
                    Name::Blob { group, .. } if after.is_none_or(|after| after < *group) => Some(*group),
                    _ => None,
                };
                let mut found: Vec<BlobGroup> = names.filter_map(of).collect();
                found.sort();
                found.dedup();
                let more = page(found.len());
                found.truncate(limit);
                Answer::Scanned { found: Found::Blobs(found), damaged: Vec::new(), unread: Vec::new(), more }
            }
            Scan::Damaged { after } => {
                let of = |name: &Name| match name {
                    Name::Damaged(hash) if after.is_none_or(|after| after < *hash) => Some(*hash),
                    _ => None,
                };
                let mut found: Vec<RequestHash> = names.filter_map(of).collect();
                let more = page(found.len());
                found.truncate(limit);
                Answer::Scanned {
                    found: Found::Damaged(found),
                    damaged: Vec::new(),
                    unread: Vec::new(),
                    more,
                }
            }
        }
    }
}
