//! Which transactions no reader needs any more (the paper's Algorithm 2; protocol, section 8).
//!
//! A transaction is superseded when every key of it has a committed version that is newer than it and older than the horizon. Whoever retires an
//! intent looks at its transaction and at those next below it on each of its keys; whoever collects a transaction looks at those next below that one.
//!
//! That is enough. Let S be next above O on one key of O, and S' on another. O is looked at when S and when S' are retired (or collected, or O itself, whichever
//! of a pair is entered last), each after its own entries stood and with the other's below the horizon (`horizon`) or not yet there; so the last look finds
//! O superseded on both. A version that is collected hands those below it on. So a key costs what is next to a version, not all that stands below the horizon.

use std::collections::BTreeMap;

use crate::bug::Bug;
use crate::ids::{AttemptId, Hlc, Key, TxnId};
use crate::message::Header;
use crate::record::{Kind, Meta, VersionEntry, Write};
use crate::store::{Body, Group, Name};

use super::maintain::SCAN_PAGE_LEN;
use super::reading::NO_HASH;
use super::retire::Tagged;
use super::script::{Flow, Run};
use super::{Node, publish};

/// What a pass knows of a key's newest version older than its horizon.
#[derive(Debug, Clone, Copy, Hash)]
pub(super) struct Survivor {
    /// That version, or an older one if it was not listed.
    pub(super) txn: TxnId,
    /// It is a tombstone.
    pub(super) tombstone: bool,
    /// A listing of this pass said so.
    listed: bool,
}

impl Survivor {
    pub(super) fn is_listed(&self) -> bool {
        self.listed
    }
}

impl Node {
    /// Of these transactions, all older than the horizon and entered, and of those next below them on their keys: which are superseded.
    pub(super) fn superseded_by(
        &mut self,
        run: &mut Run<'_>,
        retiring: &[Tagged],
        horizon: Hlc,
    ) -> Flow<Vec<Tagged>> {
        for (record, _) in retiring {
            for (key, write) in record.full().map_or(&[][..], |writes| writes) {
                let tombstone = *write == Write::Tombstone;
                self.survives(key, Survivor { txn: record.txn, tombstone, listed: false });
            }
        }
        let places = retiring.iter().filter_map(|(record, _)| Header::of(record)).flat_map(|header| {
            let entries: Vec<(Key, VersionEntry)> = header
                .writes
                .iter()
                .map(|(key, _)| (key.clone(), publish::version_entry(&header, key)))
                .collect();
            entries
        });
        let below = self.next_below(run, places)?;
        let below =
            below.into_values().filter(|entry| retiring.iter().all(|(record, _)| record.txn != entry.txn));
        let below = self.unsettled(run, below);
        let mut candidates = self.full_records(run, below)?;
        for tagged in retiring {
            if !run.note_if(|| self.is_settled(tagged.0.txn)) {
                candidates.push(tagged.clone());
            }
        }
        self.superseded_among(run, candidates, horizon)
    }

    /// Version entries below these, as far as the one next below the oldest of each key.
    pub(super) fn next_below(
        &mut self,
        run: &mut Run<'_>,
        places: impl IntoIterator<Item = (Key, VersionEntry)>,
    ) -> Flow<BTreeMap<TxnId, VersionEntry>> {
        struct Descent {
            key: Key,
            after: VersionEntry,
            /// Below this one, one more entry is wanted.
            lowest: TxnId,
            limit: u32,
        }
        let mut descents: BTreeMap<Key, Descent> = BTreeMap::new();
        for (key, entry) in places {
            match descents.get_mut(&key) {
                None => {
                    let lowest = entry.txn;
                    descents.insert(key.clone(), Descent { key, after: entry, lowest, limit: 1 });
                }
                Some(descent) => {
                    descent.lowest = descent.lowest.min(entry.txn);
                    descent.limit = (descent.limit + 1).min(SCAN_PAGE_LEN);
                    if entry.txn > descent.after.txn {
                        descent.after = entry;
                    }
                }
            }
        }
        let mut descents: Vec<Descent> = descents.into_values().collect();
        let mut found = BTreeMap::new();
        while !descents.is_empty() {
            let pages = run.ask_pages(descents.iter().map(|descent| {
                let after = Name::Version(descent.key.clone(), descent.after.clone());
                (Group::Versions(descent.key.clone()), Some(after), descent.limit)
            }))?;
            let mut unfinished = Vec::new();
            for (mut descent, (names, more)) in descents.into_iter().zip(pages) {
                let entries: Vec<VersionEntry> = names.into_iter().filter_map(version_of).collect();
                let last = entries.last().cloned();
                found.extend(entries.into_iter().map(|entry| (entry.txn, entry)));
                match last {
                    Some(last)
                        if more && last.txn >= descent.lowest && !self.planted(Bug::SkipSecondPage) =>
                    {
                        descent.after = last;
                        unfinished.push(descent);
                    }
                    Some(_) | None => {}
                }
            }
            descents = unfinished;
        }
        Ok(found)
    }

    /// Those of listed transactions that this pass has not settled yet.
    pub(super) fn unsettled(
        &mut self,
        run: &mut Run<'_>,
        listed: impl IntoIterator<Item = VersionEntry>,
    ) -> Vec<VersionEntry> {
        listed.into_iter().filter(|entry| !run.note_if(|| self.is_settled(entry.txn))).collect()
    }

    /// The full records of listed transactions.
    pub(super) fn full_records(
        &mut self,
        run: &mut Run<'_>,
        entries: Vec<VersionEntry>,
    ) -> Flow<Vec<Tagged>> {
        let objects = run.ask_objects(entries.iter().map(|entry| Name::Commit(entry.hash)))?;
        let full = entries.iter().zip(objects).filter_map(|(entry, object)| match object {
            Some((Body::Record(record), tag)) if record.txn == entry.txn && record.full().is_some() => {
                Some((record, tag))
            }
            Some(_) | None => None,
        });
        Ok(full.collect())
    }

    /// Those of these transactions that are superseded.
    pub(super) fn superseded_among(
        &mut self,
        run: &mut Run<'_>,
        candidates: Vec<Tagged>,
        horizon: Hlc,
    ) -> Flow<Vec<Tagged>> {
        let survivors = self.survivors(run, &candidates, horizon)?;
        let mut superseded = Vec::new();
        for (record, tag) in candidates {
            let mut missing = 0;
            let writes = record.full().cloned().unwrap_or_default();
            for (key, write) in writes.iter() {
                let by_newer = survivors.get(key).is_some_and(|survivor| *survivor > record.txn);
                let gone = by_newer
                    || (*write == Write::Tombstone && self.is_only_old_tombstone(run, key, record.txn)?);
                missing += usize::from(!gone);
            }
            let allowed = usize::from(self.planted(Bug::CollectSupersededOnAllButOne) && writes.len() > 1);
            if missing <= allowed {
                superseded.push((record, tag));
            } else {
                self.settle(record.txn);
            }
        }
        Ok(superseded)
    }

    /// The newest versions older than the horizon of the keys of these transactions, as far as it matters to them.
    fn survivors(
        &mut self,
        run: &mut Run<'_>,
        candidates: &[Tagged],
        horizon: Hlc,
    ) -> Flow<BTreeMap<Key, TxnId>> {
        let mut newest: BTreeMap<&Key, TxnId> = BTreeMap::new();
        for (record, _) in candidates {
            for (key, _) in record.full().map_or(&[][..], |writes| writes) {
                let of_key = newest.entry(key).or_insert(record.txn);
                *of_key = (*of_key).max(record.txn);
            }
        }
        let mut survivors = BTreeMap::new();
        let mut unknown = Vec::new();
        for (key, newest) in newest {
            let known = run.note_txn(|| self.survivor(key).map(|survivor| survivor.txn));
            let settles = run.note_if(|| {
                self.survivor(key).is_some_and(|survivor| survivor.listed || survivor.txn > newest)
            });
            survivors.extend(known.map(|known| (key.clone(), known)));
            if !settles {
                unknown.push(key.clone());
            }
        }
        let pages = run.ask_pages(unknown.iter().map(|key| {
            let after = Name::Version(key.clone(), cursor(horizon));
            (Group::Versions(key.clone()), Some(after), 1)
        }))?;
        for (key, (names, _)) in unknown.into_iter().zip(pages) {
            if let Some(entry) = names.into_iter().find_map(version_of) {
                let tombstone = entry.meta.kind == Kind::Tombstone;
                self.survives(&key, Survivor { txn: entry.txn, tombstone, listed: true });
                let of_key = survivors.entry(key).or_insert(entry.txn);
                *of_key = (*of_key).max(entry.txn);
            }
        }
        Ok(survivors)
    }

    /// What this pass knows of a key's newest version older than its horizon.
    pub(super) fn survivor(&self, key: &Key) -> Option<Survivor> {
        self.maintenance.pass.as_ref().and_then(|pass| pass.survivors.get(key).copied())
    }

    fn survives(&mut self, key: &Key, survivor: Survivor) {
        let Some(pass) = &mut self.maintenance.pass else { return };
        let known = pass.survivors.get(key);
        let listed = survivor.listed || known.is_some_and(|known| known.listed);
        if known.is_none_or(|known| known.txn <= survivor.txn) {
            pass.survivors.insert(key.clone(), Survivor { listed, ..survivor });
        }
    }

    /// Whether this pass has found that a transaction is not superseded, or has put its collect entry. With one horizon a second look finds the same, but
    /// for lone tombstones. One that somebody still looks at is not settled: he may fail, and lead to it no more.
    fn is_settled(&self, txn: TxnId) -> bool {
        self.maintenance.pass.as_ref().is_some_and(|pass| pass.settled.get(&txn).is_some())
    }

    pub(super) fn settle(&mut self, txn: TxnId) {
        if let Some(pass) = &mut self.maintenance.pass {
            pass.settled.insert(txn, ());
        }
    }

    /// Whether a tombstone is its key's only remaining version, listed after a clean scan that began when the tombstone was old enough.
    fn is_only_old_tombstone(&mut self, run: &mut Run<'_>, key: &Key, txn: TxnId) -> Flow<bool> {
        let due_ms = self.tombstone_due_ms(txn);
        if !run.note_if(|| self.scan_began_clean_after(due_ms)) {
            return Ok(false);
        }
        let pages = run.ask_pages([newest_two(key)])?;
        Ok(pages.into_iter().all(|(names, more)| {
            let mut entries = names.into_iter().filter_map(version_of);
            !more && entries.next().is_some_and(|entry| entry.txn == txn) && entries.next().is_none()
        }))
    }

    /// The cascade: versions of these keys were collected, and a tombstone may now be its key's only one. Either it can go, or an intent brings
    /// somebody back when it can. The tombstones that can go, and the keys that have no version left.
    pub(super) fn lone_tombstones(
        &mut self,
        run: &mut Run<'_>,
        keys: Vec<Key>,
    ) -> Flow<(Vec<VersionEntry>, Vec<Key>)> {
        let pages = run.ask_pages(keys.iter().map(newest_two))?;
        let (mut going, mut emptied, mut intents) = (Vec::new(), Vec::new(), Vec::new());
        for (key, (names, more)) in keys.into_iter().zip(pages) {
            let mut entries = names.into_iter().filter_map(version_of);
            match (entries.next(), entries.next()) {
                (None, _) => emptied.push(key),
                (Some(entry), None) if !more && entry.meta.kind == Kind::Tombstone => {
                    let due_ms = self.tombstone_due_ms(entry.txn);
                    if run.note_if(|| self.scan_began_clean_after(due_ms)) {
                        going.push(entry);
                    } else if run.note_if(|| self.first_revisit(entry.txn)) {
                        let (attempt, hash) = (entry.txn.attempt, entry.hash);
                        intents.push(run.start(|| self.put_intent_at(due_ms, attempt, hash)));
                    }
                }
                (Some(_), _) => {}
            }
        }
        run.wait_done(&intents)?;
        Ok((going, emptied))
    }

    /// One intent a pass is enough for a tombstone, however many of its key's versions are collected in it.
    fn first_revisit(&mut self, txn: TxnId) -> bool {
        self.maintenance.pass.as_mut().is_some_and(|pass| pass.revisited.add(txn))
    }
}

/// The newest two versions of a key.
fn newest_two(key: &Key) -> (Group, Option<Name>, u32) {
    (Group::Versions(key.clone()), None, 2)
}

/// The place in a key's listing below which all versions are older than an instant.
fn cursor(below: Hlc) -> VersionEntry {
    VersionEntry {
        txn: TxnId { time: below, attempt: AttemptId([0; 16]) },
        hash: NO_HASH,
        meta: Meta { kind: Kind::Tombstone, size: 0, etag: bytes::Bytes::new() },
        cowritten: 1,
    }
}

fn version_of(name: Name) -> Option<VersionEntry> {
    match name {
        Name::Version(_, entry) => Some(entry),
        Name::Commit(_)
        | Name::Intent(_)
        | Name::Blob { .. }
        | Name::Collect(_)
        | Name::Marker(_)
        | Name::Entered
        | Name::Horizon => None,
    }
}
