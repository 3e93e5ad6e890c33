//! The mark and a sweep's notes to messages, and back.
//!
//! Version entries within notes are the items of their names, as they are where a key is not
//! checked, and beside them what they follow: one encoding for both.

use aft_core::ids::{Key, RequestHash, TxnId};
use aft_core::record::{Format, VersionEntry};
use aft_core::store::Place;
use aft_core::sweep::{HashRange, Notes, Pending, Phase};

use crate::fault::Fault;
use crate::messages;
use crate::name::{encode_entry, parse_entry};
use crate::record::{array, copy, decode_txn, encode_txn, key};

pub(crate) fn encode_format(format: &Format) -> messages::Format {
    format.check_invariants();
    messages::Format {
        mark: Some(encode_txn(&format.mark)),
        moved_ms: format.moved_ms,
        settled: Some(encode_txn(&format.settled)),
        about: format.about.clone(),
    }
}

pub(crate) fn decode_format(from: messages::Format) -> Result<Format, Fault> {
    let (mark, settled) = (decode_txn(from.mark.as_ref())?, decode_txn(from.settled.as_ref())?);
    if settled > mark {
        return Err(Fault::Broken("the settled mark lies above the mark"));
    }
    let format = Format { mark, moved_ms: from.moved_ms, settled, about: from.about };
    format.check_invariants();
    Ok(format)
}

pub(crate) fn encode_notes(notes: &Notes) -> messages::Notes {
    let phase = match &notes.phase {
        Phase::Versions { after, survivor } => messages::Phase::Versions(messages::VersionsPhase {
            after: after.as_ref().map(encode_place),
            survivor: survivor.as_ref().map(encode_txn),
        }),
        Phase::Commits { after } => {
            messages::Phase::Commits(messages::CommitsPhase { after: after.map(|hash| copy(&hash.0)) })
        }
    };
    messages::Notes {
        mark: Some(encode_txn(&notes.mark)),
        target: Some(encode_txn(&notes.target)),
        salt: notes.salt,
        phase: Some(phase),
        window: notes.window.iter().map(encode_pending).collect(),
        met: notes.met.clone(),
        hashes_from: notes.hashes.from,
        hashes_to: notes.hashes.to,
    }
}

fn encode_place(place: &Place) -> messages::Place {
    let follows = place.entry.as_ref().and_then(|entry| entry.follows);
    let follows = follows.map(|before| encode_txn(&before));
    messages::Place { key: place.key.clone(), item: place.entry.as_ref().map(encode_entry), follows }
}

fn encode_pending(pending: &Pending) -> messages::Pending {
    let entry = |(key, entry): &(Key, VersionEntry)| messages::Entry {
        key: key.to_string(),
        item: encode_entry(entry),
        follows: entry.follows.map(|before| encode_txn(&before)),
    };
    messages::Pending {
        txn: Some(encode_txn(&pending.txn)),
        hash: copy(&pending.hash.0),
        entries: pending.entries.iter().map(entry).collect(),
    }
}

/// Parses notes. They are in the orders that the core documents; repetitions are left to the core,
/// since a store that holds garbage may lead a sweep to one entry twice.
pub(crate) fn decode_notes(from: messages::Notes) -> Result<Notes, Fault> {
    let phase = match from.phase.ok_or(Fault::Broken("the notes name no phase"))? {
        messages::Phase::Versions(phase) => Phase::Versions {
            after: phase.after.map(decode_place).transpose()?,
            survivor: phase.survivor.map(|txn| decode_txn(Some(&txn))).transpose()?,
        },
        messages::Phase::Commits(phase) => {
            Phase::Commits { after: phase.after.map(|hash| array(&hash).map(RequestHash)).transpose()? }
        }
    };
    let (mark, target) = (decode_txn(from.mark.as_ref())?, decode_txn(from.target.as_ref())?);
    if target < mark {
        return Err(Fault::Broken("the target lies below the mark"));
    }
    let window: Vec<Pending> = from.window.into_iter().map(decode_pending).collect::<Result<_, Fault>>()?;
    let in_order = |a: &Pending, b: &Pending| a.txn <= b.txn;
    if !window.is_sorted_by(in_order) || !from.met.is_sorted() {
        return Err(Fault::Broken("notes out of order"));
    }
    let hashes = HashRange { from: from.hashes_from, to: from.hashes_to };
    if hashes.from >= hashes.to || hashes.to > HashRange::END {
        return Err(Fault::Broken("the range of hashes is empty or too large"));
    }
    Ok(Notes { mark, target, salt: from.salt, phase, window, hashes, met: from.met })
}

fn decode_place(from: messages::Place) -> Result<Place, Fault> {
    let entry = from.item.map(|item| decode_entry(&item, from.follows.as_ref())).transpose()?;
    if entry.is_some() {
        key(&from.key)?;
    }
    Ok(Place { key: from.key, entry })
}

fn decode_entry(item: &[u8], follows: Option<&messages::Txn>) -> Result<VersionEntry, Fault> {
    let follows = follows.map(|before| decode_txn(Some(before))).transpose()?;
    let entry = VersionEntry { follows, ..parse_entry(item)? };
    if entry.follows.is_some_and(|before| before >= entry.txn) {
        return Err(Fault::Broken("an entry follows a version that comes after it"));
    }
    Ok(entry)
}

fn decode_pending(from: messages::Pending) -> Result<Pending, Fault> {
    let txn = decode_txn(from.txn.as_ref())?;
    let hash = RequestHash(array(&from.hash)?);
    let entry = |of: messages::Entry| decode_entry_of(txn, hash, &of);
    let entries: Vec<_> = from.entries.iter().cloned().map(entry).collect::<Result<_, Fault>>()?;
    if !entries.is_sorted_by(|(a, _), (b, _)| a <= b) {
        return Err(Fault::Broken("keys out of order"));
    }
    Ok(Pending { txn, hash, entries })
}

fn decode_entry_of(
    txn: TxnId,
    hash: RequestHash,
    from: &messages::Entry,
) -> Result<(Key, VersionEntry), Fault> {
    let entry = decode_entry(&from.item, from.follows.as_ref())?;
    if (entry.txn, entry.hash) != (txn, hash) {
        return Err(Fault::Broken("an entry belongs to another transaction"));
    }
    Ok((key(&from.key)?, entry))
}
