//! Collecting superseded transactions, resumable at any point (protocol, section 8).
//!
//! ```text
//!   Pieces   markers for their keys ─► slim records ─► version entries ─► blobs ─► cascade
//!   Header   after retention and grace: version entries once more ─► large results ─► the slim records
//!   Markers  a tombstone's age later: markers of keys that have no version left
//! ```
//!
//! The order is the proof: whoever meets a version entry of T later than its record's values went finds the record slim, lists again, and finds the
//! newer version; whoever finds no older version at all finds the marker, and tries again instead of taking the key for absent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::bug::Bug;
use crate::ids::{Hlc, Key, NodeId, Nonce, TxnId};
use crate::message::Note;
use crate::record::{CollectEntry, CollectName, Meta, Stage, Superseded, VersionEntry};
use crate::store::{Answer, Body, Call, CallError, Group, Name, Tag};

use super::Node;
use super::retire::Tagged;
use super::script::{Flow, Pending, Run, Stop, failed};

/// About how many bytes of keys one collect entry names at most, unless one transaction names more: entries stay small objects.
const ENTRY_KEY_BYTES_MAX: usize = 32 << 10;

/// How many names go in one deletion.
const DELETE_LEN_MAX: usize = 500;

impl Node {
    pub(super) fn collect_script(&mut self, run: &mut Run<'_>, name: CollectName) -> Result<(), Pending> {
        let flow = self.collect(run, name);
        self.end_batch(flow.map(|()| true))
    }

    fn collect(&mut self, run: &mut Run<'_>, name: CollectName) -> Flow<()> {
        for object in run.ask_objects([Name::Collect(name)])? {
            // If it is gone, another maintainer was faster.
            if let Some((Body::Collect(entry), _)) = object {
                match entry.stage {
                    // Another maintainer was further on: it goes on with it, or this one later.
                    Stage::Pieces if entry.horizon > Hlc(run.note(|| self.pass_horizon().0)) => {}
                    Stage::Pieces => self.collect_pieces(run, name, &entry, &[], &[])?,
                    Stage::Header => self.collect_headers(run, name, &entry)?,
                    Stage::Markers => self.collect_markers(run, name, &entry)?,
                }
            }
        }
        Ok(())
    }

    /// Puts collect entries, one after the other, for transactions whose collection has not begun.
    pub(super) fn put_collects(
        &mut self,
        run: &mut Run<'_>,
        superseded: Vec<Superseded>,
    ) -> Flow<Vec<(CollectName, Arc<CollectEntry>)>> {
        let mut entries = Vec::new();
        for transactions in in_entries(superseded) {
            let now_ms = run.note(|| self.now.wall_ms);
            let horizon = Hlc(run.note(|| self.pass_horizon().0));
            let entry = Arc::new(CollectEntry { stage: Stage::Pieces, horizon, transactions });
            let (name, put) = self.put_collect(run, Hlc::from_ms(now_ms).minute(), entry.clone());
            run.wait_done(&[put])?;
            entry.transactions.iter().for_each(|superseded| self.settle(superseded.txn));
            entries.push((name, entry));
        }
        Ok(entries)
    }

    /// Starts to put a collect entry under a minute.
    fn put_collect(
        &mut self,
        run: &mut Run<'_>,
        minute: u32,
        entry: Arc<CollectEntry>,
    ) -> (CollectName, usize) {
        let attempt = entry.transactions.first().expect("a collect entry names a transaction").txn.attempt;
        let time = Hlc(run.note(|| self.time().0));
        let nonce = self.noted_nonce(run);
        let name = CollectName { minute, time, attempt, nonce };
        (name, run.start(|| Call::Put(Name::Collect(name), Body::Collect(entry))))
    }

    fn noted_nonce(&mut self, run: &mut Run<'_>) -> Nonce {
        let node = NodeId(run.note(|| self.nonce().node.0));
        Nonce { node, count: run.note(|| self.nonces) }
    }

    /// `known`: records with their tags, as they were read a moment ago. `looked_at`: those of which what is next below them was looked at in this pass.
    pub(super) fn collect_pieces(
        &mut self,
        run: &mut Run<'_>,
        name: CollectName,
        entry: &CollectEntry,
        known: &[Tagged],
        looked_at: &[Tagged],
    ) -> Flow<()> {
        let keys = keys_of(&entry.transactions);
        if !self.planted(Bug::CollectWithoutMarker) {
            let marker = |key: &Key, nonce| Call::Put(Name::Marker(key.clone()), Body::Marker(nonce));
            let puts: Vec<usize> = keys.iter().map(|key| run.start(|| marker(key, self.nonce()))).collect();
            run.wait_done(&puts)?;
        }
        self.slim_records(run, &entry.transactions, known)?;
        for superseded in &entry.transactions {
            self.collected.insert(superseded.txn, ());
            self.index.forget(superseded.txn, superseded.writes.iter().map(|(key, _)| key.clone()));
        }
        self.delete_all(run, entry.transactions.iter().flat_map(version_names))?;
        self.delete_all(run, entry.transactions.iter().flat_map(part_names))?;
        if self.planted(Bug::DropResultWithValues) {
            self.delete_all(run, entry.transactions.iter().flat_map(result_names))?;
        }
        self.cascade(run, entry, keys, looked_at)?;
        let now_ms = run.note(|| self.now.wall_ms);
        let later = entry
            .transactions
            .iter()
            .map(|superseded| (self.header_due_ms(superseded, now_ms), superseded.clone()));
        self.next_stage(run, name, Stage::Header, entry.horizon, later.collect())?;
        for superseded in &entry.transactions {
            self.note(Note::Collected(superseded.txn));
        }
        Ok(())
    }

    /// Replaces records by their slim forms, while they still are these transactions'.
    fn slim_records(&mut self, run: &mut Run<'_>, transactions: &[Superseded], known: &[Tagged]) -> Flow<()> {
        let known: BTreeMap<TxnId, &Tagged> = known.iter().map(|tagged| (tagged.0.txn, tagged)).collect();
        let (at_hand, unknown): (Vec<&Superseded>, Vec<&Superseded>) =
            transactions.iter().partition(|superseded| known.contains_key(&superseded.txn));
        let objects = run.ask_objects(unknown.iter().map(|superseded| Name::Commit(superseded.hash)))?;
        let read = unknown.iter().zip(objects).filter_map(|(superseded, object)| match object {
            Some((Body::Record(record), tag)) if record.txn == superseded.txn && record.full().is_some() => {
                Some((record, tag))
            }
            // Slim already, gone, or another transaction's by now: the rest may still be undone.
            Some(_) | None => None,
        });
        let full: Vec<Tagged> =
            at_hand.into_iter().map(|superseded| known[&superseded.txn].clone()).chain(read).collect();
        let slim = |(record, tag): &Tagged| {
            Call::Replace(Name::Commit(record.hash), tag.clone(), Body::Record(Arc::new(record.slim())))
        };
        for answer in run.ask_all(full.iter().map(slim))? {
            match answer {
                Answer::Replaced => {}
                // Another maintainer has replaced it, or it went: look again later.
                Answer::Changed => return Err(Stop::Failed(CallError::Busy)),
                answer => return Err(failed(answer)),
            }
        }
        Ok(())
    }

    /// Looks again at the other transactions of the keys of what was collected: those next below may be superseded too (whoever looked at this one when
    /// it was retired has done that), and tombstones may be left alone.
    fn cascade(
        &mut self,
        run: &mut Run<'_>,
        entry: &CollectEntry,
        mut keys: Vec<Key>,
        looked_at: &[Tagged],
    ) -> Flow<()> {
        let looked_at: BTreeSet<TxnId> = looked_at.iter().map(|(record, _)| record.txn).collect();
        let others = entry.transactions.iter().filter(|superseded| !looked_at.contains(&superseded.txn));
        let below = self.next_below(run, others.flat_map(version_entries))?;
        let mut listed = self.unsettled(run, below.into_values());
        // The newest version older than the horizon stays, and so no tombstone is alone beside it.
        let alone_possible = |node: &Node, key: &Key| {
            node.survivor(key).is_none_or(|survivor| survivor.tombstone || !survivor.is_listed())
        };
        keys.retain(|key| run.note_if(|| alone_possible(self, key)));
        let (tombstones, _) = self.lone_tombstones(run, keys)?;
        listed.extend(tombstones);
        self.collect_listed(run, listed)
    }

    /// Collect entries for those of these listed transactions that are superseded.
    fn collect_listed(&mut self, run: &mut Run<'_>, listed: Vec<VersionEntry>) -> Flow<()> {
        if listed.is_empty() {
            return Ok(());
        }
        let horizon = Hlc(run.note(|| self.pass_horizon().0));
        let candidates = self.full_records(run, listed)?;
        let superseded = self.superseded_among(run, candidates, horizon)?;
        self.put_collects(run, superseded.iter().filter_map(|(record, _)| Superseded::of(record)).collect())?;
        Ok(())
    }

    /// When the slim record may go. A publisher that read the record just before it was slimmed may put its entries for a while yet, and a put
    /// without an answer may land later still: both are over before the version entries are deleted once more.
    fn header_due_ms(&self, superseded: &Superseded, now_ms: u64) -> u64 {
        if self.planted(Bug::DeleteHeaderEarly) {
            return now_ms.saturating_sub(60_000);
        }
        let retained = superseded.txn.time.ms() + superseded.retention_ms;
        retained.max(now_ms + self.publish_bound_ms()) + self.settings.grace_ms
    }

    /// Puts what is still to do under the minutes at which it is due, and ends this entry.
    fn next_stage(
        &mut self,
        run: &mut Run<'_>,
        name: CollectName,
        stage: Stage,
        horizon: Hlc,
        later: Vec<(u64, Superseded)>,
    ) -> Flow<()> {
        let mut minutes: BTreeMap<u32, Vec<Superseded>> = BTreeMap::new();
        for (due_ms, superseded) in later {
            // The next whole minute: when it has begun, the instant has passed.
            minutes.entry(Hlc::from_ms(due_ms).minute() + 1).or_default().push(superseded);
        }
        let mut puts = Vec::new();
        for (minute, superseded) in minutes {
            for transactions in in_entries(superseded) {
                let entry = Arc::new(CollectEntry { stage, horizon, transactions });
                puts.push(self.put_collect(run, minute, entry).1);
            }
        }
        run.wait_done(&puts)?;
        run.ask_done([Call::Delete(vec![Name::Collect(name)])])
    }

    fn collect_headers(&mut self, run: &mut Run<'_>, name: CollectName, entry: &CollectEntry) -> Flow<()> {
        self.delete_all(run, entry.transactions.iter().flat_map(version_names))?;
        // A part whose first try had no answer may have landed after it was deleted.
        self.delete_all(run, entry.transactions.iter().flat_map(part_names))?;
        // Before the records that name them: who finds such a record then is told that the result is gone.
        self.delete_all(run, entry.transactions.iter().flat_map(result_names))?;
        let hashes = entry.transactions.iter().map(|superseded| Name::Commit(superseded.hash));
        let objects = run.ask_objects(hashes)?;
        let calls = entry.transactions.iter().zip(objects).filter_map(|(superseded, object)| match object {
            Some((Body::Record(record), tag)) => {
                let name = Name::Commit(superseded.hash);
                if self.planted(Bug::DeleteHeaderUnconditionally) {
                    Some(Call::Delete(vec![name]))
                } else if record.txn != superseded.txn {
                    // The request ID was used again after the header went: this record is not ours to delete.
                    None
                } else if self.settings.delete_if {
                    Some(Call::DeleteIf(name, tag))
                } else {
                    // A name that a client gave may be used again; without a conditional delete its header stays.
                    (!record.named).then(|| Call::Delete(vec![name]))
                }
            }
            Some(_) | None => None,
        });
        for answer in run.ask_all(calls.collect::<Vec<Call>>())? {
            match answer {
                Answer::Done | Answer::Replaced | Answer::Changed => {}
                answer => return Err(failed(answer)),
            }
        }
        // Entries that landed late may have kept a tombstone company until now.
        let (tombstones, emptied) = self.lone_tombstones(run, keys_of(&entry.transactions))?;
        self.collect_listed(run, tombstones)?;
        // Markers of keys that have no version left can go one day.
        let due_ms = run.note(|| self.now.wall_ms) + self.settings.tombstone_age_ms;
        let emptied = |superseded: &&Superseded| {
            superseded.writes.iter().any(|(key, _)| emptied.binary_search(key).is_ok())
        };
        let later = entry.transactions.iter().filter(emptied).map(|superseded| (due_ms, superseded.clone()));
        self.next_stage(run, name, Stage::Markers, entry.horizon, later.collect())
    }

    fn collect_markers(&mut self, run: &mut Run<'_>, name: CollectName, entry: &CollectEntry) -> Flow<()> {
        if self.settings.delete_if {
            let keys = keys_of(&entry.transactions);
            // The tags before the listings: whoever adds a version after them renews the marker before that version can go.
            let objects = run.ask_objects(keys.iter().cloned().map(Name::Marker))?;
            let marked: Vec<(Key, Tag)> = keys
                .into_iter()
                .zip(objects)
                .filter_map(|(key, object)| object.map(|(_, tag)| (key, tag)))
                .collect();
            let pages =
                run.ask_pages(marked.iter().map(|(key, _)| (Group::Versions(key.clone()), None, 1)))?;
            let empty = marked.into_iter().zip(pages).filter(|(_, (names, _))| names.is_empty());
            let calls = empty.map(|((key, tag), _)| Call::DeleteIf(Name::Marker(key), tag));
            for answer in run.ask_all(calls.collect::<Vec<Call>>())? {
                match answer {
                    Answer::Replaced | Answer::Changed => {}
                    answer => return Err(failed(answer)),
                }
            }
        }
        self.next_stage(run, name, Stage::Markers, entry.horizon, Vec::new())
    }

    fn delete_all(&mut self, run: &mut Run<'_>, names: impl Iterator<Item = Name>) -> Flow<()> {
        let names: Vec<Name> = names.collect();
        run.ask_done(names.chunks(DELETE_LEN_MAX).map(|names| Call::Delete(names.to_vec())))
    }
}

/// The keys of transactions, each once, in order.
fn keys_of(transactions: &[Superseded]) -> Vec<Key> {
    let keys: BTreeSet<&Key> =
        transactions.iter().flat_map(|superseded| superseded.writes.iter().map(|(key, _)| key)).collect();
    keys.into_iter().cloned().collect()
}

/// Cuts a list of transactions into what one collect entry holds.
fn in_entries(superseded: Vec<Superseded>) -> Vec<Vec<Superseded>> {
    let mut entries: Vec<Vec<Superseded>> = Vec::new();
    let mut bytes = 0;
    for superseded in superseded {
        let more: usize =
            superseded.writes.iter().map(|(key, meta)| key.as_str().len() + meta_bytes(meta)).sum();
        bytes += more;
        match entries.last_mut() {
            Some(last) if bytes <= ENTRY_KEY_BYTES_MAX => last.push(superseded),
            Some(_) | None => {
                entries.push(vec![superseded]);
                bytes = more;
            }
        }
    }
    entries
}

fn meta_bytes(meta: &Meta) -> usize {
    meta.etag.len() + 16
}

/// A transaction's version entries with their keys: functions of its write set.
fn version_entries(superseded: &Superseded) -> Vec<(Key, VersionEntry)> {
    let (txn, hash) = (superseded.txn, superseded.hash);
    let cowritten = superseded.writes.len().try_into().expect("write sets are bounded");
    let entry = |meta: &Meta| VersionEntry { txn, hash, meta: meta.clone(), cowritten };
    superseded.writes.iter().map(|(key, meta)| (key.clone(), entry(meta))).collect()
}

fn version_names(superseded: &Superseded) -> Vec<Name> {
    version_entries(superseded).into_iter().map(|(key, entry)| Name::Version(key, entry)).collect()
}

/// The names of the parts of its values' blobs.
fn part_names(superseded: &Superseded) -> Vec<Name> {
    let parts = |(number, parts): &(u32, u32)| blob_names(superseded.txn, *number, *parts);
    superseded.blobs.iter().flat_map(parts).collect()
}

/// The names of the parts of its large result.
fn result_names(superseded: &Superseded) -> Vec<Name> {
    superseded.result_blob.map_or(Vec::new(), |(number, parts)| blob_names(superseded.txn, number, parts))
}

fn blob_names(txn: TxnId, number: u32, parts: u32) -> Vec<Name> {
    (0..parts).map(|part| Name::Blob { attempt: txn.attempt, number, part }).collect()
}
