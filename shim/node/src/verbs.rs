//! The verbs of a node, with one typed method each: the only way in for doors and load generators.
//!
//! The core answers every verb with a [`Reply`], although each verb has only a few possible ones.
//! The methods here return only those, so that no caller has to handle a reply that cannot come.
//! [`NodeHandle::begin`] and [`NodeHandle::run`], which take values of any size, are in `batches`.

use std::sync::Arc;

use aft_core::ids::{AttemptId, RequestHash};
use aft_core::message::{
    Batch, Begin, CommitArgs, Committed, ListKeys, ListedKey, Read, Refusal, Replayed, Reply, Verb,
};
use aft_core::record::{BlobGroup, Record};

use crate::handle::NodeHandle;

/// The outcome of opening a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The transaction is open.
    Open {
        /// The transaction's attempt.
        attempt: AttemptId,
        /// The time until the transaction's deadline, in milliseconds.
        remaining_ms: u64,
        /// One for every `Get` and `Add` of the batch, in order.
        reads: Vec<Read>,
    },
    /// The batch committed.
    Committed {
        /// The commit.
        committed: Committed,
        /// One for every `Get` and `Add` of the batch, in order.
        reads: Vec<Read>,
    },
    /// Another attempt of the request had committed, or did meanwhile; this one has no effect.
    Replayed(Replayed),
}

/// The outcome of a batch in an open transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ran {
    /// The batch ran, and the transaction stays open.
    Open {
        /// One for every `Get` and `Add` of the batch, in order.
        reads: Vec<Read>,
    },
    /// The batch committed.
    Committed {
        /// The commit.
        committed: Committed,
        /// One for every `Get` and `Add` of the batch, in order.
        reads: Vec<Read>,
    },
    /// Another attempt of the request had committed, or did meanwhile; this one has no effect.
    Replayed(Replayed),
}

/// The outcome of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The transaction committed.
    Committed(Committed),
    /// Another attempt of the request had committed, or did meanwhile; this one has no effect.
    Replayed(Replayed),
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Keys that exist in the transaction's snapshot, in order.
    pub keys: Vec<ListedKey>,
    /// Common prefixes under which a key exists, in order.
    pub prefixes: Vec<String>,
    /// The text after which the next page begins, exclusive; `None` at the end.
    pub next: Option<String>,
}

impl NodeHandle {
    /// Lists keys in an open transaction.
    ///
    /// # Errors
    /// Returns the core's refusal; [`Refusal::Overloaded`] if the queue is full; and
    /// [`Refusal::NotServing`] if the node has stopped.
    pub async fn list(&self, attempt: AttemptId, keys: ListKeys) -> Result<Page, Refusal> {
        match self.ask(Verb::List(attempt, keys)).await? {
            Reply::Listed { keys, prefixes, next } => Ok(Page { keys, prefixes, next }),
            reply => panic!("a listing was answered with {reply:?}"),
        }
    }

    /// Commits an open transaction. A repeated commit returns the outcome of the first.
    ///
    /// # Errors
    /// Returns the errors of [`NodeHandle::list`]; and [`Refusal::Unknown`] if the node stopped
    /// while the commit may have been in flight: look the request up, or commit again.
    pub async fn commit(&self, attempt: AttemptId, args: CommitArgs) -> Result<Ended, Refusal> {
        aft_core::room!();
        match self.ask(Verb::Commit(attempt, args)).await? {
            Reply::Committed(committed) => Ok(Ended::Committed(committed)),
            Reply::Replayed(replayed) => Ok(Ended::Replayed(replayed)),
            reply => panic!("a commit was answered with {reply:?}"),
        }
    }

    /// Aborts an open transaction: none of its writes takes effect.
    ///
    /// # Errors
    /// Returns the errors of [`NodeHandle::list`]; and [`Refusal::Ended`] if the transaction has
    /// committed or is committing.
    pub async fn abort(&self, attempt: AttemptId) -> Result<(), Refusal> {
        match self.ask(Verb::Abort(attempt)).await? {
            Reply::Aborted => Ok(()),
            reply => panic!("an abort was answered with {reply:?}"),
        }
    }

    /// Returns the commit record of a request.
    ///
    /// # Errors
    /// Returns [`Refusal::NotFound`] if no commit of the request is known, and the errors of
    /// [`NodeHandle::list`].
    pub async fn look_up(&self, request: RequestHash) -> Result<Arc<Record>, Refusal> {
        self.found(Verb::LookUp(request)).await
    }

    /// Returns the commit record of the request of `attempt`. If the node does not remember the
    /// attempt, looks up `request` instead.
    ///
    /// # Errors
    /// Returns the errors of [`NodeHandle::look_up`].
    pub async fn look_up_of(&self, attempt: AttemptId, request: RequestHash) -> Result<Arc<Record>, Refusal> {
        self.found(Verb::LookUpOf(attempt, request)).await
    }

    async fn found(&self, verb: Verb) -> Result<Arc<Record>, Refusal> {
        match self.ask(verb).await? {
            Reply::Found(record) => Ok(record),
            reply => panic!("a look-up was answered with {reply:?}"),
        }
    }

    /// Reserves the place of the attempt's next blob, and returns its group and its number there.
    pub(crate) async fn reserve_blob(&self, attempt: AttemptId) -> Result<(BlobGroup, u32), Refusal> {
        match self.ask(Verb::ReserveBlob(attempt)).await? {
            Reply::Reserved { group, number } => Ok((group, number)),
            reply => panic!("a reservation was answered with {reply:?}"),
        }
    }

    /// Opens a transaction and runs its batch, without moving large values into parts.
    pub(crate) async fn begin_inline(&self, begin: Box<Begin>) -> Result<Begun, Refusal> {
        Ok(match self.ask(Verb::Begin(begin)).await? {
            Reply::Begun { reads, committed: Some(committed), .. } => Begun::Committed { committed, reads },
            Reply::Begun { attempt, remaining_ms, reads, committed: None } => {
                Begun::Open { attempt, remaining_ms, reads }
            }
            Reply::Replayed(replayed) => Begun::Replayed(replayed),
            reply => panic!("a begin was answered with {reply:?}"),
        })
    }

    /// Runs a batch, without moving large values into parts.
    pub(crate) async fn run_inline(&self, attempt: AttemptId, batch: Batch) -> Result<Ran, Refusal> {
        aft_core::room!();
        Ok(match self.ask(Verb::Run(attempt, batch)).await? {
            Reply::Ran { reads, committed: Some(committed) } => Ran::Committed { committed, reads },
            Reply::Ran { reads, committed: None } => Ran::Open { reads },
            Reply::Replayed(replayed) => Ran::Replayed(replayed),
            reply => panic!("a batch was answered with {reply:?}"),
        })
    }
}
