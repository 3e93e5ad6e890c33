//! Scripts: flows of several store calls, written as straight code that is run again from its start
//! at every answer.
//!
//! A script makes its calls in a fixed order. Answers that have come are returned at once; the
//! first missing answer ends the run with [`Pending`]. So the control flow of a script may depend
//! only on its arguments, the answers, and values that it took with [`Run::once`].
//!
//! A script is safe to run again by construction: it sees the node's state through a shared
//! reference, and finally returns an ending, which is plain data and is carried out once.
//! `Settings::run_scripts_twice` runs every script twice at each of its steps and compares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::clock::Moment;
use crate::ids::{Hlc, Key, TxnId};
use crate::message::Header;
use crate::store::{Answer, Call};

use super::calls::Limit;
use super::ids::TaskId;

/// The state of a script that misses an answer: it runs again when the answer has come.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::node) struct Pending;

/// A script's calls, answers and noted values, in order.
#[derive(Debug, Clone, Default, Hash)]
pub(in crate::node) struct Memory {
    memo: Vec<Memo>,
    /// The places whose answers the script waits for.
    awaited: BTreeSet<usize>,
}

#[derive(Debug, Clone, Hash)]
enum Memo {
    Asked,
    Answered(Answer),
    Noted(Noted),
}

/// A value that must be the same in every run of a script.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::node) enum Noted {
    /// A flag.
    Flag(bool),
    /// A header that the script keeps even if the index forgets it meanwhile.
    Header(Option<Arc<Header>>),
    /// The mark, and the instant at which it was asked.
    Mark(TxnId, Moment),
    /// The number of the next call, the instant, and the known mark.
    Asking(u64, Moment, TxnId),
    /// The keys to list, and the newest commit time among the other keys.
    Keys(Vec<Key>, Hlc),
    /// The wait before a commit may be reported.
    Wait(Wait),
    /// The store's time, at the latest, in milliseconds, if a holder of a lock may be broken.
    BrokenAt(Option<u64>),
}

/// The wait before a commit may be reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::node) enum Wait {
    /// No wait: the commit may be reported now.
    Over,
    /// A wait of this many milliseconds, according to the known bounds of the store's time.
    For(u64),
    /// A wait of unknown length, because the store's time is not known.
    Unknown,
}

impl Memory {
    /// Takes the answer to the call at `place`. Returns true if it was the last one that the script
    /// waits for.
    pub(in crate::node) fn answer(&mut self, place: usize, answer: Answer) -> bool {
        let memo = self.memo.get_mut(place).expect("a script is answered what it asked");
        assert!(matches!(memo, Memo::Asked), "a call is answered once");
        *memo = Memo::Answered(answer);
        self.awaited.remove(&place);
        let is_last = self.awaited.is_empty();
        let is_asked = |place: &usize| matches!(self.memo[*place], Memo::Asked);
        assert!(self.awaited.iter().all(is_asked), "a script waits for what it asked");
        is_last
    }
}

/// A call that a script makes for the first time.
#[derive(Debug)]
pub(in crate::node) struct Issued {
    pub(in crate::node) place: usize,
    pub(in crate::node) call: Call,
    /// The limit of the call; `None` to use the script's.
    pub(in crate::node) limit: Option<Limit>,
}

/// One run of a script from its start.
#[derive(Debug)]
pub(in crate::node) struct Run<'a> {
    memory: &'a mut Memory,
    place: usize,
    /// Calls made for the first time in this run.
    pub(in crate::node) issued: Vec<Issued>,
    /// Pauses begun in this run: the place and the milliseconds of each.
    pub(in crate::node) pauses: Vec<(usize, u64)>,
}

impl<'a> Run<'a> {
    pub(in crate::node) fn new(memory: &'a mut Memory) -> Run<'a> {
        Run { memory, place: 0, issued: Vec::new(), pauses: Vec::new() }
    }

    /// Waits for `ms` milliseconds.
    pub(in crate::node) fn pause(&mut self, ms: u64) -> Result<(), Pending> {
        assert!(ms >= 1, "a pause takes time");
        let place = self.place;
        self.place += 1;
        assert!(place <= self.memory.memo.len(), "a script pauses in order");
        if place == self.memory.memo.len() {
            self.memory.memo.push(Memo::Asked);
            self.pauses.push((place, ms));
        }
        self.wait(place).map(|_| ())
    }

    /// Starts a call without waiting for it. Returns its place, for [`Run::wait`].
    pub(in crate::node) fn start(&mut self, call: impl FnOnce() -> Call) -> usize {
        self.start_within(None, call)
    }

    /// Starts a call with its own limit. Returns its place, for [`Run::wait`].
    pub(in crate::node) fn start_within(
        &mut self,
        limit: Option<Limit>,
        call: impl FnOnce() -> Call,
    ) -> usize {
        let place = self.place;
        self.place += 1;
        assert!(place <= self.memory.memo.len(), "a script asks in order");
        if place == self.memory.memo.len() {
            self.memory.memo.push(Memo::Asked);
            self.issued.push(Issued { place, call: call(), limit });
        }
        place
    }

    /// Returns the answer to a started call.
    pub(in crate::node) fn wait(&mut self, place: usize) -> Result<Answer, Pending> {
        assert!(place < self.place, "a script waits for a call that it started");
        match &self.memory.memo[place] {
            Memo::Asked => {
                self.memory.awaited.insert(place);
                Err(Pending)
            }
            Memo::Answered(answer) => Ok(answer.clone()),
            Memo::Noted(_) => unreachable!("the place of a call is not a note's"),
        }
    }

    /// Makes one call and waits for its answer.
    pub(in crate::node) fn ask(&mut self, call: impl FnOnce() -> Call) -> Result<Answer, Pending> {
        let place = self.start(call);
        self.wait(place)
    }

    /// Waits for several started calls.
    pub(in crate::node) fn wait_all(&mut self, places: &[usize]) -> Result<Vec<Answer>, Pending> {
        // Mark every place as awaited before the run ends, so that the script runs again once, not
        // once per answer.
        let answers: Vec<Result<Answer, Pending>> = places.iter().map(|place| self.wait(*place)).collect();
        answers.into_iter().collect()
    }

    /// Takes a value from the node's state in the first run; later runs get the same value.
    pub(in crate::node) fn once(&mut self, value: impl FnOnce() -> Noted) -> Noted {
        let place = self.place;
        self.place += 1;
        assert!(place <= self.memory.memo.len(), "a script notes in order");
        if place == self.memory.memo.len() {
            self.memory.memo.push(Memo::Noted(value()));
        }
        match &self.memory.memo[place] {
            Memo::Noted(value) => value.clone(),
            other => unreachable!("the place of a note holds {other:?}"),
        }
    }

    /// Takes a flag in the first run; later runs get the same flag.
    pub(in crate::node) fn once_if(&mut self, value: impl FnOnce() -> bool) -> bool {
        match self.once(|| Noted::Flag(value())) {
            Noted::Flag(value) => value,
            other => unreachable!("the place of a flag holds {other:?}"),
        }
    }
}

/// Running scripts, each with its purpose `P`.
#[derive(Debug, Clone, Hash)]
pub(in crate::node) struct Tasks<P> {
    map: BTreeMap<TaskId, (P, Memory)>,
    next: u64,
}

impl<P> Default for Tasks<P> {
    fn default() -> Tasks<P> {
        Tasks { map: BTreeMap::new(), next: 0 }
    }
}

impl<P> Tasks<P> {
    pub(in crate::node) fn add(&mut self, purpose: P) -> TaskId {
        let id = TaskId(self.next);
        self.next += 1;
        let before = self.map.insert(id, (purpose, Memory::default()));
        assert!(before.is_none(), "numbers of scripts are unique");
        id
    }

    /// Takes an answer for a script. Returns true if it is to be run again.
    pub(in crate::node) fn answer(&mut self, id: TaskId, place: usize, answer: Answer) -> bool {
        self.map.get_mut(&id).is_some_and(|(_, memory)| memory.answer(place, answer))
    }

    pub(in crate::node) fn take(&mut self, id: TaskId) -> Option<(P, Memory)> {
        self.map.remove(&id)
    }

    pub(in crate::node) fn put_back(&mut self, id: TaskId, purpose: P, memory: Memory) {
        let before = self.map.insert(id, (purpose, memory));
        assert!(before.is_none(), "a script runs once at a time");
    }

    pub(in crate::node) fn contains(&self, id: TaskId) -> bool {
        self.map.contains_key(&id)
    }

    /// Returns the purposes of all scripts.
    pub(in crate::node) fn purposes(&self) -> impl Iterator<Item = &P> {
        self.map.values().map(|(purpose, _)| purpose)
    }

    /// Panics if an invariant is broken: between steps every script waits for an answer.
    pub(in crate::node) fn check_invariants(&self) {
        for (id, (_, memory)) in &self.map {
            assert!(id.0 < self.next, "numbers grow");
            assert!(!memory.awaited.is_empty(), "a script that waits for nothing has run to its end");
            for place in &memory.awaited {
                assert!(matches!(memory.memo[*place], Memo::Asked), "an awaited answer is that of a call");
            }
        }
    }

    /// Drops scripts. Returns their purposes.
    pub(in crate::node) fn drop_if(&mut self, goes: impl Fn(&P) -> bool) -> Vec<P> {
        let ids: Vec<TaskId> =
            self.map.iter().filter(|(_, (purpose, _))| goes(purpose)).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| self.map.remove(&id)).map(|(purpose, _)| purpose).collect()
    }
}
