//! The world: hosts with their nodes, the store, calls and tells under way, and the clients' attempts.
//!
//! The world knows what *can* happen and judges what did; when it happens is decided by a scheduler on top: `simulate` draws it from a seed,
//! `explore` enumerates it. Everything that matters for what may come is in the fields that are cloned and hashed.
//!
//! ```text
//!   scheduler ──► land(piece) · answer(call) · hear(tell) · client(attempt) · wake · crash … ──► Node::step ──► new calls, tells, replies
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use aft_core::ids::{Key, NodeId, TxnId};
use aft_core::message::{End, Input, Note, Output, Tell};
use aft_core::settings::Settings;
use aft_core::store::{Answer, Body, Call, CallError};

use crate::attempt::{Attempt, attempt_number};
use crate::audit::{Audit, Verdict, broken};
use crate::clocks::StoreClock;
use crate::flights::{Flight, FlightId, Ghost};
use crate::hosts::{Host, Role, Waiting};
use crate::model::{Abilities, StoreModel};
use crate::script::Request;
use crate::trace::Trace;

/// When every world begins, in milliseconds since the epoch: some minute of the year 2023.
pub const BEGIN_MS: u64 = 28_333_333 * 60_000;

/// Something that a scheduler must give a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fresh {
    /// A store call.
    Flight(FlightId),
    /// A tell to a host.
    Tell(TellId),
    /// An attempt may go on, or has ended.
    Client(usize),
    /// A call that may land late.
    Ghost(Box<Ghost>),
}

/// A tell on its way: sender, its sequence number, the host it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TellId {
    /// The sender.
    pub from: NodeId,
    /// The sender's count.
    pub sequence: u64,
    /// The receiver.
    pub to: usize,
}

/// The world.
#[derive(Debug, Clone)]
pub struct World {
    /// True time.
    pub now_ms: u64,
    /// Of every node, but for what a host's role changes.
    pub settings: Settings,
    /// The store.
    pub store: StoreModel,
    /// Its clock.
    pub store_clock: StoreClock,
    /// Of an exclusive store: the latest that its process's wall clock, or a commit, has shown.
    pub(crate) own_ms: u64,
    /// The processes.
    pub hosts: Vec<Host>,
    /// Calls under way.
    pub flights: BTreeMap<FlightId, Flight>,
    /// Calls that may land late.
    pub ghosts: BTreeSet<Ghost>,
    /// Tells under way.
    pub tells: BTreeMap<TellId, Tell>,
    /// What is asked of the system.
    pub requests: Vec<Request>,
    /// Who runs it.
    pub attempts: Vec<Attempt>,
    /// The auditor.
    pub audit: Audit,
    /// Every key that programs name.
    pub keys: Vec<Key>,
    /// Wall clocks go forward in steps of this many milliseconds.
    pub clock_grain_ms: u64,
    /// How long a call may be on its way in this world: what freshness must allow for.
    pub delay_max_ms: u64,
    /// The longest pause, in milliseconds, that no clock shows to a host with writes under way.
    pub unseen_max_ms: u64,
    /// A host that hears no time: a proxy before the store strips it from answers.
    pub timeless: Option<usize>,
    /// Crash the stepping node after this many of its next outputs.
    pub cut: Option<usize>,
    /// The store's failures that nodes were given: host, when, which. Not part of the state: it only grows.
    failures: Vec<(usize, u64, CallError)>,
    /// How many outputs the last step had.
    pub last_outputs: usize,
    /// What is new since the scheduler last looked. Not part of the state.
    pub fresh: Vec<Fresh>,
    /// The story, if it is wanted. Not part of the state.
    pub trace: Option<Trace>,
    /// What nodes noted, for coverage. Not part of the state.
    pub notes: BTreeMap<&'static str, u64>,
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
        self.ghosts.hash(state);
        self.tells.hash(state);
        self.attempts.hash(state);
        self.audit.hash(state);
        self.lives.hash(state);
    }
}

impl World {
    /// Returns a world with a new store, and a fresh node on a host of each role.
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
            flights: BTreeMap::new(),
            ghosts: BTreeSet::new(),
            tells: BTreeMap::new(),
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

    /// Adds a line to the story.
    pub fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let at = self.now_ms - BEGIN_MS;
            trace.push(format!("{at:>9} {}", line()));
        }
    }

    /// Mends all that is damaged, as an operator does (protocol, section 11).
    pub fn mend(&mut self) {
        self.say(|| "all that was damaged is mended".into());
        self.store.unreadable.clear();
        self.store.strangers.clear();
        self.store.strange_commits.clear();
        let mark = self.store.format.as_ref().map_or(TxnId::ZERO, |format| format.mark);
        for hash in self.store.damaged.keys().copied().collect::<Vec<_>>() {
            let record = self.store.record(&hash).cloned();
            let own = record.as_ref().map(|record| record.txn);
            // A sweep that has read the note may move the mark past what is above it, unverified.
            if own > Some(mark) || self.store.has_entries_above(hash, mark) {
                continue;
            }
            // The note goes, and from then on the entries of the record's hash count again.
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

    /// A tell arrives; with `keep` it may arrive again.
    pub fn hear(&mut self, id: TellId, keep: bool) -> Verdict {
        let Some(tell) = self.tells.get(&id).cloned() else { return Ok(()) };
        if !keep {
            self.tells.remove(&id);
        }
        self.step(id.to, Input::Heard(id.from, tell))
    }

    /// Gives the node of a host one event.
    pub fn step(&mut self, host: usize, input: Input) -> Verdict {
        let now = self.clocks(host);
        if self.hosts[host].node.is_none() {
            return Ok(());
        }
        assert!(self.hosts[host].paused.is_none(), "nothing reaches a host that stands still");
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
        let node = self.hosts[host].node.as_mut().expect("it was there");
        let id = node.id();
        let mut outputs = Vec::new();
        node.step(now, input, &mut outputs);
        node.check_invariants();
        let mark = node.mark();
        self.hosts[host].marks.note(mark, self.now_ms, self.settings.recheck_after_ms);
        self.last_outputs = outputs.len();
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

    fn output(&mut self, host: usize, node: NodeId, output: Output) -> Verdict {
        match output {
            Output::Call(call_id, call) => {
                self.hosts[host].calls_made += 1;
                let id = FlightId { node, call: call_id };
                self.say(|| format!("  {node}#{} asks: {call:?}", call_id.0));
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
                    return broken("section 7: a guest tells nobody", format!("{tell:?}"));
                }
                let members = |to: &usize| *to != host && self.hosts[*to].role != Role::Guest;
                for to in (0..self.hosts.len()).filter(members).collect::<Vec<_>>() {
                    let id = TellId { from: node, sequence: tell.sequence, to };
                    self.tells.insert(id, tell.clone());
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
            Note::Damaged(text) => {
                if !self.met_damage(host, 0, text) {
                    return broken("only what the store calls damaged is", text.clone());
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

    /// Returns true if the store failed a call of this host since then.
    pub(crate) fn met_failure(&self, host: usize, since_ms: u64) -> bool {
        self.failures.iter().any(|(of, at_ms, _)| *of == host && *at_ms >= since_ms)
    }

    /// Returns true if the store gave this host this damage since then. A node may say more of it than the store did.
    pub(crate) fn met_damage(&self, host: usize, since_ms: u64, what: &str) -> bool {
        self.failures.iter().any(|(of, at_ms, error)| {
            let same = matches!(error, CallError::Damaged(given) if what.contains(given.as_str()));
            *of == host && *at_ms >= since_ms && same
        })
    }
}
