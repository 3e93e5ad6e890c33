//! Who waits for a reply, and what they are told when none will come.
//!
//! If the loop ends with waiters (a broken invariant, a drain's deadline, a runtime that is shut down), each gets an answer. A verb that
//! may have sent a commit is answered *unknown*: its record may be there. Every other had no effect.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Instant;

use aft_core::ids::{AttemptId, RequestHash};
use aft_core::message::{Refusal, Reply, Ticket, Verb};
use tokio::sync::oneshot;

use crate::clock::Deadline;

/// What a verb is answered.
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
    /// `None`: nobody wants to know.
    pub(crate) reply: Option<oneshot::Sender<Outcome>>,
    pub(crate) kind: VerbKind,
    /// When it was asked.
    pub(crate) since: Instant,
    /// The attempt that this verb opens.
    pub(crate) opens: Option<AttemptId>,
    /// The request whose commit this verb may send.
    doubt: Option<RequestHash>,
    /// Of a duplicate that waits: the attempts of its request that were under way here when it came.
    beside: Vec<AttemptId>,
}

impl Waiter {
    /// Whether it waited for another attempt and is now told that attempt's result.
    pub(crate) fn waited_for(&self, outcome: &Outcome) -> bool {
        matches!(outcome, Ok(Reply::Replayed(replayed)) if self.beside.contains(&replayed.txn.attempt))
    }
}

/// All waiters, and the requests of open transactions.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: HashMap<Ticket, Waiter>,
    /// Of transactions that were begun and have not ended.
    requests: HashMap<AttemptId, RequestHash>,
    /// Of transactions whose begin was answered and that have not ended.
    deadlines: HashMap<AttemptId, Deadline>,
    /// The same, the other way round; of named requests, for only these have several attempts.
    attempts: HashMap<RequestHash, Vec<AttemptId>>,
    tickets: u64,
}

impl Waiters {
    /// Enters a verb; its reply will come under the ticket.
    pub(crate) fn enter(
        &mut self,
        verb: &Verb,
        reply: Option<oneshot::Sender<Outcome>>,
        since: Instant,
    ) -> Ticket {
        let mut opens = None;
        let mut beside = Vec::new();
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
    /// If there is none: every verb gets exactly one reply.
    pub(crate) fn take(&mut self, ticket: Ticket) -> Waiter {
        self.waiting.remove(&ticket).expect("every reply has a waiter, and every waiter one reply")
    }

    /// A transaction is open until a deadline.
    pub(crate) fn opened(&mut self, attempt: AttemptId, deadline: Deadline) {
        if self.requests.contains_key(&attempt) {
            self.deadlines.insert(attempt, deadline);
        }
    }

    /// Returns the end of a transaction's time, if it is open.
    pub(crate) fn deadline(&self, attempt: AttemptId) -> Option<Deadline> {
        self.deadlines.get(&attempt).copied()
    }

    /// A transaction is no more, or never was.
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
