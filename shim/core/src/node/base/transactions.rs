//! The open transactions of a node, and the memory that they take together.

use std::collections::BTreeMap;
use std::ops::Index;

use super::transaction::Transaction;
use crate::ids::AttemptId;

/// The open transactions by attempt. The sum of their sizes is kept with them.
#[derive(Debug, Clone, Default, Hash)]
pub(in crate::node) struct Transactions {
    open: BTreeMap<AttemptId, Transaction>,
    bytes: usize,
}

impl Transactions {
    /// Returns an open transaction.
    pub(in crate::node) fn get(&self, attempt: &AttemptId) -> Option<&Transaction> {
        self.open.get(attempt)
    }

    /// Returns an open transaction. [`Transactions::weigh`] follows a change of its size.
    pub(in crate::node) fn get_mut(&mut self, attempt: &AttemptId) -> Option<&mut Transaction> {
        self.open.get_mut(attempt)
    }

    /// Returns true if the attempt is open.
    pub(in crate::node) fn contains_key(&self, attempt: &AttemptId) -> bool {
        self.open.contains_key(attempt)
    }

    /// Adds a transaction that has just begun, and that has not been weighed.
    ///
    /// # Panics
    /// Panics if the attempt is open already.
    pub(in crate::node) fn insert(&mut self, attempt: AttemptId, transaction: Transaction) {
        assert_eq!(
            (transaction.attempt, transaction.weighed),
            (attempt, 0),
            "a transaction begins unweighed"
        );
        let before = self.open.insert(attempt, transaction);
        assert!(before.is_none(), "an attempt begins once");
    }

    /// Removes a transaction that ends.
    ///
    /// # Panics
    /// Panics if the attempt is not open.
    pub(in crate::node) fn remove(&mut self, attempt: &AttemptId) -> Transaction {
        let transaction = self.open.remove(attempt).expect("only open transactions end");
        assert!(self.bytes >= transaction.weighed, "the sum has every part");
        self.bytes -= transaction.weighed;
        transaction
    }

    /// Updates the size of a transaction in the sum.
    ///
    /// # Panics
    /// Panics if the attempt is not open.
    pub(in crate::node) fn weigh(&mut self, attempt: AttemptId) {
        let transaction = self.open.get_mut(&attempt).expect("only open transactions are weighed");
        let bytes = transaction.bytes();
        assert!(self.bytes >= transaction.weighed, "the sum has every part");
        self.bytes = self.bytes - transaction.weighed + bytes;
        transaction.weighed = bytes;
        assert!(self.bytes >= bytes, "the sum has every part");
    }

    /// Returns the memory of all open transactions, in bytes.
    pub(in crate::node) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the number of open transactions.
    pub(in crate::node) fn len(&self) -> usize {
        self.open.len()
    }

    /// Returns true if none is open.
    pub(in crate::node) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Returns the open transactions in the order of their attempts.
    pub(in crate::node) fn iter(&self) -> impl Iterator<Item = (&AttemptId, &Transaction)> {
        self.open.iter()
    }

    /// Returns the open transactions without their attempts.
    pub(in crate::node) fn values(&self) -> impl Iterator<Item = &Transaction> {
        self.open.values()
    }

    /// Returns the open attempts.
    pub(in crate::node) fn keys(&self) -> impl Iterator<Item = &AttemptId> {
        self.open.keys()
    }

    /// Checks every transaction, and the sum.
    pub(in crate::node) fn check_invariants(&self) {
        let mut weighed = 0;
        for (attempt, transaction) in &self.open {
            assert_eq!(*attempt, transaction.attempt, "a transaction is its attempt's");
            transaction.check_invariants();
            weighed += transaction.weighed;
        }
        assert_eq!(self.bytes, weighed, "bytes of transactions are counted");
    }
}

impl Index<&AttemptId> for Transactions {
    type Output = Transaction;

    fn index(&self, attempt: &AttemptId) -> &Transaction {
        &self.open[attempt]
    }
}
