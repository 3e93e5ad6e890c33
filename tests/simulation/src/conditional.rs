//! Conditions and sums: turns drawn actions into operations, and judges what comes of them
//! (protocol, section 13, *Conditions and sums*).
//!
//! * A transaction that commits with a condition on a key that it writes follows a version for
//!   which the condition holds. So of several that create a key if it is absent, one commits, until
//!   the key is deleted.
//! * A sum is the number in the version before it, plus what was added.
//! * A condition on a key that the transaction does not write is a read: the oracles of reads judge
//!   it.
//! * A condition that failed was false at some instant between the begin of its transaction and the
//!   reply, by what had committed then; and its request has not committed.
//!
//! P1 already implies that a rejected batch has no effect: a record holds what its client wrote in
//! batches that were not rejected, and nothing else.

use std::collections::BTreeMap;

use aft_core::ids::{Key, TxnId};
use aft_core::message::{Condition, Failed, Found, Read};
use aft_core::record::{Location, Value, Write};
use aft_sim::verdict::{Verdict, broken};
use bytes::Bytes;

use crate::attempt::{Attempt, Sent};
use crate::audit::{Audit, Commit, Scene};
use crate::script::Guard;

/// The number that a sum starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Base {
    /// The number that the transaction had written before; `None` if that is not a number.
    Own(Option<i64>),
    /// The number in the committed version.
    Committed,
}

/// The sum of a batch at one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sum {
    /// The number that it starts from.
    pub base: Base,
    /// The total that is added.
    pub by: i64,
}

/// Returns the number in `value`, if it is one.
pub(crate) fn number_of(value: &Value) -> Option<i64> {
    match &value.location {
        Location::Inline(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        Location::Blob(_) => None,
    }
}

/// Returns the number that a write leaves: 0 for a tombstone or no write.
pub(crate) fn number_left(write: Option<&Write>) -> Option<i64> {
    write.and_then(Write::value).map_or(Some(0), number_of)
}

/// Returns a placeholder for the write of a sum, whose value is not known before its record is.
pub(crate) fn sum_to_come() -> Write {
    Write::Put(Value {
        size: 0,
        location: Location::Inline(Bytes::new()),
        etag: Bytes::new(),
        attributes: Bytes::new(),
    })
}

impl Guard {
    /// Returns the condition that a client asks for if it knows the version `known`, with its bytes
    /// if they are in its record. A client that knows no version takes the key for absent.
    pub(crate) fn condition(self, known: Option<&(TxnId, Option<Bytes>)>) -> Condition {
        match (self, known) {
            (Guard::Absent, _) | (_, None) => Condition::Absent,
            (Guard::Version, Some((txn, _))) => Condition::Version(*txn),
            (Guard::Value, Some((_, Some(bytes)))) => Condition::Value(bytes.clone()),
            (Guard::Value, Some((txn, None))) => Condition::Version(*txn),
        }
    }
}

/// Returns true if `condition` holds for `version`, the committed version of its key.
fn holds(condition: &Condition, version: Option<(TxnId, &Write)>) -> bool {
    let value = version.and_then(|(_, write)| write.value());
    match condition {
        Condition::Absent => value.is_none(),
        Condition::Version(wanted) => value.is_some() && version.is_some_and(|(txn, _)| txn == *wanted),
        Condition::Value(wanted) => {
            value.is_some_and(|value| matches!(&value.location, Location::Inline(bytes) if bytes == wanted))
        }
    }
}

impl Audit {
    /// Returns the committed versions of `key`, oldest first.
    fn chain(&self, key: &Key) -> BTreeMap<TxnId, (&Commit, &Write)> {
        let writes = self.commits.values();
        let writes = writes.filter_map(|commit| Some((commit, commit.record.write(key)?)));
        writes.map(|(commit, write)| (commit.record.txn, (commit, write))).collect()
    }

    /// Returns true if any committed value is a blob.
    pub(crate) fn has_parts(&self) -> bool {
        let mut writes = self.commits.values().flat_map(|commit| commit.record.writes.iter());
        writes.any(|(_, write)| write.blob().is_some())
    }

    /// Judges the conditions and sums of a commit that has just landed, and of the version right
    /// after it at each of its keys.
    pub(crate) fn judge_conditions(&self, of: TxnId, scene: Scene<'_>) -> Verdict {
        let Some(commit) = self.commits.get(&of.attempt) else { return Ok(()) };
        for (key, _) in commit.record.writes.iter() {
            let chain = self.chain(key);
            let mut before: Option<(TxnId, &Write)> = None;
            for (txn, (_, write)) in &chain {
                let concerned = *txn == of || before.is_some_and(|(before, _)| before == of);
                if concerned && let Some(attempt) = scene.attempt(txn.attempt) {
                    judge_link(attempt, key, (*txn, write), before)?;
                }
                before = Some((*txn, write));
            }
        }
        Ok(())
    }

    /// Judges a condition that is reported at this instant as failed.
    pub(crate) fn judge_failed(
        &self,
        attempt: &Attempt,
        sent: &Sent,
        failed: &Failed,
        scene: Scene<'_>,
    ) -> Verdict {
        let Failed { key, found } = failed;
        let rule = "section 13: a condition that failed was false";
        let chain = self.chain(key);
        let there = match found {
            None => None,
            Some(txn) => match chain.get(txn) {
                Some((_, write @ Write::Put(_))) => Some((*txn, *write)),
                Some(_) | None => return broken(rule, format!("{failed:?} names no value")),
            },
        };
        let mut asked = sent.checks.iter().filter(|(of, _)| of == key);
        if asked.all(|(_, condition)| holds(condition, there)) {
            return broken(rule, format!("{failed:?}, but {:?} was asked", sent.checks));
        }
        // A version is the newest until the next one lands: was it at some instant after the begin?
        let stood = |txn: TxnId| {
            let newer = chain.range((std::ops::Bound::Excluded(txn), std::ops::Bound::Unbounded));
            newer.map(|(_, (commit, _))| commit.landed_ms).min().is_none_or(|end| end >= attempt.begun_ms)
        };
        let was_so = match there {
            Some((txn, _)) => stood(txn),
            None => {
                let deletions = chain.iter().filter(|(_, (_, write))| **write == Write::Tombstone);
                stood(TxnId::ZERO) || deletions.into_iter().any(|(txn, _)| stood(*txn))
            }
        };
        if !was_so {
            return broken(
                "section 13: a condition that failed was false after the begin",
                format!(
                    "attempt of {} begun at {}: {failed:?}, at {}; versions: {:?}",
                    attempt.id,
                    attempt.begun_ms,
                    scene.now_ms,
                    chain.iter().map(|(txn, (commit, _))| (txn, commit.landed_ms)).collect::<Vec<_>>()
                ),
            );
        }
        Ok(())
    }
}

/// Judges the conditions and the sum of one version of `key` by the version before it.
fn judge_link(
    attempt: &Attempt,
    key: &Key,
    (txn, write): (TxnId, &Write),
    before: Option<(TxnId, &Write)>,
) -> Verdict {
    let carried = attempt.carried_checks.iter().filter(|_| !attempt.carried_in_doubt);
    for (_, condition) in attempt.checks.iter().chain(carried).filter(|(of, _)| of == key) {
        if !holds(condition, before) {
            return broken(
                "section 13: what commits with a condition follows what it names",
                format!("{txn} wrote {key} if {condition:?}, after {before:?}"),
            );
        }
    }
    let Some(sum) = attempt.sums.get(key).filter(|_| attempt.carried.contains_key(key)) else {
        return Ok(());
    };
    // The batch may have failed with the store, and a second commit committed an earlier batch's
    // write.
    if attempt.carried_in_doubt && attempt.writes.get(key) == Some(write) {
        return Ok(());
    }
    let base = match sum.base {
        Base::Own(number) => number,
        Base::Committed => number_left(before.map(|(_, write)| write)),
    };
    let wanted = base.and_then(|base| base.checked_add(sum.by));
    if wanted.is_none() || number_left(Some(write)) != wanted {
        return broken(
            "section 13: a sum is what was there before, plus what was added",
            format!("{txn} added {sum:?} to {key}: {write:?}, after {before:?}"),
        );
    }
    Ok(())
}

/// Judges the sums in the reply to a batch: each is the one before it plus what was added.
pub(crate) fn judge_sums(sent: &Sent, reads: &[Read]) -> Verdict {
    let mut last: BTreeMap<&Key, i64> = BTreeMap::new();
    for ((key, by, own), read) in sent.adds.iter().zip(reads) {
        let sum = match &read.found {
            Found::Own(Write::Put(value)) => number_of(value),
            Found::Own(Write::Tombstone) | Found::Version(..) | Found::Absent => None,
        };
        let begin = own.or_else(|| last.get(key).copied());
        let Some(sum) = sum.filter(|sum| begin.is_none_or(|begin| begin + by == *sum)) else {
            return broken(
                "section 13: the reply has each sum as it was written",
                format!("{key} and {by}: {read:?}, from {begin:?}"),
            );
        };
        last.insert(key, sum);
    }
    Ok(())
}
