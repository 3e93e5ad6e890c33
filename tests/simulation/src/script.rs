//! What clients do: requests with their programs, and attempts that run them.
//!
//! A request is what the outside asked for once; every attempt of it runs the same program on the same keys, but writes values that
//! name the attempt, so that each read identifies its writer with no help from the system.

use std::collections::BTreeMap;

use aft_core::ids::{AttemptId, Fingerprint, Key, NodeId, RequestHash, Session, TxnId};
use aft_core::message::{Batch, Begin, CommitArgs, ListKeys, Op, Refusal, Ticket, Verb, Visibility};
use aft_core::record::{BlobRef, Location, Value, Write};
use bytes::Bytes;

/// Blobs have this many parts: more than one, so that half a blob exists.
pub const BLOB_PARTS: u32 = 2;
/// The bytes of every part of a blob: its content does not matter here.
pub const BLOB_PART_BYTES: u32 = 4;

/// One operation of a program.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read.
    Get(Key),
    /// Write a value that names the attempt.
    Put(Key),
    /// Write a tombstone.
    Delete(Key),
}

/// One step of a program: one verb, or several for a blob.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// Operations in one batch.
    Run(Vec<Action>),
    /// List keys.
    List {
        /// The prefix.
        prefix: String,
        /// At most so many a page; only the first page is asked for.
        limit: u32,
    },
    /// Reserve a blob, store its parts, put it.
    Blob(Key),
    /// Commit.
    Commit,
    /// Abort.
    Abort,
}

/// What the outside asks for once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Request {
    /// Whether it has a request ID. If not, it is a new one at every attempt.
    pub named: bool,
    /// Its program.
    pub program: Vec<Step>,
    /// Send the first batch with the opening, and the commit with the batch before it.
    pub eager: bool,
    /// When its commit is acknowledged.
    pub visibility: Visibility,
    /// How long its transaction may stay open.
    pub timeout_ms: Option<u64>,
    /// How long its record is kept.
    pub retention_ms: Option<u64>,
    /// Attempts do not wait for each other on one node.
    pub overlap: bool,
    /// Which request ID, by number: another request may use the same one later.
    pub id: u32,
    /// The payload.
    pub payload: u8,
}

impl Request {
    /// A named request with a program, one verb a step.
    pub fn new(id: u32, program: Vec<Step>) -> Request {
        Request {
            named: true,
            program,
            eager: false,
            visibility: Visibility::Relaxed,
            timeout_ms: None,
            retention_ms: None,
            overlap: true,
            id,
            payload: 0,
        }
    }

    /// The request's hash, for an attempt of it.
    pub fn hash_for(&self, attempt: AttemptId) -> RequestHash {
        let mut hash = [0; 32];
        if self.named {
            hash[0] = 1;
            hash[28..].copy_from_slice(&self.id.to_be_bytes());
        } else {
            hash[16..].copy_from_slice(&attempt.0);
        }
        RequestHash(hash)
    }

    /// The payload's fingerprint.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.named.then_some(Fingerprint([self.payload; 32]))
    }
}

/// What a transaction has seen of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// A version.
    Version(TxnId),
    /// No version.
    Absent,
    /// A listing left it out: it is absent, or its version is a tombstone.
    Unlisted,
}

/// How far an attempt is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Progress {
    /// Its opening has not been sent.
    Unbegun,
    /// It may send its next verb.
    Ready,
    /// It waits for a reply.
    Waiting(Ticket),
    /// It stores the parts of a blob; this one is next.
    Parts {
        /// The blob.
        number: u32,
        /// The part.
        next: u32,
    },
    /// It will send nothing more.
    Ended(Ended),
}

/// How an attempt ended, as its client knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ended {
    /// Acknowledged.
    Committed(Option<TxnId>),
    /// Another attempt had won.
    Replayed(TxnId),
    /// Refused.
    Refused(Refusal),
    /// Aborted by its own program.
    Aborted,
    /// Its node died before it replied.
    NodeDied,
}

/// A verb on its way: what its reply is held against.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Sent {
    /// When.
    pub at_ms: u64,
    /// The keys of the gets in the batch, each with the transaction's own write of it at that point.
    pub gets: Vec<(Key, Option<Write>)>,
    /// A listing: prefix and limit.
    pub list: Option<(String, u32)>,
    /// This verb commits.
    pub commits: bool,
    /// A blob was asked for, for this key.
    pub blob: Option<Key>,
    /// This verb aborts.
    pub aborts: bool,
    /// This verb opens the transaction.
    pub begins: bool,
    /// What the node had shown of every key before it was sent, and since when it knew it.
    pub shown: BTreeMap<Key, (TxnId, u64)>,
    /// When it was sent, a full commit record of the request stood in the store.
    pub record_stood: bool,
}

/// One execution of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Its transaction.
    pub id: AttemptId,
    /// The number of its request.
    pub request: usize,
    /// The host that it goes to.
    pub host: usize,
    /// The life of the host on which it began.
    pub node: Option<NodeId>,
    /// The next step of the program.
    pub at: usize,
    /// How far it is.
    pub progress: Progress,
    /// What its client has seen before.
    pub session: Session,
    /// What its client may pass on, once it committed or was replayed to.
    pub session_after: Session,
    /// What it has seen so far.
    pub read: BTreeMap<Key, Seen>,
    /// What it has written so far, sent or not yet replied to.
    pub writes: BTreeMap<Key, Write>,
    /// How many writes it made: names its values.
    pub write_count: u32,
    /// Its commit was sent.
    pub commit_sent: bool,
    /// When its opening was sent.
    pub begun_ms: u64,
    /// The verb under way.
    pub sent: Sent,
}

/// The attempt's number, from its id.
pub fn attempt_number(id: AttemptId) -> usize {
    u32::from_be_bytes([id.0[12], id.0[13], id.0[14], id.0[15]]) as usize
}

/// The id of an attempt, in the layout of a UUIDv7: milliseconds first.
pub fn attempt_id(ms: u64, number: usize) -> AttemptId {
    let mut id = [0; 16];
    id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    id[6] = 0x70;
    id[8] = 0x80;
    id[12..].copy_from_slice(&(number as u32).to_be_bytes());
    AttemptId(id)
}

impl Attempt {
    /// A new attempt, not yet begun.
    pub fn new(id: AttemptId, request: usize, host: usize, session: Session) -> Attempt {
        Attempt {
            id,
            request,
            host,
            node: None,
            at: 0,
            progress: Progress::Unbegun,
            session,
            session_after: Session::new(),
            read: BTreeMap::new(),
            writes: BTreeMap::new(),
            write_count: 0,
            commit_sent: false,
            begun_ms: 0,
            sent: Sent::default(),
        }
    }

    /// How it ended, if it did.
    pub fn ended(&self) -> Option<&Ended> {
        match &self.progress {
            Progress::Ended(ended) => Some(ended),
            Progress::Unbegun | Progress::Ready | Progress::Waiting(_) | Progress::Parts { .. } => None,
        }
    }

    /// The result that its record carries.
    pub fn result(&self) -> Bytes {
        Bytes::from(format!("result {}", attempt_number(self.id)))
    }

    fn inline(&mut self) -> Write {
        self.write_count += 1;
        let text = Bytes::from(format!("{}.{}", attempt_number(self.id), self.write_count));
        Write::Put(Value {
            size: text.len() as u64,
            etag: text.clone(),
            location: Location::Inline(text),
            attributes: Bytes::new(),
        })
    }

    /// The write of a finished blob.
    pub fn blob(&mut self, number: u32) -> Write {
        self.write_count += 1;
        Write::Put(Value {
            location: Location::Blob(BlobRef {
                attempt: self.id,
                number,
                parts: BLOB_PARTS,
                part_bytes: BLOB_PART_BYTES,
            }),
            size: u64::from(BLOB_PARTS * BLOB_PART_BYTES),
            etag: Bytes::from(format!("{}.{}", attempt_number(self.id), self.write_count)),
            attributes: Bytes::new(),
        })
    }

    fn ops(&mut self, actions: &[Action]) -> Vec<Op> {
        let mut ops = Vec::with_capacity(actions.len());
        for action in actions {
            ops.push(match action {
                Action::Get(key) => {
                    let own = self.writes.get(key).cloned();
                    self.sent.gets.push((key.clone(), own));
                    Op::Get(key.clone())
                }
                Action::Put(key) => {
                    let Write::Put(value) = self.inline() else { unreachable!("inline writes are puts") };
                    self.writes.insert(key.clone(), Write::Put(value.clone()));
                    Op::Put(key.clone(), value)
                }
                Action::Delete(key) => {
                    self.writes.insert(key.clone(), Write::Tombstone);
                    Op::Delete(key.clone())
                }
            });
        }
        ops
    }

    /// The batch at the program's current place, if one is there, and moves on.
    fn batch(&mut self, request: &Request, with_commit: bool) -> Batch {
        let Some(Step::Run(actions)) = request.program.get(self.at) else { return Batch::default() };
        let ops = self.ops(actions);
        self.at += 1;
        let commits = with_commit && request.program.get(self.at) == Some(&Step::Commit);
        if commits {
            self.at += 1;
            self.sent.commits = true;
            self.commit_sent = true;
        }
        Batch { ops, commit: commits.then(|| self.commit_args(request)) }
    }

    fn commit_args(&self, request: &Request) -> CommitArgs {
        CommitArgs { result: request.named.then(|| self.result()) }
    }

    /// The next verb. `None` after the last step.
    pub fn next_verb(&mut self, request: &Request, now_ms: u64) -> Option<Verb> {
        self.sent = Sent { at_ms: now_ms, ..Sent::default() };
        if self.progress == Progress::Unbegun {
            self.sent.begins = true;
            self.begun_ms = now_ms;
            let batch = if request.eager { self.batch(request, true) } else { Batch::default() };
            return Some(Verb::Begin(Box::new(Begin {
                attempt: self.id,
                hash: request.hash_for(self.id),
                named: request.named,
                fingerprint: request.fingerprint(),
                timeout_ms: request.timeout_ms,
                wait_ms: 0,
                overlap: request.overlap,
                session: self.session.clone(),
                retention_ms: request.retention_ms,
                visibility: request.visibility,
                batch,
            })));
        }
        let verb = match request.program.get(self.at)? {
            Step::Run(_) => Verb::Run(self.id, self.batch(request, request.eager)),
            Step::List { prefix, limit } => {
                self.at += 1;
                self.sent.list = Some((prefix.clone(), *limit));
                Verb::List(self.id, ListKeys { prefix: prefix.clone(), after: None, limit: *limit })
            }
            Step::Blob(key) => {
                self.sent.blob = Some(key.clone());
                Verb::ReserveBlob(self.id)
            }
            Step::Commit => {
                self.at += 1;
                self.sent.commits = true;
                self.commit_sent = true;
                Verb::Commit(self.id, self.commit_args(request))
            }
            Step::Abort => {
                self.at += 1;
                self.sent.aborts = true;
                Verb::Abort(self.id)
            }
        };
        Some(verb)
    }
}
