//! Recipes of small histories: plain numbers that proptest draws and shrinks, and three ways to
//! make a history from them.

use proptest::prelude::*;

use crate::{History, Key, Operation, Outcome, SessionId, Stamp, Transaction, TransactionId, Value};

/// The recipe of one transaction.
#[derive(Clone, Debug)]
pub(super) struct Part {
    outcome: u8,
    session: u8,
    /// The place in the drawn order of the stamps.
    rank: u8,
    /// The operations: write or read, the key, and the index of the value among those that a read
    /// may return.
    operations: Vec<(bool, u8, u8)>,
}

/// The recipe of a history.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    parts: Vec<Part>,
    /// The transactions with a stamp: none (0 and 1), some, all that write, all.
    stamped: u8,
    /// The mistakes to add: the kind, the transaction, and the place in it.
    spoils: Vec<(u8, u8, u8)>,
}

const KEYS: u8 = 3;

/// Draws recipes of up to five transactions.
pub(super) fn recipes() -> impl Strategy<Value = Recipe> {
    let operation = (any::<bool>(), 0..KEYS, any::<u8>());
    let part = (0_u8..10, 0_u8..3, any::<u8>(), prop::collection::vec(operation, 0..6));
    let part =
        part.prop_map(|(outcome, session, rank, operations)| Part { outcome, session, rank, operations });
    let spoils = prop::collection::vec((0_u8..5, any::<u8>(), any::<u8>()), 1..3);
    (prop::collection::vec(part, 1..=5), 0_u8..5, spoils).prop_map(|(parts, stamped, spoils)| Recipe {
        parts,
        stamped,
        spoils,
    })
}

impl Recipe {
    /// Returns transactions without operations. Their stamps are in the drawn order if `ranked` is
    /// true, else in the order of the history.
    fn plates(&self, ranked: bool) -> Vec<Transaction> {
        let plate = |(number, part): (u64, &Part)| {
            let session = SessionId::new(part.session.into());
            let mut transaction = Transaction::new(TransactionId::new(number), session);
            transaction.outcome = match part.outcome {
                0..8 => Outcome::Committed,
                8 => Outcome::Aborted,
                _ => Outcome::Unknown,
            };
            let rank = if ranked { u128::from(part.rank) } else { 0 };
            let is_stamped = match self.stamped {
                0 | 1 => false,
                2 => part.rank % 2 == 0,
                // A transaction that only reads needs no place in the order of versions.
                3 => part.operations.iter().any(|operation| operation.0),
                _ => true,
            };
            transaction.stamp = is_stamped.then_some(Stamp(rank * 100 + u128::from(number) + 1));
            transaction
        };
        (0..).zip(&self.parts).map(plate).collect()
    }

    /// Returns a history whose reads return any value that some transaction writes to the key, or
    /// version 0, or rarely a value that no transaction writes.
    pub(super) fn wild(&self) -> History {
        let mut plates = self.plates(true);
        let all_writes =
            self.parts.iter().flat_map(|part| part.operations.iter()).filter(|operation| operation.0);
        let all_writes: Vec<_> = all_writes.map(|operation| operation.1).zip(1_u64..).collect();
        let mut values = 1_u64..;
        for (plate, part) in plates.iter_mut().zip(&self.parts) {
            for &(is_write, key, pick) in &part.operations {
                if is_write {
                    plate.write(u64::from(key), values.next().unwrap());
                    continue;
                }
                let written = all_writes.iter().filter(|write| write.0 == key).map(|write| write.1);
                let mut menu: Vec<u64> = std::iter::once(0).chain(written).collect();
                if pick == u8::MAX {
                    menu = vec![1000];
                }
                plate.read(u64::from(key), menu[usize::from(pick) % menu.len()]);
            }
        }
        plates.into_iter().collect()
    }

    /// Returns a history of transactions that run one after the other, each reading arbitrary
    /// versions that keep the history read atomic.
    pub(super) fn atomic(&self) -> History {
        let mut done: Vec<Transaction> = Vec::new();
        let mut values = 1_u64..;
        for (mut plate, part) in self.plates(false).into_iter().zip(&self.parts) {
            for &(is_write, key, pick) in &part.operations {
                let key = Key(key.into());
                if is_write {
                    plate.write(key, values.next().unwrap());
                    continue;
                }
                let menu = menu(&done, &plate, key);
                if !menu.is_empty() {
                    plate.read(key, menu[usize::from(pick) % menu.len()]);
                }
            }
            done.push(plate);
        }
        done.into_iter().collect()
    }

    /// Returns a read-atomic history to which one or two mistakes, possibly harmless, were added.
    pub(super) fn spoilt(&self) -> History {
        let mut transactions = self.atomic().transactions().to_vec();
        for &(how, which, what) in &self.spoils {
            spoil(&mut transactions, how, usize::from(which), usize::from(what));
        }
        transactions.into_iter().collect()
    }
}

/// Returns the values that a transaction may read from a key.
fn menu(done: &[Transaction], reader: &Transaction, key: Key) -> Vec<Value> {
    if let Some((_, own)) = reader.writes().filter(|write| write.0 == key).last() {
        return vec![own];
    }
    let versions = (0..done.len()).filter(|at| done[*at].outcome != Outcome::Aborted);
    let versions = versions.filter_map(|at| done[at].writes().filter(|write| write.0 == key).last());
    let all = std::iter::once(Value::ABSENT).chain(versions.map(|(_, value)| value));
    // The place of a version's writer, counted from 1; 0 for version 0.
    let place = |key: Key, value: Value| {
        done.iter()
            .position(|writer| writer.writes().any(|write| write == (key, value)))
            .map_or(0, |at| at + 1)
    };
    let wrote = |place: usize, key: Key| place > 0 && done[place - 1].writes().any(|write| write.0 == key);
    // A read before the reader's own write of the key is bound by the rule, too; a read after it is
    // not.
    let mut mine = std::collections::BTreeSet::new();
    let mut seen = Vec::new();
    for operation in &reader.operations {
        match *operation {
            Operation::Read { key, value } if !mine.contains(&key) => seen.push((key, place(key, value))),
            Operation::Read { .. } => {}
            Operation::Write { key, .. } => {
                mine.insert(key);
            }
        }
    }
    let fits = |value: &Value| {
        let mine = place(key, *value);
        seen.iter().all(|&(other, theirs)| {
            (other != key || theirs == mine)
                && (!wrote(theirs, key) || mine >= theirs)
                && (!wrote(mine, other) || theirs >= mine)
        })
    };
    all.filter(fits).collect()
}

fn spoil(transactions: &mut [Transaction], how: u8, which: usize, what: usize) {
    let at = which % transactions.len();
    let values: Vec<_> = transactions.iter().flat_map(|transaction| transaction.writes()).collect();
    let transaction = &mut transactions[at];
    match how {
        // A read returns another version of its key.
        0 | 1 => {
            let mut reads = transaction.operations.iter_mut().filter_map(|operation| match operation {
                Operation::Read { key, value } => Some((*key, value)),
                Operation::Write { .. } => None,
            });
            if let Some((key, value)) = reads.nth(what % 3) {
                let mut menu = vec![Value::ABSENT];
                menu.extend(values.iter().filter(|of| of.0 == key).map(|of| of.1));
                *value = menu[what / 3 % menu.len()];
            }
        }
        // The outcome changes.
        2 => {
            transaction.outcome = [Outcome::Committed, Outcome::Aborted, Outcome::Unknown][what % 3];
        }
        // Two operations change places.
        3 => {
            if transaction.operations.len() > 1 {
                let place = what % (transaction.operations.len() - 1);
                transaction.operations.swap(place, place + 1);
            }
        }
        // An operation is lost.
        _ => {
            if !transaction.operations.is_empty() {
                transaction.operations.remove(what % transaction.operations.len());
            }
        }
    }
}
