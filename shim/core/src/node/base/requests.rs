//! Requests with an open attempt on this node, and begins that wait for one to end.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::{AttemptId, RequestHash};
use crate::message::{Begin, Ticket};

use super::timers::{Timer, Timers};

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
        let attempts = &mut self.map.entry(hash).or_default().attempts;
        assert!(!attempts.contains(&attempt), "an attempt opens once");
        attempts.push(attempt);
    }

    /// Returns the number of begins that wait for the request's open attempts.
    pub(in crate::node) fn waiters(&self, hash: RequestHash) -> usize {
        self.map.get(&hash).map_or(0, |request| request.waiters.len())
    }

    pub(in crate::node) fn wait(&mut self, hash: RequestHash, waiter: Waiter) {
        assert_eq!(waiter.begin.hash, hash, "a begin waits for its own request");
        let request = self.map.get_mut(&hash).expect("a begin waits for an open attempt");
        assert!(!request.attempts.is_empty(), "a begin waits for an open attempt");
        let waits = request.waiters.iter().any(|other| other.ticket == waiter.ticket);
        assert!(!waits, "a ticket waits once");
        request.waiters.push_back(waiter);
    }

    /// Removes and returns a waiter whose wait has timed out.
    pub(in crate::node) fn give_up(&mut self, hash: RequestHash, ticket: Ticket) -> Option<Waiter> {
        let request = self.map.get_mut(&hash)?;
        let at = request.waiters.iter().position(|waiter| waiter.ticket == ticket)?;
        let waiter = request.waiters.remove(at);
        assert!(!request.attempts.is_empty(), "a begin waits for an open attempt");
        waiter
    }

    /// Closes an attempt. Returns the waiters that are released: all of them if the request is
    /// decided or none of its attempts is open any more, else none.
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
            let gone = self.map.remove(&hash).expect("looked up above");
            assert!(gone.waiters.is_empty(), "no begin waits for an attempt that has ended");
        }
        waiters
    }

    /// Panics if an invariant is broken. Returns every open attempt with its request.
    pub(in crate::node) fn check_invariants(
        &self,
        waiters_max: usize,
        timers: &Timers,
    ) -> Vec<(RequestHash, AttemptId)> {
        let mut open = Vec::new();
        for (hash, request) in &self.map {
            assert!(!request.attempts.is_empty(), "a request without an open attempt is forgotten");
            assert!(request.waiters.len() <= waiters_max, "waiters for one request are bounded");
            for waiter in &request.waiters {
                assert_eq!(waiter.begin.hash, *hash, "a begin waits for its own request");
                let gives_up = Timer::WaiterGivesUp(*hash, waiter.ticket);
                assert!(timers.contains(waiter.until_mono, &gives_up), "a waiter gives up in time");
            }
            open.extend(request.attempts.iter().map(|attempt| (*hash, *attempt)));
        }
        open
    }
}
