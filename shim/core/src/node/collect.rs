//! Collecting a superseded transaction, resumable at any point (protocol, section 8).
//!
//! ```text
//!   Pieces   markers for its keys ─► slim record ─► version entries ─► blobs ─► cascade
//!   Header   after retention and grace: version entries once more ─► the slim record
//!   Markers  a tombstone's age later: markers of keys that have no version left
//! ```
//!
//! The order is the proof: whoever meets a version entry of T later than its record's values went finds the record slim, lists again, and finds the
//! newer version; whoever finds no older version at all finds the marker, and tries again instead of taking the key for absent.

use std::sync::Arc;

use crate::bug::Bug;
use crate::ids::{Hlc, Key};
use crate::message::Note;
use crate::record::{CollectEntry, CollectName, Stage, VersionEntry};
use crate::store::{Answer, Body, Call, CallError, Name};

use super::Node;
use super::maintain::error_of;
use super::script::{Pending, Run, failure};

type Outcome<T> = Result<Result<T, CallError>, Pending>;

impl Node {
    pub(super) fn collect_script(&mut self, run: &mut Run<'_>, name: CollectName) -> Result<(), Pending> {
        match self.collect(run, name)? {
            Ok(()) => self.item_done(true),
            Err(error) => self.item_failed(error),
        }
        Ok(())
    }

    fn collect(&mut self, run: &mut Run<'_>, name: CollectName) -> Outcome<()> {
        let entry = match run.ask(|| Call::Get(Name::Collect(name)))? {
            Answer::Got(Some((Body::Collect(entry), _))) => entry,
            // Another maintainer was faster.
            Answer::Got(_) => return Ok(Ok(())),
            answer => return Ok(Err(error_of(answer))),
        };
        let next = match entry.stage {
            Stage::Pieces => {
                self.collect_pieces(run, &entry)?.map(|()| Some((Stage::Header, self.header_due_ms(&entry))))
            }
            Stage::Header => self.collect_header(run, &entry)?.map(|emptied| {
                emptied.then(|| (Stage::Markers, self.now.wall_ms + self.settings.tombstone_age_ms))
            }),
            Stage::Markers => self.collect_markers(run, &entry)?.map(|()| None),
        };
        match next {
            Ok(Some((stage, due_ms))) => {
                let put = run.ask(|| {
                    // The next whole minute: when it has begun, the instant has passed.
                    let name = self.collect_name(entry.txn.attempt, Hlc::from_ms(due_ms).minute() + 1);
                    Call::Put(
                        Name::Collect(name),
                        Body::Collect(Arc::new(CollectEntry { stage, ..(*entry).clone() })),
                    )
                })?;
                if put != Answer::Done {
                    return Ok(Err(error_of(put)));
                }
            }
            Ok(None) => {}
            Err(error) => return Ok(Err(error)),
        }
        let deleted = run.ask(|| Call::Delete(vec![Name::Collect(name)]))?;
        if deleted != Answer::Done {
            return Ok(Err(error_of(deleted)));
        }
        if entry.stage == Stage::Pieces {
            self.note(Note::Collected(entry.txn));
        }
        Ok(Ok(()))
    }

    /// When the slim record may go. A publisher that read the record just before it was slimmed may put its entries for a while yet, and a put
    /// without an answer may land later still: both are over before the version entries are deleted once more.
    fn header_due_ms(&self, entry: &CollectEntry) -> u64 {
        if self.planted(Bug::DeleteHeaderEarly) {
            return self.now.wall_ms.saturating_sub(60_000);
        }
        let retained = entry.txn.time.ms() + entry.retention_ms;
        retained.max(self.now.wall_ms + self.publish_bound_ms()) + self.settings.grace_ms
    }

    fn collect_pieces(&mut self, run: &mut Run<'_>, entry: &CollectEntry) -> Outcome<()> {
        if !self.planted(Bug::CollectWithoutMarker) {
            let places: Vec<usize> = entry
                .writes
                .iter()
                .map(|(key, _)| {
                    run.start(|| Call::Put(Name::Marker(key.clone()), Body::Marker(self.nonce())))
                })
                .collect();
            for place in places {
                let put = run.wait(place)?;
                if put != Answer::Done {
                    return Ok(Err(error_of(put)));
                }
            }
        }
        match run.ask(|| Call::Get(Name::Commit(entry.hash)))? {
            Answer::Got(Some((Body::Record(record), tag)))
                if record.txn == entry.txn && record.full().is_some() =>
            {
                match run.ask(|| {
                    Call::Replace(Name::Commit(entry.hash), tag, Body::Record(Arc::new(record.slim())))
                })? {
                    Answer::Replaced => {}
                    // Another maintainer has replaced it, or it went: look again in the next pass.
                    Answer::Changed => return Ok(Err(CallError::Busy)),
                    answer => return Ok(Err(error_of(answer))),
                }
            }
            // Slim already, gone, or another transaction's by now: the rest may still be undone.
            Answer::Got(_) => {}
            answer => return Ok(Err(error_of(answer))),
        }
        self.collected.insert(entry.txn, ());
        self.index.forget(entry.txn, entry.writes.iter().map(|(key, _)| key.clone()));
        if let Err(error) = self.delete(run, version_names(entry))? {
            return Ok(Err(error));
        }
        if let Err(error) = self.delete(run, part_names(entry))? {
            return Ok(Err(error));
        }
        Ok(self.cascade_all(run, entry)?.map(|_| ()))
    }

    /// Whether any key of the transaction has no version left.
    fn cascade_all(&mut self, run: &mut Run<'_>, entry: &CollectEntry) -> Outcome<bool> {
        let mut collects = Vec::new();
        let mut emptied = false;
        for (key, _) in entry.writes.iter() {
            match self.cascade(run, key)? {
                Ok((empty, collect)) => {
                    emptied |= empty;
                    collects.extend(collect);
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(self.put_collects(run, collects)?.map(|()| emptied))
    }

    /// Whether a key of the transaction has no version left, so that its marker can go one day.
    fn collect_header(&mut self, run: &mut Run<'_>, entry: &CollectEntry) -> Outcome<bool> {
        if let Err(error) = self.delete(run, version_names(entry))? {
            return Ok(Err(error));
        }
        // A part whose first try had no answer may have landed after it was deleted.
        if let Err(error) = self.delete(run, part_names(entry))? {
            return Ok(Err(error));
        }
        match run.ask(|| Call::Get(Name::Commit(entry.hash)))? {
            Answer::Got(Some((Body::Record(record), tag))) => {
                let name = Name::Commit(entry.hash);
                let call = if self.planted(Bug::DeleteHeaderUnconditionally) {
                    Some(Call::Delete(vec![name]))
                } else if record.txn != entry.txn {
                    // The request ID was used again after the header went: this record is not ours to delete.
                    None
                } else if self.settings.delete_if {
                    Some(Call::DeleteIf(name, tag))
                } else {
                    // A name that a client gave may be used again; without a conditional delete its header stays.
                    (!record.named).then(|| Call::Delete(vec![name]))
                };
                if let Some(call) = call {
                    match run.ask(|| call)? {
                        Answer::Done | Answer::Replaced | Answer::Changed => {}
                        answer => return Ok(Err(error_of(answer))),
                    }
                }
            }
            Answer::Got(_) => {}
            answer => return Ok(Err(error_of(answer))),
        }
        // Entries that landed late may have kept a tombstone company until now.
        self.cascade_all(run, entry)
    }

    fn collect_markers(&mut self, run: &mut Run<'_>, entry: &CollectEntry) -> Outcome<()> {
        if !self.settings.delete_if {
            return Ok(Ok(()));
        }
        for (key, _) in entry.writes.iter() {
            let tag = match run.ask(|| Call::Get(Name::Marker(key.clone())))? {
                Answer::Got(Some((_, tag))) => tag,
                Answer::Got(None) => continue,
                answer => return Ok(Err(error_of(answer))),
            };
            match self.is_empty(run, key)? {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => return Ok(Err(error)),
            }
            match run.ask(|| Call::DeleteIf(Name::Marker(key.clone()), tag))? {
                Answer::Replaced | Answer::Changed => {}
                answer => return Ok(Err(error_of(answer))),
            }
        }
        Ok(Ok(()))
    }

    fn is_empty(&mut self, run: &mut Run<'_>, key: &Key) -> Outcome<bool> {
        Ok(self.list_page(run, key, None, 1)?.map(|(entries, _)| entries.is_empty()))
    }

    fn delete(&mut self, run: &mut Run<'_>, names: Vec<Name>) -> Outcome<()> {
        if names.is_empty() {
            return Ok(Ok(()));
        }
        let answers = run.ask_all([Call::Delete(names)])?;
        Ok(failure(&answers).map_or(Ok(()), Err))
    }
}

/// The names of a transaction's version entries: functions of its write set.
fn version_names(entry: &CollectEntry) -> Vec<Name> {
    let cowritten = entry.writes.len().try_into().expect("write sets are bounded");
    entry
        .writes
        .iter()
        .map(|(key, meta)| {
            Name::Version(
                key.clone(),
                VersionEntry { txn: entry.txn, hash: entry.hash, meta: meta.clone(), cowritten },
            )
        })
        .collect()
}

/// The names of the parts of its blobs.
fn part_names(entry: &CollectEntry) -> Vec<Name> {
    let attempt = entry.txn.attempt;
    let parts = |(number, parts): &(u32, u32)| {
        let number = *number;
        (0..*parts).map(move |part| Name::Blob { attempt, number, part })
    };
    entry.blobs.iter().flat_map(parts).collect()
}
