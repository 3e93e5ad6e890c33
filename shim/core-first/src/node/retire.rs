//! The maintainer's second look at intents, once their transactions are older than the horizon (protocol, section 8).
//!
//! ```text
//!   slim record            ─► the intent goes
//!   no record of its own   ─► an orphan: after a long wait its blobs go, then the intent
//!   full record            ─► what it supersedes, and itself if it is superseded, gets a collect entry; then the intent goes; then they are collected
//! ```
//!
//! Between the intent's end and the collect entry's end there is always one of the two in the store, so a crash loses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{AttemptId, Hlc};
use crate::message::{Header, Note};
use crate::record::{Intent, Record, Superseded, Write};
use crate::store::{Body, Call, Group, Name, Tag};

use super::Node;
use super::enter::own_record;
use super::maintain::SCAN_PAGE_LEN;
use super::script::{Flow, Object, Pending, Run};

/// A full record with its tag.
pub(super) type Tagged = (Arc<Record>, Tag);

/// What is to be done with an intent.
enum Fate {
    /// Nothing now. Whether nothing of it is left unpublished.
    Stays { clean: bool },
    /// It leads to nothing any more.
    Goes,
    /// Its transaction is looked at, and then it goes.
    Retires,
}

impl Node {
    pub(super) fn retire_script(&mut self, run: &mut Run<'_>, intents: &[Intent]) -> Result<(), Pending> {
        let flow = self.retire(run, intents);
        self.end_batch(flow)
    }

    /// Whether nothing of the intents' transactions is left unpublished.
    fn retire(&mut self, run: &mut Run<'_>, intents: &[Intent]) -> Flow<bool> {
        let horizon = Hlc(run.note(|| self.pass_horizon().0));
        let since = run.note(|| self.now.mono_ms);
        let objects = run.ask_objects(intents.iter().map(|intent| Name::Commit(intent.hash)))?;
        let bytes = |object: &Object| match object {
            Some((Body::Record(record), _)) => record.bytes_max(),
            Some(_) | None => 0,
        };
        run.note_if(|| self.batch_held(intents.len(), objects.iter().map(bytes).sum()));
        let mut clean = true;
        let mut going = Vec::new();
        let mut orphans = Vec::new();
        let mut retiring: BTreeMap<AttemptId, Tagged> = BTreeMap::new();
        let (mut writes, mut too_many) = (0, Vec::new());
        for (intent, object) in intents.iter().zip(objects) {
            let (body, tag) = object.unzip();
            let Some(record) = own_record(intent, body) else {
                if self.is_gone_orphan(run, intent.attempt)? {
                    going.push(Name::Intent(*intent));
                    orphans.push(intent.attempt);
                }
                continue;
            };
            match self.fate(run, &record, horizon, since)? {
                Fate::Stays { clean: nothing_left } => clean &= nothing_left,
                Fate::Goes => going.push(Name::Intent(*intent)),
                Fate::Retires => {
                    writes += record.full().map_or(0, |writes| writes.len());
                    if writes > self.settings.maintenance_batch_writes_max && !retiring.is_empty() {
                        too_many.push(*intent);
                        continue;
                    }
                    going.push(Name::Intent(*intent));
                    retiring.insert(intent.attempt, (record, tag.expect("an object has a tag")));
                }
            }
        }
        if !too_many.is_empty() {
            run.note_if(|| self.put_back(&too_many, retiring.len()));
        }
        let retiring: Vec<Tagged> = retiring.into_values().collect();
        let superseded = self.superseded_by(run, &retiring, horizon)?;
        self.revisit_tombstones(run, &retiring)?;
        // Their own entries last: once one is collected its intent goes as a slim record's, and nothing would lead to the others any more.
        let (own, others): (Vec<Tagged>, Vec<Tagged>) = superseded
            .into_iter()
            .partition(|(record, _)| retiring.iter().any(|(retired, _)| retired.txn == record.txn));
        let own_len = own.len();
        let collecting: Vec<Tagged> = others.into_iter().chain(own).collect();
        let entries = self.put_collects(
            run,
            collecting.iter().filter_map(|(record, _)| Superseded::of(record)).collect(),
        )?;
        if !going.is_empty() {
            run.ask_done([Call::Delete(going)])?;
        }
        for attempt in orphans {
            self.versions_entered(attempt);
            self.note(Note::OrphanRemoved(attempt));
        }
        let looked_at = &collecting[collecting.len() - own_len..];
        for (name, entry) in entries {
            self.collect_pieces(run, name, &entry, &collecting, looked_at)?;
        }
        Ok(clean)
    }

    fn fate(&mut self, run: &mut Run<'_>, record: &Arc<Record>, horizon: Hlc, since: u64) -> Flow<Fate> {
        let Some(writes) = record.full() else {
            // It is being collected already: the intent goes, and with it what only the intent leads to.
            let dropped = self.drop_unnamed_blobs(run, record)?;
            return Ok(if dropped { Fate::Goes } else { Fate::Stays { clean: true } });
        };
        if record.txn.time >= horizon {
            return Ok(Fate::Stays { clean: true });
        }
        let attempt = record.txn.attempt;
        if !writes.is_empty() && !run.note_if(|| self.entered_before_pass(attempt)) {
            // A commit of this life whose outcome was unknown: where nobody else writes, nobody else enters it.
            if self.settings.exclusive && run.note_if(|| self.is_abandoned(record)) {
                let header = Arc::new(Header::of(record).expect("its writes are at hand"));
                self.enter_versions(run, &[header], since)?;
            }
            // This pass may have listed its keys without it already: the next one enters it if need be, and retires it.
            return Ok(Fate::Stays { clean: false });
        }
        // Parts may still land.
        let dropped = self.drop_unnamed_blobs(run, record)?;
        Ok(if dropped { Fate::Retires } else { Fate::Stays { clean: true } })
    }

    /// Neither under way nor waiting to be published.
    fn is_abandoned(&self, record: &Record) -> bool {
        !self.transactions.contains_key(&record.txn.attempt) && !self.publishing.contains_key(&record.txn)
    }

    /// Tombstones that are still their keys' newest versions: an intent brings somebody back when they may go.
    fn revisit_tombstones(&mut self, run: &mut Run<'_>, retiring: &[Tagged]) -> Flow<()> {
        let mut calls = Vec::new();
        for (record, _) in retiring {
            let due_ms = self.tombstone_due_ms(record.txn);
            let writes = record.full().map_or(&[][..], |writes| writes);
            let mut newest = false;
            for (key, _) in writes.iter().filter(|(_, write)| *write == Write::Tombstone) {
                newest |= run.note_if(|| {
                    self.survivor(key).is_none_or(|survivor| survivor.txn <= record.txn)
                        && !self.scan_began_clean_after(due_ms)
                });
            }
            if newest {
                calls.push(run.start(|| self.put_intent_at(due_ms, record.txn.attempt, record.hash)));
            }
        }
        run.wait_done(&calls)
    }

    /// An intent under the minute at which a tombstone may go, even if that minute is past.
    pub(super) fn put_intent_at(
        &mut self,
        due_ms: u64,
        attempt: AttemptId,
        hash: crate::ids::RequestHash,
    ) -> Call {
        let (time, nonce) = (self.time(), self.nonce());
        let minute = Hlc::from_ms(due_ms).minute() + 1;
        Call::Put(Name::Intent(Intent { minute, time, attempt, nonce, hash }), Body::Empty)
    }

    /// An intent without a record of its own: whether no commit of it can come any more, its blobs being gone.
    fn is_gone_orphan(&mut self, run: &mut Run<'_>, attempt: AttemptId) -> Flow<bool> {
        if !run.note_if(|| self.nothing_can_come(attempt)) {
            return Ok(false);
        }
        self.drop_blobs(run, attempt, &[])?;
        Ok(true)
    }

    /// Removes blobs that a committed attempt reserved and its record does not name: overwritten before the commit, or never put. Of a
    /// slim record none is named any more. `false`: not yet.
    fn drop_unnamed_blobs(&mut self, run: &mut Run<'_>, record: &Record) -> Flow<bool> {
        let named = record.named_blobs();
        if named.len() >= record.blobs as usize {
            return Ok(true);
        }
        let attempt = record.txn.attempt;
        if !run.note_if(|| self.nothing_can_come(attempt)) {
            return Ok(false);
        }
        let kept: Vec<u32> = named.iter().map(|(number, _)| *number).collect();
        self.drop_blobs(run, attempt, &kept)?;
        Ok(true)
    }

    /// Deletes an attempt's blob parts, but for these blobs.
    fn drop_blobs(&mut self, run: &mut Run<'_>, attempt: AttemptId, kept: &[u32]) -> Flow<()> {
        let mut after = None;
        loop {
            let pages = run.ask_pages([(Group::Blobs(attempt), after.take(), SCAN_PAGE_LEN)])?;
            for (names, more) in pages {
                after = names.last().cloned().filter(|_| more);
                let kept = |name: &Name| matches!(name, Name::Blob { number, .. } if kept.contains(number));
                let gone: Vec<Name> = names.into_iter().filter(|name| !kept(name)).collect();
                if !gone.is_empty() {
                    run.ask_done([Call::Delete(gone)])?;
                }
            }
            if after.is_none() {
                return Ok(());
            }
        }
    }
}
