//! The world: hosts with their nodes, the store, calls and tells under way, and the clients' attempts.
//!
//! The world knows what *can* happen and judges what did; when it happens is decided by a scheduler on top: `simulate` draws it from a seed,
//! `explore` enumerates it. Everything that matters for what may come is in the fields that are cloned and hashed.
//!
//! ```text
//!   scheduler ──► land(call) · answer(call) · hear(tell) · client(attempt) · wake · crash … ──► Node::step ──► new calls, tells, replies
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use aft_core::ids::{Key, NodeId, Nonce};
use aft_core::message::{Input, Note, Output, Reply, Tell};
use aft_core::record::Intent;
use aft_core::settings::Settings;
use aft_core::store::{Answer, Body, Call, CallError, Name};

use crate::attempt::{Attempt, attempt_number};
use crate::audit::{Audit, Verdict, broken};
use crate::flights::{Flight, FlightId, Ghost};
use crate::hosts::{Host, Waiting};
use crate::model::StoreModel;
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
    Ghost(Ghost),
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
    /// Of every node.
    pub settings: Settings,
    /// The store.
    pub store: StoreModel,
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
    /// Wall clocks go forward in steps of so many milliseconds: coarse ones make equal commit times.
    pub clock_grain_ms: u64,
    /// How long a call may be on its way in this world: what freshness must allow for.
    pub delay_max_ms: u64,
    /// Crash the stepping node after so many of its next outputs.
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
    /// The intent that each nonce was made for. Not part of the state: it only grows.
    nonces: BTreeMap<Nonce, Intent>,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.now_ms.hash(state);
        self.store.hash(state);
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
    /// A world with an empty store and so many fresh nodes.
    pub fn new(settings: Settings, hosts: usize, requests: Vec<Request>, keys: Vec<Key>) -> World {
        let mut world = World {
            now_ms: BEGIN_MS,
            settings,
            store: StoreModel::default(),
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
            cut: None,
            failures: Vec::new(),
            last_outputs: 0,
            fresh: Vec::new(),
            trace: None,
            notes: BTreeMap::new(),
            lives: 0,
            nonces: BTreeMap::new(),
        };
        for host in 0..hosts {
            world.hosts.push(Host::new());
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
        match &input {
            Input::HeartbeatLost => {
                self.hosts[host].heartbeat_lost = true;
                self.hosts[host].learned.clear();
                self.hosts[host].given.clear();
                self.hosts[host].queue_lost = true;
                self.close_all(host);
            }
            Input::HeartbeatBack => self.hosts[host].heartbeat_lost = false,
            Input::Maintain(holds) => self.hosts[host].maintains = *holds,
            Input::Answer(_, Answer::Got(Some((Body::Record(record), _)))) => {
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
        if let Input::Answer(_, Answer::Failed(error)) = &input {
            self.failures.push((host, self.now_ms, error.clone()));
        }
        let node = self.hosts[host].node.as_mut().expect("it was there");
        let id = node.id();
        let mut outputs = Vec::new();
        node.step(now, input, &mut outputs);
        node.check_invariants();
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

    fn output(&mut self, host: usize, node: NodeId, output: Output) -> Verdict {
        match output {
            Output::Call(call_id, call) => {
                self.hosts[host].calls_made += 1;
                if self.hosts[host].heartbeat_lost && matches!(&call, Call::Put(Name::Version(..), _)) {
                    return broken(
                        "section 4: nothing is published after the heartbeat is lost",
                        format!("node {node}: {call:?}"),
                    );
                }
                if let Call::Put(Name::Intent(intent), _) = &call {
                    let first = self.nonces.entry(intent.nonce).or_insert(*intent);
                    if first != intent {
                        return broken(
                            "section 3: every re-put of an intent has a fresh nonce",
                            format!("{first:?}, and now {intent:?}"),
                        );
                    }
                }
                let id = FlightId { node, call: call_id };
                self.say(|| format!("  {node}#{} asks: {call:?}", call_id.0));
                let flight = Flight { host, call, issued_ms: self.now_ms, landed: None };
                let before = self.flights.insert(id, flight);
                assert!(before.is_none(), "call ids are unique in a node's life");
                self.fresh.push(Fresh::Flight(id));
                Ok(())
            }
            Output::Tell(tell) => {
                self.say(|| format!("  {node} tells: {tell:?}"));
                for to in (0..self.hosts.len()).filter(|to| *to != host) {
                    let id = TellId { from: node, sequence: tell.sequence, to };
                    self.tells.insert(id, tell.clone());
                    self.fresh.push(Fresh::Tell(id));
                }
                Ok(())
            }
            Output::Note(note) => {
                let name = match &note {
                    Note::Ended(attempt, _) => {
                        self.attempts[attempt_number(*attempt)].open = false;
                        "ended"
                    }
                    Note::Published(_) => "published",
                    Note::Recovered => "recovered",
                    Note::Collected(_) => "collected",
                    Note::OrphanRemoved(_) => "orphans",
                    Note::MaintenanceDamaged(what) | Note::RecoveryBlocked(what) => {
                        if !self.met_damage(host, 0, what) {
                            return broken("only what the store calls damaged is", what.clone());
                        }
                        "damage met"
                    }
                };
                *self.notes.entry(name).or_default() += 1;
                self.say(|| format!("  {node} notes: {note:?}"));
                Ok(())
            }
            Output::Reply(ticket, reply) => {
                let Some(waiting) = self.hosts[host].tickets.remove(&ticket) else {
                    return broken("every verb gets exactly one reply", format!("{ticket:?}: {reply:?}"));
                };
                self.say(|| format!("  {node} replies to {waiting:?}: {reply:?}"));
                if self.hosts[host].heartbeat_lost
                    && let Ok(reply) = &reply
                    && serves(reply)
                {
                    return broken(
                        "section 4: nothing is served after the heartbeat is lost",
                        format!("node {node}: {reply:?}"),
                    );
                }
                match waiting {
                    Waiting::LookUp(request) => self.looked_up(host, request, &reply),
                    Waiting::Attempt(number) => self.replied(number, ticket, reply),
                }
            }
        }
    }

    /// Whether the store failed a call of this host since then.
    pub(crate) fn met_failure(&self, host: usize, since_ms: u64) -> bool {
        self.failures.iter().any(|(of, at_ms, _)| *of == host && *at_ms >= since_ms)
    }

    /// Whether the store told this host of this damage since then.
    pub(crate) fn met_damage(&self, host: usize, since_ms: u64, what: &str) -> bool {
        self.failures.iter().any(|(of, at_ms, error)| {
            let same = matches!(error, CallError::Damaged(told) if told == what);
            *of == host && *at_ms >= since_ms && same
        })
    }
}

/// Whether a reply shows something new of the store. A commit that is durable may be told of at any time.
fn serves(reply: &Reply) -> bool {
    match reply {
        Reply::Begun { committed, .. } | Reply::Ran { committed, .. } => committed.is_none(),
        Reply::Listed { .. } | Reply::Reserved { .. } | Reply::Replayed(_) | Reply::Found(_) => true,
        Reply::Committed(_) | Reply::Aborted => false,
    }
}
