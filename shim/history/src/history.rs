//! A history: transactions, in the order in which they were logged.
//!
//! Pushing costs nothing and judges nothing; what makes a history well formed (unique ids, every value written
//! once) is looked at once, by the checker, which needs the sorted writes anyway.

use crate::Transaction;

/// Transactions as they were logged. The order means something only within a session, and only if session order is
/// checked: there, an earlier transaction ended before a later one began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    transactions: Vec<Transaction>,
}

impl History {
    /// A history without transactions.
    #[must_use]
    pub const fn new() -> Self {
        Self { transactions: Vec::new() }
    }

    /// Adds a transaction at the end.
    pub fn push(&mut self, transaction: Transaction) {
        self.transactions.push(transaction);
    }

    /// The transactions, in the order in which they were logged.
    #[must_use]
    pub fn transactions(&self) -> &[Transaction] {
        &self.transactions
    }

    /// The transactions, to change.
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
