//! The history of a run, for the checker that also judges the real system (`aft-history`): a second
//! opinion, based only on what clients saw.

use std::collections::BTreeMap;

use aft_core::ids::{AttemptId, Key, TxnId};
use aft_history::{
    History, Options, Outcome, Readers, SessionId, Stamp, Transaction, TransactionId, Value, check,
};
use aft_sim::verdict::{Verdict, broken};

use crate::attempt::{Attempt, Ended, Seen, attempt_number};
use crate::world::World;

/// Judges what all attempts of `world` read and wrote.
pub fn judge_history(world: &World) -> Verdict {
    // The checker wants the order of versions as ranks: TxnIds are the only order.
    let order: Vec<TxnId> = {
        let mut order: Vec<TxnId> = world.audit.commits.values().map(|commit| commit.record.txn).collect();
        order.sort();
        order
    };
    let ranks: BTreeMap<AttemptId, u128> =
        order.iter().zip(1..).map(|(txn, rank)| (txn.attempt, rank)).collect();
    let mut history = History::default();
    for attempt in &world.attempts {
        history.push(transaction(world, attempt, &ranks));
    }
    match check(&history, &Options { readers: Readers::All, ..Options::default() }) {
        Ok(report) if report.is_clean() => Ok(()),
        Ok(report) => broken("the history checker agrees", format!("{:?}", report.violations().first())),
        Err(malformed) => broken("the history is well formed", format!("{malformed:?}")),
    }
}

fn transaction(world: &World, attempt: &Attempt, ranks: &BTreeMap<AttemptId, u128>) -> Transaction {
    let number = attempt_number(attempt.id) as u64;
    let mut transaction = Transaction::new(TransactionId::new(number), SessionId::new(number));
    let place = |key: &Key| {
        world.keys.iter().position(|other| other == key).expect("a world's keys are known") as u64
    };
    // One value for each key and attempt, as the checker identifies writers by values; 0 is "never
    // written".
    let value = |writer: u64, key: &Key| Value(1 + writer * world.keys.len() as u64 + place(key));
    for (key, seen) in &attempt.read {
        match seen {
            Seen::Version(txn) => {
                transaction.read(place(key), value(attempt_number(txn.attempt) as u64, key));
            }
            // If a tombstone was ever committed here, the read does not say whether it found the
            // key unwritten or deleted, and the checker is not given it.
            Seen::Absent if world.audit.tombstones_since(key, TxnId::ZERO).next().is_none() => {
                transaction.read(place(key), Value::ABSENT)
            }
            Seen::Absent | Seen::Unlisted => {}
        }
    }
    let committed = world.audit.commits.get(&attempt.id);
    let written: Vec<Key> = match committed {
        Some(commit) => commit.record.writes.iter().map(|(key, _)| key.clone()).collect(),
        None => attempt.written().into_iter().cloned().collect(),
    };
    for key in &written {
        transaction.write(place(key), value(number, key));
    }
    // The record decides. A commit without a record wrote nothing and had no request ID.
    transaction.outcome = match (committed, attempt.ended()) {
        (Some(_), Some(Ended::Committed(_))) => Outcome::Committed,
        (Some(_), _) => Outcome::Unknown,
        (None, Some(Ended::Committed(None))) => Outcome::Committed,
        (None, _) => Outcome::Aborted,
    };
    transaction.stamp = ranks.get(&attempt.id).map(|rank| Stamp(*rank));
    transaction
}
