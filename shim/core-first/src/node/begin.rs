//! Begin and look-up: exactly once, seen from its start (protocol, section 6).
//!
//! Rule: before a named request runs, its commit record is looked for; if it is there, nothing runs. Two attempts may still run at once, here or on
//! two nodes: the record's creation decides. Waiting for an attempt that is open here only saves work.
//!
//! Before anybody is told of a commit, and before a record found by its hash enters the index, an intent for it is durable, or this node itself
//! saw it durable or fully published: otherwise the record's own node may be gone, and nobody would ever publish what was told.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::bug::Bug;
use crate::ids::{AttemptId, Fingerprint, RequestHash, SESSION_LEN_MAX, SessionEntry, TxnId};
use crate::message::{Begin, Bound, Header, Refusal, Replayed, Reply, Ticket};
use crate::record::{Intent, Record};
use crate::store::{Answer, Body, Call, CallError, Name};

use super::index::Source;
use super::script::{Pending, Run};
use super::tasks::Purpose;
use super::transaction::{Collected, Transaction};
use super::{Node, Timer};

/// A request that has an open attempt on this node.
#[derive(Debug, Clone, Hash)]
pub(super) struct OpenRequest {
    pub(super) attempts: Vec<AttemptId>,
    pub(super) waiters: VecDeque<Waiter>,
}

/// A begin that waits for an open attempt to end.
#[derive(Debug, Clone, Hash)]
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    begin: Box<Begin>,
    until_mono: u64,
}

/// How an open attempt of a request ended, for those who wait.
#[derive(Debug, Clone)]
pub(super) enum RequestEnd {
    /// With this record, for which an intent is durable.
    Record(Arc<Record>),
    /// Without a commit that is known of.
    Nothing,
}

impl Node {
    pub(super) fn begin(&mut self, ticket: Ticket, begin: Box<Begin>) {
        let horizon_ms = self.now.wall_ms + self.settings.skew_max_ms;
        let refusal = if self.draining && !self.planted(Bug::BeginWhileDraining) {
            Some(Refusal::NotServing)
        } else if self.transactions.len() >= self.settings.transactions_max
            || self.transactions_bytes >= self.settings.transactions_bytes_max / 2
        {
            Some(Refusal::Overloaded(Bound::Transactions))
        } else if self.index.unpublished() >= self.settings.publish_queue_max {
            Some(Refusal::Overloaded(Bound::PublishQueue))
        } else if self.transactions.contains_key(&begin.attempt) || self.ended.get(&begin.attempt).is_some() {
            Some(Refusal::Invalid(format!(
                "attempt {} was opened before: every attempt has a fresh id",
                begin.attempt
            )))
        } else if begin.session.len() > SESSION_LEN_MAX {
            Some(Refusal::Invalid(format!(
                "the session token names {} commits, at most {SESSION_LEN_MAX} are allowed",
                begin.session.len()
            )))
        } else if begin.session.iter().any(|entry| entry.txn.time.ms() > horizon_ms) {
            Some(Refusal::Invalid(
                "the session token is from further in the future than clocks may be apart: check the clocks of client and nodes".into(),
            ))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.refuse(ticket, refusal);
        }
        let known = begin.session.iter().all(|entry| self.index.header(entry.txn).is_some());
        if !begin.named && known {
            let floor =
                begin.session.iter().filter_map(|entry| self.index.header(entry.txn).cloned()).collect();
            return self.open(ticket, begin, floor, Collected::default());
        }
        let until = self.now.mono_ms + self.settings.store_patience_ms;
        self.start_task(Purpose::Begin(ticket, begin), Some(until));
    }

    pub(super) fn begin_script(
        &mut self,
        run: &mut Run<'_>,
        ticket: Ticket,
        begin: &Begin,
    ) -> Result<(), Pending> {
        let request = begin.named.then(|| run.start(|| Call::Get(Name::Commit(begin.hash))));
        let session: Vec<(SessionEntry, Result<Arc<Header>, usize>)> = begin
            .session
            .iter()
            .map(|entry| match run.note_header(|| self.index.header(entry.txn).cloned()) {
                Some(header) => (*entry, Ok(header)),
                None => (*entry, Err(run.start(|| Call::Get(Name::Commit(entry.hash))))),
            })
            .collect();
        if let Some(request) = request {
            match run.wait(request)? {
                Answer::Got(None) => {}
                Answer::Got(Some((Body::Record(record), _))) => {
                    return self.replay_script(
                        run,
                        &record,
                        begin.fingerprint,
                        |node, replayed| match replayed {
                            Ok(replayed) => node.reply(ticket, Reply::Replayed(replayed)),
                            Err(refusal) => node.refuse(ticket, refusal),
                        },
                    );
                }
                answer => {
                    self.refuse(ticket, refusal_of(&answer));
                    return Ok(());
                }
            }
        }
        let mut floor = Vec::new();
        let mut collected = Collected::default();
        for (entry, place) in session {
            let place = match place {
                Ok(header) => {
                    floor.push(header);
                    continue;
                }
                Err(place) => place,
            };
            match run.wait(place)? {
                Answer::Got(Some((Body::Record(record), _))) => {
                    let old = run.note_if(|| self.beyond_replay(&record));
                    match Header::of(&record) {
                        Some(header) if record.txn == entry.txn && !old => {
                            match self.intent_for(run, &record)? {
                                Ok(()) => floor.push(Arc::new(header)),
                                Err(error) => {
                                    self.refuse(ticket, refusal_of(&Answer::Failed(error)));
                                    return Ok(());
                                }
                            }
                        }
                        // Slim, another attempt's, or too old: it sets no bound; the transaction lists afresh instead.
                        Some(_) | None => {
                            collected.add(entry.txn, (record.txn == entry.txn).then(|| record.keys()));
                        }
                    }
                }
                Answer::Got(None) => collected.add(entry.txn, None),
                answer => {
                    self.refuse(ticket, refusal_of(&answer));
                    return Ok(());
                }
            }
        }
        for header in &floor {
            self.learn(header, Source::Heard, None);
        }
        self.open(ticket, Box::new(begin.clone()), floor, collected);
        Ok(())
    }

    /// Opens the transaction, or waits for the attempt that is open.
    fn open(&mut self, ticket: Ticket, begin: Box<Begin>, floor: Vec<Arc<Header>>, collected: Collected) {
        if let (Some(request), false) = (self.requests.get_mut(&begin.hash), begin.overlap) {
            let last = request.attempts.iter().map(|attempt| self.transactions[attempt].deadline_mono).max();
            let remaining = last.unwrap_or(0).saturating_sub(self.now.mono_ms);
            if begin.wait_ms == 0 {
                return self.refuse(ticket, Refusal::InProgress { retry_after_ms: remaining });
            }
            if request.waiters.len() >= self.settings.waiters_max {
                return self.refuse(ticket, Refusal::Overloaded(Bound::Waiters));
            }
            let until_mono = self.now.mono_ms + begin.wait_ms.min(self.settings.timeout_max_ms);
            self.timers.insert((until_mono, Timer::WaiterGivesUp(begin.hash, ticket)));
            request.waiters.push_back(Waiter { ticket, begin, until_mono });
            return;
        }
        let timeout = begin
            .timeout_ms
            .unwrap_or(self.settings.timeout_default_ms)
            .clamp(1, self.settings.timeout_max_ms);
        let deadline = self.now.mono_ms + timeout;
        let wish = match begin.retention_ms {
            Some(wish) => wish,
            None if begin.named => self.settings.retention_default_ms,
            None => 0,
        };
        let retention = wish.clamp(self.settings.retention_min_ms(), self.settings.retention_max_ms);
        let began = self.time();
        let mut transaction = Transaction::new(&begin, retention, deadline, began, self.calls.next_id());
        transaction.collected = collected;
        floor.into_iter().for_each(|header| transaction.add_floor(header));
        let attempt = begin.attempt;
        self.timers.insert((deadline, Timer::Deadline(attempt)));
        self.transactions.insert(attempt, transaction);
        self.weigh(attempt);
        self.requests
            .entry(begin.hash)
            .or_insert_with(|| OpenRequest { attempts: Vec::new(), waiters: VecDeque::new() })
            .attempts
            .push(attempt);
        self.run_batch(ticket, attempt, begin.batch, true);
    }

    pub(super) fn waiter_gives_up(&mut self, hash: RequestHash, ticket: Ticket) {
        let Some(request) = self.requests.get_mut(&hash) else { return };
        let Some(at) = request.waiters.iter().position(|waiter| waiter.ticket == ticket) else { return };
        request.waiters.remove(at);
        let last = request.attempts.iter().map(|attempt| self.transactions[attempt].deadline_mono).max();
        let retry_after_ms = last.unwrap_or(0).saturating_sub(self.now.mono_ms);
        self.refuse(ticket, Refusal::InProgress { retry_after_ms });
    }

    /// An attempt has ended: answers those who waited, or lets them try again.
    pub(super) fn request_ended(&mut self, hash: RequestHash, attempt: AttemptId, end: &RequestEnd) {
        let request = self.requests.get_mut(&hash).expect("an open attempt's request is known");
        request.attempts.retain(|other| *other != attempt);
        let waiters = match end {
            RequestEnd::Record(_) => std::mem::take(&mut request.waiters),
            RequestEnd::Nothing if request.attempts.is_empty() => std::mem::take(&mut request.waiters),
            RequestEnd::Nothing => VecDeque::new(),
        };
        if request.attempts.is_empty() {
            self.requests.remove(&hash);
        }
        for Waiter { ticket, mut begin, until_mono } in waiters {
            if self.planted(Bug::ForgetWaiters) && matches!(end, RequestEnd::Nothing) {
                continue;
            }
            self.timers.remove(&(until_mono, Timer::WaiterGivesUp(hash, ticket)));
            match end {
                RequestEnd::Record(record) => {
                    let any = self.planted(Bug::ReplayToAnyWaiter);
                    match self.verdict(record, begin.fingerprint.filter(|_| !any)) {
                        Ok(replayed) => self.reply(ticket, Reply::Replayed(replayed)),
                        Err(refusal) => self.refuse(ticket, refusal),
                    }
                }
                RequestEnd::Nothing => {
                    begin.wait_ms = until_mono.saturating_sub(self.now.mono_ms);
                    self.begin(ticket, begin);
                }
            }
        }
    }

    /// Whether a record is too old to be replayed.
    pub(super) fn beyond_replay(&self, record: &Record) -> bool {
        self.now.wall_ms.saturating_sub(record.txn.time.ms()) > self.settings.replay_limit_ms()
    }

    /// What an attempt with this fingerprint is told of a record of its request.
    fn verdict(&self, record: &Record, fingerprint: Option<Fingerprint>) -> Result<Replayed, Refusal> {
        match (record.fingerprint, fingerprint) {
            (Some(theirs), Some(ours)) if theirs != ours => Err(Refusal::KeyReused),
            _ => Ok(Replayed {
                txn: record.txn,
                result: record.result.clone(),
                large_result: record.large_result,
                session: vec![SessionEntry { txn: record.txn, hash: record.hash }],
            }),
        }
    }

    /// Tells of a record that was found by its hash: first an intent for it is made durable, and its whole write set is learned.
    pub(super) fn replay_script(
        &mut self,
        run: &mut Run<'_>,
        record: &Arc<Record>,
        fingerprint: Option<Fingerprint>,
        tell: impl FnOnce(&mut Node, Result<Replayed, Refusal>),
    ) -> Result<(), Pending> {
        if run.note_if(|| self.beyond_replay(record)) {
            tell(self, Err(Refusal::ResultGone));
            return Ok(());
        }
        match self.intent_for(run, record)? {
            Ok(()) => {
                if let Some(header) = Header::of(record).map(Arc::new)
                    && !self.adopt(&header)
                {
                    self.learn(&header, Source::Heard, None);
                }
                let verdict = self.verdict(record, fingerprint);
                tell(self, verdict);
            }
            Err(error) => tell(self, Err(refusal_of(&Answer::Failed(error)))),
        }
        Ok(())
    }

    /// Makes sure that an intent for a record is, or was once, durable.
    pub(super) fn intent_for(
        &mut self,
        run: &mut Run<'_>,
        record: &Record,
    ) -> Result<Result<(), CallError>, Pending> {
        let attempt = record.txn.attempt;
        if run.note_if(|| self.settled.get(&attempt).is_some() || self.planted(Bug::ReplayBeforeIntent)) {
            return Ok(Ok(()));
        }
        Ok(match run.ask(|| self.put_intent(record.hash, attempt))? {
            Answer::Done => {
                self.settled.insert(attempt, ());
                Ok(())
            }
            Answer::Failed(error) => Err(error),
            other => unreachable!("a put is answered {other:?}"),
        })
    }

    /// The call that puts a fresh intent. For a record that an earlier life may have left without one, and so unentered, as well.
    pub(super) fn put_intent(&mut self, hash: RequestHash, attempt: AttemptId) -> Call {
        let (time, nonce) = (self.time(), self.nonce());
        self.intent_is_put(attempt, time);
        Call::Put(Name::Intent(Intent { minute: time.minute(), time, attempt, nonce, hash }), Body::Empty)
    }

    pub(super) fn look_up(&mut self, ticket: Ticket, hash: RequestHash) {
        let until = self.now.mono_ms + self.settings.store_patience_ms;
        self.start_task(Purpose::LookUp(ticket, hash), Some(until));
    }

    pub(super) fn look_up_script(
        &mut self,
        run: &mut Run<'_>,
        ticket: Ticket,
        hash: RequestHash,
    ) -> Result<(), Pending> {
        match run.ask(|| Call::Get(Name::Commit(hash)))? {
            Answer::Got(None) => self.refuse(ticket, Refusal::NotFound),
            Answer::Got(Some((Body::Record(record), _))) => {
                let found = record.clone();
                return self.replay_script(run, &record, None, |node, verdict| match verdict {
                    Ok(_) => node.reply(ticket, Reply::Found(found)),
                    Err(refusal) => node.refuse(ticket, refusal),
                });
            }
            answer => self.refuse(ticket, refusal_of(&answer)),
        }
        Ok(())
    }

    pub(super) fn session_after(
        &self,
        txn: TxnId,
        hash: RequestHash,
        before: &[SessionEntry],
    ) -> Vec<SessionEntry> {
        let newest = SessionEntry { txn, hash };
        std::iter::once(newest)
            .chain(before.iter().filter(|entry| **entry != newest).copied())
            .take(SESSION_LEN_MAX)
            .collect()
    }
}

/// What a caller is told of a store call that failed for good, or of a body that has no place under its name.
pub(super) fn refusal_of(answer: &Answer) -> Refusal {
    match answer {
        Answer::Failed(CallError::NoAnswer) => Refusal::StoreUnavailable("the store does not answer".into()),
        Answer::Failed(CallError::Busy) => Refusal::StoreUnavailable("the store is busy".into()),
        Answer::Failed(CallError::Refused(why)) => Refusal::StoreUnavailable(why.clone()),
        Answer::Failed(CallError::Damaged(what)) => Refusal::Damaged(what.clone()),
        Answer::Got(Some((body, _))) => {
            Refusal::Damaged(format!("a body of another kind under a record's name: {body:?}"))
        }
        Answer::Got(None)
        | Answer::Cached(_)
        | Answer::Done
        | Answer::Created
        | Answer::Exists
        | Answer::Replaced
        | Answer::Changed
        | Answer::Listed { .. }
        | Answer::Keys { .. }
        | Answer::Minutes { .. } => {
            Refusal::StoreUnavailable(format!("the driver answered a call with {answer:?}"))
        }
    }
}
