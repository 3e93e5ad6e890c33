//! The world: hosts with their nodes, the store, calls and tells in flight, and the clients'
//! attempts.
//!
//! The world offers what *can* happen, and judges what did. A scheduler on top decides when it
//! happens: `simulate` draws it from a seed, `explore` enumerates it. Everything that can influence
//! the future is in the fields that are cloned and hashed.
//!
//! ```text
//!   scheduler ──► land(part) · answer(call) · hear(tell) · client(attempt) · wake · crash · …
//!                                          │
//!                                          ▼
//!                                     Node::step ──► new calls, tells, replies, notes
//! ```

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use aft_core::ids::{Key, NodeId, TxnId};
use aft_core::message::{End, Input, Note, Output, Tell};
use aft_core::settings::Settings;
use aft_core::store::{Answer, Body, Call, CallError};
use aft_sim::flights::FlightId;
use aft_sim::net::{MessageId, Net};
use aft_sim::trace::Trace;
use aft_sim::verdict::{Verdict, broken};

use crate::attempt::{Attempt, attempt_number};
use crate::audit::Audit;
use crate::flights::{Flights, Late, flight_id, life};
use crate::hosts::{Host, Role, Waiting};
use crate::model::{Abilities, StoreModel};
use crate::script::Request;
use crate::store_clock::StoreClock;

/// The true time at which every world begins, in milliseconds since the epoch: a whole minute in
/// 2023.
pub const BEGIN_MS: u64 = 28_333_333 * 60_000;

/// A new thing to which a scheduler must give a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fresh {
    /// A store call.
    Flight(FlightId),
    /// A tell to a host.
    Tell(MessageId),
    /// An attempt that can send its next verb, or has ended.
    Client(usize),
    /// A call that may land late.
    Late(Box<Late>),
}

/// The world.
#[derive(Debug, Clone)]
pub struct World {
    /// The true time.
    pub now_ms: u64,
    /// The settings of every node, except for what a host's role changes.
    pub settings: Settings,
    /// The store.
    pub store: StoreModel,
    /// The store's clock.
    pub store_clock: StoreClock,
    /// The time of an exclusive store: the latest that its process's wall clock has shown, or a
    /// commit time if that is later.
    pub(crate) own_ms: u64,
    /// The processes.
    pub hosts: Vec<Host>,
    /// The store calls in flight, and those that may land late.
    pub flights: Flights,
    /// The tells in flight.
    pub tells: Net<Tell>,
    /// The requests of all clients.
    pub requests: Vec<Request>,
    /// The attempts of these requests, by their numbers.
    pub attempts: Vec<Attempt>,
    /// The auditor.
    pub audit: Audit,
    /// Every key that programs name.
    pub keys: Vec<Key>,
    /// The step in which wall clocks advance, in milliseconds.
    pub clock_grain_ms: u64,
    /// The longest time that a call takes in this world, which the checks of freshness allow for.
    pub delay_max_ms: u64,
    /// The longest pause, in milliseconds, that no clock shows, of a host with writes in flight.
    pub unseen_max_ms: u64,
    /// The host that never gets the store's time: a proxy strips it from the answers.
    pub timeless: Option<usize>,
    /// The number of outputs of the next step after which its node crashes.
    pub cut: Option<usize>,
    /// The failures of the store that were reported to nodes: host, true time, error. Not part of
    /// the state: it only grows.
    failures: Vec<(usize, u64, CallError)>,
    /// The number of outputs of the last step.
    pub last_outputs: usize,
    /// The new things since the scheduler last took them. Not part of the state.
    pub fresh: Vec<Fresh>,
    /// The story, if it is kept. Not part of the state.
    pub trace: Option<Trace>,
    /// Counts of what nodes noted, to measure coverage. Not part of the state.
    pub notes: BTreeMap<&'static str, u64>,
    /// The number of nodes that were ever started, from which they get their ids.
    pub(crate) lives: u64,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.now_ms.hash(state);
        self.store.hash(state);
        self.store_clock.hash(state);
        self.own_ms.hash(state);
        self.hosts.hash(state);
        self.flights.hash(state);
        self.tells.hash(state);
        self.attempts.hash(state);
        self.audit.hash(state);
        self.lives.hash(state);
    }
}

impl World {
    /// Returns a world with a new store, and a host with an empty node for each of `roles`.
    pub fn new(settings: Settings, roles: &[Role], requests: Vec<Request>, keys: Vec<Key>) -> World {
        let abilities = Abilities {
            delete_if: settings.delete_if,
            commit_at_once: settings.exclusive,
            ..Abilities::default()
        };
        let mut world = World {
            now_ms: BEGIN_MS,
            settings,
            store: StoreModel::new(abilities),
            store_clock: StoreClock::new(),
            own_ms: 0,
            hosts: Vec::new(),
            flights: Flights::default(),
            tells: Net::default(),
            requests,
            attempts: Vec::new(),
            audit: Audit::default(),
            keys,
            clock_grain_ms: 1,
            delay_max_ms: 0,
            unseen_max_ms: 0,
            timeless: None,
            cut: None,
            failures: Vec::new(),
            last_outputs: 0,
            fresh: Vec::new(),
            trace: None,
            notes: BTreeMap::new(),
            lives: 0,
        };
        for (host, role) in roles.iter().enumerate() {
            world.hosts.push(Host::new(*role, world.settings.clone()));
            world.start_node(host);
        }
        world
    }

    /// Adds a line to the story, with the virtual time. `line` is called only if a story is kept.
    pub fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            trace.say(self.now_ms - BEGIN_MS, &line());
        }
    }

    /// Repairs all damage, as an operator does (protocol, section 11).
    pub fn mend(&mut self) {
        self.say(|| "all damage is repaired".into());
        self.store.unreadable.clear();
        self.store.strangers.clear();
        self.store.strange_commits.clear();
        let mark = self.store.format.as_ref().map_or(TxnId::ZERO, |format| format.mark);
        for hash in self.store.damaged.keys().copied().collect::<Vec<_>>() {
            let record = self.store.record(&hash).cloned();
            let own = record.as_ref().map(|record| record.txn);
            // The note stays while it is needed: a sweep that has read it may move the mark past
            // entries that are above the mark now, without verifying them.
            if own > Some(mark) || self.store.has_entries_above(hash, mark) {
                continue;
            }
            // Without the note the request's entries count again. So dead ones must go with it, and
            // missing ones of the record be put.
            self.store.damaged.remove(&hash);
            self.store.remove_dead(hash, own);
            let Some(record) = record else { continue };
            for (key, entry) in record.entries() {
                if !self.audit.is_superseded(&key, record.txn) && !self.audit.was_removed(&key, record.txn) {
                    self.store.enter(&key, &entry);
                }
                self.audit.entered(&key, &entry, self.now_ms);
            }
        }
    }

    /// Delivers a tell. With `keep` it stays in flight and may arrive again.
    pub fn hear(&mut self, id: MessageId, keep: bool) -> Verdict {
        let Some(tell) = self.tells.arrive(id, keep) else { return Ok(()) };
        self.step(id.to, Input::Heard(NodeId(id.from.0), tell))
    }

    /// Gives one event to the node of `host`, and carries out its outputs.
    pub fn step(&mut self, host: usize, input: Input) -> Verdict {
        let now = self.clocks(host);
        if self.hosts[host].process.machine().is_none() {
            return Ok(());
        }
        // Note what the node learns by this input, for the judges.
        match &input {
            Input::Upkeep(on) => self.hosts[host].sweeps = *on,
            Input::Answer(_, Answer::Got(Some((Body::Record(record), _))), _) => {
                self.hosts[host].given.insert(record.txn, self.now_ms);
            }
            Input::Heard(_, tell) => {
                let now_ms = self.now_ms;
                self.hosts[host].given.extend(tell.commits.iter().map(|header| (header.txn, now_ms)));
            }
            Input::Verb(..) | Input::Answer(..) | Input::Wake | Input::Drain => {}
        }
        if self.trace.is_some() && !matches!(input, Input::Wake) {
            self.say(|| format!("host {host} <- {input:?}"));
        }
        if self.settings.exclusive {
            self.own_ms = self.own_ms.max(now.wall_ms);
        }
        self.remember_failures(host, &input);
        let node = self.hosts[host].process.machine_mut().expect("checked above");
        let id = node.id();
        let mut outputs = Vec::new();
        node.step(now, input, &mut outputs);
        node.check_invariants();
        let mark = node.mark();
        self.hosts[host].marks.note(mark, self.now_ms, self.settings.recheck_after_ms);
        self.last_outputs = outputs.len();
        // A planned crash takes effect between two outputs: the rest are lost.
        let cut = self.cut.take();
        for (place, output) in outputs.into_iter().enumerate() {
            if cut == Some(place) {
                break;
            }
            self.output(host, id, output)?;
        }
        if cut.is_some() {
            self.crash(host);
        }
        Ok(())
    }

    /// Remembers the failures that an answer reports, to judge later whether a rejection was
    /// justified.
    fn remember_failures(&mut self, host: usize, input: &Input) {
        let Input::Answer(_, answer, _) = input else { return };
        let (now_ms, failures) = (self.now_ms, &mut self.failures);
        match answer {
            Answer::Failed(error) => failures.push((host, now_ms, error.clone())),
            Answer::Committed(pieces) => {
                let record = pieces.record.iter().filter_map(|piece| piece.clone().err());
                let entries = pieces.entries.iter().filter_map(|piece| piece.clone().err());
                failures.extend(record.chain(entries).map(|error| (host, now_ms, error)));
            }
            Answer::Listed { damaged, .. } | Answer::Scanned { damaged, .. } => {
                let damaged = damaged.iter().map(|text| CallError::Damaged(text.clone()));
                failures.extend(damaged.map(|error| (host, now_ms, error)));
            }
            Answer::Got(_)
            | Answer::Cached(_)
            | Answer::Done
            | Answer::Created(_)
            | Answer::Replaced
            | Answer::Changed => {}
        }
    }

    /// Carries out one output of a node: puts calls and tells in flight, judges replies and notes.
    fn output(&mut self, host: usize, node: NodeId, output: Output) -> Verdict {
        match output {
            Output::Call(call_id, call) => {
                self.hosts[host].calls_made += 1;
                let id = flight_id(node, call_id);
                self.say(|| format!("  {node}#{} asks: {call:?}", call_id.0));
                // The first call that may commit an attempt: from here on it may take effect.
                let commits = match &call {
                    Call::Commit(writes) => writes.record.as_ref().map(|record| record.txn),
                    Call::Create(_, Body::Record(record)) => Some(record.txn),
                    Call::Create(_, Body::Entry(entry)) => Some(entry.txn),
                    _ => None,
                };
                if let Some(txn) = commits {
                    if self.settings.exclusive {
                        self.own_ms = self.own_ms.max(txn.time.ms());
                    }
                    self.audit.asked.entry(txn.attempt).or_insert(self.now_ms);
                }
                self.fly(host, id, call);
                Ok(())
            }
            Output::Tell(tell) => {
                self.say(|| format!("  {node} tells: {tell:?}"));
                if self.hosts[host].role == Role::Guest {
                    return broken("section 7: a guest sends no tells", format!("{tell:?}"));
                }
                let members = |to: &usize| *to != host && self.hosts[*to].role != Role::Guest;
                for to in (0..self.hosts.len()).filter(members).collect::<Vec<_>>() {
                    let id = MessageId { from: life(node), sequence: tell.sequence, to };
                    self.tells.send(id, tell.clone());
                    self.fresh.push(Fresh::Tell(id));
                }
                Ok(())
            }
            Output::Note(note) => self.noted(host, note),
            Output::Reply(ticket, reply) => {
                let Some(waiting) = self.hosts[host].tickets.remove(&ticket) else {
                    return broken("every verb gets exactly one reply", format!("{ticket:?}: {reply:?}"));
                };
                self.say(|| format!("  {node} replies to {waiting:?}: {reply:?}"));
                match waiting {
                    Waiting::LookUp { request, record_before } => {
                        self.looked_up(host, request, record_before, &reply)
                    }
                    Waiting::Attempt(number) => self.replied(number, ticket, reply),
                }
            }
        }
    }

    /// Counts a note of a node, and follows what it says of attempts.
    fn noted(&mut self, host: usize, note: Note) -> Verdict {
        let (name, count) = match &note {
            Note::Ended(attempt, end) => {
                self.attempts[attempt_number(*attempt)].gave_up |=
                    matches!(end, End::Conflicted | End::LostToOther);
                self.attempts[attempt_number(*attempt)].open = false;
                self.attempts[attempt_number(*attempt)].opened = false;
                ("ended", 1)
            }
            Note::Thawed { .. } => ("thawed", 1),
            Note::ClocksDisagree { .. } => ("clocks disagree", 1),
            Note::AheadOfTime(_) => ("ahead of time", 1),
            Note::SessionLost(_) => ("sessions lost", 1),
            Note::Damaged(text) => {
                if !self.met_damage(host, 0, text) {
                    return broken("a node reports only damage that the store reported", text.clone());
                }
                ("damage met", 1)
            }
            Note::MarkMoved(_) => ("marks moved", 1),
            Note::EntriesRemoved(count) => ("entries removed", *count),
            Note::RecordsRemoved(count) => ("records removed", *count),
            Note::PartsRemoved(count) => ("parts removed", *count),
            Note::BytesReclaimed(count) => ("bytes reclaimed", *count),
            Note::EntriesRepaired(count) => ("entries repaired", *count),
            Note::Swept { whole: true } => ("sweeps", 1),
            Note::Swept { whole: false } => ("sweeps cut short", 1),
        };
        *self.notes.entry(name).or_default() += count;
        self.say(|| format!("  host {host} notes: {note:?}"));
        Ok(())
    }

    /// Returns true if a call of `host` has failed since `since_ms`.
    pub(crate) fn met_failure(&self, host: usize, since_ms: u64) -> bool {
        self.failures.iter().any(|(of, at_ms, _)| *of == host && *at_ms >= since_ms)
    }

    /// Returns true if the store has reported the damage in `what` to `host` since `since_ms`. The
    /// node's text may say more than the store's.
    pub(crate) fn met_damage(&self, host: usize, since_ms: u64, what: &str) -> bool {
        self.failures.iter().any(|(of, at_ms, error)| {
            let same = matches!(error, CallError::Damaged(given) if what.contains(given.as_str()));
            *of == host && *at_ms >= since_ms && same
        })
    }
}
