//! After healing: what must be so within a bound of time, whatever happened before.
//!
//! Every open transaction ends; fresh transactions on every node read the newest version of every key (P7) and are not refused without end;
//! when everything that waits for time has had its time, nothing is left in the store but what the protocol allows.

use std::collections::BTreeSet;

use aft_core::record::Write;

use crate::attempt::{Attempt, Seen};
use crate::audit::{Verdict, broken};
use crate::reference::Reference;
use crate::world::World;

/// All that was open has ended, and every verb was replied to.
pub fn demand_ended(world: &World) -> Verdict {
    let waiters = world.waiters();
    if waiters > 0 {
        return broken(
            "every verb gets exactly one reply",
            format!("{waiters} have had none, long after healing"),
        );
    }
    for (number, host) in world.hosts.iter().enumerate() {
        let open = host.node.as_ref().map_or(0, aft_core::Node::open_transactions);
        if open > 0 {
            return broken(
                "section 6: silence is abort",
                format!("host {number} has {open} transactions open"),
            );
        }
    }
    Ok(())
}

/// A fresh transaction read every key: it saw the newest versions.
pub fn demand_newest(world: &World, reader: &Attempt) -> Verdict {
    let reference = Reference::new(&world.audit);
    for (key, seen) in &reader.read {
        let newest = reference.newest(key);
        let right = match (newest, seen) {
            (None, Seen::Absent | Seen::Unlisted) => true,
            (Some((txn, _)), Seen::Version(seen)) => txn == *seen,
            (Some((_, Write::Tombstone)), Seen::Absent | Seen::Unlisted) => true,
            (None, Seen::Version(_)) | (Some(_), _) => false,
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

/// Nothing is left over.
pub fn demand_clean(world: &World) -> Verdict {
    let reference = Reference::new(&world.audit);
    let remaining = reference.remaining();
    let store = &world.store;
    let rule = "section 8: nothing is left over";
    if let Some(intent) = store.intents.first() {
        return broken(rule, format!("an intent: {intent:?}"));
    }
    if let Some((name, entry)) = store.collects.first_key_value() {
        return broken(rule, format!("a collect entry: {name:?} {entry:?}"));
    }
    for (key, entries) in &store.versions {
        for (_, entry) in entries {
            if !remaining.contains_key(&entry.txn) {
                return broken(rule, format!("a version entry of {key}: {entry:?}"));
            }
        }
    }
    for (txn, record) in &remaining {
        let held = store.commits.get(&record.hash);
        if held.is_none_or(|held| **held != **record) {
            return broken("P6: what is not superseded stays", format!("{txn}: {held:?}"));
        }
        for key in record.keys() {
            let entries = store.versions.get(&key);
            if !entries.is_some_and(|entries| entries.iter().any(|(_, entry)| entry.txn == *txn)) {
                return broken("P6: what is not superseded stays", format!("the entry of {key} by {txn}"));
            }
        }
    }
    for record in store.commits.values() {
        let counts = world.audit.commits.get(&record.txn.attempt);
        let unheard =
            counts.is_some_and(|commit| !commit.told && !commit.collected && commit.entered.is_empty());
        let header = record.named && !world.settings.delete_if && record.full().is_none();
        if !remaining.contains_key(&record.txn) && !unheard && !header {
            return broken(rule, format!("a commit record: {record:?}"));
        }
    }
    let needed = Reference::blobs(&remaining);
    let held: BTreeSet<_> = store.blobs.keys().copied().collect();
    if held != needed {
        let extra: Vec<_> = held.difference(&needed).collect();
        let missing: Vec<_> = needed.difference(&held).collect();
        return broken(rule, format!("blob parts: too many {extra:?}, missing {missing:?}"));
    }
    for key in store.markers.keys() {
        if world.settings.delete_if && !store.versions.contains_key(key) {
            return broken(rule, format!("the marker of {key}, of which nothing else is left"));
        }
    }
    Ok(())
}
