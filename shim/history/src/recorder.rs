//! A recorder of a history while many transactions run.
//!
//! It assigns the ids and, on request, the values, so that both are unique by construction. It
//! keeps everything in memory; runs of several hours should log whole transactions to a file with
//! [`text::write_transaction`](crate::text::write_transaction) instead.

use crate::{History, Key, Outcome, RequestId, SessionId, Stamp, Transaction, TransactionId, Value};

/// A growing history. An id is a place in the history, so every call takes O(1) time.
///
/// ```
/// use aft_history::{Options, Recorder, check};
///
/// let mut recorder = Recorder::new();
/// let writer = recorder.begin();
/// let (left, right) = (recorder.write_fresh(writer, 1), recorder.write_fresh(writer, 2));
/// recorder.commit(writer, None);
///
/// let reader = recorder.begin();
/// recorder.read(reader, 1, left);
/// recorder.read(reader, 2, right);
/// recorder.commit(reader, None);
///
/// assert!(check(recorder.history(), &Options::default())?.is_read_atomic());
/// # Ok::<(), aft_history::Malformed>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    history: History,
    /// The last value that [`Recorder::write_fresh`] assigned.
    last_value: u64,
}

impl Recorder {
    /// Creates an empty recorder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a transaction in a new session with the same number as the transaction.
    ///
    /// Do not mix it with [`Recorder::begin_in`] if session order is to be checked: the numbers of
    /// the sessions may collide.
    pub fn begin(&mut self) -> TransactionId {
        let id = self.next_id();
        self.history.push(Transaction::alone(id));
        id
    }

    /// Begins a transaction in the given session.
    pub fn begin_in(&mut self, session: SessionId) -> TransactionId {
        let id = self.next_id();
        self.history.push(Transaction::new(id, session));
        id
    }

    /// Logs a read and the value that it returned.
    pub fn read(&mut self, transaction: TransactionId, key: impl Into<Key>, value: impl Into<Value>) {
        self.get_mut(transaction).read(key, value);
    }

    /// Logs a write of a value. The caller makes the value unique for the key.
    pub fn write(&mut self, transaction: TransactionId, key: impl Into<Key>, value: impl Into<Value>) {
        self.get_mut(transaction).write(key, value);
    }

    /// Logs a write of a fresh value, counted from 1, and returns the value for the caller to
    /// write.
    pub fn write_fresh(&mut self, transaction: TransactionId, key: impl Into<Key>) -> Value {
        self.last_value += 1;
        let value = Value(self.last_value);
        self.get_mut(transaction).write(key, value);
        value
    }

    /// Logs the request that the transaction is an attempt of.
    pub fn request(&mut self, transaction: TransactionId, request: RequestId) {
        self.get_mut(transaction).request = Some(request);
    }

    /// Logs the time at which the transaction began, in milliseconds of the caller's clock.
    pub fn began_at(&mut self, transaction: TransactionId, begin_ms: u64) {
        self.get_mut(transaction).begin_ms = Some(begin_ms);
    }

    /// Logs the time at which the commit was acknowledged, in milliseconds of the same clock.
    pub fn committed_at(&mut self, transaction: TransactionId, commit_ms: u64) {
        self.get_mut(transaction).commit_ms = Some(commit_ms);
    }

    /// Logs that the commit was acknowledged, with its place in the order of versions if known.
    pub fn commit(&mut self, transaction: TransactionId, stamp: Option<Stamp>) {
        let transaction = self.get_mut(transaction);
        transaction.outcome = Outcome::Committed;
        transaction.stamp = stamp;
    }

    /// Logs that the transaction did not commit and never will.
    pub fn abort(&mut self, transaction: TransactionId) {
        self.get_mut(transaction).outcome = Outcome::Aborted;
    }

    /// Logs that the outcome of the commit is unknown. This is also the outcome of a transaction
    /// that was never ended.
    ///
    /// The checker can decide more if the caller gives the place that the commit would have in the
    /// order of versions.
    pub fn unknown(&mut self, transaction: TransactionId, stamp: Option<Stamp>) {
        let transaction = self.get_mut(transaction);
        transaction.outcome = Outcome::Unknown;
        transaction.stamp = stamp;
    }

    /// Returns the history that was logged so far.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// Returns the complete history.
    #[must_use]
    pub fn finish(self) -> History {
        self.history
    }

    fn next_id(&self) -> TransactionId {
        TransactionId::new(self.history.transactions().len() as u64)
    }

    fn get_mut(&mut self, transaction: TransactionId) -> &mut Transaction {
        let number = transaction.number().expect("a recorder numbers its transactions");
        let place = usize::try_from(number).expect("a recorder's numbers are places in memory");
        &mut self.history.transactions_mut()[place]
    }
}
