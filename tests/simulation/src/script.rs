//! What clients are to do: requests with their programs. Who runs them is an [`attempt`](crate::attempt).

use aft_core::ids::{AttemptId, Fingerprint, Key, RequestHash};

/// One operation of a program.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read.
    Get(Key),
    /// Write a value that names the attempt.
    Put(Key),
    /// Write a tombstone.
    Delete(Key),
    /// Demand something of the key's committed version.
    Check(Key, Guard),
    /// Add to the number that the key holds.
    Add(Key, i64),
}

/// What a condition demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guard {
    /// That the key has no value.
    Absent,
    /// That its value is of the newest version that the client knew when it began.
    Version,
    /// That its value is that version's.
    Value,
}

impl Action {
    /// Returns the key.
    pub fn key(&self) -> &Key {
        match self {
            Action::Get(key)
            | Action::Put(key)
            | Action::Delete(key)
            | Action::Check(key, _)
            | Action::Add(key, _) => key,
        }
    }

    /// Returns true if it belongs to a serializable transaction.
    pub fn is_conditional(&self) -> bool {
        match self {
            Action::Check(..) | Action::Add(..) => true,
            Action::Get(_) | Action::Put(_) | Action::Delete(_) => false,
        }
    }
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
        /// At most so many a page.
        limit: u32,
        /// At most so many pages, each a verb of its own that continues after the one before.
        pages: u32,
        /// Roll keys up at this text.
        delimiter: Option<String>,
    },
    /// Reserve a blob, store its parts, put it: under a key, or as the request's result.
    Blob(Option<Key>),
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
    /// Its transactions begin fresh.
    pub fresh: bool,
    /// Its client takes its time: between two verbs about this many milliseconds pass at most, until the transaction's time is over.
    pub dwell_max_ms: u64,
    /// How long its transaction may stay open.
    pub timeout_ms: Option<u64>,
    /// How long its record is kept.
    pub retention_ms: Option<u64>,
    /// Attempts do not wait for each other on one node.
    pub overlap: bool,
    /// How long an attempt waits for an open one on its node.
    pub wait_ms: u64,
    /// Its transactions are serializable.
    pub checked: bool,
    /// Batches and listings do not wait for each other's replies, nor does the end of the program for theirs.
    pub parallel: bool,
    /// A commit is sent twice, the second time before the first is replied to.
    pub twice: bool,
    /// What is refused for want of a store does not end the program; a commit is then sent again, and after an unknown outcome too.
    pub stubborn: bool,
    /// Which request ID, by number: another request may use the same one later.
    pub id: u32,
    /// The payload.
    pub payload: u8,
}

impl Step {
    /// A listing of every key, in one page.
    pub fn list_all() -> Step {
        Step::List { prefix: String::new(), limit: 100, pages: 1, delimiter: None }
    }
}

impl Request {
    /// A named request with a program, one verb a step.
    pub fn new(id: u32, program: Vec<Step>) -> Request {
        Request {
            named: true,
            program,
            eager: false,
            fresh: false,
            dwell_max_ms: 0,
            timeout_ms: None,
            retention_ms: None,
            overlap: true,
            wait_ms: 0,
            checked: false,
            parallel: false,
            twice: false,
            stubborn: false,
            id,
            payload: 0,
        }
    }

    /// Returns the operations of its batches, in order.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        let batches = self.program.iter().filter_map(|step| match step {
            Step::Run(actions) => Some(actions),
            Step::List { .. } | Step::Blob(_) | Step::Commit | Step::Abort => None,
        });
        batches.flatten()
    }

    /// Returns true if its begin may wait for another attempt.
    pub fn waits(&self) -> bool {
        self.named && !self.overlap && self.wait_ms > 0
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
