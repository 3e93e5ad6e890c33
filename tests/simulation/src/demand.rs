//! The demands after healing: what must hold within a bounded time, no matter what happened before.
//!
//! Every open transaction ends. Fresh transactions on every node read the newest version of every
//! key (P7, P9), and retries do not meet `SnapshotGone` for ever. Once every wait has passed, the
//! store holds only what the protocol allows.

use std::collections::BTreeSet;

use aft_core::record::{BlobGroup, Write};
use aft_core::store::Body;
use aft_sim::verdict::{Verdict, broken};

use crate::attempt::{Attempt, Seen};
use crate::audit::{blob_parts, blobs_of};
use crate::reference::Reference;
use crate::world::World;

/// Demands that every verb was replied to and every transaction has ended.
pub fn demand_ended(world: &World) -> Verdict {
    let waiters = world.waiters();
    if waiters > 0 {
        return broken(
            "every verb gets exactly one reply",
            format!("{waiters} verbs have had no reply, long after healing"),
        );
    }
    // A frozen guest is left out: it ends its open transactions when it resumes.
    for (number, host) in world.hosts.iter().enumerate().filter(|(_, host)| host.process.paused().is_none()) {
        let open = host.process.machine().map_or(0, aft_core::Node::open_transactions);
        if open > 0 {
            return broken(
                "section 6: silence is abort",
                format!("host {number} has {open} transactions open"),
            );
        }
    }
    Ok(())
}

/// Demands that `reader` saw the newest version of each key that it read: of all commits if `all`,
/// otherwise of those that count before a sweep has passed.
pub fn demand_newest(world: &World, reader: &Attempt, all: bool) -> Verdict {
    let reference = Reference::new(&world.audit);
    for (key, seen) in &reader.read {
        let newest = reference.newest(key, all);
        // Before a sweep has passed, the reader need not see what was reported after it began.
        let told = reader.told_before.get(key);
        let newest = newest.filter(|(txn, _)| all || told.is_some_and(|told| told >= txn));
        let right = match (newest, seen) {
            (None, Seen::Absent | Seen::Unlisted) => true,
            (None, Seen::Version(_)) => !all,
            (Some((txn, _)), Seen::Version(seen)) => txn == *seen || (!all && txn < *seen),
            (Some((txn, write)), Seen::Absent | Seen::Unlisted) => {
                let later = || world.audit.tombstones_since(key, txn).next().is_some();
                *write == Write::Tombstone || (!all && later())
            }
        };
        if !right {
            return broken(
                "P7: a committed transaction becomes visible on every node",
                format!("{key} on host {}: {seen:?}, but the newest is {newest:?}", reader.host),
            );
        }
    }
    Ok(())
}

/// Demands that the store holds nothing else than the newest value of each key, the records of
/// these with their blobs, and, where the store cannot delete by tag, stubs in the place of
/// records.
pub fn demand_clean(world: &World) -> Verdict {
    let reference = Reference::new(&world.audit);
    let remaining = reference.remaining();
    let store = &world.store;
    let rule = "section 8: nothing is left over";
    let stays = "P6: what is not superseded stays";
    // Entries: exactly those of the newest values.
    for (key, entry) in store.all_entries() {
        if !remaining.get(&entry.txn).is_some_and(|(_, keys)| keys.contains(key)) {
            return broken(rule, format!("a version entry of {key}: {entry:?}"));
        }
    }
    for (txn, (record, keys)) in &remaining {
        for key in keys {
            if !store.has_entry(key, *txn) {
                return broken(stays, format!("the entry of {key} by {txn}"));
            }
        }
        let whole = world.audit.commits.get(&txn.attempt).is_some_and(|commit| commit.whole);
        let held = store.record(&record.hash);
        if !whole && held.is_none_or(|held| **held != **record) {
            return broken(stays, format!("{txn}: {held:?}"));
        }
    }
    // Nothing else under the names of requests.
    for (hash, (body, _)) in &store.commits {
        let right = match body {
            Body::Record(record) => remaining.contains_key(&record.txn),
            Body::Stub(stub) => {
                let commit = world.audit.commits.get(&stub.txn.attempt);
                !store.abilities.delete_if && commit.is_some_and(|commit| commit.record.named)
            }
            // Without deletion by tag it stays: another attempt's record may still replace it.
            Body::Aborted(_) => !store.abilities.delete_if,
            Body::Part(_)
            | Body::Format(_)
            | Body::Text(_)
            | Body::Notes(_)
            | Body::Entry(_)
            | Body::Free
            | Body::Empty => false,
        };
        if !right {
            return broken(rule, format!("under the name of request {hash}: {body:?}"));
        }
    }
    // Blobs: those of the remaining records.
    let needed: BTreeSet<_> = remaining
        .values()
        .flat_map(|(record, _)| blobs_of(record))
        .flat_map(|blob| blob_parts(&blob))
        .collect();
    let held: BTreeSet<_> = store.blobs.keys().copied().collect();
    if let Some(missing) = needed.difference(&held).next() {
        return broken(stays, format!("the blob part {missing:?}"));
    }
    // Parts that a committed transaction put and did not use stay as long as its record.
    let unused = |(group, _, _): &&(BlobGroup, u32, u32)| {
        remaining.values().all(|(record, _)| record.txn.attempt != group.attempt)
    };
    if let Some(extra) = held.difference(&needed).find(unused) {
        return broken(rule, format!("the blob part {extra:?}"));
    }
    if let Some(notes) = &store.notes {
        return broken(rule, format!("the notes of a sweep: {notes:?}"));
    }
    if store.format.is_none() {
        return broken("the mark stays", "there is no format".into());
    }
    Ok(())
}
