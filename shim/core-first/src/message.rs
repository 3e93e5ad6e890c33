//! What goes in and out of the state machine: verbs and replies for clients, calls and answers for the store, messages for peers.
//!
//! Closed enums, matched without `_`. A later part of the protocol adds variants; it changes none.

use std::sync::Arc;

use bytes::Bytes;

use crate::ids::{AttemptId, Fingerprint, Hlc, Key, NodeId, RequestHash, Session, TxnId};
use crate::record::{LargeResult, Meta, Record, Value, Write};
use crate::store::{Answer, Call, CallId};

/// The clocks at one step, read once by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now {
    /// Milliseconds since the Unix epoch. May jump.
    pub wall_ms: u64,
    /// Milliseconds of a clock that never goes back and counts suspension (`CLOCK_BOOTTIME`).
    pub mono_ms: u64,
}

/// A waiter at the door, unique in one life of a node; every verb gets exactly one reply under its ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One event for the node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// A client asks.
    Verb(Ticket, Verb),
    /// The store answered.
    Answer(CallId, Answer),
    /// A peer says something.
    Heard(NodeId, Tell),
    /// The instant that [`Node::next_wake`](crate::Node::next_wake) named has come. Harmless at any other time.
    Wake,
    /// This node holds the maintainer's lease, or holds it no more.
    Maintain(bool),
    /// The node's heartbeat was lost: drop open transactions, index and queues, and serve nothing until [`Input::HeartbeatBack`].
    HeartbeatLost,
    /// The node has joined again.
    HeartbeatBack,
    /// Open no new transaction; finish what is open.
    Drain,
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Open a transaction, and perhaps run a batch in it at once.
    Begin(Box<Begin>),
    /// Run operations in order; perhaps commit at the end.
    Run(AttemptId, Batch),
    /// List keys.
    List(AttemptId, ListKeys),
    /// Reserve a place for a large value: the reply comes when the attempt's intent is durable, and only then may parts be stored.
    ReserveBlob(AttemptId),
    /// Commit.
    Commit(AttemptId, CommitArgs),
    /// Abort.
    Abort(AttemptId),
    /// Did this request commit?
    LookUp(RequestHash),
    /// Did the request of this attempt commit? If the node does not remember the attempt, did this one?
    LookUpOf(AttemptId, RequestHash),
}

/// Opens a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Begin {
    /// A fresh UUIDv7.
    pub attempt: AttemptId,
    /// The request; for an unnamed one, derived from the attempt.
    pub hash: RequestHash,
    /// Whether the caller named the request.
    pub named: bool,
    /// The payload's fingerprint, if the caller gave one.
    pub fingerprint: Option<Fingerprint>,
    /// How long the transaction may stay open; clamped to the settings.
    pub timeout_ms: Option<u64>,
    /// How long to wait for an attempt of the same request that is open on this node.
    pub wait_ms: u64,
    /// Run beside an open attempt of the same request instead of waiting: the caller knows that the other one is dead or does not care.
    /// The commit record decides.
    pub overlap: bool,
    /// What the client has seen.
    pub session: Session,
    /// How long the record is to be kept; clamped to the settings.
    pub retention_ms: Option<u64>,
    /// Whether the commit's acknowledgement waits until it is published.
    pub visibility: Visibility,
    /// To run at once.
    pub batch: Batch,
}

/// When a commit is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Visibility {
    /// When it is durable.
    #[default]
    Relaxed,
    /// When it is published as well.
    Published,
}

/// Operations to run in order, and perhaps a commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Batch {
    /// The operations.
    pub ops: Vec<Op>,
    /// Commit when all of them succeeded.
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
    /// What later attempts of the request are answered, in a blob of the transaction.
    Result(LargeResult),
    /// The payload's fingerprint, where it was not known when the transaction began.
    Fingerprint(Fingerprint),
}

/// What a commit carries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CommitArgs {
    /// What later attempts of the request are answered; opaque. Without one, the last [`Op::Result`] counts, if there was any.
    pub result: Option<Bytes>,
}

/// Lists keys in order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListKeys {
    /// The prefix; may be empty.
    pub prefix: String,
    /// Exclusive; any string.
    pub after: Option<String>,
    /// At most so many keys; at least 1.
    pub limit: u32,
}

/// One event from the node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Output {
    /// The reply to a verb.
    Reply(Ticket, Result<Reply, Refusal>),
    /// A call to the store, to be answered by [`Input::Answer`] exactly once (or never, if the node dies).
    Call(CallId, Call),
    /// To all peers. Loss costs freshness only.
    Tell(Tell),
    /// For people and metrics.
    Note(Note),
}

/// What a verb is answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reply {
    /// A transaction is open; with the results of the batch that came along, and how it ended if it was to commit.
    Begun {
        /// The attempt.
        attempt: AttemptId,
        /// What remains of its time, in milliseconds.
        remaining_ms: u64,
        /// One for every `Get` of the batch, in order.
        reads: Vec<Read>,
        /// If the batch was to commit.
        committed: Option<Committed>,
    },
    /// The batch ran.
    Ran {
        /// One for every `Get` of the batch, in order.
        reads: Vec<Read>,
        /// If the batch was to commit.
        committed: Option<Committed>,
    },
    /// A page of keys.
    Listed {
        /// Keys that exist in the transaction's snapshot, in order.
        keys: Vec<ListedKey>,
        /// Continue after this string, exclusive; `None`: the end.
        next: Option<String>,
    },
    /// A place for a large value.
    Reserved {
        /// The number of the blob.
        number: u32,
    },
    /// The transaction committed.
    Committed(Committed),
    /// Another attempt of the request had committed, or did now; this one has no effect.
    Replayed(Replayed),
    /// The transaction is gone, without effects.
    Aborted,
    /// The answer to a look-up.
    Found(Arc<Record>),
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Committed {
    /// Its identity; `None` if there was nothing to store.
    pub txn: Option<TxnId>,
    /// For the client's next transaction.
    pub session: Session,
}

/// What the request's winning attempt left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replayed {
    /// The winner.
    pub txn: TxnId,
    /// Its result.
    pub result: Option<Bytes>,
    /// Its result, if it is large.
    pub large_result: Option<LargeResult>,
    /// For the client's next transaction.
    pub session: Session,
}

/// One read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Read {
    /// The key.
    pub key: Key,
    /// What was found.
    pub found: Found,
}

/// What a read found.
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

/// Why a verb was not carried out. What the caller must do stands with each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// No compatible version remains for this key: run the request again. Nothing was exposed.
    SnapshotGone(Key),
    /// A bound is reached: try again after a while.
    Overloaded(Bound),
    /// The transaction's time ran out, or its node dropped it: run the request again.
    Lost,
    /// The store did not do what was needed in time; nothing was committed: try again.
    StoreUnavailable(String),
    /// Another attempt of the request is open here: try again after so many milliseconds.
    InProgress {
        /// When the open attempt ends at the latest.
        retry_after_ms: u64,
    },
    /// The request ID was used with another payload: a mistake of the caller.
    KeyReused,
    /// The request committed, but its result is no longer kept. It will not run again.
    ResultGone,
    /// Whether the transaction committed is not known: look the request up, or commit again.
    Unknown(RequestHash),
    /// The same, and why: what the store holds under the commit record's name is damaged; the text names it. Somebody has to mend the store
    /// before anybody can tell.
    UnknownDamaged(RequestHash, String),
    /// No transaction or request of that name is known.
    NotFound,
    /// The transaction has ended (committed, aborted) or is committing: nothing more can be done in it.
    Ended,
    /// The node drains or has no heartbeat: go to another.
    NotServing,
    /// The batch or commit would make the transaction's commit record too large; nothing of it took effect, and the transaction is as it
    /// was: store `actual - limit` bytes of the batch's inline values as blobs and run it again, or, if it has not so many, give fewer or
    /// shorter keys, attributes or a smaller result.
    TooLarge(Excess),
    /// The input breaks a rule; the text says which, and the remedy.
    Invalid(String),
    /// The store holds something damaged or foreign; the text names it.
    Damaged(String),
}

/// What a commit record would have too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Excess {
    /// What was measured.
    pub of: Measured,
    /// What it would be, in bytes.
    pub actual: usize,
    /// What it may be, in bytes.
    pub limit: usize,
}

/// What of a commit record is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measured {
    /// The inline values together.
    InlineValues,
    /// All of it, as it would be stored, at most.
    Record,
}

/// A bound that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bound {
    /// Open transactions on this node, their number or what they hold.
    Transactions,
    /// Operations under way in one transaction.
    OperationsInTransaction,
    /// Waiters for one request.
    Waiters,
    /// Version entries that wait to be published.
    PublishQueue,
    /// Verbs that wait for the node; its driver answers so, the core never sees them.
    VerbQueue,
}

/// Commits that a node tells its peers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tell {
    /// Counts the sender's tells.
    pub sequence: u64,
    /// The sender's clock.
    pub time: Hlc,
    /// What committed.
    pub commits: Vec<Arc<Header>>,
}

/// A committed transaction without its values: what the read rule needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Header {
    /// The transaction.
    pub txn: TxnId,
    /// Where its record stands.
    pub hash: RequestHash,
    /// Its write set, in key order.
    pub writes: Arc<[(Key, Meta)]>,
}

/// Something that people or metrics want to know of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Note {
    /// A transaction ended.
    Ended(AttemptId, End),
    /// A transaction's versions are all entered.
    Published(TxnId),
    /// What an earlier life left unpublished is published; the node may serve.
    Recovered,
    /// A transaction was collected; its slim record remains.
    Collected(TxnId),
    /// An attempt's leavings were removed.
    OrphanRemoved(AttemptId),
    /// The maintainer met something damaged, and leaves it alone.
    MaintenanceDamaged(String),
    /// What an earlier life left cannot be listed, something being damaged: as long as that is so, the node does not serve.
    RecoveryBlocked(String),
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// It committed.
    Committed,
    /// The client aborted it.
    Aborted,
    /// Another attempt of its request had committed.
    LostToOther,
    /// Its time ran out before a commit was sent.
    Expired,
    /// Its time ran out after a commit may have been sent.
    Unknown,
}

impl Header {
    /// The header of a full record; `None` for a slim one.
    pub fn of(record: &Record) -> Option<Header> {
        // An entity tag with a buffer of its own: a slice of a record's body would hold all of it for as long as the header is known.
        let meta = |write: &Write| {
            let meta = write.meta();
            Meta { etag: Bytes::copy_from_slice(&meta.etag), ..meta }
        };
        let writes = record.full()?.iter().map(|(key, write)| (key.clone(), meta(write))).collect();
        Some(Header { txn: record.txn, hash: record.hash, writes })
    }
}
