//! The check of a transaction's level against the levels of the keys that it touches, where several
//! processes share the store (protocol, section 13).
//!
//! There the level belongs to a prefix of keys: every writer of a checked key is checked, because
//! the key's entries are named after the version that they follow. A transaction may write keys of
//! only one level. A transaction that only reads may be read atomic anywhere.

use std::collections::BTreeSet;

use crate::ids::{AttemptId, Key};
use crate::message::{Batch, Isolation, Op, Refusal};

use super::super::base::state::State;
use super::super::base::transaction::Transaction;

/// Checks the keys that a batch touches.
pub(in crate::node) fn check_batch(state: &State, attempt: AttemptId, batch: &Batch) -> Result<(), Refusal> {
    let transaction = &state.transactions[&attempt];
    let wants = transaction.isolation;
    let is_conditional = batch.ops.iter().any(Op::is_conditional);
    if is_conditional && wants != Some(Isolation::Serializable) && !will_be_checked(state, attempt, batch) {
        return Err(unchecked_condition());
    }
    if state.settings.exclusive {
        return Ok(());
    }
    let mut writes = batch.ops.iter().filter(|op| matches!(op, Op::Put(..) | Op::Delete(_) | Op::Add(..)));
    if !state.settings.levels_known && (writes.next().is_some() || wants == Some(Isolation::Serializable)) {
        return Err(unknown_levels());
    }
    // The level of the keys written so far, to which those of the batch are added.
    let mut written: BTreeSet<Isolation> =
        transaction.buffer.keys().next().map(|key| level_of(state, key)).into_iter().collect();
    for op in &batch.ops {
        let (key, writes) = match op {
            Op::Get(key) | Op::Check(key, _) => (key, false),
            Op::Put(key, _) | Op::Delete(key) | Op::Add(key, _) => (key, true),
            Op::Result(_) | Op::Fingerprint(_) => continue,
        };
        // A serializable transaction touches only checked keys. A read-atomic one may read checked
        // keys, but not write them unchecked.
        let level = level_of(state, key);
        match (wants, level) {
            (Some(Isolation::Serializable), Isolation::ReadAtomic) => {
                return Err(wrong_level(state, key, Isolation::Serializable));
            }
            (Some(Isolation::ReadAtomic), Isolation::Serializable) if writes => {
                return Err(wrong_level(state, key, Isolation::ReadAtomic));
            }
            (_, _) => {}
        }
        if writes {
            written.insert(level);
        }
    }
    if written.len() > 1 {
        return Err(Refusal::Invalid(
            "the transaction would write keys of two levels, serializable and read_atomic: split the request, \
             or ask `aft store show` which prefix has which level"
                .into(),
        ));
    }
    Ok(())
}

/// Returns true if a transaction that names no level is checked when it commits, because all keys
/// of the batch are, and it writes some: then conditions hold in it.
fn will_be_checked(state: &State, attempt: AttemptId, batch: &Batch) -> bool {
    let transaction = &state.transactions[&attempt];
    let writes = batch.ops.iter().any(|op| matches!(op, Op::Put(..) | Op::Delete(_) | Op::Add(..)));
    transaction.isolation.is_none()
        && !state.settings.exclusive
        && (writes || writes_under_locks(state, transaction))
        && batch.ops.iter().filter_map(Op::key).all(|key| state.settings.locks(key))
}

/// Checks that a transaction may list keys. The locks do not cover keys that another node adds to a
/// listed range, so a transaction that asked to be serializable may not. One that names no level
/// may: the keys that it lists are checked, and the range is read atomic.
pub(in crate::node) fn check_listing(state: &State, attempt: AttemptId) -> Result<(), Refusal> {
    match !state.settings.exclusive && state.transactions[&attempt].is_serializable() {
        true => Err(uncovered_listing()),
        false => Ok(()),
    }
}

/// Returns true if a transaction has written keys whose entries are locks.
pub(in crate::node) fn writes_under_locks(state: &State, transaction: &Transaction) -> bool {
    // All keys that it wrote have the same level, so one of them suffices.
    transaction.buffer.keys().next().is_some_and(|key| state.settings.locks(key))
}

fn level_of(state: &State, key: &Key) -> Isolation {
    state.settings.levels.of(key.as_str()).1
}

fn wrong_level(state: &State, key: &Key, wanted: Isolation) -> Refusal {
    let (prefix, level) = state.settings.levels.of(key.as_str());
    let which = match prefix {
        "" => "on this store keys".into(),
        prefix => format!("on this store keys that start with {prefix:?}"),
    };
    Refusal::Invalid(format!(
        "isolation: {which} are {}, and {key:?} is one of them: run the transaction at that level, or give a prefix \
         that holds no keys yet the other one with `aft store init STORE --isolation PREFIX={}`",
        level.as_str(),
        wanted.as_str(),
    ))
}

/// Returns the refusal of a condition in a transaction that is not checked when it commits.
fn unchecked_condition() -> Refusal {
    Refusal::Invalid(
        "a condition (if_absent, if_version, if_value) or an add needs a serializable transaction: open it with \
         isolation \"serializable\", or send the operation in the call that opens it and leave the isolation out, or, \
         where several processes share the store, write a checked key in the same batch"
            .into(),
    )
}

/// Returns the refusal of a write to keys whose level is not known.
fn unknown_levels() -> Refusal {
    Refusal::Damaged(
        "the levels of this store's keys are not known, so nothing is written: store/format was missing or damaged \
         when this node started; restore it from a backup and restart the node, or read the store's keys and write \
         them to a new prefix"
            .into(),
    )
}

/// Returns the refusal of a listing in a serializable transaction.
fn uncovered_listing() -> Refusal {
    Refusal::Invalid(
        "a serializable transaction cannot list keys on a store that several processes share: a key that is \
         added beside it would go unseen. Read the keys by name, leave the isolation out, or list in a transaction \
         of its own that is read_atomic"
            .into(),
    )
}
