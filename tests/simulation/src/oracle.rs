//! The oracle of reads: judges every read when its client gets it.
//!
//! Reads name their writers, the auditor knows the writes of each, and TxnIds order versions; so
//! each promise of section 1 is a comparison. Freshness is one too: an entry that has been in the
//! store for longer than listings may age must have been considered.

use std::collections::BTreeSet;

use aft_core::ids::{Key, TxnId};
use aft_core::message::{Condition, Found, ListKeys, ListedKey, Read};
use aft_core::record::{Location, Write};
use aft_sim::verdict::{Verdict, broken};

use crate::attempt::{Attempt, Seen};
use crate::audit::{Audit, Commit, blob_parts};
use crate::model::StoreModel;

/// The facts with which a read is compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Witness<'a> {
    pub(crate) audit: &'a Audit,
    pub(crate) store: &'a StoreModel,
    /// The time before which an entry must have landed, if it is still there, to be in every
    /// listing that the read may rest on.
    pub(crate) fresh_ms: u64,
    /// The time at which the read was sent: its version may have been chosen then.
    pub(crate) asked_ms: u64,
    /// True if one process holds the store: its listings do not age, and a commit in flight is not
    /// known before its own call is answered.
    pub(crate) exclusive: bool,
}

/// Judges the reply to a get, and adds it to the attempt's observations. `own` is the transaction's
/// own write of the key.
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
                format!("read {write:?} as its own write of {key}, but wrote nothing there"),
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

/// Judges that `txn` committed this write of `key`, and that its blob is in the store.
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

/// Judges a condition that held, and adds what it says of the key to the attempt's observations.
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
        // Like a listing, it does not tell a deleted key from one that was never written.
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
                // Equal sums have equal bytes, so the client does not know which version it was.
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
    // A key seen twice: the same observation, or one that says the same more or less precisely,
    // since a listing shows neither absent keys nor tombstones.
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
    judge_fracture(attempt, key, seen, witness)?;
    judge_prefixes(attempt, audit)
}

/// Judges the common prefixes that listings showed: below each of them a key exists. Own writes may
/// have been that key.
fn judge_prefixes(attempt: &Attempt, audit: &Audit) -> Verdict {
    let written = |key: &Key| attempt.written().contains(key) || attempt.dropped.contains_key(key);
    let is_absent = |key: &Key| match attempt.read.get(key) {
        Some(Seen::Absent | Seen::Unlisted) => true,
        Some(Seen::Version(txn)) => audit.write(txn.attempt, key) == Some(&Write::Tombstone),
        None => false,
    };
    let is_empty = |keys: &&BTreeSet<Key>| keys.iter().all(|key| is_absent(key) && !written(key));
    match attempt.prefixes.iter().find(is_empty) {
        Some(keys) => broken(
            "P2: a common prefix is listed if a key below it exists",
            format!("of {keys:?} none exists; all: {:?}", attempt.read),
        ),
        None => Ok(()),
    }
}

/// Judges P2 for one key and all others, in both directions.
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

/// Returns true if a key that was read as absent may have been deleted by a transaction that is not
/// older than `least` and fits all other reads.
fn deleted_since(attempt: &Attempt, key: &Key, least: TxnId, witness: Witness<'_>) -> bool {
    witness.audit.tombstones_since(key, least).any(|deletion| {
        attempt.read.iter().all(|(other, seen)| match seen {
            Seen::Version(version) => deletion.write(other).is_none() || *version >= deletion.txn,
            Seen::Absent | Seen::Unlisted => true,
        })
    })
}

/// Returns true if the observation `seen` of `key` is the version of `txn` or a later one.
fn includes(audit: &Audit, key: &Key, seen: Seen, txn: TxnId) -> bool {
    match seen {
        Seen::Version(version) => version >= txn,
        Seen::Absent | Seen::Unlisted => audit.tombstones_since(key, txn).next().is_some(),
    }
}

/// Judges the lower bounds of a read: the client's own commits and the token's (P8), and, for a
/// fresh transaction, every commit reported before it began (P9).
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
            "P9: a fresh transaction sees every commit that was reported before it began",
            format!("{key}: {seen:?}, but {txn} had been reported"),
        );
    }
    Ok(())
}

/// Judges the rule of section 5.4 for the versions that every listing shows: the newest compatible
/// one is read, or a newer one.
fn judge_freshness(attempt: &Attempt, key: &Key, seen: Seen, witness: Witness<'_>) -> Verdict {
    let audit = witness.audit;
    for entry in witness.store.entries(key) {
        // Dead entries do not count: an attempt may have left some when it tried to commit earlier,
        // at another time.
        let commit = audit.commits.get(&entry.txn.attempt);
        let Some(commit) = commit.filter(|commit| commit.record.txn == entry.txn) else { continue };
        let known = (!witness.exclusive || commit.told_ms.is_some_and(|told_ms| told_ms < witness.asked_ms))
            && commit.landed_ms < witness.fresh_ms
            && commit.entered.get(key).is_some_and(|landed_ms| *landed_ms < witness.fresh_ms);
        // A version that does not fit the other reads was passed over rightly.
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
                    "{key}: {seen:?}, but {} has long been in the store; read before: {:?}",
                    entry.txn, attempt.read
                ),
            );
        }
    }
    Ok(())
}

/// Judges a page of a listing, and adds it to the attempt's observations. `all` are the keys of
/// this world.
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
    // A key's place in the listing is the key itself, or the prefix under which it is rolled up.
    // The page covers the places after `list.after`, up to `next`.
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
        return broken(
            "the cursor of a listing moves forward",
            format!("after {:?} comes {next:?}", list.after),
        );
    }
    // A page of the store may reach further than the client's: the node has chosen versions there
    // as well, which the client is not told.
    let beyond = |key: &&Key| {
        let cut = next.is_some_and(|next| rolled_up(list, key).unwrap_or(key.as_str()) > next);
        cut && key.as_str().starts_with(&list.prefix)
    };
    attempt.unseen.extend(all.iter().filter(beyond).cloned());
    for prefix in prefixes {
        let below = all.iter().filter(|key| rolled_up(list, key) == Some(prefix.as_str()));
        attempt.prefixes.insert(below.cloned().collect());
    }
    for key in all.iter().filter(|key| within(key)) {
        if rolled_up(list, key).is_some_and(|prefix| prefixes.iter().any(|shown| shown == prefix)) {
            // At least one key under the prefix exists, but the client learns neither which nor in
            // what version.
            attempt.unseen.insert(key.clone());
            continue;
        }
        let found = listed.iter().find(|listed| listed.key == *key);
        // The batch that carries the commit may have taken effect already: then its write is
        // listed.
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
                        format!("{found:?} has no TxnId, but is not an own write"),
                    );
                };
                let Some(write @ Write::Put(_)) = witness.audit.write(txn.attempt, key) else {
                    return broken("P3: a listing shows committed values", format!("{found:?}"));
                };
                if write.meta() != found.meta {
                    return broken(
                        "P3: a listing shows what was written",
                        format!("{found:?}, not {write:?}"),
                    );
                }
                see(attempt, key, Seen::Version(txn), witness)?;
            }
        }
    }
    judge_news(attempt, &before, witness)
}

/// Returns the common prefix under which a listing rolls `key` up; `None` if it shows the key
/// itself.
fn rolled_up<'a>(list: &ListKeys, key: &'a Key) -> Option<&'a str> {
    let delimiter = list.delimiter.as_deref()?;
    let rest = key.as_str().strip_prefix(list.prefix.as_str())?;
    let end = rest.find(delimiter)? + delimiter.len();
    Some(&key.as_str()[..list.prefix.len() + end])
}

/// Judges the freshness of the keys that one verb has added to the read set; `before` are the older
/// ones. The node chooses a verb's versions in any order, so each is judged together with all
/// others. Earlier reads stay valid, no matter how old they are by now.
pub(crate) fn judge_news(attempt: &Attempt, before: &BTreeSet<Key>, witness: Witness<'_>) -> Verdict {
    for (key, seen) in attempt.read.iter().filter(|(key, _)| !before.contains(*key)) {
        judge_freshness(attempt, key, *seen, witness)?;
    }
    Ok(())
}
