//! Hosts: processes that run a node, with their clocks and the waiters for the node's replies.

use std::collections::{BTreeMap, BTreeSet};

use aft_core::Node;
use aft_core::clock::Now;
use aft_core::ids::{Key, NodeId, TxnId};
use aft_core::message::{Input, Ticket};
use aft_core::settings::Settings;
use aft_sim::clocks::{HostClocks, Pause, Reading};
use aft_sim::process::Process;
use aft_sim::verdict::Verdict;

use crate::attempt::{Ended, Progress};
use crate::flights::life;
use crate::world::{BEGIN_MS, Fresh, World};

/// The role of a host in its world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A node that lives long, gets tells, and may sweep.
    Member,
    /// A node inside a function's environment: it runs only while an attempt is open on it, and may
    /// vanish or freeze after any.
    Guest,
    /// A member that sweeps for a while from time to time.
    Sweeper,
}

/// The marks that a node knows now and knew recently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KnownMarks {
    /// The mark that it knows now.
    last: TxnId,
    /// The true time at which it learned it.
    since_ms: u64,
    /// The lowest mark that a listing in use could carry when it learned `last`.
    before: TxnId,
}

impl KnownMarks {
    /// The marks of a node that has not read one.
    const NONE: KnownMarks = KnownMarks { last: TxnId::ZERO, since_ms: 0, before: TxnId::ZERO };

    /// Notes that the node knows `mark` now.
    pub(crate) fn note(&mut self, mark: TxnId, now_ms: u64, recheck_after_ms: u64) {
        if self.last == mark {
            return;
        }
        let before = self.in_listings(now_ms, recheck_after_ms);
        *self = KnownMarks { last: mark, since_ms: now_ms, before };
    }

    /// Returns the mark that the node knows now.
    pub(crate) fn last(&self) -> TxnId {
        self.last
    }

    /// Returns the lowest mark that a listing in use may carry. A listing that was asked before the
    /// node learned the last mark carries an older one, and is in use until it is `recheck_after`
    /// old.
    pub(crate) fn in_listings(&self, now_ms: u64, recheck_after_ms: u64) -> TxnId {
        if now_ms > self.since_ms + recheck_after_ms { self.last } else { self.before }
    }
}

/// A process that may run a node.
#[derive(Debug, Clone, Hash)]
pub struct Host {
    /// Its role.
    pub role: Role,
    /// The settings of its nodes.
    pub settings: Settings,
    /// The process, with its node while it lives. No event reaches the node during a pause.
    pub process: Process<Node>,
    /// Its node was asked to sweep.
    pub sweeps: bool,
    /// Its node was asked to drain.
    pub draining: bool,
    /// The true times at which pauses ended that no clock showed and that its node cannot have
    /// noticed yet: the store has not answered a call that was sent after the pause.
    pub unheard_ms: Vec<u64>,
    /// A pause that no clock showed may still be hidden in its bounds of the store's time: it was
    /// too short for answers from before it to disagree with those after it.
    pub misled: bool,
    /// The marks that its node knows.
    pub(crate) marks: KnownMarks,
    /// The waiters, by the ticket of the reply that each waits for.
    pub(crate) tickets: BTreeMap<Ticket, Waiting>,
    next_ticket: u64,
    /// Its value cache: the committed versions that passed through this node.
    pub(crate) cache: BTreeSet<(TxnId, Key)>,
    /// The newest transaction at each key that this node has shown to a client (by any key of that
    /// transaction), and the time since when the node may have known it.
    pub(crate) learned: BTreeMap<Key, (TxnId, u64)>,
    /// The time at which the node was last given a transaction's whole write set: by its record or
    /// by a tell.
    pub(crate) given: BTreeMap<TxnId, u64>,
    /// The number of store calls that it has made since the process began.
    pub calls_made: u64,
}

/// A waiter for a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Waiting {
    /// The attempt with this number.
    Attempt(usize),
    /// A look-up of a request's commit.
    LookUp {
        /// The number of the request.
        request: usize,
        /// The transaction whose record was under the request's name when the look-up was sent.
        record_before: Option<TxnId>,
    },
}

impl Host {
    /// Returns a host that runs no node yet.
    pub(crate) fn new(role: Role, settings: Settings) -> Host {
        Host {
            role,
            settings: Settings { guest: role == Role::Guest, ..settings },
            // The machine started before the process.
            process: Process::new(HostClocks::new(BEGIN_MS - 1_000)),
            sweeps: false,
            draining: false,
            unheard_ms: Vec::new(),
            misled: false,
            marks: KnownMarks::NONE,
            tickets: BTreeMap::new(),
            next_ticket: 0,
            cache: BTreeSet::new(),
            learned: BTreeMap::new(),
            given: BTreeMap::new(),
            calls_made: 0,
        }
    }
}

/// Returns a reading of clocks as the core's type.
fn now(reading: Reading) -> Now {
    let Reading { mono_ms, boot_ms, wall_ms } = reading;
    Now { mono_ms, boot_ms, wall_ms }
}

/// The greatest distance between a node's bounds of the store's time, where the store's answers
/// carry milliseconds.
const WIDEST_MS: u64 = 2_000;

impl World {
    /// Starts a node with empty memory on a host that runs none.
    pub fn start_node(&mut self, host: usize) {
        self.lives += 1;
        // Ids are unique among all hosts, and ascend so that traces are easy to read.
        let id = NodeId(self.lives);
        self.say(|| format!("host {host} starts node {id}"));
        let slot = &mut self.hosts[host];
        slot.process.start(Node::new(id, slot.settings.clone()));
        slot.sweeps = false;
        slot.draining = false;
        slot.unheard_ms.clear();
        slot.misled = false;
        slot.marks = KnownMarks::NONE;
        slot.cache.clear();
        slot.learned.clear();
        slot.given.clear();
        slot.calls_made = 0;
    }

    /// Returns what the clocks of a host read now.
    pub fn clocks(&self, host: usize) -> Now {
        now(self.hosts[host].process.clocks.at(self.now_ms, self.clock_grain_ms))
    }

    /// Returns the identity of the node that a host runs.
    pub fn node_id(&self, host: usize) -> Option<NodeId> {
        self.hosts[host].process.machine().map(Node::id)
    }

    /// Returns true if the host has a node and is not paused, so that the node can be given an
    /// event.
    pub fn is_awake(&self, host: usize) -> bool {
        self.hosts[host].process.is_awake()
    }

    /// Returns the true time at which a host's node asked to be woken; `None` while it is paused.
    pub fn next_wake_ms(&self, host: usize) -> Option<u64> {
        let process = &self.hosts[host].process;
        process.wake_ms(process.machine()?.next_wake()?)
    }

    /// Pauses a host. Its calls in flight may still land.
    pub fn pause(&mut self, host: usize, kind: Pause) {
        let now_ms = self.now_ms;
        self.say(|| format!("host {host} is paused: {kind:?}"));
        self.hosts[host].process.pause(kind, now_ms);
    }

    /// Resumes a paused host, and applies the pause to its clocks and to the deadlines of its
    /// attempts.
    pub fn resume(&mut self, host: usize) {
        let Some((kind, span_ms)) = self.hosts[host].process.resume(self.now_ms) else { return };
        self.say(|| format!("host {host} resumes after {span_ms} ms"));
        let now_ms = self.now_ms;
        let node = self.node_id(host);
        // The timeout of a begin that waits for another attempt counts from the look-up afterwards.
        let waiting = self.attempts.iter_mut().filter(|attempt| attempt.host == host);
        let waiting = waiting.filter(|attempt| attempt.in_flight.values().any(|sent| sent.begins));
        waiting.for_each(|attempt| attempt.stood_ms += span_ms);
        let slot = &mut self.hosts[host];
        if kind == Pause::Unseen {
            slot.unheard_ms.push(now_ms);
            slot.misled |= self.store_clock.span_ms > 1 || span_ms < WIDEST_MS;
            // On a node that does not know the store's time yet, no call of an open attempt was
            // answered: the attempt's deadline counts from the first answer.
            let is_timed = slot.process.machine().is_some_and(|node| node.time_error_ms().is_some());
            for attempt in self.attempts.iter_mut().filter(|attempt| attempt.host == host) {
                let is_open = attempt.node.is_some() && attempt.node == node;
                attempt.blind |= is_open;
                if is_open && !is_timed && attempt.in_flight.values().all(|sent| !sent.begins) {
                    attempt.stood_ms += span_ms;
                }
            }
        }
    }

    /// Kills a host's process: its memory is lost, and its writes in flight may land until their
    /// grace has passed.
    pub fn crash(&mut self, host: usize) {
        self.resume(host);
        let Some(node) = self.hosts[host].process.end() else { return };
        let id = node.id();
        self.say(|| format!("host {host} crashes (node {id})"));
        self.abandon(id);
        for (_, waiting) in std::mem::take(&mut self.hosts[host].tickets) {
            if let Waiting::Attempt(number) = waiting
                && self.attempts[number].ended().is_none()
            {
                let attempt = &mut self.attempts[number];
                attempt.in_flight.clear();
                attempt.conclude(Ended::NodeDied);
                attempt.progress = Progress::Ended(attempt.outcome.clone().expect("just concluded"));
                self.fresh.push(Fresh::Client(number));
            }
        }
        self.close_all(host);
    }

    /// Replaces a host's node by an empty one. No call of the old one lands late.
    pub fn start_again(&mut self, host: usize) {
        self.crash(host);
        self.flights.lose_all_late();
        self.start_node(host);
    }

    /// Notes that no transaction is open on this host any more.
    pub(crate) fn close_all(&mut self, host: usize) {
        self.attempts.iter_mut().filter(|attempt| attempt.host == host).for_each(|attempt| {
            attempt.open = false;
            attempt.opened = false;
        });
    }

    /// Asks a host to sweep, or to stop sweeping.
    pub fn upkeep(&mut self, host: usize, on: bool) -> Verdict {
        self.step(host, Input::Upkeep(on))
    }

    /// Asks a host to drain: it opens no new transactions, finishes the open ones, and does not
    /// sweep.
    pub fn drain(&mut self, host: usize) -> Verdict {
        self.say(|| format!("host {host} drains"));
        self.hosts[host].draining = true;
        self.step(host, Input::Drain)?;
        self.upkeep(host, false)
    }

    /// Returns true if a draining host has nothing left to do.
    pub fn is_drained(&self, host: usize) -> bool {
        let slot = &self.hosts[host];
        slot.process.machine().is_some_and(|node| {
            slot.draining
                && slot.tickets.is_empty()
                && node.open_transactions() == 0
                && self.flights.of_life(life(node.id())).next().is_none()
        })
    }

    /// Ends the process of a drained host. Nothing is left for others to finish.
    pub fn stop(&mut self, host: usize) {
        assert!(self.is_drained(host), "host {host} still has work, and cannot be stopped");
        self.say(|| format!("host {host} stops"));
        *self.notes.entry("drained").or_default() += 1;
        self.hosts[host].process.end();
        self.close_all(host);
    }

    /// Registers a waiter on a host, and returns the ticket for the reply.
    pub(crate) fn ticket(&mut self, host: usize, waiting: Waiting) -> Ticket {
        let host = &mut self.hosts[host];
        let ticket = Ticket(host.next_ticket);
        host.next_ticket += 1;
        host.tickets.insert(ticket, waiting);
        ticket
    }

    /// Returns the number of verbs that have not been replied to, on hosts that are awake.
    pub fn waiters(&self) -> usize {
        let awake = (0..self.hosts.len()).filter(|host| self.is_awake(*host));
        awake.map(|host| self.hosts[host].tickets.len()).sum()
    }
}
