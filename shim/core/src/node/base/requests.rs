//! Requests with an open attempt on this node, and begins that wait for one to end.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::{AttemptId, RequestHash};
use crate::message::{Begin, Ticket};

/// A begin that waits for an open attempt to end.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) struct Waiter {
    pub(in crate::node) ticket: Ticket,
    pub(in crate::node) begin: Box<Begin>,
    pub(in crate::node) until_mono: u64,
}

#[derive(Debug, Clone, Default, Hash)]
struct OpenRequest {
    /// The open attempts; never empty.
    attempts: Vec<AttemptId>,
    waiters: VecDeque<Waiter>,
}

/// Requests with an open attempt on this node.
#[derive(Debug, Clone, Default, Hash)]
pub(in crate::node) struct Requests {
    map: BTreeMap<RequestHash, OpenRequest>,
}

impl Requests {
    /// Returns the open attempts of a request.
    pub(in crate::node) fn attempts(&self, hash: RequestHash) -> &[AttemptId] {
        self.map.get(&hash).map_or(&[], |request| &request.attempts)
    }

    pub(in crate::node) fn open(&mut self, hash: RequestHash, attempt: AttemptId) {
        self.map.entry(hash).or_default().attempts.push(attempt);
    }

    /// Returns the number of begins that wait for the request's open attempts.
    pub(in crate::node) fn waiters(&self, hash: RequestHash) -> usize {
        self.map.get(&hash).map_or(0, |request| request.waiters.len())
    }

    pub(in crate::node) fn wait(&mut self, hash: RequestHash, waiter: Waiter) {
        let request = self.map.get_mut(&hash).expect("a begin waits for an open attempt");
        request.waiters.push_back(waiter);
    }

    /// Takes one waiter out that has waited long enough.
    pub(in crate::node) fn give_up(&mut self, hash: RequestHash, ticket: Ticket) -> Option<Waiter> {
        let request = self.map.get_mut(&hash)?;
        let at = request.waiters.iter().position(|waiter| waiter.ticket == ticket)?;
        request.waiters.remove(at)
    }

    /// Closes an attempt. Returns the waiters that it lets go: all if the request is decided, or if
    /// none of its attempts is open any more.
    pub(in crate::node) fn close(
        &mut self,
        hash: RequestHash,
        attempt: AttemptId,
        is_decided: bool,
    ) -> VecDeque<Waiter> {
        let request = self.map.get_mut(&hash).expect("an open attempt's request is known");
        let before = request.attempts.len();
        request.attempts.retain(|other| *other != attempt);
        assert_eq!(request.attempts.len() + 1, before, "an attempt is open once");
        let is_last = request.attempts.is_empty();
        let waiters =
            if is_decided || is_last { std::mem::take(&mut request.waiters) } else { VecDeque::new() };
        if is_last {
            self.map.remove(&hash);
        }
        waiters
    }

    /// Calls `check` with every open attempt and its request.
    pub(in crate::node) fn check_invariants(&self, check: impl Fn(RequestHash, AttemptId)) {
        for (hash, request) in &self.map {
            assert!(!request.attempts.is_empty(), "a request without an open attempt is forgotten");
            request.attempts.iter().for_each(|attempt| check(*hash, *attempt));
        }
    }
}
