//! The history of what the clients saw, written for `aft check`.
//!
//! Keys are the load's key numbers, and values are the numbers inside them (0: a value that this
//! run did not write). Every attempt is a transaction in a session of its own. The order that the
//! shim gave to commits becomes a rank.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use aft_history::{Outcome, Stamp, Transaction, TransactionId, text};

use crate::error::{Error, Result};
use crate::standard::backend::Effect;
use crate::standard::detect::Order;

/// Attempts that ended, with their places in the order of versions where they are known.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: Vec<(Transaction, Option<Order>)>,
}

impl Log {
    /// Returns the entry of an attempt that begins.
    pub(crate) fn entry(attempt: u64) -> Transaction {
        Transaction::alone(TransactionId::new(attempt))
    }

    /// Adds an attempt that ended.
    pub(crate) fn push(&mut self, mut entry: Transaction, ended: std::result::Result<Option<Order>, Effect>) {
        entry.outcome = match ended {
            Ok(_) => Outcome::Committed,
            Err(Effect::Unknown) => Outcome::Unknown,
            Err(Effect::Nothing | Effect::NothingRetry) => Outcome::Aborted,
        };
        self.entries.push((entry, ended.ok().flatten()));
    }

    /// Adds the entries of another client.
    pub(crate) fn add(&mut self, mut other: Log) {
        self.entries.append(&mut other.entries);
    }

    /// Writes the history to the file `path`.
    pub(crate) fn write(mut self, path: &Path) -> Result<()> {
        self.rank();
        let failed = || Error::io(format!("cannot write the history {}", path.display()));
        let mut file = BufWriter::new(File::create(path).map_err(failed())?);
        for (entry, _) in &self.entries {
            text::write_transaction(&mut file, entry).map_err(failed())?;
        }
        file.flush().map_err(failed())
    }

    /// Computes each entry's rank from its place in the order.
    fn rank(&mut self) {
        let mut orders: Vec<Order> = self.entries.iter().filter_map(|(_, order)| *order).collect();
        orders.sort_unstable();
        for (entry, order) in &mut self.entries {
            entry.stamp =
                order.map(|order| Stamp(1 + orders.partition_point(|other| *other < order) as u128));
        }
    }
}

#[cfg(test)]
mod tests {
    use aft_history::{Outcome, Stamp};

    use super::Log;
    use crate::standard::backend::Effect;
    use crate::standard::detect::Order;

    #[test]
    fn entries_get_their_outcomes_and_ranks() {
        let mut log = Log::default();
        log.push(Log::entry(0), Ok(Some(Order::new(9, 0))));
        log.push(Log::entry(1), Err(Effect::Unknown));
        log.push(Log::entry(2), Err(Effect::NothingRetry));
        log.push(Log::entry(3), Ok(Some(Order::new(8, 0))));
        log.push(Log::entry(4), Ok(None));
        log.rank();
        let told: Vec<_> = log.entries.iter().map(|(entry, _)| (entry.outcome, entry.stamp)).collect();
        assert_eq!(
            told,
            [
                (Outcome::Committed, Some(Stamp(2))),
                (Outcome::Unknown, None),
                (Outcome::Aborted, None),
                (Outcome::Committed, Some(Stamp(1))),
                (Outcome::Committed, None),
            ]
        );
    }
}
