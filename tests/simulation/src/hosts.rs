//! Hosts: processes that run a node, with their clocks, and who waits for its replies.

use std::collections::{BTreeMap, BTreeSet};

use aft_core::Node;
use aft_core::ids::{Key, NodeId, TxnId};
use aft_core::message::{Now, Ticket};

use crate::flights::{FlightId, Ghost};
use crate::model::is_write;
use crate::script::{Ended, Progress};
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
    /// Who waits for which reply.
    pub(crate) tickets: BTreeMap<Ticket, Waiting>,
    next_ticket: u64,
    /// Its value cache: committed versions that passed through this node.
    pub(crate) cache: BTreeSet<(TxnId, Key)>,
    /// Transactions that this node has shown to a client, by each key that they wrote, and since when it may have known them.
    pub(crate) learned: BTreeMap<Key, (TxnId, u64)>,
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
            tickets: BTreeMap::new(),
            next_ticket: 0,
            cache: BTreeSet::new(),
            learned: BTreeMap::new(),
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
        slot.cache.clear();
        slot.learned.clear();
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
            if let Waiting::Attempt(number) = waiting {
                self.attempts[number].progress = Progress::Ended(Ended::NodeDied);
                self.fresh.push(Fresh::Client(number));
            }
        }
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
