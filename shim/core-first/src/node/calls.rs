//! Store calls under way: who owns each, and when it is repeated.
//!
//! Every call is safe to repeat (protocol, section 9). Names that must not be reused get a fresh nonce at each repetition.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Key, RequestHash, TxnId};
use crate::message::Output;
use crate::record::{CollectName, Intent, VersionEntry};
use crate::store::{Answer, Call, CallError, CallId, Name};

use super::maintain::Scanning;
use super::reading::OperationId;
use super::tasks::TaskId;
use super::{Node, Timer};

/// Who is handed the final answer of a call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owner {
    /// A script, at this place.
    Task(TaskId, usize),
    /// All operations that wait for a page of a key's version entries.
    Listing(Key, Option<VersionEntry>),
    /// All operations that wait for a commit record to learn.
    Record(RequestHash, TxnId, Key),
    /// An operation that waits for a value.
    Fetch(OperationId, Key),
    /// An operation that waits for a key's marker.
    Marker(OperationId, Key),
    /// An operation that waits for a page of keys.
    KeysPage(OperationId),
    /// The maintainer's scan, in this pass.
    Scan(Scanning, u64),
    /// The maintainer that would look at things, in this pass.
    Horizon(u64),
    /// Nobody: the mark is put again soon.
    Mark,
}

/// A call under way, or pausing before it is repeated.
#[derive(Debug, Clone, Hash)]
pub(super) struct Waiting {
    pub(super) call: Call,
    pub(super) owner: Owner,
    /// Operations to run again when a shared call is answered.
    pub(super) waiters: BTreeSet<OperationId>,
    /// When it was first asked, by the monotonic clock.
    pub(super) asked_mono: u64,
    /// The number of its first try.
    pub(super) asked_call: u64,
    /// Not repeated after this instant.
    until_mono: Option<u64>,
    tries: u32,
    /// A try had no answer and may have taken, or yet take, effect.
    maybe: bool,
}

#[derive(Debug, Clone, Default, Hash)]
pub(super) struct WaitingCalls {
    map: BTreeMap<CallId, Waiting>,
    /// Calls that several operations may wait for.
    shared: BTreeMap<Owner, CallId>,
    next: u64,
}

impl WaitingCalls {
    pub(super) fn next_id(&self) -> u64 {
        self.next
    }

    /// No call under way; ids go on, so that late answers to forgotten calls match nothing.
    pub(super) fn with_next(next: u64) -> WaitingCalls {
        WaitingCalls { next, ..WaitingCalls::default() }
    }
}

impl Node {
    /// Calls the store for an owner, repeating until `until_mono` (`None`: for as long as the owner lives).
    pub(super) fn call(&mut self, owner: Owner, call: Call, until_mono: Option<u64>) -> CallId {
        let waiting = Waiting {
            call: call.clone(),
            owner,
            waiters: BTreeSet::new(),
            asked_mono: self.now.mono_ms,
            asked_call: self.calls.next,
            until_mono,
            tries: 1,
            maybe: false,
        };
        let id = CallId(self.calls.next);
        self.calls.next += 1;
        self.calls.map.insert(id, waiting);
        self.out.push(Output::Call(id, call));
        id
    }

    /// Calls the store for an operation, or joins the same call if it is under way and was first asked by call `not_before_call` or a later one.
    pub(super) fn call_shared(
        &mut self,
        owner: Owner,
        call: impl FnOnce() -> Call,
        waiter: OperationId,
        not_before_call: u64,
        until_mono: u64,
    ) {
        if let Some(id) = self.calls.shared.get(&owner) {
            let waiting = self.calls.map.get_mut(id).expect("shared calls are under way");
            if waiting.asked_call >= not_before_call {
                waiting.waiters.insert(waiter);
                return;
            }
        }
        let id = self.call(owner.clone(), call(), Some(until_mono));
        self.calls.map.get_mut(&id).expect("just made").waiters.insert(waiter);
        self.calls.shared.insert(owner, id);
    }

    pub(super) fn answered(&mut self, id: CallId, answer: Answer) {
        let Some(waiting) = self.calls.map.get_mut(&id) else { return };
        if let Answer::Failed(error @ (CallError::NoAnswer | CallError::Busy)) = &answer {
            waiting.maybe |= *error == CallError::NoAnswer;
            let pause =
                (self.settings.retry_min_ms << (waiting.tries - 1).min(16)).min(self.settings.retry_max_ms);
            let at = self.now.mono_ms + pause.max(1);
            let alive = match &waiting.owner {
                Owner::Task(task, _) => self.tasks.contains_key(task),
                Owner::Fetch(operation, _) | Owner::Marker(operation, _) | Owner::KeysPage(operation) => {
                    self.operations.contains_key(operation)
                }
                Owner::Listing(..) | Owner::Record(..) => {
                    waiting.waiters.iter().any(|waiter| self.operations.contains_key(waiter))
                }
                Owner::Scan(_, pass) | Owner::Horizon(pass) => self.maintenance.in_pass(*pass),
                Owner::Mark => false,
            };
            if alive && waiting.until_mono.is_none_or(|until| at < until) {
                waiting.tries += 1;
                self.timers.insert((at, Timer::Repeat(id)));
                return;
            }
        }
        let waiting = self.calls.map.remove(&id).expect("looked up above");
        if self.calls.shared.get(&waiting.owner) == Some(&id) {
            self.calls.shared.remove(&waiting.owner);
        }
        // An earlier try without an answer outlasts a later refusal: the caller must hear that it may have taken effect.
        let answer = match answer {
            Answer::Failed(_) if waiting.maybe => Answer::Failed(CallError::NoAnswer),
            answer => answer,
        };
        self.finished(waiting, answer);
    }

    /// Sends a call again after its pause.
    pub(super) fn repeat(&mut self, id: CallId) {
        let Some(mut waiting) = self.calls.map.remove(&id) else { return };
        waiting.call = match waiting.call {
            Call::Put(Name::Intent(intent), body) => {
                Call::Put(Name::Intent(Intent { nonce: self.nonce(), ..intent }), body)
            }
            Call::Put(Name::Collect(name), body) => {
                Call::Put(Name::Collect(CollectName { nonce: self.nonce(), ..name }), body)
            }
            Call::Create(Name::Commit(hash), crate::store::Body::Record(record)) => {
                Call::Create(Name::Commit(hash), crate::store::Body::Record(self.same_record(record)))
            }
            call => call,
        };
        let again = CallId(self.calls.next);
        self.calls.next += 1;
        self.out.push(Output::Call(again, waiting.call.clone()));
        if let Some(shared) = self.calls.shared.get_mut(&waiting.owner).filter(|shared| **shared == id) {
            *shared = again;
        }
        self.calls.map.insert(again, waiting);
    }

    fn finished(&mut self, waiting: Waiting, answer: Answer) {
        let Waiting { owner, waiters, asked_mono, asked_call, .. } = waiting;
        match owner {
            Owner::Task(task, at) => self.task_answered(task, at, answer),
            Owner::Listing(key, after) => {
                self.listing_answered(&key, after.as_ref(), (asked_mono, asked_call), answer, &waiters)
            }
            Owner::Record(_, txn, key) => self.record_answered(txn, &key, asked_call, answer, &waiters),
            Owner::Fetch(operation, key) => self.fetch_answered(operation, key, answer),
            Owner::Marker(operation, key) => self.marker_answered(operation, key, asked_call, answer),
            Owner::KeysPage(operation) => self.keys_page_answered(operation, answer),
            Owner::Scan(scanning, pass) => self.scan_answered(scanning, pass, answer),
            Owner::Horizon(pass) => self.horizon_answered(pass, answer),
            Owner::Mark => {}
        }
    }
}
