//! Nodes over the store in memory, with a clock that is advanced by hand.

use std::collections::VecDeque;
use std::sync::Arc;

use aft_core::Node;
use aft_core::clock::{Now, StoreTime};
use aft_core::ids::{AttemptId, Hlc, NodeId, RequestHash, TxnId};
use aft_core::message::{Batch, Begin, CommitArgs, Input, Note, Op, Output, Refusal, Reply, Ticket, Verb};
use aft_core::record::{Format, Location, Value};
use aft_core::settings::Settings;
use aft_core::store::{Answer, Body, Call, CallId, Name};
use bytes::Bytes;

use crate::store::Store;
use crate::words::{Line, key, show};

/// The store's time when the nodes start.
pub(crate) const START_MS: u64 = 100_000;

/// One node and its calls in flight.
#[derive(Debug)]
struct Side {
    node: Node,
    calls: VecDeque<(CallId, Call, u64)>,
    replies: Vec<(Ticket, Result<Reply, Refusal>)>,
}

/// Nodes over one store.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) settings: Settings,
    sides: Vec<Side>,
    mono_ms: u64,
    /// The distance of the nodes' wall clocks ahead of the store's time, in milliseconds.
    pub(crate) wall_ahead_ms: u64,
    pub(crate) notes: Vec<Note>,
    ticket: u64,
}

/// Returns settings with short times that satisfy the relations.
pub(crate) fn settings(exclusive: bool) -> Settings {
    Settings {
        timeout_default_ms: 1_000,
        timeout_max_ms: 1_000,
        recheck_after_ms: 100,
        skew_max_ms: 10,
        put_limit_ms: 200,
        sweep_interval_ms: 5_000,
        run_scripts_twice: true,
        ..Settings::new(exclusive, if exclusive { 0 } else { 500 }, true)
    }
}

pub(crate) fn at(ms: u64) -> TxnId {
    TxnId::at(Hlc::from_ms(ms))
}

impl World {
    /// Creates a world whose store has the given settled mark, mark and transactions.
    pub(crate) fn new(settings: Settings, (settled_ms, mark_ms): (u64, u64), lines: &[&str]) -> World {
        let mut store = Store::default();
        let moved_ms = if settled_ms == mark_ms { 0 } else { START_MS };
        let format = Format {
            mark: at(mark_ms),
            moved_ms: Some(moved_ms),
            settled: at(settled_ms),
            about: Bytes::from_static(b"about"),
        };
        store.put(Name::Format, Body::Format(Arc::new(format)));
        store.now_ms = START_MS;
        for line in lines {
            Line::parse(line, settings.retention_min_ms()).put(&mut store);
        }
        World {
            store,
            settings,
            sides: Vec::new(),
            mono_ms: 1_000,
            wall_ahead_ms: 0,
            notes: Vec::new(),
            ticket: 0,
        }
    }

    /// Starts a node. Returns its number.
    pub(crate) fn start(&mut self) -> usize {
        let node = Node::new(NodeId(77 + self.sides.len() as u64), self.settings.clone());
        self.sides.push(Side { node, calls: VecDeque::new(), replies: Vec::new() });
        self.sides.len() - 1
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.mono_ms += ms;
        self.store.now_ms += ms;
    }

    pub(crate) fn step(&mut self, side: usize, input: Input) {
        let wall_ms = self.store.now_ms + self.wall_ahead_ms;
        let now = Now { mono_ms: self.mono_ms, boot_ms: self.mono_ms, wall_ms };
        let mut outputs = Vec::new();
        let of = &mut self.sides[side];
        of.node.step(now, input, &mut outputs);
        of.node.check_invariants();
        for output in outputs {
            match output {
                Output::Call(id, call) => of.calls.push_back((id, call, self.mono_ms)),
                Output::Reply(ticket, reply) => of.replies.push((ticket, reply)),
                Output::Note(note) => self.notes.push(note),
                Output::Tell(_) => {}
            }
        }
    }

    /// Returns the next call of a node, which waits for its answer.
    pub(crate) fn next_call(&self, side: usize) -> Option<&Call> {
        self.sides[side].calls.front().map(|(_, call, _)| call)
    }

    /// Lets the store carry out a node's next call and answer it. Returns false if there is none.
    pub(crate) fn answer(&mut self, side: usize) -> bool {
        let Some((_, call, _)) = self.sides[side].calls.front().cloned() else { return false };
        let answer = self.store.apply(&call);
        self.give(side, answer)
    }

    /// Answers a node's next call. Returns false if there is none.
    pub(crate) fn give(&mut self, side: usize, answer: Answer) -> bool {
        let Some((id, _, sent_mono_ms)) = self.sides[side].calls.pop_front() else { return false };
        let time =
            StoreTime { sent_mono_ms, received_mono_ms: self.mono_ms, at_ms: self.store.now_ms, span_ms: 1 };
        self.step(side, Input::Answer(id, answer, Some(time)));
        true
    }

    /// Takes a node's next call out, as if it were on its way to the store.
    pub(crate) fn take_call(&mut self, side: usize) -> Option<(CallId, Call, u64)> {
        self.sides[side].calls.pop_front()
    }

    /// Lets a call that was on its way land, and answers it.
    pub(crate) fn give_to(&mut self, side: usize, call: (CallId, Call, u64)) -> Result<(), String> {
        self.sides[side].calls.push_front(call);
        demand(self.answer(side), "it lands")
    }

    /// Returns the instant at which a node must be woken.
    pub(crate) fn next_wake(&self, side: usize) -> Option<u64> {
        self.sides[side].node.next_wake()
    }

    /// Answers all calls of a node, including those that it makes after short pauses.
    pub(crate) fn run(&mut self, side: usize) {
        for _ in 0..100_000 {
            if !self.go_on(side) {
                return;
            }
        }
        panic!("the node never comes to rest");
    }

    /// Runs a node until one more sweep has ended, and stops it.
    pub(crate) fn run_one_sweep(&mut self, side: usize) {
        let swept =
            |world: &World| world.notes.iter().filter(|note| matches!(note, Note::Swept { .. })).count();
        let before = swept(self);
        self.step(side, Input::Upkeep(true));
        while swept(self) == before && self.go_on(side) {}
        self.stop(side);
    }

    /// Runs a node until `sweeps` sweeps have covered the whole store, and skips the time between
    /// them.
    pub(crate) fn run_until_swept(&mut self, side: usize, sweeps: usize) {
        while self.swept_whole() < sweeps {
            if !self.answer(side) {
                let wake = self.sides[side].node.next_wake().expect("the next sweep is due");
                self.pass(wake.saturating_sub(self.mono_ms));
                self.step(side, Input::Wake);
            }
        }
    }

    /// Answers a node's next call, or wakes it if it is due soon. Returns false if neither applies.
    fn go_on(&mut self, side: usize) -> bool {
        if self.answer(side) {
            return true;
        }
        let soon = self.mono_ms + self.settings.retry_max_ms;
        let Some(wake) = self.sides[side].node.next_wake().filter(|wake| *wake <= soon) else { return false };
        self.pass(wake.saturating_sub(self.mono_ms));
        self.step(side, Input::Wake);
        true
    }

    /// Runs one sweep on a new node.
    pub(crate) fn sweep(&mut self) {
        let side = self.start();
        self.step(side, Input::Upkeep(true));
        self.run(side);
        self.stop(side);
    }

    /// Runs sweeps on new nodes, each after the mark has settled.
    pub(crate) fn sweeps(&mut self, number: u32) {
        for _ in 0..number {
            self.sweep();
            self.pass(self.settings.settle_after_ms() + 2 * self.settings.skew_max_ms);
        }
    }

    pub(crate) fn stop(&mut self, side: usize) {
        self.step(side, Input::Upkeep(false));
        self.run(side);
    }

    /// Runs a verb to its end.
    pub(crate) fn verb(&mut self, side: usize, verb: Verb) -> Result<Reply, Refusal> {
        self.ticket += 1;
        let ticket = Ticket(self.ticket);
        self.step(side, Input::Verb(ticket, verb));
        while !self.sides[side].replies.iter().any(|(of, _)| *of == ticket) {
            assert!(self.answer(side), "a verb waits for the store");
        }
        let replies = &mut self.sides[side].replies;
        let place = replies.iter().position(|(of, _)| *of == ticket).unwrap();
        replies.remove(place).1
    }

    pub(crate) fn swept_whole(&self) -> usize {
        self.notes.iter().filter(|note| matches!(note, Note::Swept { whole: true })).count()
    }

    /// Returns the number of bytes that sweeps have reported as reclaimed.
    pub(crate) fn reclaimed(&self) -> u64 {
        self.notes.iter().map(|note| if let Note::BytesReclaimed(bytes) = note { *bytes } else { 0 }).sum()
    }

    /// Compares the store, without its mark, with a text.
    pub(crate) fn expect(&self, text: &str) -> Result<(), String> {
        self.sound()?;
        let found = show(&self.store);
        if found == text { Ok(()) } else { Err(format!("\n   found {found}\nexpected {text}")) }
    }

    /// Compares the mark's milliseconds with bounds.
    pub(crate) fn expect_mark(&self, from_ms: u64, to_ms: u64) -> Result<(), String> {
        self.sound()?;
        let mark = self.store.format().mark;
        let within = (from_ms..=to_ms).contains(&mark.time.ms());
        if within { Ok(()) } else { Err(format!("the mark is at {mark}, not in {from_ms}..={to_ms}")) }
    }

    fn sound(&self) -> Result<(), String> {
        match self.store.faults.first() {
            None => Ok(()),
            Some(fault) => Err(fault.clone()),
        }
    }
}

/// Returns an error with `text` unless `holds` is true.
pub(crate) fn demand(holds: bool, text: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(text.into()) }
}

/// Parses one operation: `k` writes, `k-` deletes, `?k` reads.
pub(crate) fn op(text: &str) -> Op {
    match (text.strip_prefix('?'), text.strip_suffix('-')) {
        (Some(read), _) => Op::Get(key(read)),
        (None, Some(deleted)) => Op::Delete(key(deleted)),
        (None, None) => {
            let location = Location::Inline(Bytes::from_static(b"v"));
            let value = Value { location, size: 1, etag: Bytes::new(), attributes: Bytes::new() };
            Op::Put(key(text), value)
        }
    }
}

/// Returns the verb that begins a transaction with operations, and commits it if `commits` is true.
pub(crate) fn begin(name: char, ops: &str, commits: bool) -> Verb {
    let commit = commits.then(CommitArgs::default);
    let batch = Batch { ops: ops.split_whitespace().map(op).collect(), commit };
    let (attempt, hash) = (AttemptId([name as u8; 16]), RequestHash([name as u8; 32]));
    Verb::Begin(Box::new(Begin { batch, ..Begin::new(attempt, hash) }))
}
