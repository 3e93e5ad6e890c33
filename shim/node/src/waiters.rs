//! Waiters: the callers that wait for a reply, and their answers when none will come.
//!
//! If the loop ends with waiters (a broken invariant, a drain's deadline, a runtime that is shut
//! down), each gets an answer. A verb that may have sent a commit is answered *unknown*, since its
//! record may be in the store. Every other verb had no effect.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Instant;

use aft_core::ids::{AttemptId, RequestHash};
use aft_core::message::{Refusal, Reply, Ticket, Verb};
use tokio::sync::oneshot;

use crate::clock::Deadline;

/// The answer to a verb.
pub(crate) type Outcome = Result<Reply, Refusal>;

/// The kinds of verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VerbKind {
    Begin,
    Run,
    List,
    ReserveBlob,
    Commit,
    Abort,
    LookUp,
}

impl VerbKind {
    /// Every kind, in the order of their discriminants.
    pub(crate) const ALL: [VerbKind; 7] = [
        VerbKind::Begin,
        VerbKind::Run,
        VerbKind::List,
        VerbKind::ReserveBlob,
        VerbKind::Commit,
        VerbKind::Abort,
        VerbKind::LookUp,
    ];

    pub(crate) fn of(verb: &Verb) -> VerbKind {
        match verb {
            Verb::Begin(_) => VerbKind::Begin,
            Verb::Run(..) => VerbKind::Run,
            Verb::List(..) => VerbKind::List,
            Verb::ReserveBlob(_) => VerbKind::ReserveBlob,
            Verb::Commit(..) => VerbKind::Commit,
            Verb::Abort(_) => VerbKind::Abort,
            Verb::LookUp(_) | Verb::LookUpOf(..) => VerbKind::LookUp,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            VerbKind::Begin => "begin",
            VerbKind::Run => "run",
            VerbKind::List => "list",
            VerbKind::ReserveBlob => "reserve_blob",
            VerbKind::Commit => "commit",
            VerbKind::Abort => "abort",
            VerbKind::LookUp => "look_up",
        }
    }
}

/// One waiter.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// The sender of the reply; `None` if no caller waits for it.
    pub(crate) reply: Option<oneshot::Sender<Outcome>>,
    pub(crate) kind: VerbKind,
    /// The time at which the verb was sent.
    pub(crate) since: Instant,
    /// The attempt that this verb opens.
    pub(crate) opens: Option<AttemptId>,
    /// The request whose commit this verb may send.
    doubt: Option<RequestHash>,
    /// The attempts of the same request that were open here when this verb came, if it is an
    /// opening that waits for them.
    beside: Vec<AttemptId>,
}

impl Waiter {
    /// Returns true if this verb waited for another attempt, and `outcome` is that attempt's
    /// result.
    pub(crate) fn waited_for(&self, outcome: &Outcome) -> bool {
        matches!(outcome, Ok(Reply::Replayed(replayed)) if self.beside.contains(&replayed.txn.attempt))
    }
}

/// All waiters, and the requests of open transactions.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: HashMap<Ticket, Waiter>,
    /// The requests of transactions that were begun and have not ended.
    requests: HashMap<AttemptId, RequestHash>,
    /// The deadlines of transactions whose begin was answered and that have not ended.
    deadlines: HashMap<AttemptId, Deadline>,
    /// The inverse of `requests`, for named requests only: an unnamed one has a single attempt.
    attempts: HashMap<RequestHash, Vec<AttemptId>>,
    tickets: u64,
}

impl Waiters {
    /// Adds a verb, and returns the ticket under which its reply will come.
    pub(crate) fn enter(
        &mut self,
        verb: &Verb,
        reply: Option<oneshot::Sender<Outcome>>,
        since: Instant,
    ) -> Ticket {
        let mut opens = None;
        let mut beside = Vec::new();
        // A verb may send a commit if it is one, or if its batch ends with one.
        let doubt = match verb {
            Verb::Begin(begin) => {
                opens = Some(begin.attempt);
                self.requests.insert(begin.attempt, begin.hash);
                if begin.named {
                    let attempts = self.attempts.entry(begin.hash).or_default();
                    if !begin.overlap {
                        beside.clone_from(attempts);
                    }
                    attempts.push(begin.attempt);
                }
                begin.batch.commit.is_some().then_some(begin.hash)
            }
            Verb::Run(attempt, batch) if batch.commit.is_some() => self.requests.get(attempt).copied(),
            Verb::Commit(attempt, args) => self.requests.get(attempt).copied().or(args.request),
            Verb::Run(..)
            | Verb::List(..)
            | Verb::ReserveBlob(_)
            | Verb::Abort(_)
            | Verb::LookUp(_)
            | Verb::LookUpOf(..) => None,
        };
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting.insert(ticket, Waiter { reply, kind: VerbKind::of(verb), since, opens, doubt, beside });
        ticket
    }

    /// Takes the waiter of a ticket.
    ///
    /// # Panics
    /// Panics if there is none: every verb gets exactly one reply.
    pub(crate) fn take(&mut self, ticket: Ticket) -> Waiter {
        self.waiting.remove(&ticket).expect("every reply has a waiter, and every waiter one reply")
    }

    /// Notes that a transaction is open until `deadline`.
    pub(crate) fn opened(&mut self, attempt: AttemptId, deadline: Deadline) {
        if self.requests.contains_key(&attempt) {
            self.deadlines.insert(attempt, deadline);
        }
    }

    /// Returns the deadline of a transaction, if it is open.
    pub(crate) fn deadline(&self, attempt: AttemptId) -> Option<Deadline> {
        self.deadlines.get(&attempt).copied()
    }

    /// Removes a transaction that has ended, or was not opened.
    pub(crate) fn ended(&mut self, attempt: AttemptId) {
        self.deadlines.remove(&attempt);
        let Some(hash) = self.requests.remove(&attempt) else { return };
        if let Entry::Occupied(mut attempts) = self.attempts.entry(hash) {
            attempts.get_mut().retain(|other| *other != attempt);
            if attempts.get().is_empty() {
                attempts.remove();
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Drop for Waiters {
    fn drop(&mut self) {
        for (_, waiter) in self.waiting.drain() {
            let refusal = waiter.doubt.map_or(Refusal::NotServing, Refusal::Unknown);
            // A waiter that has gone needs no answer.
            if let Some(reply) = waiter.reply {
                let _ = reply.send(Err(refusal));
            }
        }
    }
}
