//! Commit and abort: the creation of one record decides everything (protocol, section 4).
//!
//! ```text
//!   take commit time ─┬─ create commit/<hash> ─┬─► both durable ─► acknowledge, index, tell, publish
//!                     └─ put intent ───────────┘
//!   Exists ─► read it: ours ─► as above · another's ─► this attempt lost · gone ─► its result is gone
//!   no answer until the deadline ─► unknown
//! ```
//!
//! Why it is atomic: all keys and values are in the one record. Why at most once: one name for all attempts of a request, and create has one winner.
//! A repeated create that answers *Exists* may have met this attempt's own earlier try, so the attempt's id decides, not the answer.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use bytes::Bytes;

use crate::bug::Bug;
use crate::ids::{AttemptId, Fingerprint, RequestHash, Session};
use crate::message::{
    Batch, CommitArgs, Committed, End, Header, Note, Output, Refusal, Replayed, Reply, Tell, Ticket,
    Visibility,
};
use crate::record::{Record, Writes};
use crate::store::{Answer, Body, Call, CallError, Name};

use super::begin::{RequestEnd, refusal_of};
use super::index::Source;
use super::script::{Pending, Run};
use super::tasks::Purpose;
use super::transaction::{CommitForm, CommitWaiter, Phase, Transaction};
use super::{Node, Timer};

/// What is remembered of an ended transaction.
#[derive(Debug, Clone, Hash)]
pub(super) struct Ended {
    hash: RequestHash,
    fingerprint: Option<Fingerprint>,
    session: Session,
    outcome: Outcome,
    /// What the batch was that carried the commit; only the same one is answered again.
    carrier: Option<u64>,
}

#[derive(Debug, Clone, Hash)]
enum Outcome {
    Committed(Committed),
    /// Another attempt won, and this is what its client was told.
    Other(Result<Replayed, Refusal>),
    /// Another attempt won, with a result that is too large to be remembered: the record tells it again.
    OtherAtLength,
    Aborted,
    Expired,
    Unknown,
}

/// The longest result of a winner that is remembered: `ENDED_KEPT_MAX` of them are some 10 MiB.
const RESULT_KEPT_BYTES_MAX: usize = 1_024;

impl Outcome {
    /// Another attempt won; a short result in a buffer of its own, since a slice would hold the winner's whole record.
    fn other(verdict: &Result<Replayed, Refusal>) -> Outcome {
        match verdict {
            Ok(Replayed { result: Some(result), .. }) if result.len() > RESULT_KEPT_BYTES_MAX => {
                Outcome::OtherAtLength
            }
            Ok(replayed) => {
                let result = replayed.result.as_deref().map(Bytes::copy_from_slice);
                Outcome::Other(Ok(Replayed { result, ..replayed.clone() }))
            }
            Err(refusal) => Outcome::Other(Err(refusal.clone())),
        }
    }

    fn end(&self) -> End {
        match self {
            Outcome::Committed(_) => End::Committed,
            Outcome::Other(_) | Outcome::OtherAtLength => End::LostToOther,
            Outcome::Aborted => End::Aborted,
            Outcome::Expired => End::Expired,
            Outcome::Unknown => End::Unknown,
        }
    }
}

/// Tickets that wait for the end of a transaction's commit, and what they are told if the node drops the transaction: nothing definite once a
/// record may have been sent.
pub(super) fn dropped_waiters(transaction: &Transaction) -> Vec<(Ticket, Refusal)> {
    match &transaction.phase {
        Phase::Open => Vec::new(),
        Phase::Closing(_, waiters) => {
            waiters.iter().map(|waiter| (waiter.ticket, Refusal::NotServing)).collect()
        }
        Phase::Committing(_, waiters) => {
            waiters.iter().map(|waiter| (waiter.ticket, Refusal::Unknown(transaction.hash))).collect()
        }
    }
}

/// A batch, told from others.
pub(super) fn digest(batch: &Batch) -> u64 {
    let mut hasher = DefaultHasher::new();
    batch.hash(&mut hasher);
    hasher.finish()
}

impl Node {
    pub(super) fn commit_verb(&mut self, ticket: Ticket, attempt: AttemptId, args: CommitArgs) {
        self.commit(attempt, args.result, CommitWaiter::new(ticket, CommitForm::Alone));
    }

    /// Commits when no operation is under way any more.
    pub(super) fn commit(&mut self, attempt: AttemptId, result: Option<Bytes>, waiter: CommitWaiter) {
        let Some(transaction) = self.transactions.get_mut(&attempt) else {
            return self.commit_again(attempt, waiter);
        };
        let beside = super::bug_of(&self.settings) == Some(Bug::CommitBesideOperations);
        match &mut transaction.phase {
            Phase::Open if transaction.operations > 0 && !beside => {
                transaction.phase = Phase::Closing(result, vec![waiter]);
            }
            Phase::Open => self.start_commit(attempt, result, vec![waiter]),
            // The same commit, asked a second time by an impatient client: one outcome for both.
            Phase::Closing(_, waiters) => waiters.push(waiter),
            Phase::Committing(_, waiters) => {
                waiters.push(waiter);
                self.be_patient(attempt);
            }
        }
    }

    /// The patience of those who wait for a commit counts from now on, unless it does already.
    fn be_patient(&mut self, attempt: AttemptId) {
        let until = self.now.mono_ms.saturating_add(self.settings.commit_patience_ms);
        let transaction = self.transactions.get_mut(&attempt).expect("it is committing");
        let Phase::Committing(_, waiters) = &mut transaction.phase else {
            unreachable!("patience counts from a commit's start on")
        };
        waiters
            .iter_mut()
            .filter(|waiter| waiter.until_mono == u64::MAX)
            .for_each(|waiter| waiter.until_mono = until);
        // The deadline would come first, and answers everybody.
        if until < transaction.deadline_mono {
            self.timers.insert((until, Timer::CommitPatience(attempt)));
        }
    }

    /// Some have waited long enough for a commit's outcome. It may have been stored, so they hear that it is not known; the commit itself goes on.
    pub(super) fn commit_takes_long(&mut self, attempt: AttemptId) {
        let now = self.now.mono_ms;
        let Some(transaction) = self.transactions.get_mut(&attempt) else { return };
        let hash = transaction.hash;
        let Phase::Committing(_, waiters) = &mut transaction.phase else { return };
        let (told, left) = std::mem::take(waiters).into_iter().partition(|waiter| waiter.until_mono <= now);
        *waiters = left;
        let told: Vec<CommitWaiter> = told;
        told.into_iter().for_each(|waiter| self.refuse(waiter.ticket, Refusal::Unknown(hash)));
    }

    /// The request of an attempt that this node knows or remembers.
    pub(super) fn hash_of(&self, attempt: AttemptId) -> Option<RequestHash> {
        let open = self.transactions.get(&attempt).map(|transaction| transaction.hash);
        open.or_else(|| self.ended.get(&attempt).map(|ended| ended.hash))
    }

    fn start_commit(&mut self, attempt: AttemptId, result: Option<Bytes>, waiters: Vec<CommitWaiter>) {
        let transaction = &self.transactions[&attempt];
        if transaction.buffer.is_empty() && !transaction.named {
            let committed = Committed { txn: None, session: transaction.session.clone() };
            self.end(attempt, Outcome::Committed(committed.clone()), &RequestEnd::Nothing);
            return waiters.into_iter().for_each(|waiter| self.reply_committed(waiter, committed.clone()));
        }
        let time = self.tick(self.transactions[&attempt].newest_seen());
        let transaction = self.transactions.get_mut(&attempt).expect("looked up above");
        let record = Record {
            txn: crate::ids::TxnId { time, attempt },
            hash: transaction.hash,
            named: transaction.named,
            fingerprint: transaction.fingerprint,
            retention_ms: transaction.retention_ms,
            large_result: transaction.large_result.filter(|_| result.is_none()),
            result,
            blobs: transaction.blobs,
            writes: Writes::Full(
                transaction.buffer.iter().map(|(key, write)| (key.clone(), write.clone())).collect(),
            ),
        };
        transaction.phase = Phase::Committing(Arc::new(record), waiters);
        let deadline = transaction.deadline_mono;
        self.be_patient(attempt);
        self.start_task(Purpose::Commit(attempt), Some(deadline));
    }

    pub(super) fn commit_script(&mut self, run: &mut Run<'_>, attempt: AttemptId) -> Result<(), Pending> {
        let transaction =
            self.transactions.get(&attempt).expect("a commit's script stops with its transaction");
        let Phase::Committing(record, _) = &transaction.phase else {
            unreachable!("a commit's script runs while it commits")
        };
        let (record, fingerprint, intent_durable) =
            (record.clone(), transaction.fingerprint, transaction.intent_durable);
        let hash = record.hash;
        let create = run.start(|| Call::Create(Name::Commit(hash), Body::Record(record.clone())));
        let intent = (!intent_durable).then(|| run.start(|| self.put_intent(hash, attempt)));
        if self.planted(Bug::PublishBeforeCommit) {
            let header = Header::of(&record).expect("a fresh record is full");
            super::publish::entries(&header).for_each(|call| {
                run.start(|| call);
            });
        }
        match run.wait(create)? {
            Answer::Created => {}
            Answer::Exists if self.planted(Bug::TakeExistsForSuccess) => {}
            Answer::Exists => match run.ask(|| Call::Get(Name::Commit(hash)))? {
                Answer::Got(Some((Body::Record(found), _))) if found.txn.attempt == attempt => {}
                Answer::Got(Some((Body::Record(winner), _))) => {
                    return self.replay_script(run, &winner.clone(), fingerprint, |node, verdict| {
                        node.lost(attempt, winner, verdict);
                    });
                }
                Answer::Got(None) => {
                    self.lost_without_record(attempt);
                    return Ok(());
                }
                // It may be this attempt's own, of a try without an answer: nothing may be committed in its place.
                Answer::Failed(CallError::Damaged(what)) if self.planted(Bug::ReopenAfterDamage) => {
                    self.reopen(attempt, &Refusal::Damaged(what));
                    return Ok(());
                }
                Answer::Failed(CallError::Damaged(what)) => {
                    self.in_doubt(attempt, &Refusal::UnknownDamaged(hash, what));
                    return Ok(());
                }
                _ => {
                    self.unknown(attempt);
                    return Ok(());
                }
            },
            Answer::Failed(CallError::NoAnswer) => {
                self.unknown(attempt);
                return Ok(());
            }
            // Nothing took effect: the transaction is as it was, and may be committed again until its deadline.
            answer => {
                self.reopen(attempt, &refusal_of(&answer));
                return Ok(());
            }
        }
        if let (Some(intent), false) = (intent, self.planted(Bug::AcknowledgeBeforeIntent)) {
            match run.wait(intent)? {
                Answer::Done => {}
                _ => {
                    self.unknown(attempt);
                    return Ok(());
                }
            }
        }
        self.committed(attempt, &record);
        Ok(())
    }

    /// The record and an intent for it are durable.
    fn committed(&mut self, attempt: AttemptId, record: &Arc<Record>) {
        self.settled.insert(attempt, ());
        self.pace_commit();
        let transaction = &self.transactions[&attempt];
        let (visibility, before) = (transaction.visibility, transaction.session.clone());
        let waiters = self.take_commit_waiters(attempt);
        let committed = Committed {
            txn: Some(record.txn),
            session: self.session_after(record.txn, record.hash, &before),
        };
        self.end(attempt, Outcome::Committed(committed.clone()), &RequestEnd::Record(record.clone()));
        let header = Arc::new(Header::of(record).expect("a fresh record is full"));
        if header.writes.is_empty() {
            self.versions_entered(attempt);
            return waiters.into_iter().for_each(|waiter| self.reply_committed(waiter, committed.clone()));
        }
        self.learn(&header, Source::Own, None);
        self.tell(vec![header.clone()]);
        let (now, later) = match visibility {
            Visibility::Relaxed => (waiters, Vec::new()),
            Visibility::Published => (Vec::new(), waiters),
        };
        now.into_iter().for_each(|waiter| self.reply_committed(waiter, committed.clone()));
        self.publish(header, later.into_iter().map(|waiter| (waiter, committed.clone())).collect());
    }

    /// A record was found, an intent for it being durable. If it is of an attempt of this node whose outcome was unknown, it is this node's own commit
    /// from now on: nobody else may publish it soon, and readers here must not lose sight of it after somebody was told.
    pub(super) fn adopt(&mut self, header: &Arc<Header>) -> bool {
        let attempt = header.txn.attempt;
        let Some(ended) = self.ended.get(&attempt) else { return false };
        let doubted = matches!(ended.outcome, Outcome::Unknown);
        if !doubted || self.collected.get(&header.txn).is_some() {
            return false;
        }
        let session = self.session_after(header.txn, header.hash, &ended.session);
        let outcome = Outcome::Committed(Committed { txn: Some(header.txn), session });
        let ended = Ended { outcome, ..ended.clone() };
        self.ended.insert(attempt, ended);
        if header.writes.is_empty() {
            self.versions_entered(attempt);
            return true;
        }
        self.learn(header, Source::Own, None);
        self.tell(vec![header.clone()]);
        self.publish_found(header.clone());
        true
    }

    pub(super) fn tell(&mut self, commits: Vec<Arc<Header>>) {
        self.tells += 1;
        let time = self.time();
        self.out.push(Output::Tell(Tell { sequence: self.tells, time, commits }));
    }

    pub(super) fn reply_committed(&mut self, waiter: CommitWaiter, committed: Committed) {
        let reply = match waiter.form {
            CommitForm::Alone => Reply::Committed(committed),
            CommitForm::Ran(reads) => Reply::Ran { reads, committed: Some(committed) },
            CommitForm::Begun(attempt, reads) => {
                Reply::Begun { attempt, remaining_ms: 0, reads, committed: Some(committed) }
            }
        };
        self.reply(waiter.ticket, reply);
    }

    /// Another attempt's record stands under the request's name.
    fn lost(&mut self, attempt: AttemptId, winner: Arc<Record>, verdict: Result<Replayed, Refusal>) {
        let waiters = self.take_commit_waiters(attempt);
        let end = match &verdict {
            // Only a verdict says that an intent for the winner is durable.
            Ok(_) | Err(Refusal::KeyReused) => RequestEnd::Record(winner),
            Err(_) => RequestEnd::Nothing,
        };
        self.end(attempt, Outcome::other(&verdict), &end);
        self.reply_other(waiters, &verdict);
    }

    /// A record stood there and has been collected since: the request did commit, long ago.
    fn lost_without_record(&mut self, attempt: AttemptId) {
        let waiters = self.take_commit_waiters(attempt);
        self.end(attempt, Outcome::Other(Err(Refusal::ResultGone)), &RequestEnd::Nothing);
        self.reply_other(waiters, &Err(Refusal::ResultGone));
    }

    fn reply_other(&mut self, waiters: Vec<CommitWaiter>, verdict: &Result<Replayed, Refusal>) {
        for waiter in waiters {
            match verdict {
                Ok(replayed) => self.reply(waiter.ticket, Reply::Replayed(replayed.clone())),
                Err(refusal) => self.refuse(waiter.ticket, refusal.clone()),
            }
        }
    }

    fn unknown(&mut self, attempt: AttemptId) {
        let hash = self.transactions[&attempt].hash;
        self.in_doubt(attempt, &Refusal::Unknown(hash));
    }

    /// Whether it committed is not known; a repeated commit only looks.
    fn in_doubt(&mut self, attempt: AttemptId, refusal: &Refusal) {
        let waiters = self.take_commit_waiters(attempt);
        self.end(attempt, Outcome::Unknown, &RequestEnd::Nothing);
        waiters.into_iter().for_each(|waiter| self.refuse(waiter.ticket, refusal.clone()));
    }

    /// The node drops its open transactions: what is asked of them later is answered as it would be after their deadline.
    pub(super) fn remember_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.transactions);
        if self.planted(Bug::ForgetDropped) {
            return;
        }
        for (attempt, transaction) in dropped {
            let outcome = match &transaction.phase {
                Phase::Open | Phase::Closing(..) => Outcome::Expired,
                Phase::Committing(..) => Outcome::Unknown,
            };
            let Transaction { hash, fingerprint, session, carrier, .. } = transaction;
            self.ended.insert(attempt, Ended { hash, fingerprint, session, outcome, carrier });
        }
    }

    /// The store refused the record without effect: the transaction is open again.
    fn reopen(&mut self, attempt: AttemptId, refusal: &Refusal) {
        let waiters = self.take_commit_waiters(attempt);
        self.transactions.get_mut(&attempt).expect("looked up above").phase = Phase::Open;
        waiters.into_iter().for_each(|waiter| self.refuse(waiter.ticket, refusal.clone()));
    }

    fn take_commit_waiters(&mut self, attempt: AttemptId) -> Vec<CommitWaiter> {
        let waiters = match &mut self.transactions.get_mut(&attempt).expect("it is committing").phase {
            Phase::Committing(_, waiters) => std::mem::take(waiters),
            Phase::Open | Phase::Closing(..) => unreachable!("it is committing"),
        };
        for waiter in &waiters {
            self.timers.remove(&(waiter.until_mono, Timer::CommitPatience(attempt)));
        }
        waiters
    }

    /// Whether this batch is the one that carried the commit of an ended transaction.
    pub(super) fn is_carrier(&self, attempt: AttemptId, batch: &Batch) -> bool {
        self.ended.get(&attempt).is_some_and(|ended| ended.carrier == Some(digest(batch)))
    }

    /// A commit of a transaction that has ended, or that this node never knew.
    fn commit_again(&mut self, attempt: AttemptId, waiter: CommitWaiter) {
        let Some(ended) = self.ended.get(&attempt) else {
            return self.refuse(waiter.ticket, Refusal::NotFound);
        };
        let ended = ended.clone();
        match ended.outcome {
            Outcome::Committed(committed) => self.reply_committed(waiter, committed),
            Outcome::Other(verdict) => self.reply_other(vec![waiter], &verdict),
            Outcome::Aborted => self.refuse(waiter.ticket, Refusal::Ended),
            Outcome::Expired => self.refuse(waiter.ticket, Refusal::Lost),
            // No record is sent after the deadline, but the one that was may have landed.
            Outcome::Unknown | Outcome::OtherAtLength => {
                let until = self.now.mono_ms + self.settings.store_patience_ms;
                self.start_task(Purpose::Resolve(waiter.ticket, ended.hash, attempt), Some(until));
            }
        }
    }

    pub(super) fn resolve_script(
        &mut self,
        run: &mut Run<'_>,
        ticket: Ticket,
        attempt: AttemptId,
    ) -> Result<(), Pending> {
        let Some(ended) = self.ended.get(&attempt).cloned() else {
            self.refuse(ticket, Refusal::NotFound);
            return Ok(());
        };
        match run.ask(|| Call::Get(Name::Commit(ended.hash)))? {
            Answer::Got(Some((Body::Record(record), _))) => {
                let ours = record.txn.attempt == attempt;
                self.replay_script(run, &record.clone(), ended.fingerprint, |node, verdict| {
                    if let (true, Ok(replayed)) = (ours, &verdict) {
                        let session = node.session_after(record.txn, record.hash, &ended.session);
                        let committed = Committed { txn: Some(replayed.txn), session };
                        let outcome = Outcome::Committed(committed.clone());
                        node.ended.insert(attempt, Ended { outcome, ..ended });
                        return node.reply(ticket, Reply::Committed(committed));
                    }
                    match verdict {
                        Ok(replayed) => node.reply(ticket, Reply::Replayed(replayed)),
                        // It did commit; that nobody else may be told yet is no reason to deny it.
                        Err(Refusal::StoreUnavailable(_) | Refusal::Damaged(_))
                            if ours && !node.planted(Bug::DenyCommitWithoutIntent) =>
                        {
                            node.refuse(ticket, Refusal::Unknown(ended.hash))
                        }
                        Err(refusal) => node.refuse(ticket, refusal),
                    }
                })
            }
            answer => {
                let refusal = match (ended.outcome, &answer) {
                    (Outcome::OtherAtLength, Answer::Got(None)) => Refusal::ResultGone,
                    (Outcome::OtherAtLength, answer) => refusal_of(answer),
                    (_, Answer::Failed(CallError::Damaged(what))) => {
                        Refusal::UnknownDamaged(ended.hash, what.clone())
                    }
                    _ => Refusal::Unknown(ended.hash),
                };
                self.refuse(ticket, refusal);
                Ok(())
            }
        }
    }

    pub(super) fn abort(&mut self, ticket: Ticket, attempt: AttemptId) {
        match self.transactions.get(&attempt).map(|transaction| &transaction.phase) {
            Some(Phase::Open) => {
                if self.planted(Bug::IndexAborted) {
                    self.index_aborted(attempt);
                }
                self.end(attempt, Outcome::Aborted, &RequestEnd::Nothing);
                self.reply(ticket, Reply::Aborted);
            }
            Some(Phase::Closing(..) | Phase::Committing(..)) => self.refuse(ticket, Refusal::Ended),
            None => match self.ended.get(&attempt).map(|ended| ended.outcome.end()) {
                Some(End::Aborted | End::Expired) => self.reply(ticket, Reply::Aborted),
                Some(End::Committed | End::LostToOther) => self.refuse(ticket, Refusal::Ended),
                Some(End::Unknown) => self.refuse_ended(ticket, attempt),
                None => self.refuse(ticket, Refusal::NotFound),
            },
        }
    }

    /// The planted bug: an aborted transaction's writes are taken for committed.
    fn index_aborted(&mut self, attempt: AttemptId) {
        let time = self.tick(self.transactions[&attempt].newest_seen());
        let transaction = &self.transactions[&attempt];
        let writes = transaction.buffer.iter().map(|(key, write)| (key.clone(), write.meta())).collect();
        let header = Header { txn: crate::ids::TxnId { time, attempt }, hash: transaction.hash, writes };
        self.learn(&Arc::new(header), Source::Own, None);
    }

    /// The transaction's time is over. Silence is abort, unless a record may have been sent.
    pub(super) fn deadline(&mut self, attempt: AttemptId) {
        let Some(transaction) = self.transactions.get(&attempt) else { return };
        match &transaction.phase {
            Phase::Committing(..) => self.unknown(attempt),
            Phase::Closing(_, waiters) => {
                let tickets: Vec<Ticket> = waiters.iter().map(|waiter| waiter.ticket).collect();
                self.end(attempt, Outcome::Expired, &RequestEnd::Nothing);
                tickets.into_iter().for_each(|ticket| self.refuse(ticket, Refusal::Lost));
            }
            Phase::Open => self.end(attempt, Outcome::Expired, &RequestEnd::Nothing),
        }
    }

    /// Forgets an open transaction and remembers how it ended.
    fn end(&mut self, attempt: AttemptId, outcome: Outcome, request: &RequestEnd) {
        let refusal = match &outcome {
            Outcome::Expired => Refusal::Lost,
            Outcome::Committed(_)
            | Outcome::Other(_)
            | Outcome::OtherAtLength
            | Outcome::Aborted
            | Outcome::Unknown => Refusal::Ended,
        };
        for ticket in self.stop_tasks_of(attempt).into_iter().chain(self.stop_operations_of(attempt)) {
            self.refuse(ticket, refusal.clone());
        }
        match &outcome {
            Outcome::Committed(Committed { txn: Some(_), .. }) | Outcome::Unknown => {}
            // No record of it will ever stand.
            Outcome::Committed(_)
            | Outcome::Other(_)
            | Outcome::OtherAtLength
            | Outcome::Aborted
            | Outcome::Expired => {
                self.versions_entered(attempt);
            }
        }
        let transaction = self.transactions.remove(&attempt).expect("only open transactions end");
        self.transactions_bytes -= transaction.weighed;
        self.timers.remove(&(transaction.deadline_mono, Timer::Deadline(attempt)));
        self.note(Note::Ended(attempt, outcome.end()));
        let Transaction { hash, fingerprint, session, carrier, .. } = transaction;
        self.ended.insert(attempt, Ended { hash, fingerprint, session, outcome, carrier });
        self.request_ended(hash, attempt, request);
    }

    /// What any other verb is told of a transaction that is not open.
    pub(super) fn refuse_ended(&mut self, ticket: Ticket, attempt: AttemptId) {
        let refusal = match self.ended.get(&attempt) {
            None => Refusal::NotFound,
            Some(ended) => match &ended.outcome {
                Outcome::Committed(_) | Outcome::Other(_) | Outcome::OtherAtLength | Outcome::Aborted => {
                    Refusal::Ended
                }
                Outcome::Expired => Refusal::Lost,
                Outcome::Unknown => Refusal::Unknown(ended.hash),
            },
        };
        self.refuse(ticket, refusal);
    }

    /// Counts a transaction's bytes anew.
    pub(super) fn weigh(&mut self, attempt: AttemptId) {
        let transaction = self.transactions.get_mut(&attempt).expect("only open transactions are weighed");
        let bytes = transaction.bytes();
        self.transactions_bytes = self.transactions_bytes - transaction.weighed + bytes;
        transaction.weighed = bytes;
    }

    /// An operation of the transaction is done; a commit that waited for it may start.
    pub(super) fn operation_done(&mut self, attempt: AttemptId) {
        let Some(transaction) = self.transactions.get_mut(&attempt) else { return };
        assert!(transaction.operations > 0, "operations under way are counted");
        transaction.operations -= 1;
        let idle = transaction.operations == 0;
        self.weigh(attempt);
        let transaction = self.transactions.get_mut(&attempt).expect("looked up above");
        if idle {
            match std::mem::replace(&mut transaction.phase, Phase::Open) {
                Phase::Closing(result, waiters) => self.start_commit(attempt, result, waiters),
                phase @ (Phase::Open | Phase::Committing(..)) => transaction.phase = phase,
            }
        }
    }

    /// The record to send again: the same, or the outcome of the first try could not be told.
    pub(super) fn same_record(&mut self, record: Arc<Record>) -> Arc<Record> {
        if !self.planted(Bug::CommitUnderNewUuidAfterNoAnswer) {
            return record;
        }
        let mut other = (*record).clone();
        other.txn.attempt.0[15] ^= 0xff;
        Arc::new(other)
    }
}
