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
use std::sync::{Arc, Mutex, PoisonError};

use aft_core::Node;
use aft_core::ids::{Key, NodeId, Nonce, TxnId};
use aft_core::message::{Input, Note, Now, Output, Reply, Tell, Ticket};
use aft_core::record::Intent;
use aft_core::settings::Settings;
use aft_core::store::{Answer, Body, Call, CallError, CallId, Name};

use crate::audit::{Audit, Scene, Verdict, Violation, broken};
use crate::model::{StoreModel, is_write};
use crate::script::{Attempt, Ended, Progress, Request};

/// When every world begins, in milliseconds since the epoch: some minute of the year 2023.
pub const BEGIN_MS: u64 = 28_333_333 * 60_000;

/// A store call under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlightId {
    /// The life of the node that made it.
    pub node: NodeId,
    /// The call.
    pub call: CallId,
}

/// A store call under way: asked, perhaps landed, not yet answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flight {
    /// The host that made it.
    pub host: usize,
    /// What is asked.
    pub call: Call,
    /// When.
    pub issued_ms: u64,
    /// The effect has happened, with this answer.
    pub landed: Option<Answer>,
}

/// A call that nobody waits for any more, and that may still land.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ghost {
    /// It lands before this time or never.
    pub until_ms: u64,
    /// Who made it.
    pub from: FlightId,
    /// What would land.
    pub call: Call,
}

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
    tickets: BTreeMap<Ticket, Waiting>,
    next_ticket: u64,
    /// Its value cache: committed versions that passed through this node.
    cache: BTreeSet<(TxnId, Key)>,
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

/// The lines of a story, kept outside of the world so that they survive a panic in it.
#[derive(Debug, Clone, Default)]
pub struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    pub(crate) fn push(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
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
    /// How many outputs the last step had.
    pub last_outputs: usize,
    /// What is new since the scheduler last looked. Not part of the state.
    pub fresh: Vec<Fresh>,
    /// The story, if it is wanted. Not part of the state.
    pub trace: Option<Trace>,
    /// What nodes noted, for coverage. Not part of the state.
    pub notes: BTreeMap<&'static str, u64>,
    lives: u64,
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
            last_outputs: 0,
            fresh: Vec::new(),
            trace: None,
            notes: BTreeMap::new(),
            lives: 0,
            nonces: BTreeMap::new(),
        };
        for host in 0..hosts {
            world.hosts.push(Host {
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
            });
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

    fn scene(&self) -> Scene<'_> {
        Scene {
            now_ms: self.now_ms,
            settings: &self.settings,
            requests: &self.requests,
            attempts: &self.attempts,
        }
    }

    /// Lets the effect of a call happen.
    pub(crate) fn land_call(&mut self, call: &Call) -> Result<Answer, Violation> {
        let mut store = std::mem::take(&mut self.store);
        let mut audit = std::mem::take(&mut self.audit);
        let answer = audit.land(&mut store, call, self.scene());
        self.store = store;
        self.audit = audit;
        answer
    }

    /// Lets the effect of a call under way happen.
    pub fn land(&mut self, id: FlightId) -> Verdict {
        let Some(flight) = self.flights.get(&id) else { return Ok(()) };
        if flight.landed.is_some() {
            return Ok(());
        }
        let call = flight.call.clone();
        let answer = self.land_call(&call)?;
        self.say(|| format!("  {}#{} lands: {call:?} -> {answer:?}", id.node, id.call.0));
        self.flights.get_mut(&id).expect("it was there").landed = Some(answer);
        Ok(())
    }

    /// Answers a landed call truly.
    pub fn answer(&mut self, id: FlightId) -> Verdict {
        let Some(flight) = self.flights.remove(&id) else { return Ok(()) };
        let answer = flight.landed.expect("a call is answered after it landed");
        self.remember_values(&flight.call, &answer, flight.host);
        self.step(flight.host, Input::Answer(id.call, answer))
    }

    /// Answers a fetch from the value cache, if the version is there.
    pub fn answer_from_cache(&mut self, id: FlightId) -> Result<bool, Violation> {
        let Some(Flight { host, call: Call::Fetch { txn, key, .. }, landed: None, .. }) =
            self.flights.get(&id)
        else {
            return Ok(false);
        };
        let host = *host;
        if !self.hosts[host].cache.contains(&(*txn, key.clone())) {
            return Ok(false);
        }
        let write = self.audit.write(txn.attempt, key).expect("the cache holds what committed").clone();
        self.flights.remove(&id);
        self.step(host, Input::Answer(id.call, Answer::Cached(write)))?;
        Ok(true)
    }

    fn remember_values(&mut self, call: &Call, answer: &Answer, host: usize) {
        let record = match (call, answer) {
            (_, Answer::Got(Some((Body::Record(record), _)))) => record,
            (Call::Create(_, Body::Record(record)), Answer::Created) => record,
            _ => return,
        };
        for (key, _) in record.full().into_iter().flat_map(|writes| writes.iter()) {
            self.hosts[host].cache.insert((record.txn, key.clone()));
        }
    }

    /// Answers a call with an error. If it had not landed, it may land until the given time, or never.
    pub fn fail(&mut self, id: FlightId, error: CallError, late_until_ms: Option<u64>) -> Verdict {
        let Some(flight) = self.flights.remove(&id) else { return Ok(()) };
        let landed = flight.landed.is_some();
        if let (false, Some(until_ms)) = (landed, late_until_ms)
            && is_write(&flight.call)
        {
            self.haunt(Ghost { until_ms, from: id, call: flight.call });
        }
        self.say(|| format!("  {}#{} fails: {error:?} (landed: {landed})", id.node, id.call.0));
        self.step(flight.host, Input::Answer(id.call, Answer::Failed(error)))
    }

    pub(crate) fn haunt(&mut self, ghost: Ghost) {
        self.fresh.push(Fresh::Ghost(ghost.clone()));
        self.ghosts.insert(ghost);
    }

    /// A late call lands.
    pub fn land_ghost(&mut self, ghost: &Ghost) -> Verdict {
        if !self.ghosts.remove(ghost) {
            return Ok(());
        }
        assert!(self.now_ms <= ghost.until_ms, "nothing lands after its grace");
        let answer = self.land_call(&ghost.call)?;
        self.say(|| {
            format!("  {}#{} lands late: {:?} -> {answer:?}", ghost.from.node, ghost.from.call.0, ghost.call)
        });
        Ok(())
    }

    /// A tell arrives; with `keep` it may arrive again.
    pub fn hear(&mut self, id: TellId, keep: bool) -> Verdict {
        let Some(tell) = self.tells.get(&id).cloned() else { return Ok(()) };
        if !keep {
            self.tells.remove(&id);
        }
        self.step(id.to, Input::Heard(id.from, tell))
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
            }
            Input::HeartbeatBack => self.hosts[host].heartbeat_lost = false,
            Input::Maintain(holds) => self.hosts[host].maintains = *holds,
            Input::Verb(..) | Input::Answer(..) | Input::Heard(..) | Input::Wake | Input::Drain => {}
        }
        if self.trace.is_some() && !matches!(input, Input::Wake) {
            self.say(|| format!("host {host} <- {input:?}"));
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
                    Note::Ended(..) => "ended",
                    Note::Published(_) => "published",
                    Note::Recovered => "recovered",
                    Note::Collected(_) => "collected",
                    Note::OrphanRemoved(_) => "orphans",
                    Note::MaintenanceDamaged(why) => {
                        return broken("nothing damages the store", why.clone());
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
                    Waiting::LookUp(request) => self.looked_up(request, &reply),
                    Waiting::Attempt(number) => self.replied(number, reply),
                }
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

/// Whether a reply shows something new of the store. A commit that is durable may be told of at any time.
fn serves(reply: &Reply) -> bool {
    match reply {
        Reply::Begun { committed, .. } | Reply::Ran { committed, .. } => committed.is_none(),
        Reply::Listed { .. } | Reply::Reserved { .. } | Reply::Replayed(_) | Reply::Found(_) => true,
        Reply::Committed(_) | Reply::Aborted => false,
    }
}
