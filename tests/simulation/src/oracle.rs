//! What a transaction may see: judges every read when its client hears of it.
//!
//! Reads name their writers, the auditor knows what every writer wrote, and TxnIds order versions; so each promise of section 1 is a
//! comparison. Freshness too: a version entry that has stood for longer than listings may age must have been considered.

use std::collections::BTreeSet;

use aft_core::ids::{Key, TxnId};
use aft_core::message::{Found, ListKeys, ListedKey, Read};
use aft_core::record::{Location, Write};

use crate::attempt::{Attempt, Seen};
use crate::audit::{Audit, Verdict, broken};
use crate::model::StoreModel;

/// What a read is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Witness<'a> {
    pub(crate) audit: &'a Audit,
    pub(crate) store: &'a StoreModel,
    /// Version entries that landed before this time, and still stand, are known to every listing that the read may rest on.
    pub(crate) fresh_ms: u64,
    /// Sessions that name older commits than this set no bound.
    pub(crate) floor_ms: u64,
}

/// Judges the answer to a get, and adds it to what the attempt has seen.
pub(crate) fn judge_read(
    attempt: &mut Attempt,
    own: Option<&Write>,
    read: &Read,
    witness: Witness<'_>,
) -> Verdict {
    let key = &read.key;
    let seen = match (&read.found, own) {
        (Found::Own(write), Some(own)) if write == own => return Ok(()),
        (_, Some(own)) => {
            return broken("P4: a transaction reads its own writes", format!("{own:?}, but read {read:?}"));
        }
        (Found::Own(write), None) => {
            return broken(
                "P4: a transaction reads its own writes",
                format!("read {write:?}, wrote nothing"),
            );
        }
        (Found::Absent, None) => Seen::Absent,
        (Found::Version(txn, write), None) => {
            judge_version(*txn, key, write, witness)?;
            Seen::Version(*txn)
        }
    };
    see(attempt, key, seen, witness)
}

fn judge_version(txn: TxnId, key: &Key, write: &Write, witness: Witness<'_>) -> Verdict {
    let Some(commit) = witness.audit.commits.get(&txn.attempt).filter(|commit| commit.record.txn == txn)
    else {
        return broken("P3: only committed versions are read", format!("{key} from {txn}"));
    };
    if commit.record.write(key) != Some(write) {
        return broken(
            "P3: a version reads as it was written",
            format!("{key} from {txn} read as {write:?}"),
        );
    }
    if let Write::Put(value) = write
        && let Location::Blob(blob) = &value.location
        && !commit.collected
        && (0..blob.parts).any(|part| !witness.store.blobs.contains_key(&(blob.attempt, blob.number, part)))
    {
        return broken("P6: the blobs of a committed transaction stand", format!("{key} from {txn}"));
    }
    Ok(())
}

/// Adds one observation to the read set, and judges the set.
fn see(attempt: &mut Attempt, key: &Key, seen: Seen, witness: Witness<'_>) -> Verdict {
    let audit = witness.audit;
    match (attempt.read.get(key), seen) {
        (Some(before), seen) if *before == seen => return Ok(()),
        (None, _) => {}
        (Some(Seen::Unlisted), Seen::Absent) => {}
        (Some(Seen::Unlisted), Seen::Version(txn))
            if audit.write(txn.attempt, key) == Some(&Write::Tombstone) => {}
        (Some(Seen::Absent), Seen::Unlisted) => return Ok(()),
        (Some(Seen::Version(txn)), Seen::Unlisted)
            if audit.write(txn.attempt, key) == Some(&Write::Tombstone) =>
        {
            return Ok(());
        }
        (Some(before), seen) => {
            return broken(
                "P4: a key read twice gives the same version",
                format!("{key}: {before:?}, then {seen:?}"),
            );
        }
    }
    judge_session(attempt, key, seen, witness)?;
    attempt.read.insert(key.clone(), seen);
    judge_fracture(attempt, key, seen, witness)
}

/// P2, both directions, for one key against all others.
fn judge_fracture(attempt: &Attempt, key: &Key, seen: Seen, witness: Witness<'_>) -> Verdict {
    for (other, other_seen) in &attempt.read {
        for (writer, read, read_as) in [(other_seen, key, seen), (&seen, other, *other_seen)] {
            let Seen::Version(txn) = writer else { continue };
            if witness.audit.write(txn.attempt, read).is_none() {
                continue;
            }
            let whole = match read_as {
                Seen::Version(version) => version >= *txn,
                Seen::Absent => false,
                Seen::Unlisted => witness.audit.tombstone_since(read, *txn),
            };
            if !whole {
                return broken(
                    "P2: no fractured read",
                    format!(
                        "read {txn}, which wrote {read}, together with {read}: {read_as:?}; all: {:?}",
                        attempt.read
                    ),
                );
            }
        }
    }
    Ok(())
}

/// P8: what the session has seen, this transaction sees.
fn judge_session(attempt: &Attempt, key: &Key, seen: Seen, witness: Witness<'_>) -> Verdict {
    for entry in &attempt.session {
        let audit = witness.audit;
        if entry.txn.time.ms() < witness.floor_ms {
            continue; // beyond the replay limit a session sets no bound (section 5, floor)
        }
        if audit.write(entry.txn.attempt, key).is_none() {
            continue;
        }
        let kept = match seen {
            Seen::Version(version) => version >= entry.txn,
            Seen::Absent | Seen::Unlisted => audit.tombstone_since(key, entry.txn),
        };
        if !kept {
            return broken(
                "P8: a session sees its own commits",
                format!("{key}: {seen:?}, but the session names {}", entry.txn),
            );
        }
    }
    Ok(())
}

/// The rule of section 5.4 for versions that every listing shows: the newest compatible one is read, or a newer one.
fn judge_freshness(attempt: &Attempt, key: &Key, seen: Seen, witness: Witness<'_>) -> Verdict {
    let audit = witness.audit;
    for (_, entry) in witness.store.versions.get(key).into_iter().flatten() {
        let Some(commit) = audit.commits.get(&entry.txn.attempt) else { continue };
        let known = !commit.collected
            && commit.entered.get(key).is_some_and(|landed_ms| *landed_ms < witness.fresh_ms);
        let rejected = attempt.read.iter().filter(|(other, _)| *other != key).any(|(other, seen)| {
            commit.record.write(other).is_some()
                && match seen {
                    Seen::Version(version) => *version < entry.txn,
                    Seen::Absent | Seen::Unlisted => true,
                }
        });
        let rejected = rejected || attempt.unseen.iter().any(|other| commit.record.write(other).is_some());
        let passed_over = match seen {
            Seen::Version(version) => version < entry.txn,
            Seen::Absent => true,
            Seen::Unlisted => !audit.tombstone_since(key, entry.txn),
        };
        if known && !rejected && passed_over {
            return broken(
                "section 5.4: the newest compatible version is read",
                format!(
                    "{key}: {seen:?}, but {} stands long since; read before: {:?}",
                    entry.txn, attempt.read
                ),
            );
        }
    }
    Ok(())
}

/// Judges a page of a listing. `all` are the keys that exist in this world.
pub(crate) fn judge_listing(
    attempt: &mut Attempt,
    list: &ListKeys,
    listed: &[ListedKey],
    next: Option<&str>,
    all: &[Key],
    witness: Witness<'_>,
) -> Verdict {
    let before: BTreeSet<Key> = attempt.read.keys().cloned().collect();
    let ordered = listed.windows(2).all(|pair| pair[0].key < pair[1].key);
    let within = |key: &Key| {
        let after = list.after.as_deref().is_none_or(|after| key.as_str() > after);
        after && key.as_str().starts_with(&list.prefix) && next.is_none_or(|next| key.as_str() <= next)
    };
    if !ordered || listed.len() > list.limit as usize || !listed.iter().all(|listed| within(&listed.key)) {
        return broken(
            "a page is in key order, within its bounds",
            format!("{list:?}: {listed:?}, next {next:?}"),
        );
    }
    if next.is_some_and(|next| list.after.as_deref().is_some_and(|after| next <= after)) {
        return broken("a listing goes on", format!("after {:?} comes {next:?}", list.after));
    }
    for key in all.iter().filter(|key| within(key)) {
        let found = listed.iter().find(|listed| listed.key == *key);
        // A batch that carries the commit may have taken effect already.
        let carried = match (found, attempt.carried.get(key)) {
            (Some(found), Some(write @ Write::Put(_))) => found.txn.is_none() && found.meta == write.meta(),
            (None, Some(Write::Tombstone)) => true,
            (Some(_) | None, _) => false,
        };
        if carried || attempt.writes.contains_key(key) {
            attempt.unseen.insert(key.clone());
        }
        if carried {
            continue;
        }
        match (found, attempt.writes.get(key)) {
            (Some(found), Some(write)) if found.txn.is_none() && found.meta == write.meta() => {}
            (None, Some(Write::Tombstone)) => {}
            (found, Some(write)) => {
                return broken(
                    "P4: a listing shows the transaction's own writes",
                    format!("{key}: {write:?}, but {found:?}"),
                );
            }
            (None, None) => see(attempt, key, Seen::Unlisted, witness)?,
            (Some(found), None) => {
                let Some(txn) = found.txn else {
                    return broken(
                        "P4: a listing shows the transaction's own writes",
                        format!("{found:?} is not"),
                    );
                };
                let Some(write @ Write::Put(_)) = witness.audit.write(txn.attempt, key) else {
                    return broken("P3: a listing shows committed values", format!("{found:?}"));
                };
                if write.meta() != found.meta {
                    return broken(
                        "P3: a listing tells what was written",
                        format!("{found:?}, not {write:?}"),
                    );
                }
                see(attempt, key, Seen::Version(txn), witness)?;
            }
        }
    }
    judge_news(attempt, &before, witness)
}

/// Judges how fresh is what one verb has added to the read set. The node chooses a verb's versions in an order of its own: each is judged beside all the
/// others. What was read before stays as it is, however old by now.
pub(crate) fn judge_news(attempt: &Attempt, before: &BTreeSet<Key>, witness: Witness<'_>) -> Verdict {
    for (key, seen) in attempt.read.iter().filter(|(key, _)| !before.contains(*key)) {
        judge_freshness(attempt, key, *seen, witness)?;
    }
    Ok(())
}
