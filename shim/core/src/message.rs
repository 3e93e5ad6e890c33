//! Inputs and outputs of the state machine: verbs and replies for clients, calls and answers for
//! the store, messages for peers.
//!
//! All enums are closed, and matched without `_`. Extensions of the protocol add variants and
//! change none.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::StoreTime;
use crate::ids::{AttemptId, Fingerprint, Key, NodeId, RequestHash, Session, TxnId};
pub use crate::isolation::Isolation;
use crate::record::{BlobGroup, LargeResult, Meta, Record, Value, VersionEntry, Write};
use crate::store::{Answer, Call, CallId};

/// The identity of a waiting verb, unique in one life of a node. Every verb gets exactly one reply
/// with its ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// An input event of the node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// A client's request.
    Verb(Ticket, Verb),
    /// The store's answer to a call, with the store's time if the answer carried it.
    Answer(CallId, Answer, Option<StoreTime>),
    /// A tell of a peer: its commits.
    Heard(NodeId, Tell),
    /// The instant that [`Node::next_wake`](crate::Node::next_wake) returned has come. Harmless at
    /// any other time.
    Wake,
    /// Start (true) or stop (false) periodic sweeps. A sweep that is stopped leaves its notes if it
    /// can.
    Upkeep(bool),
    /// Reject new transactions, and finish the open ones.
    Drain,
}

/// A client's request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Open a transaction, and run its batch, which may be empty.
    Begin(Box<Begin>),
    /// Run operations in order, and commit at the end if the batch says so.
    Run(AttemptId, Batch),
    /// List keys.
    List(AttemptId, ListKeys),
    /// Reserve a place for a large value, in parts that are stored before the commit.
    ReserveBlob(AttemptId),
    /// Commit.
    Commit(AttemptId, CommitArgs),
    /// Abort.
    Abort(AttemptId),
    /// Look up the commit of a request.
    LookUp(RequestHash),
    /// Look up the commit of an attempt's request, or of the given request if the node does not
    /// remember the attempt.
    LookUpOf(AttemptId, RequestHash),
}

/// The arguments of the opening of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Begin {
    /// A fresh UUIDv7.
    pub attempt: AttemptId,
    /// The request; if it is unnamed, its hash is derived from the attempt.
    pub hash: RequestHash,
    /// True if the caller named the request.
    pub named: bool,
    /// The payload's fingerprint, if the caller gave one.
    pub fingerprint: Option<Fingerprint>,
    /// The longest time that the transaction stays open; clamped to the settings.
    pub timeout_ms: Option<u64>,
    /// The longest wait for an attempt of the same request that is open on this node.
    pub wait_ms: u64,
    /// True to run concurrently with an open attempt of the same request instead of waiting for it:
    /// the caller knows that the other one is dead, or does not care. The commit record decides.
    pub overlap: bool,
    /// The commits that the client has seen.
    pub session: Session,
    /// True if every first read must rest on a listing that is asked after the begin, so that it
    /// sees every commit acknowledged before (protocol, P9).
    pub fresh: bool,
    /// The time for which the record is to be kept; clamped to the settings.
    pub retention_ms: Option<u64>,
    /// The level at which the transaction runs. If it is `None`, the level is serializable if the
    /// batch has a condition or a sum; else, where several processes share the store, that of the
    /// keys that it writes; else read atomic.
    pub isolation: Option<Isolation>,
    /// The number of consecutive conflicts of earlier attempts of the request. After five of them,
    /// the keys that it reads are reserved for it for a second.
    pub conflicts: u32,
    /// Operations to run at once.
    pub batch: Batch,
}

/// Operations to run in order, and optionally a commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Batch {
    /// The operations.
    pub ops: Vec<Op>,
    /// The commit to make once all of them succeeded, if any.
    pub commit: Option<CommitArgs>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// Read a key.
    Get(Key),
    /// Write a value.
    Put(Key, Value),
    /// Write a tombstone.
    Delete(Key),
    /// Continue only if the key's version satisfies the condition; else the batch ends in
    /// [`Refusal::ConditionFailed`], and none of it takes effect. The condition applies to the
    /// committed version that the transaction reads, not to its own writes, so that a batch that is
    /// sent twice gets the same result twice. Serializable transactions only.
    Check(Key, Condition),
    /// Add to the number that the key holds as decimal text, and write the sum; a key without a
    /// value holds 0. The reply gets one [`Read`] of the sum. The batch must commit, and read
    /// nothing else, so that a batch that is sent twice adds once. Serializable transactions only.
    Add(Key, i64),
    /// Set the result that later attempts of the request get, in a blob of the transaction.
    Result(LargeResult),
    /// Set the payload's fingerprint, if it was not known when the transaction began.
    Fingerprint(Fingerprint),
}

impl Op {
    /// Returns the key that the operation reads or writes, if it touches one.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Op::Get(key) | Op::Put(key, _) | Op::Delete(key) | Op::Check(key, _) | Op::Add(key, _) => {
                Some(key)
            }
            Op::Result(_) | Op::Fingerprint(_) => None,
        }
    }

    /// Returns true if the operation's effect depends on what its key holds.
    pub fn is_conditional(&self) -> bool {
        match self {
            Op::Check(..) | Op::Add(..) => true,
            Op::Get(_) | Op::Put(..) | Op::Delete(_) | Op::Result(_) | Op::Fingerprint(_) => false,
        }
    }

    /// Returns true if the operation adds one [`Read`] to the reply.
    pub fn is_answered(&self) -> bool {
        match self {
            Op::Get(_) | Op::Add(..) => true,
            Op::Put(..) | Op::Delete(_) | Op::Check(..) | Op::Result(_) | Op::Fingerprint(_) => false,
        }
    }
}

/// A condition on the version that a transaction reads under a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// The key has no value.
    Absent,
    /// The key's value was written by this transaction.
    Version(TxnId),
    /// The key's value has these bytes.
    Value(Bytes),
}

/// A condition that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Failed {
    /// The key.
    pub key: Key,
    /// The transaction that wrote the value found instead; `None` if the key has no value.
    pub found: Option<TxnId>,
}

/// The arguments of a commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CommitArgs {
    /// The result that later attempts of the request get; opaque. Without one, the last
    /// [`Op::Result`] counts, if there was any.
    pub result: Option<Bytes>,
    /// The request, if the caller gives it again, so that a node that has forgotten the attempt can
    /// look the commit up.
    pub request: Option<RequestHash>,
}

/// The arguments of a listing of keys in order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListKeys {
    /// The prefix; may be empty.
    pub prefix: String,
    /// The text after which the listing begins, exclusive.
    pub after: Option<String>,
    /// The greatest number of keys and common prefixes; at least 1.
    pub limit: u32,
    /// The delimiter, not empty: keys that contain it after the prefix are rolled up into one
    /// common prefix, up to and including its first occurrence.
    pub delimiter: Option<String>,
}

/// An output event of the node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Output {
    /// The reply to a verb.
    Reply(Ticket, Result<Reply, Refusal>),
    /// A call to the store, to be answered by [`Input::Answer`] exactly once (or never, if the node
    /// dies). A driver that cannot send it at once asks [`Node::may_send`](crate::Node::may_send)
    /// before it does.
    Call(CallId, Call),
    /// A message to all peers. Its loss costs only freshness.
    Tell(Tell),
    /// A note for people and metrics.
    Note(Note),
}

/// The answer to a verb.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reply {
    /// A transaction is open, and its batch ran.
    Begun {
        /// The attempt.
        attempt: AttemptId,
        /// The rest of its time, in milliseconds.
        remaining_ms: u64,
        /// One for every `Get` and `Add` of the batch, in order.
        reads: Vec<Read>,
        /// The commit, if the batch was to commit.
        committed: Option<Committed>,
    },
    /// The batch ran.
    Ran {
        /// One for every `Get` and `Add` of the batch, in order.
        reads: Vec<Read>,
        /// The commit, if the batch was to commit.
        committed: Option<Committed>,
    },
    /// A page of keys.
    Listed {
        /// Keys that exist in the transaction's snapshot, in order.
        keys: Vec<ListedKey>,
        /// Common prefixes under which a key exists, in order.
        prefixes: Vec<String>,
        /// The text after which the next page begins, exclusive; `None` at the end.
        next: Option<String>,
    },
    /// A place for a large value.
    Reserved {
        /// The group of the attempt's blobs.
        group: BlobGroup,
        /// The number of the blob.
        number: u32,
    },
    /// The transaction committed.
    Committed(Committed),
    /// Another attempt of the request has committed; this one has no effect.
    Replayed(Replayed),
    /// The transaction was aborted and has no effect.
    Aborted,
    /// The answer to a look-up.
    Found(Arc<Record>),
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Committed {
    /// Its identity; `None` if there was nothing to store.
    pub txn: Option<TxnId>,
    /// The session for the client's next transaction.
    pub session: Session,
}

/// The outcome of the request's winning attempt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replayed {
    /// The winner.
    pub txn: TxnId,
    /// Its result.
    pub result: Option<Bytes>,
    /// Its result, if it is large.
    pub large_result: Option<LargeResult>,
    /// The session for the client's next transaction.
    pub session: Session,
}

/// One read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Read {
    /// The key.
    pub key: Key,
    /// The version found.
    pub found: Found,
}

/// The version that a read found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Found {
    /// The transaction's own uncommitted write.
    Own(Write),
    /// A committed version.
    Version(TxnId, Write),
    /// No version.
    Absent,
}

/// A key of a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListedKey {
    /// The key.
    pub key: Key,
    /// The committed version, or `None` for the transaction's own write.
    pub txn: Option<TxnId>,
    /// Its kind, size and entity tag.
    pub meta: Meta,
}

/// The reason why a verb was not carried out, each with what the caller must do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// No compatible version remains for this key, and nothing was exposed. Run the request again.
    SnapshotGone(Key),
    /// Another transaction has written what this one read, and nothing was committed. Run the
    /// request again, as a new attempt. Serializable transactions only.
    Conflict(Conflict),
    /// A condition of the batch did not hold. Nothing of the batch took effect, and the transaction
    /// is unchanged.
    ConditionFailed(Failed),
    /// A bound is reached. Retry after a pause.
    Overloaded(Bound),
    /// The transaction expired, or its node dropped it. Run the request again.
    Lost,
    /// The store did not answer as needed in time, and nothing was committed. Retry.
    StoreUnavailable(String),
    /// Another attempt of the request is open on this node. Retry after `retry_after_ms`.
    InProgress {
        /// The time until the open attempt ends, at most.
        retry_after_ms: u64,
    },
    /// The request ID was used with another payload, which is an error of the caller.
    KeyReused,
    /// The request committed, but its result is no longer kept. It will not run again.
    ResultGone,
    /// The outcome of the commit is unknown. Look the request up, or commit again.
    Unknown(RequestHash),
    /// The outcome of the commit is unknown, because the object under the commit record's name is
    /// damaged; the text names it. The outcome cannot be known before the store is repaired.
    UnknownDamaged(RequestHash, String),
    /// No transaction or request of that name is known.
    NotFound,
    /// The transaction has ended (committed, aborted) or is committing. It accepts no more verbs.
    Ended,
    /// The node is draining. Go to another one.
    NotServing,
    /// The batch or commit would make the transaction's commit record too large. Nothing of it took
    /// effect, and the transaction is unchanged. Store `actual - limit` bytes of the batch's inline
    /// values as blobs and run it again; or, if it has fewer inline bytes, give fewer or shorter
    /// keys, shorter attributes, or a smaller result.
    TooLarge(Excess),
    /// The input breaks a rule; the text gives the rule and the remedy.
    Invalid(String),
    /// The store holds a damaged or foreign object; the text names it.
    Damaged(String),
    /// The session names this commit, which the store must still have and does not have: it was
    /// restored from an older backup, or has lost writes, or is not the session's store. Begin
    /// without the session.
    SessionLost(TxnId),
}

/// A conflict of a serializable transaction with another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conflict {
    /// The key that both touched. `None` if the node has forgotten it, because so much was
    /// committed since the transaction began; or if another transaction broke this one's commit.
    pub key: Option<Key>,
    /// The transaction that came first; its commit may still be in flight. `None` if the key is
    /// reserved for a transaction that has lost often, or was changed by an unknown transaction.
    pub by: Option<TxnId>,
}

/// The measure by which a commit record would be too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Excess {
    /// The measure.
    pub of: Measured,
    /// Its value, in bytes.
    pub actual: usize,
    /// Its bound, in bytes.
    pub limit: usize,
}

/// A measure of a commit record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measured {
    /// The total size of the inline values.
    InlineValues,
    /// The greatest size that the whole record can have when it is stored.
    Record,
}

/// A bound that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bound {
    /// The number or the size of the open transactions on this node.
    Transactions,
    /// The number of operations in flight in one transaction.
    OperationsInTransaction,
    /// The number of waiters for one request.
    Waiters,
    /// The number of verbs that wait for the node. Only the driver returns this; the core never
    /// sees such verbs.
    VerbQueue,
}

/// A *tell*: a message by which a node announces commits to its peers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tell {
    /// The number of the message, counted from 1 by its sender.
    pub sequence: u64,
    /// The commits.
    pub commits: Vec<Arc<Header>>,
}

/// A committed transaction without its values: all that the read rule needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Header {
    /// The transaction.
    pub txn: TxnId,
    /// Its request: the name of its record, unless it is whole.
    pub hash: RequestHash,
    /// Its write set, in key order.
    pub writes: Arc<[(Key, Meta)]>,
    /// The version that each write follows, where the store checks its keys.
    pub follows: Option<Arc<[TxnId]>>,
    /// True if its one entry is the commit (protocol, section 3, *whole entries*).
    pub whole: bool,
}

/// A note for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Note {
    /// A transaction ended.
    Ended(AttemptId, End),
    /// The process had not run for a while, so that it no longer knows the time.
    Thawed {
        /// The greatest gap between two steps that a clock shows, in milliseconds.
        gap_ms: u64,
    },
    /// Answers of the store contradict each other about its time: the node's bounds include both
    /// for a while.
    ClocksDisagree {
        /// The distance between the two, in milliseconds.
        apart_ms: u64,
    },
    /// A version's commit time is ahead of the store's time by more than clocks may differ.
    AheadOfTime(TxnId),
    /// An object of the store cannot be read; the text names it.
    Damaged(String),
    /// A session names this commit, which the store must still have and does not have.
    SessionLost(TxnId),
    /// A sweep moved the mark.
    MarkMoved(TxnId),
    /// A sweep removed superseded version entries.
    EntriesRemoved(u64),
    /// A sweep removed commit records whose retention had passed.
    RecordsRemoved(u64),
    /// A sweep removed blob parts.
    PartsRemoved(u64),
    /// A sweep removed version entries and commit records of about this many bytes: names, bodies,
    /// and the large values of the records, whose parts are removed by a later sweep. Parts of
    /// attempts that did not commit are not counted, because listings do not give their length.
    BytesReclaimed(u64),
    /// A sweep put version entries that an attempt had not put.
    EntriesRepaired(u64),
    /// A sweep ended.
    Swept {
        /// True if it covered the whole store.
        whole: bool,
    },
}

/// The end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The transaction committed.
    Committed,
    /// The client aborted it.
    Aborted,
    /// Another attempt of its request had committed.
    LostToOther,
    /// Another transaction had written what it read.
    Conflicted,
    /// Its deadline passed before a commit was sent.
    Expired,
    /// Its deadline passed after a commit may have been sent.
    Unknown,
}

impl Begin {
    /// Sets the level to serializable if the caller gave none and the batch has a condition or a
    /// sum: a condition must hold until the commit. Call it before the batch is taken out.
    pub fn choose_level(&mut self) {
        if self.isolation.is_none() && self.batch.ops.iter().any(Op::is_conditional) {
            self.isolation = Some(Isolation::Serializable);
        }
    }

    /// Returns the arguments for a transaction with the defaults: its request is unnamed, and its
    /// batch is empty. Change them with `Begin { batch, ..Begin::new(attempt, hash) }`.
    pub fn new(attempt: AttemptId, hash: RequestHash) -> Begin {
        Begin {
            attempt,
            hash,
            named: false,
            fingerprint: None,
            timeout_ms: None,
            wait_ms: 0,
            overlap: false,
            session: Session::default(),
            fresh: false,
            retention_ms: None,
            isolation: None,
            conflicts: 0,
            batch: Batch::default(),
        }
    }
}

impl Excess {
    /// Returns the measure by which a record is too large; `actual` is above `limit`.
    pub fn new(of: Measured, actual: usize, limit: usize) -> Excess {
        assert!(actual > limit, "a record that fits is not rejected");
        Excess { of, actual, limit }
    }
}

impl Tell {
    /// Returns the message that announces one commit; `sequence` counts from 1.
    pub fn of(sequence: u64, commit: Arc<Header>) -> Tell {
        assert!(sequence > 0, "a sender counts its messages from 1");
        assert!(!commit.writes.is_empty(), "a commit without writes is nothing to read");
        commit.check_invariants();
        Tell { sequence, commits: vec![commit] }
    }
}

impl Header {
    /// Returns the header of a record.
    pub fn of(record: &Record, whole: bool) -> Header {
        // Copy the entity tag: a slice of the record's body would keep the whole body in memory for
        // as long as the header is known.
        let meta = |write: &Write| {
            let meta = write.meta();
            Meta { etag: Bytes::copy_from_slice(&meta.etag), ..meta }
        };
        let writes: Arc<[(Key, Meta)]> =
            record.writes.iter().map(|(key, write)| (key.clone(), meta(write))).collect();
        assert_eq!(writes.len(), record.writes.len(), "a header has the whole write set");
        let follows = record.follows.as_ref().map(|follows| follows.versions.clone());
        let header = Header { txn: record.txn, hash: record.hash, writes, follows, whole };
        header.check_invariants();
        header
    }

    /// Returns the header of a transaction of one key, which its entry contains entirely.
    pub fn of_single(key: &Key, entry: &VersionEntry) -> Header {
        assert_eq!(entry.cowritten, 1, "an entry says all only if its transaction wrote one key");
        let writes = Arc::from([(key.clone(), entry.meta.clone())]);
        let follows = entry.follows.map(|before| Arc::from([before]));
        let header = Header { txn: entry.txn, hash: entry.hash, writes, follows, whole: entry.whole };
        header.check_invariants();
        header
    }

    /// Asserts what holds for every header.
    pub fn check_invariants(&self) {
        assert!(self.writes.is_sorted_by(|(a, _), (b, _)| a < b), "keys are in order, each once");
        assert!(!self.whole || self.writes.len() == 1, "a whole entry is the commit of one key");
        let fits = |follows: &Arc<[TxnId]>| follows.len() == self.writes.len();
        assert!(self.follows.as_ref().is_none_or(fits), "every write follows a version, or none does");
    }

    /// Returns the version of one key without its bytes, if the transaction wrote it.
    pub fn meta(&self, key: &Key) -> Option<&Meta> {
        let at = self.writes.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        let (found, meta) = &self.writes[at];
        assert_eq!(found, key, "a version is its key's");
        Some(meta)
    }

    /// Returns the version entry of one key of the write set.
    ///
    /// # Panics
    /// Panics if the transaction did not write the key.
    pub fn entry(&self, key: &Key) -> VersionEntry {
        let at = self.writes.binary_search_by(|(other, _)| other.cmp(key));
        let at = at.expect("a version's key is in its write set");
        let meta = self.writes[at].1.clone();
        let follows = self.follows.as_ref().map(|follows| follows[at]);
        let cowritten = u32::try_from(self.writes.len()).expect("a write set is bounded");
        assert!(cowritten > 0, "a transaction with a version wrote a key");
        assert!(!self.whole || cowritten == 1, "a whole entry is the commit of one key");
        VersionEntry { txn: self.txn, hash: self.hash, meta, cowritten, whole: self.whole, follows }
    }
}
