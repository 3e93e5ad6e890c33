//! Requests and their programs: the work of clients. An [`attempt`](crate::attempt) runs one.

use aft_core::ids::{AttemptId, Fingerprint, Key, RequestHash};

/// An operation of a program.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read.
    Get(Key),
    /// Write a value that names the attempt.
    Put(Key),
    /// Write a tombstone.
    Delete(Key),
    /// Check a condition on the key's committed version.
    Check(Key, Guard),
    /// Add to the number that the key holds.
    Add(Key, i64),
}

/// The demand of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guard {
    /// The key has no value.
    Absent,
    /// The key's version is the newest one that the client knew when it began.
    Version,
    /// The key's value has the bytes of that version.
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

    /// Returns true for a condition or a sum, which only serializable transactions may have.
    pub fn is_conditional(&self) -> bool {
        match self {
            Action::Check(..) | Action::Add(..) => true,
            Action::Get(_) | Action::Put(_) | Action::Delete(_) => false,
        }
    }
}

/// A step of a program: one verb, or several for a blob.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// Operations in one batch.
    Run(Vec<Action>),
    /// List keys.
    List {
        /// The prefix.
        prefix: String,
        /// The largest number of keys in a page.
        limit: u32,
        /// The largest number of pages. Each is a separate verb, which continues after the page
        /// before.
        pages: u32,
        /// The delimiter at which keys are rolled up into common prefixes.
        delimiter: Option<String>,
    },
    /// Reserve a blob, store its parts, and put it: under the key, or as the request's result.
    Blob(Option<Key>),
    /// Commit.
    Commit,
    /// Abort.
    Abort,
}

/// A request, which the outside asks for once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Request {
    /// True if it has a request ID. Without one, every attempt is a request of its own.
    pub named: bool,
    /// Its program.
    pub program: Vec<Step>,
    /// Send the first batch together with the begin, and the commit with the batch before it.
    pub eager: bool,
    /// Its transactions begin fresh.
    pub fresh: bool,
    /// The longest pause of the client between two verbs, in milliseconds. A slow client may reach
    /// the transaction's deadline.
    pub dwell_max_ms: u64,
    /// The timeout of its transaction, if it asks for one.
    pub timeout_ms: Option<u64>,
    /// The time for which its record is kept, if it asks for one.
    pub retention_ms: Option<u64>,
    /// Attempts on one node do not wait for each other.
    pub overlap: bool,
    /// The time for which an attempt waits for an open one on its node.
    pub wait_ms: u64,
    /// Its transactions are serializable.
    pub checked: bool,
    /// Batches and listings are sent without waiting for earlier replies; so is the program's end.
    pub parallel: bool,
    /// The commit is sent twice, the second time before the first was replied to.
    pub twice: bool,
    /// A failure of the store does not end the program: a commit is sent again after it, and after
    /// an unknown outcome.
    pub stubborn: bool,
    /// The number of its request ID. Another request may use the same one later.
    pub id: u32,
    /// The payload, which gives the fingerprint.
    pub payload: u8,
}

impl Step {
    /// Returns a listing of every key, in one page.
    pub fn list_all() -> Step {
        Step::List { prefix: String::new(), limit: 100, pages: 1, delimiter: None }
    }
}

impl Request {
    /// Returns a named request that sends each step of `program` as a verb of its own.
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

    /// Returns true if a begin of it may wait for another attempt.
    pub fn waits(&self) -> bool {
        self.named && !self.overlap && self.wait_ms > 0
    }

    /// Returns the hash under which `attempt` of this request commits.
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

    /// Returns the payload's fingerprint; an unnamed request has none.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.named.then_some(Fingerprint([self.payload; 32]))
    }
}
