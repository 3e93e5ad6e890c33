//! Writes a history down while transactions run, many at a time.
//!
//! Hands out the ids and, if asked, the values, so that both are unique by construction. It keeps everything in
//! memory; who runs for hours logs whole transactions to a file with
//! [`text::write_transaction`](crate::text::write_transaction) instead.

use crate::{History, Key, Outcome, RequestId, SessionId, Stamp, Transaction, TransactionId, Value};

/// A history that grows. Ids are the places in it, so every call is O(1).
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
    /// The value that was handed out last.
    last_value: u64,
}

impl Recorder {
    /// An empty recorder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a transaction in a session of its own. Not to be mixed with [`Recorder::begin_in`] if session order is
    /// to be checked: sessions of one's own are numbered like their transactions.
    pub fn begin(&mut self) -> TransactionId {
        let id = self.next_id();
        self.history.push(Transaction::alone(id));
        id
    }

    /// Begins a transaction in a session.
    pub fn begin_in(&mut self, session: SessionId) -> TransactionId {
        let id = self.next_id();
        self.history.push(Transaction::new(id, session));
        id
    }

    /// Logs what a read returned.
    pub fn read(&mut self, transaction: TransactionId, key: impl Into<Key>, value: impl Into<Value>) {
        self.get_mut(transaction).read(key, value);
    }

    /// Logs a write of a value that the caller made unique.
    pub fn write(&mut self, transaction: TransactionId, key: impl Into<Key>, value: impl Into<Value>) {
        self.get_mut(transaction).write(key, value);
    }

    /// Logs a write of a value that nobody has yet written, counted from 1, and returns it to be written.
    pub fn write_fresh(&mut self, transaction: TransactionId, key: impl Into<Key>) -> Value {
        self.last_value += 1;
        let value = Value(self.last_value);
        self.get_mut(transaction).write(key, value);
        value
    }

    /// Logs which request the transaction is an attempt of.
    pub fn request(&mut self, transaction: TransactionId, request: RequestId) {
        self.get_mut(transaction).request = Some(request);
    }

    /// Logs when the transaction began, in milliseconds of the caller's clock.
    pub fn began_at(&mut self, transaction: TransactionId, begin_ms: u64) {
        self.get_mut(transaction).begin_ms = Some(begin_ms);
    }

    /// Logs when the commit was acknowledged, in milliseconds of the same clock.
    pub fn committed_at(&mut self, transaction: TransactionId, commit_ms: u64) {
        self.get_mut(transaction).commit_ms = Some(commit_ms);
    }

    /// Logs that the commit was acknowledged, with its place in the order of versions if that is known.
    pub fn commit(&mut self, transaction: TransactionId, stamp: Option<Stamp>) {
        let transaction = self.get_mut(transaction);
        transaction.outcome = Outcome::Committed;
        transaction.stamp = stamp;
    }

    /// Logs that the transaction did not commit and never will.
    pub fn abort(&mut self, transaction: TransactionId) {
        self.get_mut(transaction).outcome = Outcome::Aborted;
    }

    /// Logs that nobody knows how the commit ended; also what a transaction counts as that was never ended. If the
    /// caller knows what place it would have in the order of versions, that helps.
    pub fn unknown(&mut self, transaction: TransactionId, stamp: Option<Stamp>) {
        let transaction = self.get_mut(transaction);
        transaction.outcome = Outcome::Unknown;
        transaction.stamp = stamp;
    }

    /// What was logged so far.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// What was logged.
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
