//! Store calls in flight: the owner of each, its time limit, and its retries.
//!
//! Every call is safe to retry (protocol, section 10). Nothing is sent after its limit, which is
//! checked when a call is made, when it is retried, and when the driver is about to send a call
//! that had to wait. A commit consists of pieces, whose outcomes are collected over its tries: only
//! pieces without an outcome are sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::bug::Bug;
use crate::clock::{Clock, Moment};
use crate::ids::{Key, TxnId};
use crate::record::VersionEntry;
use crate::settings::Settings;
use crate::store::{Answer, Body, Call, CallError, CallId, Created, Name, Pieces, Writes};

use super::ids::{OperationId, TaskId};

/// The owner of a call, which gets its final answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::node) enum Owner {
    /// A script, at this place.
    Task(TaskId, usize),
    /// The operations that wait for a page of a key's version entries.
    Listing(Key, Option<VersionEntry>),
    /// The operations that wait for a commit record to learn.
    Record(Name, TxnId),
    /// The operations that wait for the mark.
    Mark,
    /// The operations that wait for the node's first read of the mark, even if it fails.
    FirstMark,
    /// An operation that waits for a value.
    Fetch(OperationId, Key),
    /// An operation that waits for a page of a scan.
    Scan(OperationId),
    /// The running sweep, at this place of its own.
    Sweep(u64),
    /// No owner: nothing depends on the answer.
    Nobody,
}

/// The limit of a call: it is not sent once the instant `from` is `ms` milliseconds old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::node) struct Limit {
    pub(in crate::node) from: Moment,
    pub(in crate::node) ms: u64,
    pub(in crate::node) age: Age,
}

/// The kind of age by which a limit is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::node) enum Age {
    /// The age by the clock that advanced furthest, for calls that must not take effect late.
    AtMost,
    /// The age by the monotonic clock alone, for how long a caller waits: safety does not rest on
    /// it.
    AtLeast,
}

impl Limit {
    /// Returns true if the limit has passed, so that nothing more may be sent.
    pub(in crate::node) fn has_passed(&self, clock: &Clock) -> bool {
        self.age_ms(clock) >= self.ms
    }

    /// Returns true if a call may be sent now, because the limit has certainly not passed.
    pub(in crate::node) fn allows(&self, clock: &Clock) -> bool {
        let can_tell = match self.age {
            Age::AtMost => !clock.is_blind_since(&self.from),
            Age::AtLeast => true,
        };
        can_tell && !self.has_passed(clock)
    }

    fn age_ms(&self, clock: &Clock) -> u64 {
        match self.age {
            Age::AtMost => clock.age_at_most_ms(&self.from),
            Age::AtLeast => clock.age_at_least_ms(&self.from),
        }
    }

    /// Returns the milliseconds until it passes, at most.
    pub(in crate::node) fn remaining_ms(&self, clock: &Clock) -> u64 {
        self.ms.saturating_sub(self.age_ms(clock))
    }
}

/// A call in flight, or pausing before a retry.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) struct Waiting {
    call: Call,
    pub(in crate::node) owner: Owner,
    /// Operations to run again when a shared call is answered.
    pub(in crate::node) waiters: BTreeSet<OperationId>,
    /// The instant of its first try.
    pub(in crate::node) asked: Moment,
    /// The number of its first try.
    pub(in crate::node) asked_call: u64,
    /// The instant of its last try.
    sent: Moment,
    /// The mark that the node knew before its first try.
    pub(in crate::node) mark: TxnId,
    limit: Option<Limit>,
    tries: u32,
    /// True if a try had no answer, and so may have taken effect or may still do so.
    maybe: bool,
    /// The outcomes so far of the pieces of a commit.
    gathered: Option<Gathered>,
}

impl Waiting {
    /// Returns true if the call reads the mark.
    pub(in crate::node) fn reads_mark(&self) -> bool {
        matches!(self.call, Call::Get(Name::Format))
    }
}

/// The pieces of a commit over its tries.
#[derive(Debug, Clone, Hash)]
struct Gathered {
    all: Writes,
    record: Option<Outcome<Created>>,
    entries: Vec<Outcome<()>>,
}

/// The outcome of one piece so far.
#[derive(Debug, Clone, Hash)]
struct Outcome<T> {
    /// The final outcome; `None` while the piece must be sent again.
    last: Option<Result<T, CallError>>,
    /// True if a try had no answer.
    maybe: bool,
    /// The last error of a try that took no effect.
    none: CallError,
}

impl<T: Clone> Outcome<T> {
    const fn open() -> Outcome<T> {
        Outcome { last: None, maybe: false, none: CallError::Expired }
    }

    fn take(&mut self, answer: Result<T, CallError>) {
        assert!(self.last.is_none(), "a piece with an outcome is not sent again");
        // Only a certain answer ends the tries of a piece. After an unknown outcome or no effect
        // the piece goes into the next try; the outcome is kept in case there is none.
        self.last = match answer {
            Err(CallError::NoAnswer) => {
                self.maybe = true;
                None
            }
            Err(error @ (CallError::Busy | CallError::Expired)) => {
                self.none = error;
                None
            }
            // An earlier try may have taken effect, so this rejection decides nothing.
            Err(CallError::Refused(_)) if self.maybe => Some(Err(CallError::NoAnswer)),
            answer => Some(answer),
        };
    }

    fn end(self) -> Result<T, CallError> {
        self.last.unwrap_or(Err(if self.maybe { CallError::NoAnswer } else { self.none }))
    }
}

impl Gathered {
    fn new(all: &Writes) -> Gathered {
        let gathered = Gathered {
            record: all.record.as_ref().map(|_| Outcome::open()),
            entries: vec![Outcome::open(); all.entries.len()],
            all: all.clone(),
        };
        assert!(!gathered.is_decided(), "a commit that was not sent is open");
        gathered
    }

    /// Takes the answer to a try, which sent the pieces that [`Gathered::rest`] returned.
    fn take(&mut self, answer: Answer) {
        let pieces = match answer {
            Answer::Committed(pieces) => pieces,
            // One outcome for all pieces that were sent.
            Answer::Failed(error) => {
                let rest = self.rest();
                Pieces {
                    record: rest.record.map(|_| Err(error.clone())),
                    entries: vec![Err(error); rest.entries.len()],
                }
            }
            other => unreachable!("a commit is answered {other:?}"),
        };
        // A piece that had its outcome from an earlier try was not sent with this one, so outcomes
        // are matched, in order, with the pieces that had none.
        assert!(self.record.is_some() || pieces.record.is_none(), "no record was to be created");
        if let (Some(record), Some(answer)) = (&mut self.record, pieces.record) {
            record.take(answer);
        }
        let mut answers = pieces.entries.into_iter();
        for entry in self.entries.iter_mut().filter(|entry| entry.last.is_none()) {
            entry.take(answers.next().expect("every piece that was sent has an outcome"));
        }
        assert!(answers.next().is_none(), "no piece has an outcome that was not sent");
    }

    /// Returns the pieces without an outcome.
    fn rest(&self) -> Writes {
        let open = self.entries.iter().zip(&self.all.entries);
        Writes {
            record: self
                .record
                .as_ref()
                .filter(|record| record.last.is_none())
                .and_then(|_| self.all.record.clone()),
            entries: open
                .filter(|(outcome, _)| outcome.last.is_none())
                .map(|(_, entry)| entry.clone())
                .collect(),
        }
    }

    /// Returns true if another try is useless: every piece has an outcome, or the record was not
    /// created.
    fn is_decided(&self) -> bool {
        match self.record.as_ref().map(|record| &record.last) {
            // Entries without an outcome do not matter: without this record they make no version.
            Some(Some(Ok(Created::Exists) | Err(_))) => true,
            // The record may exist or not, and the entries decide nothing without it.
            Some(None) => false,
            Some(Some(Ok(Created::Created))) | None => self.entries.iter().all(|entry| entry.last.is_some()),
        }
    }

    fn end(self) -> Answer {
        let sent = self.all.entries.len();
        let has_record = self.all.record.is_some();
        let pieces = Pieces {
            record: self.record.map(Outcome::end),
            entries: self.entries.into_iter().map(Outcome::end).collect(),
        };
        assert_eq!(pieces.entries.len(), sent, "every entry of a commit has an outcome");
        assert_eq!(pieces.record.is_some(), has_record, "a record has an outcome if it was sent");
        Answer::Committed(pieces)
    }

    /// Panics if an invariant is broken.
    fn check_invariants(&self) {
        assert_eq!(self.entries.len(), self.all.entries.len(), "every entry has a place");
        assert_eq!(self.record.is_some(), self.all.record.is_some(), "the record has a place");
        let rest = self.rest();
        let open = self.entries.iter().filter(|entry| entry.last.is_none()).count();
        assert_eq!(rest.entries.len(), open, "exactly the pieces without an outcome are sent again");
    }
}

/// The planted bug: a retried commit takes the name of another attempt.
fn under_another_attempt(mut writes: Writes) -> Writes {
    if let Some(record) = &mut writes.record {
        Arc::make_mut(record).txn.attempt.0[15] ^= 0xff;
    }
    writes
}

/// Returns true if a call replaces a lock or the outcome of a request. If such a call finds
/// something else there, that may be the effect of an earlier try, so its owner must look.
fn writes_a_decision(call: &Call) -> bool {
    match call {
        Call::Replace(Name::Successor(..), ..) => true,
        Call::Replace(Name::Commit(_), _, body) => matches!(body, Body::Record(_) | Body::Aborted(_)),
        _ => false,
    }
}

/// The consequence of an answer.
#[derive(Debug)]
pub(in crate::node) enum Next {
    /// The answer is final.
    Final(Box<Waiting>, Answer),
    /// The call is retried at this monotonic instant, in milliseconds.
    Repeat(u64),
    /// The call is not known, because its owner has ended.
    Forgotten,
}

/// Store calls in flight.
#[derive(Debug, Clone, Default, Hash)]
pub(in crate::node) struct Calls {
    map: BTreeMap<CallId, Waiting>,
    /// Calls that several operations may wait for.
    shared: BTreeMap<Owner, CallId>,
    next: u64,
    /// Calls to be sent with this step's outputs.
    out: Vec<(CallId, Call)>,
    /// Calls that are not sent, because their limit had passed when they were made. They are
    /// answered within this step.
    unsent: Vec<CallId>,
}

impl Calls {
    /// Returns the number that the next call gets. A call with this number or a greater one is
    /// asked after everything that came before.
    pub(in crate::node) fn next_number(&self) -> u64 {
        self.next
    }

    /// Makes a call for an owner. It is retried until its limit, or, if `limit` is `None`, for as
    /// long as the owner lives.
    pub(in crate::node) fn start(
        &mut self,
        clock: &Clock,
        owner: Owner,
        call: Call,
        limit: Option<Limit>,
        mark: TxnId,
    ) -> CallId {
        call.check_invariants();
        // A commit has an outcome for each piece. They are collected over the tries, so that a
        // durable piece is not written again, and a piece without an answer does not affect others.
        let gathered = match &call {
            Call::Commit(writes) => Some(Gathered::new(writes)),
            Call::Get(_)
            | Call::Fetch { .. }
            | Call::Put(..)
            | Call::Create(..)
            | Call::Replace(..)
            | Call::Delete(_)
            | Call::DeleteIf(..)
            | Call::List { .. }
            | Call::Scan { .. } => None,
        };
        let waiting = Waiting {
            call,
            owner,
            waiters: BTreeSet::new(),
            asked: clock.moment(),
            asked_call: self.next,
            sent: clock.moment(),
            mark,
            limit,
            tries: 0,
            maybe: false,
            gathered,
        };
        self.send(clock, waiting)
    }

    /// Makes a call for an operation, or without a waiter. If the same call is already in flight
    /// and its first try has number `since` or a later one, the operation joins it instead.
    pub(in crate::node) fn start_shared(
        &mut self,
        clock: &Clock,
        owner: Owner,
        call: impl FnOnce() -> Call,
        (waiter, since): (Option<OperationId>, u64),
        limit: Limit,
        mark: TxnId,
    ) {
        assert!(since <= self.next, "a call may be asked to be the next one, and not a later one");
        if let Some(id) = self.shared.get(&owner) {
            let waiting = self.map.get_mut(id).expect("shared calls are under way");
            // A call made before `since` may return an older state of the store than the waiter's
            // rule allows. Then the waiter gets a new call, which later ones can join.
            if waiting.asked_call >= since {
                waiting.waiters.extend(waiter);
                // Each waiter has its own limit: the longest applies.
                let left_ms = waiting.limit.map_or(u64::MAX, |limit| limit.remaining_ms(clock));
                if limit.remaining_ms(clock) > left_ms {
                    waiting.limit = Some(limit);
                }
                return;
            }
        }
        let id = self.start(clock, owner.clone(), call(), Some(limit), mark);
        let waiting = self.map.get_mut(&id).expect("just made");
        assert!(waiting.asked_call >= since, "a call is asked after what it is asked for");
        waiting.waiters.extend(waiter);
        // The earlier call goes on for its own waiters, and takes no new ones.
        self.shared.insert(owner, id);
    }

    fn send(&mut self, clock: &Clock, mut waiting: Waiting) -> CallId {
        crate::room!();
        let id = CallId(self.next);
        self.next += 1;
        waiting.tries += 1;
        waiting.sent = clock.moment();
        let late = waiting.limit.is_some_and(|limit| !limit.allows(clock));
        if late && !clock.has_bug(Bug::SendAfterDeadline) {
            // It is answered within this step, like any call that took no effect, so that its owner
            // needs no other path for its end.
            self.unsent.push(id);
        } else {
            // A commit sends only the pieces without an outcome.
            let call = match &waiting.gathered {
                Some(gathered)
                    if waiting.tries > 1 && clock.has_bug(Bug::CommitUnderNewUuidAfterNoAnswer) =>
                {
                    Call::Commit(under_another_attempt(gathered.rest()))
                }
                Some(gathered) => Call::Commit(gathered.rest()),
                None => waiting.call.clone(),
            };
            self.out.push((id, call));
        }
        // A retry has a new number: operations that join must find it.
        if let Some(shared) = self.shared.get_mut(&waiting.owner)
            && waiting.tries > 1
        {
            *shared = id;
        }
        assert!(waiting.asked_call <= id.0, "numbers grow");
        let before = self.map.insert(id, waiting);
        assert!(before.is_none(), "call numbers are unique");
        id
    }

    /// Returns true if a call that had to wait in the driver may still be sent.
    pub(in crate::node) fn may_send(&self, clock: &Clock, id: CallId) -> bool {
        let careless = clock.has_bug(Bug::SendAfterDeadline);
        let in_time = |limit: Limit| careless || limit.allows(clock);
        self.map.get(&id).is_some_and(|waiting| waiting.limit.is_none_or(in_time))
    }

    /// Returns the limit of a call.
    pub(in crate::node) fn limit(&self, id: CallId) -> Option<Limit> {
        self.map.get(&id)?.limit
    }

    /// Takes an answer, and decides whether it is final or the call is retried.
    pub(in crate::node) fn answered(
        &mut self,
        clock: &Clock,
        settings: &Settings,
        id: CallId,
        answer: Answer,
    ) -> Next {
        let Some(waiting) = self.map.get_mut(&id) else { return Next::Forgotten };
        // Retry only if the outcome is unknown, or the call took no effect for now. All calls are
        // safe to retry (section 10).
        let again = match (&mut waiting.gathered, &answer) {
            (Some(gathered), _) => {
                gathered.take(answer.clone());
                !gathered.is_decided()
            }
            (None, Answer::Failed(CallError::NoAnswer)) => {
                waiting.maybe = true;
                true
            }
            (None, Answer::Failed(CallError::Busy | CallError::Expired)) => true,
            (None, _) => false,
        };
        let passed = waiting.limit.is_some_and(|limit| limit.has_passed(clock));
        if again && !passed {
            assert!(waiting.tries >= 1, "an answered call was tried");
            // Pauses double, so that a store in trouble gets fewer calls.
            let doublings = (waiting.tries - 1).min(16);
            let pause = (settings.retry_min_ms << doublings).min(settings.retry_max_ms).max(1);
            return Next::Repeat(clock.mono_ms() + pause);
        }
        let waiting = self.remove(id).expect("looked up above");
        assert!(waiting.asked_call <= id.0 && id.0 < self.next, "numbers grow");
        // The answer of the last try is not the outcome of the call if an earlier try may have
        // taken effect.
        let maybe = waiting.maybe;
        let answer = match (&waiting.gathered, answer) {
            (Some(gathered), _) => gathered.clone().end(),
            // This try failed, but an earlier one may have succeeded.
            (None, Answer::Failed(CallError::Refused(_) | CallError::Busy | CallError::Expired)) if maybe => {
                Answer::Failed(CallError::NoAnswer)
            }
            // The object that exists may be the effect of an earlier try.
            (None, Answer::Created(Created::Exists)) if maybe => Answer::Failed(CallError::NoAnswer),
            (None, Answer::Changed) if maybe && writes_a_decision(&waiting.call) => {
                Answer::Failed(CallError::NoAnswer)
            }
            (None, answer) => answer,
        };
        Next::Final(Box::new(waiting), answer)
    }

    /// Retries a call under a new number. If its limit has passed, it is answered at once instead.
    pub(in crate::node) fn repeat(&mut self, clock: &Clock, id: CallId) {
        // Its owner may have ended during the pause.
        let Some(waiting) = self.map.remove(&id) else { return };
        assert!(waiting.tries >= 1, "a retried call was tried");
        if let Some(gathered) = &waiting.gathered {
            assert!(!gathered.is_decided(), "a commit that is decided is not repeated");
        }
        let again = self.send(clock, waiting);
        assert!(again > id, "a repeated call has a greater number");
    }

    fn remove(&mut self, id: CallId) -> Option<Waiting> {
        let waiting = self.map.remove(&id)?;
        // A later call of the same owner may have taken its place among the shared ones.
        if self.shared.get(&waiting.owner) == Some(&id) {
            self.shared.remove(&waiting.owner);
        }
        Some(waiting)
    }

    /// Returns the instant and the number of the try with this number.
    pub(in crate::node) fn sent(&self, id: CallId) -> Option<(Moment, u64)> {
        self.map.get(&id).map(|waiting| (waiting.sent, id.0))
    }

    /// Returns the owner of a call and the operations that wait for it.
    pub(in crate::node) fn owner(&self, id: CallId) -> Option<(&Owner, &BTreeSet<OperationId>)> {
        self.map.get(&id).map(|waiting| (&waiting.owner, &waiting.waiters))
    }

    /// Forgets a call whose owner has ended. An answer to it is dropped.
    pub(in crate::node) fn forget(&mut self, id: CallId) {
        self.remove(id);
    }

    /// Returns the transactions whose commit is in flight, open or not: each may still take effect.
    pub(in crate::node) fn commits(&self) -> impl Iterator<Item = TxnId> {
        self.map.values().filter_map(|waiting| match &waiting.call {
            Call::Commit(Writes { record: Some(record), .. }) => Some(record.txn),
            Call::Put(Name::Version(_, entry), _) => Some(entry.txn),
            Call::Create(_, Body::Record(record)) | Call::Replace(_, _, Body::Record(record)) => {
                Some(record.txn)
            }
            Call::Commit(Writes { record: None, .. })
            | Call::Put(..)
            | Call::Create(..)
            | Call::Get(_)
            | Call::Fetch { .. }
            | Call::Replace(..)
            | Call::Delete(_)
            | Call::DeleteIf(..)
            | Call::List { .. }
            | Call::Scan { .. } => None,
        })
    }

    /// Returns true if a write is in flight whose first try came before `call`, not counting writes
    /// of a sweep.
    pub(in crate::node) fn has_writes_before(&self, call: u64) -> bool {
        let is_sweeps = |owner: &Owner| matches!(owner, Owner::Sweep(_));
        let mut before = self.map.values().filter(|waiting| waiting.asked_call < call);
        before.any(|waiting| waiting.call.is_write() && !is_sweeps(&waiting.owner))
    }

    /// Takes the calls to be sent.
    pub(in crate::node) fn take_out(&mut self) -> Vec<(CallId, Call)> {
        std::mem::take(&mut self.out)
    }

    /// Takes the calls that are not sent. Each is answered with [`CallError::Expired`].
    pub(in crate::node) fn take_unsent(&mut self) -> Vec<CallId> {
        std::mem::take(&mut self.unsent)
    }

    /// Returns the number of calls in flight.
    pub(in crate::node) fn len(&self) -> usize {
        self.map.len()
    }

    pub(in crate::node) fn check_invariants(&self) {
        assert!(self.out.is_empty() && self.unsent.is_empty(), "calls leave with their step");
        for (owner, id) in &self.shared {
            let waiting = self.map.get(id).expect("shared calls are under way");
            assert_eq!(waiting.owner, *owner, "a shared call has its owner");
            assert!(waiting.limit.is_some(), "a shared call has a limit");
        }
        for (id, waiting) in &self.map {
            assert!(id.0 < self.next && waiting.asked_call <= id.0, "numbers grow");
            assert!(waiting.tries >= 1, "a call in flight was tried");
            assert!(u64::from(waiting.tries) <= id.0 - waiting.asked_call + 1, "each try has a number");
            let is_commit = matches!(waiting.call, Call::Commit(_));
            assert_eq!(waiting.gathered.is_some(), is_commit, "a commit's outcomes are gathered");
            if let Some(gathered) = &waiting.gathered {
                gathered.check_invariants();
                assert!(!gathered.is_decided(), "a commit that is decided is not under way");
            }
            let is_alone = matches!(waiting.owner, Owner::Task(..) | Owner::Sweep(_) | Owner::Nobody);
            assert!(!is_alone || waiting.waiters.is_empty(), "operations wait for shared calls");
        }
    }
}
