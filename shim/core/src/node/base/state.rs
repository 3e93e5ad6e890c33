//! The node's state: all owners of state, and the few functions that involve several of them and
//! that every verb needs.
//!
//! Verbs call down, never up: what a lower verb must pass to a higher one becomes [`Work`], which
//! the node's routing processes within the same step.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::bug::Bug;
use crate::clock::Clock;
use crate::ids::{AttemptId, Key, NodeId, RequestHash, TxnId};
use crate::message::{Begin, Failed, Header, Note, Output, Refusal, Reply, Tell, Ticket};
use crate::record::Record;
use crate::settings::Settings;
use crate::store::{Answer, Call, CallError, CallId, Name};

use super::calls::{Age, Calls, Limit, Owner};
use super::checks::{Checks, Freed};
use super::ids::{OperationId, TaskId};
use super::index::Index;
use super::line::Line;
use super::mark::MarkView;
use super::read::Operations;
use super::remembered::Remembered;
use super::requests::Requests;
use super::script::Tasks;
use super::timers::{Timer, Timers};
use super::transaction::{Began, CommitWaiter};
use super::transactions::Transactions;

/// Work that a verb left for a higher one, processed within the same step.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) enum Work {
    /// Run a script until it waits or ends.
    Task(TaskId),
    /// Run an operation until it waits or ends.
    Operation(OperationId),
    /// Begin again, after the attempt that was waited for has ended.
    Begin(Ticket, Box<Begin>),
    /// An operation of the transaction is done; a commit that waited for it may start.
    OperationDone(AttemptId),
    /// Commit, because the batch that carries the commit has taken effect.
    Commit(AttemptId, Option<bytes::Bytes>, CommitWaiter),
    /// A commit that waits in line may start.
    Turn(AttemptId),
    /// An attempt has ended, with this record or without a known one.
    RequestEnded(RequestHash, AttemptId, Option<Arc<Record>>),
}

/// The purpose of a script.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) enum Purpose {
    /// Look the request and the session up, then open a transaction.
    Begin(Ticket, Box<Begin>, Began),
    /// Learn the store's time and the newest versions of the write set, before a commit time is
    /// taken.
    Prepare(AttemptId),
    /// Write a commit.
    Commit(AttemptId),
    /// Learn the store's time before a place for a large value is reserved.
    Reserve(Ticket, AttemptId),
    /// Look for a commit of a request whose condition failed.
    Failed {
        ticket: Ticket,
        attempt: AttemptId,
        failed: Failed,
        /// True if its caller can be answered with a replay.
        replays: bool,
    },
    /// Look for the outcome of a commit that was reported as unknown.
    Resolve(Ticket, AttemptId, RequestHash),
    /// Look a request up, under the name of its commit.
    LookUp(Ticket, Name, RequestHash),
    /// Remove the locks of a commit that took no effect.
    Release(Arc<Record>),
}

/// A running script.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) struct Task {
    pub(in crate::node) purpose: Purpose,
    /// The limit of its calls, unless one has its own.
    pub(in crate::node) limit: Limit,
}

/// The end of an attempt, which is remembered to answer repeated verbs.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) struct Ended {
    pub(in crate::node) hash: RequestHash,
    pub(in crate::node) fingerprint: Option<crate::ids::Fingerprint>,
    pub(in crate::node) session: crate::ids::Session,
    pub(in crate::node) outcome: Outcome,
    /// A digest of the batch that carried the commit. Only the same batch is answered again.
    pub(in crate::node) carrier: Option<u64>,
    /// The name of the object that is the commit, if one may have been sent.
    pub(in crate::node) commit: Option<Name>,
    /// The deadline of the transaction.
    pub(in crate::node) deadline: Limit,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) enum Outcome {
    Committed(crate::message::Committed),
    /// Another attempt won, and this is the answer to the client.
    Other(Result<crate::message::Replayed, Refusal>),
    /// Another attempt won, with a result that is too large to be remembered, and is read from the
    /// record.
    OtherAtLength,
    /// Another transaction had written what it read.
    Conflicted(crate::message::Conflict),
    Aborted,
    Expired,
    Unknown,
}

/// A commit whose record existed, and whose entries all are or were in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::node) struct Entered {
    pub(in crate::node) txn: TxnId,
    /// True if its caller named the request.
    pub(in crate::node) named: bool,
    pub(in crate::node) retention_ms: u64,
    /// The approximate size of its record in the store, in bytes.
    pub(in crate::node) bytes: u64,
}

impl Entered {
    pub(in crate::node) fn of(record: &Record) -> Entered {
        let Record { txn, named, retention_ms, .. } = *record;
        Entered { txn, named, retention_ms, bytes: record.stored_bytes() }
    }
}

/// The number of reads of the store's time before a verb that needs the time is rejected. One
/// answer bounds it by the round trip and the resolution of the store's clock; several narrow the
/// bounds.
pub(in crate::node) const TIME_TRIES_MAX: usize = 8;

/// The least time between two planned reads of the store's time, in milliseconds. The estimate of a
/// tick moves a little, and each tick gets only one read.
const SHARPEN_INTERVAL_MS: u64 = 500;

/// The age at which the mark is read again while the node works.
const MARK_REFRESH_MS: u64 = 60_000;

/// The node's state.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) struct State {
    pub(in crate::node) id: NodeId,
    pub(in crate::node) settings: Settings,
    pub(in crate::node) clock: Clock,
    pub(in crate::node) calls: Calls,
    pub(in crate::node) timers: Timers,
    pub(in crate::node) tasks: Tasks<Task>,
    pub(in crate::node) index: Index,
    pub(in crate::node) mark: MarkView,
    pub(in crate::node) operations: Operations,
    pub(in crate::node) transactions: Transactions,
    pub(in crate::node) requests: Requests,
    /// The commits against which serializable transactions are checked.
    pub(in crate::node) checks: Checks,
    /// The commits that wait for a lock which another commit of this node is taking.
    pub(in crate::node) line: Line,
    pub(in crate::node) ended: Remembered<AttemptId, Ended>,
    /// The latest commits that this node has acknowledged or reported.
    pub(in crate::node) entered: Remembered<RequestHash, Entered>,
    pub(in crate::node) draining: bool,
    /// True while [`Timer::SharpenTime`] is set.
    pub(in crate::node) sharpens_time: bool,
    /// The monotonic instant, in milliseconds, of the earliest next planned read of the store's
    /// time.
    pub(in crate::node) sharpens_from_mono: u64,
    /// The number of tells sent so far.
    pub(in crate::node) tells: u64,
    /// Work left in this step; empty between steps.
    pub(in crate::node) work: VecDeque<Work>,
    /// Outputs of this step; empty between steps.
    pub(in crate::node) out: Vec<Output>,
}

impl State {
    pub(in crate::node) fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.out.push(Output::Reply(ticket, Ok(reply)));
    }

    pub(in crate::node) fn refuse(&mut self, ticket: Ticket, refusal: Refusal) {
        self.out.push(Output::Reply(ticket, Err(refusal)));
    }

    pub(in crate::node) fn note(&mut self, note: Note) {
        self.out.push(Output::Note(note));
    }

    /// Tells the peers of a commit.
    pub(in crate::node) fn tell(&mut self, header: Arc<Header>) {
        self.tells += 1;
        self.out.push(Output::Tell(Tell::of(self.tells, header)));
    }

    /// Leaves work to be taken up later in this step, in order.
    pub(in crate::node) fn defer(&mut self, work: Work) {
        self.work.push_back(work);
    }

    /// Calls the store for an owner.
    pub(in crate::node) fn call(&mut self, owner: Owner, call: Call, limit: Option<Limit>) -> CallId {
        let mark = self.mark.known();
        let next_call = self.calls.next_number();
        let id = self.calls.start(&self.clock, owner, call, limit, mark);
        assert_eq!(id.0, next_call, "a call gets the number that was promised to it");
        id
    }

    /// Calls the store for an operation, or joins the same call if its first try has number `since`
    /// or a later one.
    pub(in crate::node) fn call_shared(
        &mut self,
        owner: Owner,
        call: impl FnOnce() -> Call,
        waiter: Option<OperationId>,
        since: u64,
        limit: Limit,
    ) {
        let mark = self.mark.known();
        self.calls.start_shared(&self.clock, owner, call, (waiter, since), limit, mark);
    }

    /// Returns true if the store's time is known well enough to be stored; if `since` is given,
    /// from an answer to that call or a later one.
    pub(in crate::node) fn is_time_known(&self, since: Option<u64>) -> bool {
        let heard = since.is_none_or(|since| self.clock.was_heard_since(since));
        let bounds = self.clock.bounds();
        assert!(bounds.is_none_or(|bounds| bounds.earliest_ms <= bounds.latest_ms), "bounds are in order");
        heard && bounds.is_some_and(|bounds| bounds.width_ms() <= self.settings.skew_max_ms)
    }

    /// Reads the mark in the background: at the node's first request, once a minute while it works,
    /// and while the store's time is not known, because the answer carries it. A transaction that
    /// began without a time cannot know how long the process paused.
    ///
    /// A listing uses the mark that was known before it. The older that mark is, the fewer removed
    /// versions can be distinguished from versions that never existed.
    pub(in crate::node) fn refresh_mark(&mut self) {
        let known = self.mark.last().map(|seen| seen.asked);
        let is_young = known.is_some_and(|asked| self.clock.age_at_most_ms(&asked) < MARK_REFRESH_MS);
        let is_timed = self.settings.exclusive || self.clock.bounds().is_some();
        if (is_young && is_timed) || (known.is_none() && self.mark.was_looked_at()) {
            return;
        }
        let patience = self.patience();
        let owner = if known.is_none() { Owner::FirstMark } else { Owner::Mark };
        self.call_shared(owner, || Call::Get(Name::Format), None, 0, patience);
    }

    /// Resumes the reads and commits that waited for an attempt's commit, which is no longer in
    /// flight.
    pub(in crate::node) fn free(&mut self, attempt: AttemptId, freed: Freed) {
        // Reads first: if there are always commits in line, reads would otherwise wait for ever.
        self.work.extend(freed.operations.into_iter().map(Work::Operation));
        self.work.extend(self.line.first_at(&freed.keys).into_iter().map(Work::Turn));
        self.leave_line(attempt);
    }

    /// Takes a commit out of the line, if it is there, and wakes those behind it.
    pub(in crate::node) fn leave_line(&mut self, attempt: AttemptId) {
        let (looks_mono, behind) = self.line.leave(attempt);
        looks_mono.into_iter().for_each(|at| self.timers.cancel(at, Timer::Turn(attempt)));
        self.work.extend(behind.into_iter().map(Work::Turn));
    }

    /// Reads the store's time, by a read of the mark.
    pub(in crate::node) fn ask_time(&mut self) {
        let patience = self.patience();
        self.call_shared(Owner::Mark, || Call::Get(Name::Format), None, self.calls.next_number(), patience);
    }

    /// Plans a read of the store's time, for the instant at which its answer narrows the bounds
    /// most. It is called when wide bounds have made a commit wait, or list its keys first.
    ///
    /// Answers of a store whose time has a resolution of seconds narrow the bounds only if they
    /// come close to the end of a second. The answers to a single client do not: its commits wait
    /// for the bounds, which keeps the answers away from it. A guest makes no call for which nobody
    /// waits.
    pub(in crate::node) fn sharpen_time(&mut self) {
        if self.settings.exclusive || self.settings.guest || self.sharpens_time {
            return;
        }
        let Some(at_mono) = self.clock.best_question_mono(self.sharpens_from_mono) else { return };
        assert!(at_mono > self.clock.mono_ms(), "a question that is planned is asked in a later step");
        self.sharpens_time = true;
        self.timers.set(at_mono, Timer::SharpenTime);
    }

    /// Makes the planned read of the store's time.
    pub(in crate::node) fn sharpen_time_now(&mut self) {
        assert!(self.sharpens_time, "the question was planned");
        self.sharpens_time = false;
        self.sharpens_from_mono = self.clock.mono_ms() + SHARPEN_INTERVAL_MS;
        self.ask_time();
    }

    /// Returns the limit of reads and look-ups for which a caller waits.
    pub(in crate::node) fn patience(&self) -> Limit {
        Limit { from: self.clock.moment(), ms: self.settings.store_patience_ms, age: Age::AtLeast }
    }

    /// Starts a script; it runs within this step.
    pub(in crate::node) fn start_task(&mut self, purpose: Purpose, limit: Limit) {
        let id = self.tasks.add(Task { purpose, limit });
        self.work.push_back(Work::Task(id));
    }

    /// Learns a committed transaction. `durable` is true if its entries are known to be in the
    /// store.
    pub(in crate::node) fn learn(&mut self, header: &Arc<Header>, durable: bool, asked: Option<&Key>) {
        header.check_invariants();
        if let Some(bounds) = self.clock.bounds()
            && header.txn.time.ms() > bounds.latest_ms + self.settings.skew_max_ms
            && self.index.header(header.txn).is_none()
        {
            self.note(Note::AheadOfTime(header.txn));
        }
        let bug = bug_of(&self.settings);
        self.index.learn(header, durable, |planted| bug == Some(planted), asked);
    }

    /// Notes that a transaction is committed, and that its entries all are or were in place.
    pub(in crate::node) fn note_entered(&mut self, record: &Record) {
        self.entered.insert(record.hash, Entered::of(record));
    }

    /// Returns the remembered commit of an unnamed request, under whose name nothing else can be
    /// committed.
    pub(in crate::node) fn own_commit(&self, hash: RequestHash) -> Option<Entered> {
        self.entered.get(&hash).copied().filter(|entered| !entered.named)
    }

    /// Returns true if a transaction is known to be committed, its entries being in place or
    /// collected.
    pub(in crate::node) fn is_entered(&self, hash: RequestHash, txn: TxnId) -> bool {
        // Compare the whole TxnId: an attempt that failed and committed again may have left dead
        // entries with an earlier time.
        self.entered.get(&hash).is_some_and(|entered| entered.txn == txn)
    }

    /// Returns true if a version is young: the mark cannot have reached it, because it is younger
    /// than any attempt that is over, so no version up to it that is missing was removed.
    pub(in crate::node) fn is_young(&self, txn: TxnId) -> bool {
        if self.settings.moves_mark_alone() {
            // Here the mark follows this node's own attempts, so it may reach recent versions; and
            // only this node removes, after it has seen the mark in its place. Until it has read
            // the mark, only its own commits are certainly young.
            return match self.mark.last() {
                Some(seen) => txn > seen.format.mark,
                None => self.clock.is_of_this_life(txn.time),
            };
        }
        let Some(bounds) = self.clock.bounds() else { return false };
        let now_ms = if self.planted(Bug::IgnoreErrorInAge) { bounds.earliest_ms } else { bounds.latest_ms };
        now_ms.saturating_sub(txn.time.ms()) < self.settings.over_after_ms()
    }

    /// Returns true if this bug is planted. It is constantly false in a release build.
    pub(in crate::node) fn planted(&self, bug: Bug) -> bool {
        bug_of(&self.settings) == Some(bug)
    }
}

#[cfg(feature = "planted-bugs")]
pub(in crate::node) fn bug_of(settings: &Settings) -> Option<Bug> {
    settings.bug
}

#[cfg(not(feature = "planted-bugs"))]
pub(in crate::node) fn bug_of(_settings: &Settings) -> Option<Bug> {
    None
}

/// Returns the refusal for a store call that finally failed, or that found a body of the wrong
/// kind.
pub(in crate::node) fn refusal_of(answer: &Answer) -> Refusal {
    match answer {
        Answer::Failed(CallError::NoAnswer | CallError::Expired) => {
            Refusal::StoreUnavailable("the store does not answer".into())
        }
        Answer::Failed(CallError::Busy) => Refusal::StoreUnavailable("the store is busy".into()),
        Answer::Failed(CallError::Refused(why)) => Refusal::StoreUnavailable(why.clone()),
        Answer::Failed(CallError::Damaged(what)) => Refusal::Damaged(what.clone()),
        Answer::Got(Some((body, _))) => {
            Refusal::Damaged(format!("a body of another kind under a record's name: {body:?}"))
        }
        Answer::Got(None)
        | Answer::Cached(_)
        | Answer::Done
        | Answer::Created(_)
        | Answer::Committed(_)
        | Answer::Replaced
        | Answer::Changed
        | Answer::Listed { .. }
        | Answer::Scanned { .. } => {
            Refusal::StoreUnavailable(format!("the driver answered a call with {answer:?}"))
        }
    }
}
