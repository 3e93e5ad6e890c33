//! Hosts: processes that run a node, with their clocks, and who waits for its replies.

use std::collections::{BTreeMap, BTreeSet};

use aft_core::Node;
use aft_core::ids::{Key, NodeId, TxnId};
use aft_core::message::{Input, Now, Ticket};

use crate::attempt::{Ended, Progress};
use crate::audit::{Verdict, broken};
use crate::flights::{FlightId, Ghost};
use crate::model::is_write;
use crate::world::{BEGIN_MS, Fresh, World};

/// A process that may run a node.
#[derive(Debug, Clone, Hash)]
pub struct Host {
    /// The node, while the process lives.
    pub node: Option<Node>,
    /// The node's wall clock minus true time.
    pub wall_offset_ms: i64,
    /// True time when the monotonic clock of the host was 0.
    pub booted_ms: u64,
    /// It holds the maintainer's lease, as far as it knows.
    pub maintains: bool,
    /// Its heartbeat is lost.
    pub heartbeat_lost: bool,
    /// It was told to drain.
    pub draining: bool,
    /// Its node has lost its queue of what it was to publish.
    pub(crate) queue_lost: bool,
    /// Who waits for which reply.
    pub(crate) tickets: BTreeMap<Ticket, Waiting>,
    next_ticket: u64,
    /// Its value cache: committed versions that passed through this node.
    pub(crate) cache: BTreeSet<(TxnId, Key)>,
    /// Transactions that this node has shown to a client, by each key that they wrote, and since when it may have known them.
    pub(crate) learned: BTreeMap<Key, (TxnId, u64)>,
    /// When the node was last given a transaction's whole write set: by its record or by a tell.
    pub(crate) given: BTreeMap<TxnId, u64>,
    /// Store calls made since the process began.
    pub calls_made: u64,
}

/// Who waits for a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Waiting {
    /// An attempt.
    Attempt(usize),
    /// Somebody who asked whether a request committed: the number of the request.
    LookUp(usize),
}

impl Host {
    /// A host that runs nothing yet.
    pub(crate) fn new() -> Host {
        Host {
            node: None,
            wall_offset_ms: 0,
            booted_ms: BEGIN_MS - 1_000, // monotonic clocks do not begin with the process
            maintains: false,
            heartbeat_lost: false,
            draining: false,
            queue_lost: false,
            tickets: BTreeMap::new(),
            next_ticket: 0,
            cache: BTreeSet::new(),
            learned: BTreeMap::new(),
            given: BTreeMap::new(),
            calls_made: 0,
        }
    }
}

impl World {
    /// Starts a fresh node with empty memory.
    pub fn start_node(&mut self, host: usize) {
        assert!(self.hosts[host].node.is_none(), "a host runs one node at a time");
        self.lives += 1;
        // Two hosts never share an id; ids rise so that traces read well.
        let id = NodeId(self.lives);
        self.say(|| format!("host {host} starts node {id}"));
        let fresh = Node::new(id, self.settings.clone());
        let slot = &mut self.hosts[host];
        slot.node = Some(fresh);
        slot.maintains = false;
        slot.heartbeat_lost = false;
        slot.draining = false;
        slot.queue_lost = false;
        slot.cache.clear();
        slot.learned.clear();
        slot.given.clear();
        slot.calls_made = 0;
    }

    /// The clocks of a host.
    pub fn clocks(&self, host: usize) -> Now {
        let host = &self.hosts[host];
        let wall_ms =
            self.now_ms.checked_add_signed(host.wall_offset_ms).expect("clocks stay near the present");
        let wall_ms = wall_ms - wall_ms % self.clock_grain_ms;
        Now { wall_ms, mono_ms: self.now_ms - host.booted_ms }
    }

    /// The identity of the node that a host runs.
    pub fn node_id(&self, host: usize) -> Option<NodeId> {
        self.hosts[host].node.as_ref().map(Node::id)
    }

    /// The true time at which a host's node wants to be woken.
    pub fn next_wake_ms(&self, host: usize) -> Option<u64> {
        let host = &self.hosts[host];
        Some(host.node.as_ref()?.next_wake()? + host.booted_ms)
    }

    /// Kills a host's process: its memory is gone, its calls may land until grace has passed.
    pub fn crash(&mut self, host: usize) {
        let Some(node) = self.hosts[host].node.take() else { return };
        let id = node.id();
        self.say(|| format!("host {host} crashes (node {id})"));
        let flights: Vec<FlightId> =
            self.flights.keys().filter(|flight| flight.node == id).copied().collect();
        for flight_id in flights {
            let flight = self.flights.remove(&flight_id).expect("it was listed");
            if flight.landed.is_none() && is_write(&flight.call) && self.settings.grace_ms > 0 {
                let until_ms = flight.issued_ms + self.settings.grace_ms;
                self.haunt(Ghost { until_ms, from: flight_id, call: flight.call });
            }
        }
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

    /// An empty node takes the place of a host's.
    pub fn start_again(&mut self, host: usize) {
        self.crash(host);
        self.ghosts.clear();
        self.start_node(host);
    }

    /// No transaction is open on this host any more.
    pub(crate) fn close_all(&mut self, host: usize) {
        self.attempts.iter_mut().filter(|attempt| attempt.host == host).for_each(|attempt| {
            attempt.open = false;
        });
    }

    /// A host is to end: it opens nothing new, finishes what is open, and gives the maintainer's lease back.
    pub fn drain(&mut self, host: usize) -> Verdict {
        self.say(|| format!("host {host} drains"));
        self.hosts[host].draining = true;
        self.step(host, Input::Drain)?;
        self.step(host, Input::Maintain(false))
    }

    /// Whether a host that drains has nothing left to do.
    pub fn is_drained(&self, host: usize) -> bool {
        let slot = &self.hosts[host];
        slot.node.as_ref().is_some_and(|node| {
            slot.draining
                && slot.tickets.is_empty()
                && node.open_transactions() == 0
                && node.unpublished() == 0
                && !self.flights.keys().any(|flight| flight.node == node.id())
        })
    }

    /// The process of a drained host ends: all that it acknowledged is published.
    pub fn stop(&mut self, host: usize) -> Verdict {
        assert!(self.is_drained(host), "a host stops when it is drained");
        let id = self.node_id(host);
        for attempt in &self.attempts {
            let Some(commit) = self.audit.commits.get(&attempt.id) else { continue };
            // What only a repeated commit found out is nobody's to publish here: its intent stands.
            let ours = attempt.node == id && attempt.commits == 1 && !self.hosts[host].queue_lost;
            let acknowledged = matches!(attempt.ended(), Some(Ended::Committed(Some(_))));
            if ours && acknowledged && !commit.collected && !commit.published() {
                return broken(
                    "a drained node has published what it acknowledged",
                    format!("{}: only {:?}", commit.record.txn, commit.entered.keys()),
                );
            }
        }
        self.say(|| format!("host {host} stops"));
        *self.notes.entry("drained").or_default() += 1;
        self.hosts[host].node = None;
        self.close_all(host);
        Ok(())
    }

    pub(crate) fn ticket(&mut self, host: usize, waiting: Waiting) -> Ticket {
        let host = &mut self.hosts[host];
        let ticket = Ticket(host.next_ticket);
        host.next_ticket += 1;
        host.tickets.insert(ticket, waiting);
        ticket
    }

    /// Verbs that have not been replied to, on living nodes.
    pub fn waiters(&self) -> usize {
        self.hosts.iter().filter(|host| host.node.is_some()).map(|host| host.tickets.len()).sum()
    }
}
