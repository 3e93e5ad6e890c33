//! A history: transactions, in the order in which they were logged.
//!
//! [`History::push`] validates nothing. The checker verifies once that the history is well formed
//! (unique ids, every value written once), because it sorts the writes anyway.

use crate::Transaction;

/// Transactions in the order in which they were logged. The order matters only within a session,
/// and only if session order is checked: an earlier transaction ended before a later one began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    transactions: Vec<Transaction>,
}

impl History {
    /// Creates a history without transactions.
    #[must_use]
    pub const fn new() -> Self {
        Self { transactions: Vec::new() }
    }

    /// Appends a transaction.
    pub fn push(&mut self, transaction: Transaction) {
        self.transactions.push(transaction);
    }

    /// Returns the transactions, in the order in which they were logged.
    #[must_use]
    pub fn transactions(&self) -> &[Transaction] {
        &self.transactions
    }

    /// Returns the transactions for modification.
    pub(crate) fn transactions_mut(&mut self) -> &mut [Transaction] {
        &mut self.transactions
    }
}

impl FromIterator<Transaction> for History {
    fn from_iter<I: IntoIterator<Item = Transaction>>(transactions: I) -> Self {
        Self { transactions: transactions.into_iter().collect() }
    }
}

impl Extend<Transaction> for History {
    fn extend<I: IntoIterator<Item = Transaction>>(&mut self, transactions: I) {
        self.transactions.extend(transactions);
    }
}
