//! The clients' side of the world: attempts send their next verb. What they are replied is judged in `replies`.

use std::collections::BTreeMap;

use aft_core::ids::Session;
use aft_core::message::{Input, Refusal, Verb};
use aft_core::store::{Body, Call, Name};
use bytes::Bytes;

use crate::attempt::{Attempt, BLOB_PARTS, Ended, Progress, attempt_id};
use crate::audit::Verdict;
use crate::flights::{FlightId, Ghost};
use crate::hosts::Waiting;
use crate::world::{Fresh, World};

impl World {
    /// A new attempt of a request, with what its client has seen. It begins when [`World::client`] is called.
    pub fn new_attempt(&mut self, request: usize, host: usize, session: Session) -> usize {
        let number = self.attempts.len();
        let id = attempt_id(self.now_ms, number);
        self.attempts.push(Attempt::new(id, request, host, session));
        number
    }

    /// Whether an attempt can do something.
    pub fn client_ready(&self, number: usize) -> bool {
        let attempt = &self.attempts[number];
        let node = self.node_id(attempt.host);
        match &attempt.progress {
            Progress::Unbegun => node.is_some(),
            Progress::Ready | Progress::Parts { .. } => true,
            Progress::Waiting(_) | Progress::Ended(_) => false,
        }
    }

    /// An attempt does its next thing.
    pub fn client(&mut self, number: usize) -> Verdict {
        if !self.client_ready(number) {
            return Ok(());
        }
        let node = self.node_id(self.attempts[number].host);
        let attempt = &mut self.attempts[number];
        let host = attempt.host;
        if attempt.progress == Progress::Unbegun {
            attempt.node = node;
        } else if node.is_none() || attempt.node != node {
            // Its node is gone, and with it the transaction.
            self.end(number, Ended::NodeDied);
            return Ok(());
        }
        if let Progress::Parts { number: blob, next, .. } = &mut attempt.progress
            && *next < BLOB_PARTS
        {
            let (blob, at) = (*blob, *next);
            *next += 1;
            let call = part(attempt, blob, at);
            self.say(|| format!("attempt {number} stores part {at} of blob {blob}"));
            self.land_call(&call)?;
            self.fresh.push(Fresh::Client(number));
            return Ok(());
        }
        let request = &self.requests[attempt.request];
        let Some((verb, mut sent)) = attempt.next_verb(request, self.now_ms) else {
            self.program_over(number);
            return Ok(());
        };
        sent.shown = self.hosts[host].learned.clone();
        sent.record_stood = self.store.commits.get(&request.hash_for(attempt.id)).map(|record| record.txn);
        sent.draining = self.hosts[host].draining;
        attempt.open |= sent.begins && request.eager;
        let ticket = self.ticket(host, Waiting::Attempt(number));
        let attempt = &mut self.attempts[number];
        attempt.progress = Progress::Waiting(ticket);
        attempt.in_flight.insert(ticket, sent.clone());
        if attempt.goes_on_beside(&self.requests[attempt.request], &sent) {
            attempt.progress = Progress::Ready;
            self.fresh.push(Fresh::Client(number));
        }
        self.say(|| format!("attempt {number}:"));
        self.step(host, Input::Verb(ticket, verb))
    }

    /// Nothing is left to send. Without an end of its own the function died, and its transaction stays open.
    fn program_over(&mut self, number: usize) {
        let attempt = &mut self.attempts[number];
        match attempt.in_flight.keys().next() {
            Some(ticket) => attempt.progress = Progress::Waiting(*ticket),
            None => self.end(number, Ended::Aborted),
        }
    }

    /// A part of a blob is sent, and its client dies: it lands late. Nothing of it is under way.
    pub fn strand_part(&mut self, number: usize) {
        let attempt = &self.attempts[number];
        let (Progress::Parts { number: blob, next, .. }, Some(node)) = (&attempt.progress, attempt.node)
        else {
            return;
        };
        // A driver sends no part after the transaction's time, which is all that the orphan rule counts on.
        let in_time = self.now_ms <= attempt.begun_ms + self.settings.timeout_max_ms;
        if *next < BLOB_PARTS && self.settings.grace_ms > 0 && in_time {
            let call = part(attempt, *blob, *next);
            let from = FlightId { node, call: aft_core::store::CallId(u64::MAX - number as u64) };
            let until_ms = self.now_ms + self.settings.grace_ms;
            self.haunt(Ghost { until_ms, from, call });
        }
        self.end(number, Ended::NodeDied);
    }

    pub(crate) fn end(&mut self, number: usize, ended: Ended) {
        self.say(|| format!("attempt {number} ends: {ended:?}"));
        let attempt = &mut self.attempts[number];
        assert!(attempt.in_flight.is_empty(), "an attempt ends when nothing of it is under way");
        attempt.progress = Progress::Ended(ended);
        self.fresh.push(Fresh::Client(number));
    }

    /// Somebody asks a host whether a named request committed.
    pub fn look_up(&mut self, host: usize, request: usize) -> Verdict {
        if !self.requests[request].named || self.hosts[host].node.is_none() {
            return Ok(());
        }
        let hash = self.requests[request].hash_for(attempt_id(0, 0));
        let ticket = self.ticket(host, Waiting::LookUp(request));
        self.step(host, Input::Verb(ticket, Verb::LookUp(hash)))
    }

    /// What every attempt has come to, for summaries.
    pub fn tally(&self) -> BTreeMap<&'static str, u64> {
        let mut tally = BTreeMap::new();
        for attempt in &self.attempts {
            let name = match attempt.ended() {
                None => "open",
                Some(Ended::Committed(_)) => "committed",
                Some(Ended::Replayed(_)) => "replayed",
                Some(Ended::Aborted) => "aborted",
                Some(Ended::NodeDied) => "node died",
                Some(Ended::Refused(refusal)) => match refusal {
                    Refusal::SnapshotGone(_) => "snapshot gone",
                    Refusal::Overloaded(_) => "overloaded",
                    Refusal::Lost => "lost",
                    Refusal::StoreUnavailable(_) => "store unavailable",
                    Refusal::InProgress { .. } => "in progress",
                    Refusal::KeyReused => "key reused",
                    Refusal::ResultGone => "result gone",
                    Refusal::Unknown(_) => "unknown",
                    Refusal::UnknownDamaged(..) => "unknown (damaged)",
                    Refusal::NotFound => "not found",
                    Refusal::Ended => "ended",
                    Refusal::NotServing => "not serving",
                    Refusal::TooLarge(_) => "too large",
                    Refusal::Invalid(_) => "invalid",
                    Refusal::Damaged(_) => "damaged",
                },
            };
            *tally.entry(name).or_default() += 1;
        }
        tally
    }
}

fn part(attempt: &Attempt, blob: u32, part: u32) -> Call {
    let name = Name::Blob { attempt: attempt.id, number: blob, part };
    Call::Put(name, Body::Part(Bytes::from(format!("{blob:02}{part:02}"))))
}
