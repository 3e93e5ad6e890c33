//! The clients' side of the world: attempts send their next verb, and judge what they are replied.

use std::collections::BTreeMap;

use aft_core::message::{Batch, Committed, Found, Input, Op, Read, Refusal, Replayed, Reply, Verb};
use aft_core::record::Write;
use aft_core::store::{Body, Call, Name};
use bytes::Bytes;

use crate::audit::{Verdict, broken};
use crate::flights::{FlightId, Ghost};
use crate::hosts::Waiting;
use crate::oracle::{Witness, judge_listing, judge_read};
use crate::script::{Attempt, BLOB_PARTS, Ended, Progress, Seen, Sent, attempt_id};
use crate::world::{Fresh, World};

/// An index that never forgets for want of room.
const INDEX_ROOMY: usize = 1_000;

impl World {
    /// A new attempt of a request, with what its client has seen. It begins when [`World::client`] is called.
    pub fn new_attempt(&mut self, request: usize, host: usize, session: aft_core::ids::Session) -> usize {
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
        let first = attempt.progress == Progress::Unbegun;
        if first {
            attempt.node = node;
        } else if node.is_none() || attempt.node != node {
            // Its node is gone, and with it the transaction.
            self.end(number, Ended::NodeDied);
            return Ok(());
        }
        if let Progress::Parts { number: blob, next } = attempt.progress
            && next < BLOB_PARTS
        {
            attempt.progress = Progress::Parts { number: blob, next: next + 1 };
            let call = part(attempt, blob, next);
            self.say(|| format!("attempt {number} stores part {next} of blob {blob}"));
            self.land_call(&call)?;
            self.fresh.push(Fresh::Client(number));
            return Ok(());
        }
        let now_ms = self.now_ms;
        let request = &self.requests[attempt.request];
        let verb = if let Progress::Parts { number: blob, .. } = attempt.progress {
            let Some(key) = attempt.sent.blob.clone() else { unreachable!("parts are stored for a key") };
            let write = attempt.blob(blob);
            let Write::Put(value) = write.clone() else { unreachable!("a blob is put") };
            attempt.writes.insert(key.clone(), write);
            attempt.sent = Sent { at_ms: now_ms, ..Sent::default() };
            attempt.at += 1;
            Some(Verb::Run(attempt.id, Batch { ops: vec![Op::Put(key, value)], commit: None }))
        } else {
            attempt.next_verb(request, now_ms)
        };
        let hash = request.hash_for(attempt.id);
        let Some(verb) = verb else {
            // The program is over without an end: the function died, and its transaction stays open.
            self.end(number, Ended::Aborted);
            return Ok(());
        };
        attempt.sent.shown = self.hosts[host].learned.clone();
        attempt.sent.record_stood = self.store.commits.contains_key(&hash);
        let ticket = self.ticket(host, Waiting::Attempt(number));
        self.attempts[number].progress = Progress::Waiting(ticket);
        self.say(|| format!("attempt {number}:"));
        self.step(host, Input::Verb(ticket, verb))
    }

    /// A part of a blob is sent, and its client dies: it lands late.
    pub fn strand_part(&mut self, number: usize) {
        let attempt = &self.attempts[number];
        let (Progress::Parts { number: blob, next }, Some(node)) = (&attempt.progress, attempt.node) else {
            return;
        };
        if *next < BLOB_PARTS && self.settings.grace_ms > 0 {
            let call = part(attempt, *blob, *next);
            let from = FlightId { node, call: aft_core::store::CallId(u64::MAX - number as u64) };
            let until_ms = self.now_ms + self.settings.grace_ms;
            self.haunt(Ghost { until_ms, from, call });
        }
        self.end(number, Ended::NodeDied);
    }

    pub(crate) fn end(&mut self, number: usize, ended: Ended) {
        self.say(|| format!("attempt {number} ends: {ended:?}"));
        self.attempts[number].progress = Progress::Ended(ended);
        self.fresh.push(Fresh::Client(number));
    }

    /// Judges a reply, and lets the attempt go on.
    pub(crate) fn replied(&mut self, number: usize, reply: Result<Reply, Refusal>) -> Verdict {
        let sent = std::mem::take(&mut self.attempts[number].sent);
        match reply {
            Ok(Reply::Begun { attempt, reads, committed, .. }) => {
                if !sent.begins || attempt != self.attempts[number].id {
                    return broken("a reply answers its verb", format!("Begun {attempt} for {sent:?}"));
                }
                self.judge_new_run(number, &sent)?;
                self.ran(number, &sent, &reads, committed)
            }
            Ok(Reply::Ran { reads, committed }) => self.ran(number, &sent, &reads, committed),
            Ok(Reply::Listed { keys, next }) => {
                let Some((prefix, _)) = &sent.list else {
                    return broken("a reply answers its verb", format!("Listed for {sent:?}"));
                };
                let (fresh_ms, floor_ms) = (self.fresh_ms(&sent), self.floor_ms());
                let witness = Witness { audit: &self.audit, store: &self.store, fresh_ms, floor_ms };
                let attempt = &mut self.attempts[number];
                judge_listing(attempt, prefix, &keys, next.as_deref(), &self.keys, witness)?;
                self.go_on(number);
                Ok(())
            }
            Ok(Reply::Reserved { number: blob }) => {
                if sent.blob.is_none() {
                    return broken("a reply answers its verb", format!("Reserved for {sent:?}"));
                }
                let id = self.attempts[number].id;
                if !self.store.intents.iter().any(|intent| intent.attempt == id) {
                    return broken(
                        "section 3: an intent is durable before a blob's first part",
                        format!("{id}"),
                    );
                }
                self.attempts[number].sent = sent;
                self.attempts[number].progress = Progress::Parts { number: blob, next: 0 };
                self.fresh.push(Fresh::Client(number));
                Ok(())
            }
            Ok(Reply::Committed(committed)) => self.committed(number, &sent, committed),
            Ok(Reply::Replayed(replayed)) => self.replayed(number, &sent, &replayed),
            Ok(Reply::Aborted) => {
                self.end(number, Ended::Aborted);
                Ok(())
            }
            Ok(Reply::Found(record)) => broken("a reply answers its verb", format!("{record:?}")),
            Err(refusal) => {
                self.judge_refusal(number, &sent, &refusal)?;
                self.end(number, Ended::Refused(refusal));
                Ok(())
            }
        }
    }

    fn fresh_ms(&self, sent: &Sent) -> u64 {
        sent.at_ms.saturating_sub(self.settings.recheck_after_ms + self.delay_max_ms)
    }

    /// Section 5.2: learning a commit record indexes its whole write set. What this node has just shown of a transaction, it knows on every key of it.
    fn judge_learned(&self, number: usize, shared: bool, sent: &Sent, read: &Read) -> Verdict {
        let attempt = &self.attempts[number];
        let Some((txn, since_ms)) = sent.shown.get(&read.key) else {
            return Ok(());
        };
        let fresh = self.now_ms < since_ms + self.settings.recheck_after_ms;
        let roomy = self.settings.index_entries_max >= INDEX_ROOMY;
        let collected = self.audit.commits.get(&txn.attempt).is_none_or(|commit| commit.collected);
        let passed_over = match &read.found {
            Found::Version(seen, _) => seen < txn,
            Found::Absent => true,
            Found::Own(_) => false,
        };
        let fits = self.audit.commits.get(&txn.attempt).is_some_and(|commit| {
            attempt.read.iter().all(|(key, seen)| {
                commit.record.write(key).is_none() || matches!(seen, Seen::Version(version) if version >= txn)
            })
        });
        if shared && fresh && roomy && !collected && passed_over && fits {
            return broken(
                "section 5.2: learning a commit record indexes its whole write set",
                format!("{read:?}, but the node has shown {txn}"),
            );
        }
        Ok(())
    }

    fn learned(&mut self, number: usize, since_ms: u64, read: &Read) {
        let Found::Version(txn, _) = &read.found else { return };
        let Some(commit) = self.audit.commits.get(&txn.attempt) else { return };
        let host = &mut self.hosts[self.attempts[number].host];
        for key in commit.record.keys() {
            let known = host.learned.entry(key).or_insert((*txn, since_ms));
            if known.0 < *txn {
                *known = (*txn, since_ms);
            }
        }
    }

    fn floor_ms(&self) -> u64 {
        (self.now_ms + 2 * self.settings.skew_max_ms).saturating_sub(self.settings.replay_limit_ms())
    }

    fn go_on(&mut self, number: usize) {
        self.attempts[number].progress = Progress::Ready;
        self.fresh.push(Fresh::Client(number));
    }

    fn ran(&mut self, number: usize, sent: &Sent, reads: &[Read], committed: Option<Committed>) -> Verdict {
        let asked: Vec<_> = sent.gets.iter().map(|(key, _)| key).collect();
        let told: Vec<_> = reads.iter().map(|read| &read.key).collect();
        if asked != told {
            return broken("a batch answers every get, in order", format!("{asked:?}, but {told:?}"));
        }
        let fresh_ms = self.fresh_ms(sent);
        let floor_ms = self.floor_ms();
        for (read, (_, own)) in reads.iter().zip(&sent.gets) {
            self.judge_learned(number, own.is_none(), sent, read)?;
            let witness = Witness { audit: &self.audit, store: &self.store, fresh_ms, floor_ms };
            judge_read(&mut self.attempts[number], own.as_ref(), read, witness)?;
            self.learned(number, sent.at_ms, read);
        }
        match committed {
            Some(committed) => self.committed(number, sent, committed),
            None if sent.commits => {
                broken("a reply answers its verb", format!("no commit in the reply to {sent:?}"))
            }
            None => {
                self.go_on(number);
                Ok(())
            }
        }
    }

    fn committed(&mut self, number: usize, sent: &Sent, committed: Committed) -> Verdict {
        if !sent.commits {
            return broken("a reply answers its verb", format!("{committed:?} for {sent:?}"));
        }
        let attempt = &self.attempts[number];
        let named = self.requests[attempt.request].named;
        let Some(txn) = committed.txn else {
            if named || !attempt.writes.is_empty() {
                return broken(
                    "P6: what is acknowledged is durable",
                    format!("attempt {number} committed without a TxnId"),
                );
            }
            self.end(number, Ended::Committed(None));
            return Ok(());
        };
        let known = self.audit.commits.get(&attempt.id).is_some_and(|commit| commit.record.txn == txn);
        if !known {
            return broken(
                "P6: what is acknowledged is durable",
                format!("attempt {number}: no record of {txn}"),
            );
        }
        for seen in attempt.read.values() {
            if let crate::script::Seen::Version(read) = seen
                && read.time >= txn.time
            {
                return broken(
                    "section 2: a commit time is greater than all that was read",
                    format!("{txn} read {read}"),
                );
            }
        }
        if attempt.session.iter().any(|entry| entry.txn.time >= txn.time && entry.txn != txn) {
            return broken("section 2: a commit time is greater than the session floor", format!("{txn}"));
        }
        if committed.session.first().map(|entry| entry.txn) != Some(txn) {
            return broken("P8: the session names the commit", format!("{txn}: {:?}", committed.session));
        }
        let id = attempt.id;
        self.audit.tell(id, &self.store)?;
        self.attempts[number].session_after = committed.session;
        self.end(number, Ended::Committed(Some(txn)));
        Ok(())
    }

    fn replayed(&mut self, number: usize, sent: &Sent, replayed: &Replayed) -> Verdict {
        let attempt = &self.attempts[number];
        let request = &self.requests[attempt.request];
        let hash = request.hash_for(attempt.id);
        if !sent.commits && !sent.begins {
            return broken("a reply answers its verb", format!("{replayed:?} for {sent:?}"));
        }
        let Some(winner) = self.audit.commits.get(&replayed.txn.attempt) else {
            return broken("P5: what is replayed did commit", format!("{replayed:?}"));
        };
        let right = winner.record.txn == replayed.txn
            && winner.record.hash == hash
            && winner.record.result == replayed.result
            && replayed.txn.attempt != attempt.id;
        if !right {
            return broken(
                "P5: every later attempt gets the winner's result",
                format!("attempt {number} got {replayed:?}; the winner is {:?}", winner.record),
            );
        }
        if let (Some(theirs), Some(ours)) = (winner.record.fingerprint, request.fingerprint())
            && theirs != ours
        {
            return broken("section 6: another payload is not replayed to", format!("attempt {number}"));
        }
        self.audit.tell(replayed.txn.attempt, &self.store)?;
        self.attempts[number].session_after = replayed.session.clone();
        self.end(number, Ended::Replayed(replayed.txn));
        Ok(())
    }

    /// P5: where a record stood before the request came, and stands, nothing runs.
    fn judge_new_run(&self, number: usize, sent: &Sent) -> Verdict {
        let attempt = &self.attempts[number];
        let request = &self.requests[attempt.request];
        let stands = self.store.commits.contains_key(&request.hash_for(attempt.id));
        if request.named && sent.record_stood && stands {
            return broken(
                "P5: a request that committed does not run again",
                format!("attempt {number} was begun"),
            );
        }
        Ok(())
    }

    fn judge_refusal(&self, number: usize, sent: &Sent, refusal: &Refusal) -> Verdict {
        let attempt = &self.attempts[number];
        let request = &self.requests[attempt.request];
        let hash = request.hash_for(attempt.id);
        let winners = || self.audit.winners.get(&hash).into_iter().flatten();
        let records = || winners().map(|winner| &self.audit.commits[winner].record);
        let known = match refusal {
            // Nothing is gone before something was collected.
            Refusal::SnapshotGone(key) => self.audit.collected_keys.contains(key),
            Refusal::ResultGone => records().any(|record| {
                self.now_ms + 2 * self.settings.skew_max_ms
                    > record.txn.time.ms() + self.settings.replay_limit_ms()
            }),
            Refusal::KeyReused => records().any(|record| record.fingerprint != request.fingerprint()),
            Refusal::InProgress { .. } => !request.overlap,
            Refusal::Unknown(of) => *of == hash && sent.commits,
            Refusal::Invalid(_) | Refusal::Damaged(_) => false,
            // The time may run out within the batch that came with the opening.
            Refusal::Lost => true,
            Refusal::NotFound => !sent.begins,
            Refusal::Ended => !sent.begins,
            Refusal::NotServing => true,
            Refusal::Overloaded(_) => true,
            Refusal::StoreUnavailable(_) => true,
        };
        // `Lost` means that nothing was committed and nothing will be.
        let false_loss = matches!(refusal, Refusal::Lost | Refusal::NotFound | Refusal::SnapshotGone(_))
            && self.audit.commits.contains_key(&attempt.id);
        if !known || false_loss {
            return broken(
                "a refusal tells the truth",
                format!("attempt {number} was refused: {refusal:?} (sent {sent:?}, committed: {false_loss})"),
            );
        }
        Ok(())
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

    /// Judges the answer to a look-up.
    pub(crate) fn looked_up(&mut self, request: usize, reply: &Result<Reply, Refusal>) -> Verdict {
        let Ok(Reply::Found(record)) = reply else { return Ok(()) };
        let hash = self.requests[request].hash_for(attempt_id(0, 0));
        let known = self.audit.commits.get(&record.txn.attempt).is_some_and(|commit| {
            let whole = *commit.record == **record || commit.record.slim() == **record;
            whole && record.hash == hash
        });
        if !known {
            return broken("P5: what is found did commit", format!("{record:?}"));
        }
        self.audit.tell(record.txn.attempt, &self.store)
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
                    Refusal::NotFound => "not found",
                    Refusal::Ended => "ended",
                    Refusal::NotServing => "not serving",
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
