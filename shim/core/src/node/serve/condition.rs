//! The conditions and sums of a batch. They are evaluated on the batch's reads, at the instant at
//! which it takes effect.
//!
//! The keys are not locked meanwhile. The transaction is serializable, or writes checked keys, so
//! it commits only if its reads are still the newest versions: if two transactions found the same
//! version, one commits, and the other gets a conflict. The next attempt of that one finds the
//! winner's version.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::ids::{Key, TxnId};
use crate::message::{Batch, Condition, Failed, Found, Op, Read, Refusal};
use crate::record::{Location, SUM_BYTES_MAX, Value, Write};

/// Returns a value of the greatest length that a sum can have.
pub(super) fn longest_sum() -> Value {
    let bytes = Bytes::from_static(&[b'-'; SUM_BYTES_MAX]);
    Value {
        size: bytes.len() as u64,
        location: Location::Inline(bytes),
        etag: Bytes::new(),
        attributes: Bytes::new(),
    }
}

/// Checks that a batch with an add commits and reads nothing else.
pub(super) fn check_batch(batch: &Batch) -> Result<(), Refusal> {
    if !batch.ops.iter().any(|op| matches!(op, Op::Add(..))) {
        return Ok(());
    }
    if batch.ops.iter().any(|op| matches!(op, Op::Get(_))) {
        return Err(Refusal::Invalid(
            "a call that adds cannot read other keys: read them in a call before it, or in another transaction".into(),
        ));
    }
    if batch.commit.is_none() {
        return Err(Refusal::Invalid(
            "an add belongs to a call that commits, so that a call that is sent twice adds once: commit with it, or \
             read the number and put the sum"
                .into(),
        ));
    }
    Ok(())
}

/// Judges a batch's conditions and computes its sums. Returns its operations, without conditions
/// and with puts instead of adds, and the reads of its reply. `reads` has one read for each get,
/// condition and add.
pub(super) fn settle(ops: Vec<Op>, reads: Vec<Read>) -> Result<(Vec<Op>, Vec<Read>), Refusal> {
    let mut reads = reads.into_iter();
    let mut next_read = |key: &Key| {
        let read = reads.next().expect("every operation that asked has its read");
        assert_eq!(read.key, *key, "reads come in the order of their operations");
        read.found
    };
    // The sums so far: a second add to a key adds to the first one's sum.
    let mut sums: BTreeMap<Key, Value> = BTreeMap::new();
    let mut settled = Vec::with_capacity(ops.len());
    let mut answers = Vec::new();
    for op in ops {
        match op {
            Op::Get(key) => {
                let found = next_read(&key);
                answers.push(Read { key: key.clone(), found });
                settled.push(Op::Get(key));
            }
            Op::Check(key, condition) => {
                let found = next_read(&key);
                judge(key, &condition, &found)?;
            }
            Op::Add(key, by) => {
                let found = next_read(&key);
                let sum = match sums.get(&key) {
                    Some(before) => add(&key, Some(before), by)?,
                    None => add(&key, value_of(&found), by)?,
                };
                sums.insert(key.clone(), sum.clone());
                answers.push(Read { key: key.clone(), found: Found::Own(Write::Put(sum.clone())) });
                settled.push(Op::Put(key, sum));
            }
            // The read of a later add of the key is this write, not the sum before it.
            Op::Put(key, value) => {
                sums.remove(&key);
                settled.push(Op::Put(key, value));
            }
            Op::Delete(key) => {
                sums.remove(&key);
                settled.push(Op::Delete(key));
            }
            op @ (Op::Result(_) | Op::Fingerprint(_)) => settled.push(op),
        }
    }
    assert!(reads.next().is_none(), "every read was asked for");
    Ok((settled, answers))
}

fn value_of(found: &Found) -> Option<&Value> {
    match found {
        Found::Own(write) | Found::Version(_, write) => write.value(),
        Found::Absent => None,
    }
}

fn judge(key: Key, condition: &Condition, found: &Found) -> Result<(), Refusal> {
    let there: Option<TxnId> = match found {
        Found::Version(txn, Write::Put(_)) => Some(*txn),
        Found::Version(_, Write::Tombstone) | Found::Absent => None,
        Found::Own(_) => unreachable!("a condition speaks of what is committed"),
    };
    let holds = match condition {
        Condition::Absent => there.is_none(),
        Condition::Version(wanted) => there == Some(*wanted),
        Condition::Value(wanted) => match value_of(found) {
            None => false,
            Some(value) if value.size != wanted.len() as u64 => false,
            Some(Value { location: Location::Inline(bytes), .. }) => bytes == wanted,
            Some(Value { location: Location::Blob(_), .. }) => {
                return Err(Refusal::Invalid(format!(
                    "if_value compares with values in the commit record, and that of {key:?} is stored in parts: \
                     read the key and give its version with if_version"
                )));
            }
        },
    };
    if holds { Ok(()) } else { Err(Refusal::ConditionFailed(Failed { key, found: there })) }
}

/// Adds `by` to a number in decimal text. A key without a value holds 0.
fn add(key: &Key, before: Option<&Value>, by: i64) -> Result<Value, Refusal> {
    let number = match before {
        None => 0,
        Some(value) => number_of(value).ok_or_else(|| {
            Refusal::Invalid(format!(
                "add: the value of {key:?} is not a whole number of 64 bits in decimal text: put one there first"
            ))
        })?,
    };
    let sum = number.checked_add(by).ok_or_else(|| {
        Refusal::Invalid(format!("add: {key:?} holds {number}, and with {by} more it is beyond 64 bits"))
    })?;
    let text = Bytes::from(sum.to_string());
    assert!(text.len() <= SUM_BYTES_MAX, "a number of 64 bits has at most this many digits");
    let attributes = before.map(|value| value.attributes.clone()).unwrap_or_default();
    Ok(Value { size: text.len() as u64, location: Location::Inline(text), etag: Bytes::new(), attributes })
}

fn number_of(value: &Value) -> Option<i64> {
    match &value.location {
        Location::Inline(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        Location::Blob(_) => None,
    }
}
