//! What a transaction may see: judges every read when its client hears of it.
//!
//! Reads name their writers, the auditor knows what every writer wrote, and TxnIds order versions; so each promise of section 1 is a
//! comparison. Freshness too: a version entry that has stood for longer than listings may age must have been considered.

use std::collections::BTreeSet;

use aft_core::ids::{Key, TxnId};
use aft_core::message::{Condition, Found, ListKeys, ListedKey, Read};
use aft_core::record::{Location, Write};

use crate::attempt::{Attempt, Seen};
use crate::audit::{Audit, Commit, Verdict, blob_parts, broken};
use crate::model::StoreModel;

/// What a read is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Witness<'a> {
    pub(crate) audit: &'a Audit,
    pub(crate) store: &'a StoreModel,
    /// Version entries that landed before this time, and are still there, are known to every listing that the read may rest on.
    pub(crate) fresh_ms: u64,
    /// When the read was asked for: it may have been chosen then.
    pub(crate) asked_ms: u64,
    /// One process holds the store: its listings do not age, and a commit under way is not known until its own call is answered.
    pub(crate) exclusive: bool,
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
        && !commit.record_gone
        && blob_parts(blob).iter().any(|part| !witness.store.blobs.contains_key(part))
    {
        return broken("P6: the blobs of a committed transaction stay", format!("{key} from {txn}"));
    }
    Ok(())
}

/// Judges a condition that held, and adds what it tells to what the attempt has seen.
pub(crate) fn judge_held(
    attempt: &mut Attempt,
    (key, condition): (&Key, &Condition),
    witness: Witness<'_>,
) -> Verdict {
    let value_of = |write: &Write| match write.value().map(|value| &value.location) {
        Some(Location::Inline(bytes)) => Some(bytes.clone()),
        Some(Location::Blob(_)) | None => None,
    };
    let seen = match condition {
        Condition::Absent => Seen::Unlisted,
        Condition::Version(txn) => match witness.audit.write(txn.attempt, key) {
            Some(write @ Write::Put(_)) => {
                judge_version(*txn, key, write, witness)?;
                Seen::Version(*txn)
            }
            Some(Write::Tombstone) | None => {
                return broken("P3: only committed versions are read", format!("{key} is of {txn}"));
            }
        },
        Condition::Value(bytes) => {
            let commits = witness.audit.commits.values();
            let has = |commit: &&Commit| commit.record.write(key).and_then(value_of).as_ref() == Some(bytes);
            let mut writers = commits.filter(has).map(|commit| commit.record.txn);
            match (writers.next(), writers.next()) {
                (None, _) => {
                    let text = format!("{key} has the value {bytes:?}");
                    return broken("P3: only committed versions are read", text);
                }
                (Some(txn), None) => Seen::Version(txn),
                // Sums may be the same: its client does not know which it was.
                (Some(_), Some(_)) => {
                    attempt.unseen.insert(key.clone());
                    return Ok(());
                }
            }
        }
    };
    see(attempt, key, seen, witness)
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
    judge_bounds(attempt, key, seen, witness)?;
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
                Seen::Absent | Seen::Unlisted => deleted_since(attempt, read, *txn, witness),
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

/// Returns true if a key that was read as absent can count as a deletion that is at least so new, and whole beside what else was read.
fn deleted_since(attempt: &Attempt, key: &Key, least: TxnId, witness: Witness<'_>) -> bool {
    witness.audit.tombstones_since(key, least).any(|deletion| {
        attempt.read.iter().all(|(other, seen)| match seen {
            Seen::Version(version) => deletion.write(other).is_none() || *version >= deletion.txn,
            Seen::Absent | Seen::Unlisted => true,
        })
    })
}

/// Returns true if what was seen of a key is a version, or what came after it.
fn includes(audit: &Audit, key: &Key, seen: Seen, txn: TxnId) -> bool {
    match seen {
        Seen::Version(version) => version >= txn,
        Seen::Absent | Seen::Unlisted => audit.tombstones_since(key, txn).next().is_some(),
    }
}

/// P8 and P9: what the client has committed, what its token names, and what a fresh transaction must see.
fn judge_bounds(attempt: &Attempt, key: &Key, seen: Seen, witness: Witness<'_>) -> Verdict {
    let audit = witness.audit;
    let named = attempt.session.entries.iter().map(|entry| entry.txn);
    let named = named.filter(|txn| audit.write(txn.attempt, key).is_some());
    for txn in named.chain(attempt.known.get(key).copied()) {
        if !includes(audit, key, seen, txn) {
            return broken(
                "P8: a session sees its own commits",
                format!("{key}: {seen:?}, but the client knows of {txn}"),
            );
        }
    }
    if let Some(txn) = attempt.told_before.get(key).filter(|_| attempt.fresh)
        && !includes(audit, key, seen, *txn)
    {
        return broken(
            "P9: a fresh transaction sees every commit that somebody was told of before it began",
            format!("{key}: {seen:?}, but {txn} was known"),
        );
    }
    Ok(())
}

/// The rule of section 5.4 for versions that every listing shows: the newest compatible one is read, or a newer one.
fn judge_freshness(attempt: &Attempt, key: &Key, seen: Seen, witness: Witness<'_>) -> Verdict {
    let audit = witness.audit;
    for entry in witness.store.entries(key) {
        // An attempt that tried to commit before, at another time, may have left dead entries.
        let commit = audit.commits.get(&entry.txn.attempt);
        let Some(commit) = commit.filter(|commit| commit.record.txn == entry.txn) else { continue };
        let known = (!witness.exclusive || commit.told_ms.is_some_and(|told_ms| told_ms < witness.asked_ms))
            && commit.landed_ms < witness.fresh_ms
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
            Seen::Unlisted => !includes(audit, key, seen, entry.txn),
        };
        if known && !rejected && passed_over {
            return broken(
                "section 5.4: the newest compatible version is read",
                format!(
                    "{key}: {seen:?}, but {} is there long since; read before: {:?}",
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
    (listed, prefixes): (&[ListedKey], &[String]),
    next: Option<&str>,
    all: &[Key],
    witness: Witness<'_>,
) -> Verdict {
    let before: BTreeSet<Key> = attempt.read.keys().cloned().collect();
    let ordered = listed.windows(2).all(|pair| pair[0].key < pair[1].key)
        && prefixes.windows(2).all(|pair| pair[0] < pair[1]);
    // A key's place is where it would show: by itself, or rolled up.
    let within = |key: &Key| {
        let place = rolled_up(list, key).unwrap_or(key.as_str());
        let after = list.after.as_deref().is_none_or(|after| place > after);
        after && key.as_str().starts_with(&list.prefix) && next.is_none_or(|next| place <= next)
    };
    let shown = listed.len() + prefixes.len();
    let alone = |listed: &ListedKey| within(&listed.key) && rolled_up(list, &listed.key).is_none();
    let known =
        |prefix: &String| all.iter().any(|key| within(key) && rolled_up(list, key) == Some(prefix.as_str()));
    if !ordered || shown > list.limit as usize || !listed.iter().all(alone) || !prefixes.iter().all(known) {
        return broken(
            "a page is in key order, within its bounds",
            format!("{list:?}: {listed:?}, {prefixes:?}, next {next:?}"),
        );
    }
    if next.is_some_and(|next| list.after.as_deref().is_some_and(|after| next <= after)) {
        return broken("a listing goes on", format!("after {:?} comes {next:?}", list.after));
    }
    // A page of the store may go further than the client's: versions were chosen there as well, of which it is not told.
    let beyond = |key: &&Key| {
        let cut = next.is_some_and(|next| rolled_up(list, key).unwrap_or(key.as_str()) > next);
        cut && key.as_str().starts_with(&list.prefix)
    };
    attempt.unseen.extend(all.iter().filter(beyond).cloned());
    for key in all.iter().filter(|key| within(key)) {
        if rolled_up(list, key).is_some_and(|prefix| prefixes.iter().any(|shown| shown == prefix)) {
            // One of the keys rolled up exists; which one, and in what version, its client does not learn.
            attempt.unseen.insert(key.clone());
            continue;
        }
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

/// Returns the common prefix under which a listing shows a key, if it does not show it by itself.
fn rolled_up<'a>(list: &ListKeys, key: &'a Key) -> Option<&'a str> {
    let delimiter = list.delimiter.as_deref()?;
    let rest = key.as_str().strip_prefix(list.prefix.as_str())?;
    let end = rest.find(delimiter)? + delimiter.len();
    Some(&key.as_str()[..list.prefix.len() + end])
}

/// Judges how fresh is what one verb has added to the read set. The node chooses a verb's versions in an order of its own: each is judged beside all the
/// others. What was read before stays as it is, however old by now.
pub(crate) fn judge_news(attempt: &Attempt, before: &BTreeSet<Key>, witness: Witness<'_>) -> Verdict {
    for (key, seen) in attempt.read.iter().filter(|(key, _)| !before.contains(*key)) {
        judge_freshness(attempt, key, *seen, witness)?;
    }
    Ok(())
}
