//! The clients' side of the world: attempts send their next verbs. `replies` judges the replies.

use std::collections::BTreeMap;

use aft_core::Node;
use aft_core::ids::{Key, Session, TxnId};
use aft_core::message::{Input, Refusal, Verb};
use aft_core::record::BlobGroup;
use aft_core::store::{Body, Call, Name};
use aft_sim::verdict::Verdict;
use bytes::Bytes;

use crate::attempt::{Attempt, BLOB_PARTS, Ended, Progress, attempt_id};
use crate::flights::{Late, flight_id};
use crate::hosts::{Role, Waiting};
use crate::script::Action;
use crate::world::{Fresh, World};

impl World {
    /// Adds an attempt of `request` on `host`, with the client's session token, and returns its
    /// number. It begins at the first call of [`World::client`].
    pub fn new_attempt(&mut self, request: usize, host: usize, session: Session) -> usize {
        let number = self.attempts.len();
        let id = attempt_id(self.now_ms, number);
        self.attempts.push(Attempt::new(id, request, host, session));
        number
    }

    /// Makes an attempt the successor of `earlier` on the same client: it gets that one's session
    /// token and knowledge.
    pub fn follow(&mut self, number: usize, earlier: usize) {
        let known = self.known_after(earlier);
        let session = self.attempts[earlier].session_after.clone();
        let attempt = &mut self.attempts[number];
        attempt.session = session;
        attempt.known = known;
    }

    /// Returns the newest version of each key that the client of an attempt knows to be committed,
    /// now that the attempt has ended.
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

    /// Returns true if an attempt can do its next step.
    pub fn client_ready(&self, number: usize) -> bool {
        let attempt = &self.attempts[number];
        let awake = self.is_awake(attempt.host);
        match &attempt.progress {
            Progress::Unbegun => awake,
            Progress::Ready | Progress::Parts { .. } => awake || self.node_id(attempt.host).is_none(),
            Progress::Waiting(_) | Progress::Ended(_) => false,
        }
    }

    /// Lets an attempt do its next step: send a verb, store a part of a blob, or end.
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
            // The transaction is lost with its node.
            self.end(number, Ended::NodeDied);
            return Ok(());
        }
        if let Progress::Parts { group, number: blob, next, .. } = &mut attempt.progress
            && *next < BLOB_PARTS
        {
            let (group, blob, at) = (*group, *blob, *next);
            *next += 1;
            // A door sends no part after the transaction's deadline.
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
        // Note what is known now: the judges of the reply compare with it.
        let slot = &self.hosts[host];
        sent.shown = slot.learned.clone();
        sent.record_before = self.store.record(&request.hash_for(attempt.id)).map(|record| record.txn);
        sent.draining = slot.draining;
        if sent.begins {
            attempt.fresh = request.fresh || slot.role == Role::Guest;
            attempt.told_before = self.audit.told.clone();
            attempt.mark_known = slot.process.machine().map(Node::mark)
                == self.store.format.as_ref().map(|format| format.mark);
            // A fresh transaction uses no earlier listing, and the process of an exclusive store
            // none from before it knew the mark.
            attempt.mark_least = if attempt.fresh || self.settings.exclusive {
                slot.marks.last()
            } else {
                slot.marks.in_listings(self.now_ms, self.settings.recheck_after_ms)
            };
            attempt.blind = !slot.unheard_ms.is_empty() || slot.misled;
        }
        // A begin that carries a batch opens the transaction some time before its reply.
        attempt.open |= sent.begins && request.eager;
        let (checks, adds) = (sent.checks.len() as u64, sent.adds.len() as u64);
        *self.notes.entry("conditions asked").or_default() += checks;
        *self.notes.entry("sums asked").or_default() += adds;
        let ticket = self.ticket(host, Waiting::Attempt(number));
        let attempt = &mut self.attempts[number];
        attempt.progress = Progress::Waiting(ticket);
        attempt.in_flight.insert(ticket, sent.clone());
        // A parallel program does not wait for the reply.
        if attempt.goes_on_beside(&self.requests[attempt.request], &sent) {
            attempt.progress = Progress::Ready;
            self.fresh.push(Fresh::Client(number));
        }
        self.say(|| format!("attempt {number}:"));
        self.step(host, Input::Verb(ticket, verb))
    }

    /// Handles the end of the program: waits for the replies that are missing, or ends the attempt.
    /// If the program has neither a commit nor an abort, its function counts as dead, and the
    /// transaction stays open until its deadline.
    fn program_over(&mut self, number: usize) {
        let attempt = &mut self.attempts[number];
        match attempt.in_flight.keys().next() {
            Some(ticket) => attempt.progress = Progress::Waiting(*ticket),
            None => self.end(number, Ended::Aborted),
        }
    }

    /// Lets a client die after it has sent a part of a blob, which then lands late or never. No
    /// verb of the attempt may be in flight.
    pub fn strand_part(&mut self, number: usize) {
        let attempt = &self.attempts[number];
        let (Progress::Parts { group, number: blob, next, .. }, Some(node)) =
            (&attempt.progress, attempt.node)
        else {
            return;
        };
        // A door sends no part after the transaction's deadline. Sweeps rely on that alone.
        let in_time = self.now_ms <= attempt.deadline_ms(&self.requests[attempt.request], &self.settings);
        if *next < BLOB_PARTS && self.settings.grace_ms > 0 && in_time {
            let call = part(*group, *blob, *next);
            // The door sends it, not the node: an id that no call of the node has.
            let from = flight_id(node, aft_core::store::CallId(u64::MAX - number as u64));
            let until_ms = self.now_ms + self.settings.grace_ms;
            self.add_late(Late { until_ms, from, call });
        }
        self.end(number, Ended::NodeDied);
    }

    /// Ends an attempt of which no verb is in flight.
    pub(crate) fn end(&mut self, number: usize, ended: Ended) {
        self.say(|| format!("attempt {number} ends: {ended:?}"));
        let attempt = &mut self.attempts[number];
        assert!(attempt.in_flight.is_empty(), "attempt {number} cannot end while a verb of it is in flight");
        attempt.progress = Progress::Ended(ended);
        self.fresh.push(Fresh::Client(number));
    }

    /// Asks a host whether a named request has committed.
    pub fn look_up(&mut self, host: usize, request: usize) -> Verdict {
        if !self.requests[request].named || !self.is_awake(host) {
            return Ok(());
        }
        let hash = self.requests[request].hash_for(attempt_id(0, 0));
        let record_before = self.store.record(&hash).map(|record| record.txn);
        let ticket = self.ticket(host, Waiting::LookUp { request, record_before });
        self.step(host, Input::Verb(ticket, Verb::LookUp(hash)))
    }

    /// Asks a host whether an attempt, or another one of its named request, has committed.
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

    /// Counts the attempts by how they ended.
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
                    Refusal::SessionLost(_) => "session lost",
                },
            };
            *tally.entry(name).or_default() += 1;
        }
        tally
    }
}

/// Returns the call that stores one part of a blob.
fn part(group: BlobGroup, blob: u32, part: u32) -> Call {
    let name = Name::Blob { group, number: blob, part };
    Call::Put(name, Body::Part(Bytes::from(format!("{blob:02}{part:02}"))))
}
