//! The clients' side of the world: attempts send their next verb. What they are replied is judged in `replies`.

use std::collections::BTreeMap;

use aft_core::Node;
use aft_core::ids::{Key, Session, TxnId};
use aft_core::message::{Input, Refusal, Verb};
use aft_core::record::BlobGroup;
use aft_core::store::{Body, Call, Name};
use bytes::Bytes;

use crate::attempt::{Attempt, BLOB_PARTS, Ended, Progress, attempt_id};
use crate::audit::Verdict;
use crate::flights::{FlightId, Ghost};
use crate::hosts::{Role, Waiting};
use crate::script::Action;
use crate::world::{Fresh, World};

impl World {
    /// Adds an attempt of a request, with the token of what its client has seen. It begins when [`World::client`] is called.
    pub fn new_attempt(&mut self, request: usize, host: usize, session: Session) -> usize {
        let number = self.attempts.len();
        let id = attempt_id(self.now_ms, number);
        self.attempts.push(Attempt::new(id, request, host, session));
        number
    }

    /// Gives an attempt what the client of an earlier one has seen, and may present.
    pub fn follow(&mut self, number: usize, earlier: usize) {
        let known = self.known_after(earlier);
        let session = self.attempts[earlier].session_after.clone();
        let attempt = &mut self.attempts[number];
        attempt.session = session;
        attempt.known = known;
    }

    /// Returns the newest version of each key that the client of an attempt knows to have committed after it.
    pub fn known_after(&self, number: usize) -> BTreeMap<Key, TxnId> {
        let attempt = &self.attempts[number];
        let mut known = attempt.known.clone();
        let (Some(Ended::Committed(Some(txn))) | Some(Ended::Replayed(txn))) = attempt.ended() else {
            return known;
        };
        let Some(commit) = self.audit.commits.get(&txn.attempt) else { return known };
        for (key, _) in commit.record.writes.iter() {
            let newest = known.entry(key.clone()).or_insert(*txn);
            *newest = (*newest).max(*txn);
        }
        known
    }

    /// Returns true if an attempt can do something.
    pub fn client_ready(&self, number: usize) -> bool {
        let attempt = &self.attempts[number];
        let awake = self.is_awake(attempt.host);
        match &attempt.progress {
            Progress::Unbegun => awake,
            Progress::Ready | Progress::Parts { .. } => awake || self.node_id(attempt.host).is_none(),
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
        if let Progress::Parts { group, number: blob, next, .. } = &mut attempt.progress
            && *next < BLOB_PARTS
        {
            let (group, blob, at) = (*group, *blob, *next);
            *next += 1;
            // A door sends no part after the transaction's time.
            if self.now_ms > attempt.deadline_ms(&self.requests[attempt.request], &self.settings) {
                attempt.conclude(Ended::NodeDied);
                match attempt.in_flight.keys().next() {
                    Some(ticket) => attempt.progress = Progress::Waiting(*ticket),
                    None => self.end(number, Ended::NodeDied),
                }
                return Ok(());
            }
            let call = part(group, blob, at);
            self.say(|| format!("attempt {number} stores part {at} of blob {blob}"));
            self.land_call(&call)?;
            self.fresh.push(Fresh::Client(number));
            return Ok(());
        }
        let request = &self.requests[attempt.request];
        if attempt.progress == Progress::Unbegun && request.actions().any(Action::is_conditional) {
            attempt.told_values = self.audit.told_values();
        }
        let Some((verb, mut sent)) = attempt.next_verb(request, self.now_ms) else {
            self.program_over(number);
            return Ok(());
        };
        let slot = &self.hosts[host];
        sent.shown = slot.learned.clone();
        sent.record_before = self.store.record(&request.hash_for(attempt.id)).map(|record| record.txn);
        sent.draining = slot.draining;
        if sent.begins {
            attempt.fresh = request.fresh || slot.role == Role::Guest;
            attempt.told_before = self.audit.told.clone();
            attempt.mark_known =
                slot.node.as_ref().map(Node::mark) == self.store.format.as_ref().map(|format| format.mark);
            // A fresh transaction uses no listing from before, and a process that holds the store
            // none from before it knew the mark.
            attempt.mark_least = if attempt.fresh || self.settings.exclusive {
                slot.marks.last()
            } else {
                slot.marks.in_listings(self.now_ms, self.settings.recheck_after_ms)
            };
            attempt.blind = !slot.unheard_ms.is_empty() || slot.misled;
        }
        attempt.open |= sent.begins && request.eager;
        let (checks, adds) = (sent.checks.len() as u64, sent.adds.len() as u64);
        *self.notes.entry("conditions asked").or_default() += checks;
        *self.notes.entry("sums asked").or_default() += adds;
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
        let (Progress::Parts { group, number: blob, next, .. }, Some(node)) =
            (&attempt.progress, attempt.node)
        else {
            return;
        };
        // A door sends no part after the transaction's time, which is all that a sweep counts on.
        let in_time = self.now_ms <= attempt.deadline_ms(&self.requests[attempt.request], &self.settings);
        if *next < BLOB_PARTS && self.settings.grace_ms > 0 && in_time {
            let call = part(*group, *blob, *next);
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

    /// Asks a host if a named request committed.
    pub fn look_up(&mut self, host: usize, request: usize) -> Verdict {
        if !self.requests[request].named || !self.is_awake(host) {
            return Ok(());
        }
        let hash = self.requests[request].hash_for(attempt_id(0, 0));
        let record_before = self.store.record(&hash).map(|record| record.txn);
        let ticket = self.ticket(host, Waiting::LookUp { request, record_before });
        self.step(host, Input::Verb(ticket, Verb::LookUp(hash)))
    }

    /// Asks an attempt's host, or another, for the commit of its named request.
    pub fn look_up_of(&mut self, host: usize, number: usize) -> Verdict {
        let attempt = &self.attempts[number];
        let (request, id) = (attempt.request, attempt.id);
        if !self.requests[request].named || !self.is_awake(host) {
            return Ok(());
        }
        let hash = self.requests[request].hash_for(id);
        let record_before = self.store.record(&hash).map(|record| record.txn);
        let ticket = self.ticket(host, Waiting::LookUp { request, record_before });
        self.step(host, Input::Verb(ticket, Verb::LookUpOf(id, hash)))
    }

    /// Counts what the attempts have come to.
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
                    Refusal::Conflict(_) => "conflict",
                    Refusal::ConditionFailed(_) => "condition failed",
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

fn part(group: BlobGroup, blob: u32, part: u32) -> Call {
    let name = Name::Blob { group, number: blob, part };
    Call::Put(name, Body::Part(Bytes::from(format!("{blob:02}{part:02}"))))
}
