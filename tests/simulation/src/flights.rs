//! Store calls: how they are split into parts, land on the store, and are answered.
//!
//! The bookkeeping is `aft-sim`'s. Here is what knows the store: the effect of each part is judged
//! by the auditor, and the outcomes are joined to an answer as a node's driver gives it.

use std::cmp::Reverse;

use aft_core::clock::{Reference, StoreTime};
use aft_core::ids::{Key, NodeId};
use aft_core::message::Input;
use aft_core::record::VersionEntry;
use aft_core::store::{Answer, Body, Call, CallError, CallId, Created, Found, Name, Pieces, Writes};
use aft_sim::flights::{Calls, FlightId, Life};
use aft_sim::verdict::{Verdict, Violation};

use crate::audit::Scene;
use crate::model::sort_entries;
use crate::world::{Fresh, World};

/// The store's calls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreCalls;

impl Calls for StoreCalls {
    type Call = Call;
    type Answer = Answer;
    type Error = CallError;

    fn is_write(part: &Call) -> bool {
        part.is_write()
    }
}

/// A store call in flight.
pub type Flight = aft_sim::flights::Flight<StoreCalls>;
/// The store calls in flight.
pub type Flights = aft_sim::flights::Flights<StoreCalls>;
/// A part of a store call that may land late.
pub type Late = aft_sim::flights::Late<StoreCalls>;

/// Returns the identity of a call of a node, which is one life of its host.
pub fn flight_id(node: NodeId, call: CallId) -> FlightId {
    FlightId { life: life(node), call: call.0 }
}

/// Returns the life that a node is.
pub fn life(node: NodeId) -> Life {
    Life(node.0)
}

/// Returns the answer to a call for its node. Panics unless every part has an outcome.
fn join(flight: &Flight) -> Answer {
    let outcomes = flight.outcomes().into_iter();
    let mut outcomes = outcomes.map(|outcome| outcome.unwrap_or_else(Answer::Failed));
    match &flight.call {
        Call::Commit(writes) => Answer::Committed(pieces(writes, outcomes)),
        Call::Delete(_) => {
            let failed = outcomes.find(|outcome| matches!(outcome, Answer::Failed(_)));
            failed.unwrap_or(Answer::Done)
        }
        Call::Get(_)
        | Call::Fetch { .. }
        | Call::Put(..)
        | Call::Create(..)
        | Call::Replace(..)
        | Call::DeleteIf(..)
        | Call::List { .. }
        | Call::Scan { .. } => outcomes.next().expect("a call has a part"),
    }
}

/// Joins the outcomes of a commit's parts. There is one for each part, in order, or, from a store
/// that commits at once, a single one for all.
fn pieces(writes: &Writes, outcomes: impl Iterator<Item = Answer>) -> Pieces {
    let mut outcomes: Vec<Answer> = outcomes.collect();
    let wanted = usize::from(writes.record.is_some()) + writes.entries.len();
    // A single failure is that of every part.
    if let [Answer::Failed(error)] = &outcomes[..] {
        outcomes = vec![Answer::Failed(error.clone()); wanted];
    }
    let mut all = Pieces { record: None, entries: Vec::new() };
    for outcome in outcomes {
        match outcome {
            Answer::Committed(part) => {
                all.record = all.record.or(part.record);
                all.entries.extend(part.entries);
            }
            // The record's part comes first: a failure before it has an outcome is its own.
            Answer::Failed(error) if writes.record.is_some() && all.record.is_none() => {
                all.record = Some(Err(error));
            }
            Answer::Failed(error) => all.entries.push(Err(error)),
            other => panic!("{other:?} is no answer to a commit"),
        }
    }
    assert_eq!(all.record.is_some(), writes.record.is_some(), "exactly a commit's record has an outcome");
    assert_eq!(all.entries.len(), writes.entries.len(), "every entry has an outcome");
    all
}

/// Splits a call into the parts that take effect independently: a commit into its record and
/// entries, a deletion into its names. A store that commits `at_once` takes every call as one.
fn split(call: &Call, at_once: bool) -> Vec<Call> {
    let part = |record, entries| Call::Commit(Writes { record, entries });
    match call {
        Call::Commit(writes) if !at_once => {
            let record = writes.record.clone().map(|record| part(Some(record), Vec::new()));
            let entries = writes.entries.iter().map(|entry| part(None, vec![entry.clone()]));
            record.into_iter().chain(entries).collect()
        }
        Call::Delete(names) if !at_once => {
            names.iter().map(|name| Call::Delete(vec![name.clone()])).collect()
        }
        Call::Get(_)
        | Call::Fetch { .. }
        | Call::Put(..)
        | Call::Create(..)
        | Call::Commit(_)
        | Call::Replace(..)
        | Call::Delete(_)
        | Call::DeleteIf(..)
        | Call::List { .. }
        | Call::Scan { .. } => vec![call.clone()],
    }
}

impl World {
    /// Returns the store's time. On an exclusive store it is the latest that its process's wall
    /// clock has shown, or a commit time if that is later.
    fn store_ms(&self) -> u64 {
        if self.settings.exclusive { self.own_ms } else { self.store_clock.at(self.now_ms) }
    }

    /// Returns the part of this world that the auditor needs.
    pub(crate) fn scene(&self) -> Scene<'_> {
        Scene {
            now_ms: self.now_ms,
            store_ms: self.store_ms(),
            stepped_ms: self.store_clock.stepped_ms,
            unseen_ms: self.unseen_max_ms,
            settings: &self.settings,
            requests: &self.requests,
            attempts: &self.attempts,
        }
    }

    /// Puts a call of a host's node in flight.
    pub(crate) fn fly(&mut self, host: usize, id: FlightId, call: Call) {
        let parts = split(&call, self.store.abilities.commit_at_once);
        let mono_ms = self.clocks(host).mono_ms;
        self.flights.fly(id, host, call, parts, self.now_ms, mono_ms);
        self.fresh.push(Fresh::Flight(id));
    }

    /// Lets `call` take effect, judged by the auditor, and returns the store's answer.
    pub(crate) fn land_call(&mut self, call: &Call) -> Result<Answer, Violation> {
        // Both are taken out, as the auditor sees the rest of the world meanwhile.
        let mut store = std::mem::take(&mut self.store);
        let mut audit = std::mem::take(&mut self.audit);
        let answer = audit.land(&mut store, call, self.scene());
        self.store = store;
        self.audit = audit;
        answer
    }

    /// Leaves a call in the driver's queue until [`World::send`].
    pub fn hold(&mut self, id: FlightId) {
        self.flights.hold(id);
        self.say(|| format!("  {id} waits in the driver"));
    }

    /// Sends a call that waited in the driver's queue, if the node still allows it, and returns
    /// true. Otherwise answers it as expired and returns false.
    ///
    /// # Errors
    ///
    /// Returns the violation if the node's reaction to the answer breaks a promise.
    pub fn send(&mut self, id: FlightId) -> Result<bool, Violation> {
        let Some(host) = self.flights.get(id).filter(|flight| flight.queued).map(|flight| flight.host) else {
            return Ok(false);
        };
        let now = self.clocks(host);
        let node = self.hosts[host].process.machine().expect("a queue is lost with its process");
        let wanted = node.may_send(now, CallId(id.call));
        self.say(|| format!("  {id} may be sent: {wanted}"));
        if !wanted {
            self.flights.remove(id);
            let answer = Answer::Failed(CallError::Expired);
            self.step(host, Input::Answer(CallId(id.call), answer, None))?;
            return Ok(false);
        }
        self.flights.release(id, self.now_ms, now.mono_ms);
        Ok(true)
    }

    /// Lets one part of a call in flight take effect, unless it has already.
    pub fn land(&mut self, id: FlightId, place: usize) -> Verdict {
        let Some(call) = self.flights.to_land(id, place).cloned() else { return Ok(()) };
        let answer = self.land_call(&call)?;
        self.say(|| format!("  {id} lands: {call:?} -> {answer:?}"));
        let store_ms = self.store_clock.shown_at(self.now_ms);
        self.flights.landed(id, place, answer, Some(store_ms));
        Ok(())
    }

    /// Lands every part that has neither landed nor failed.
    pub fn land_rest(&mut self, id: FlightId) -> Verdict {
        let Some(flight) = self.flights.get(id) else { return Ok(()) };
        flight.open_parts().into_iter().try_for_each(|place| self.land(id, place))
    }

    /// Answers a call. Every part of it must have an outcome.
    pub fn answer(&mut self, id: FlightId) -> Verdict {
        let Some(flight) = self.flights.remove(id) else { return Ok(()) };
        let answer = self.resolved(&flight.call, join(&flight));
        self.remember_values(&flight.call, &answer, flight.host);
        let heard = self.store_time(&flight);
        // An answer with the store's time shows every pause that ended before its call was sent.
        if heard.is_some() {
            let unheard_ms = &mut self.hosts[flight.host].unheard_ms;
            unheard_ms.retain(|ended_ms| flight.sent_ms < *ended_ms);
        }
        self.step(flight.host, Input::Answer(CallId(id.call), answer, heard))
    }

    /// Returns the answer to a listing as a driver gives it. A driver fetches the bodies of entries
    /// of checked keys after their names, so they are those of now. If one was removed meanwhile or
    /// cannot be read, the driver lists again.
    fn resolved(&self, call: &Call, answer: Answer) -> Answer {
        let now = |key: &Key, entry: &VersionEntry| {
            let body = entry.follows.and_then(|_| self.store.get(&entry.name(key)));
            body.as_ref().and_then(VersionEntry::of_lock)
        };
        let mut gone = false;
        let mut resolve = |key: &Key, entry: &mut VersionEntry| {
            if entry.follows.is_some() {
                gone |= self.store.unreadable.contains(&entry.name(key));
                match now(key, entry) {
                    Some(held) => *entry = held,
                    None => gone = true,
                }
            }
        };
        // Replace each entry of a checked key by the body that is in the store now.
        let mut answer = answer;
        match &mut answer {
            Answer::Listed { names, .. } => {
                for name in names.iter_mut() {
                    if let Name::Version(key, entry) = name {
                        resolve(&key.clone(), entry);
                    }
                }
            }
            Answer::Scanned { found: Found::Versions(found), .. } => {
                found.iter_mut().for_each(|(key, entry)| resolve(key, entry));
            }
            _ => {}
        }
        if gone {
            return self.store.clone().apply(call, self.store_clock.at(self.now_ms));
        }
        // The bodies have the TxnIds: only now can the entries be sorted.
        match &mut answer {
            Answer::Listed { names, .. } => sort_entries(names),
            Answer::Scanned { found: Found::Versions(found), .. } => {
                found.sort_by(|(a, x), (b, y)| (a, Reverse(x.txn)).cmp(&(b, Reverse(y.txn))));
            }
            _ => {}
        }
        answer
    }

    /// Returns the store's time that the answer to `flight` carries, if it carries one.
    fn store_time(&self, flight: &Flight) -> Option<StoreTime> {
        if self.settings.reference() == Reference::Own || self.timeless == Some(flight.host) {
            return None;
        }
        Some(StoreTime {
            sent_mono_ms: flight.sent_mono_ms,
            received_mono_ms: self.clocks(flight.host).mono_ms,
            at_ms: flight.server_ms?,
            span_ms: self.store_clock.span_ms,
        })
    }

    /// Answers a fetch from the host's value cache, and returns true. Returns false, and changes
    /// nothing, if the version is not cached, the call is no fetch, or it has landed.
    ///
    /// # Errors
    ///
    /// Returns the violation if the node's reaction to the answer breaks a promise.
    pub fn answer_from_cache(&mut self, id: FlightId) -> Result<bool, Violation> {
        let Some(Flight { host, call: Call::Fetch { txn, key, .. }, server_ms: None, .. }) =
            self.flights.get(id)
        else {
            return Ok(false);
        };
        let host = *host;
        if !self.hosts[host].cache.contains(&(*txn, key.clone())) {
            return Ok(false);
        }
        let write =
            self.audit.write(txn.attempt, key).expect("the cache holds only committed versions").clone();
        self.flights.remove(id);
        self.step(host, Input::Answer(CallId(id.call), Answer::Cached(write), None))?;
        Ok(true)
    }

    /// Adds to the host's value cache the values of a record that passes through its driver.
    fn remember_values(&mut self, call: &Call, answer: &Answer, host: usize) {
        let record = match (call, answer) {
            (_, Answer::Got(Some((Body::Record(record), _)))) => record,
            (Call::Commit(writes), Answer::Committed(pieces)) => match (&writes.record, &pieces.record) {
                (Some(record), Some(Ok(Created::Created))) => record,
                (_, _) => return,
            },
            (Call::Put(Name::Version(..), Body::Record(record)), Answer::Done) => record,
            (Call::Create(_, Body::Record(record)), Answer::Created(Created::Created)) => record,
            (Call::Replace(_, _, Body::Record(record)), Answer::Replaced) => record,
            _ => return,
        };
        for (key, _) in record.writes.iter() {
            self.hosts[host].cache.insert((record.txn, key.clone()));
        }
    }

    /// Gives one part `error` as its outcome. If it is a write that has not landed, it may land
    /// late until `late_until_ms`; with `None` it never lands.
    pub fn fail_part(&mut self, id: FlightId, place: usize, error: CallError, late_until_ms: Option<u64>) {
        let Some(part) = self.flights.to_fail(id, place) else { return };
        let (landed, call) = (part.landed.is_some(), part.call.clone());
        self.say(|| format!("  {id} fails: {call:?}: {error:?} (landed: {landed})"));
        let late = self.flights.fail(id, place, error, late_until_ms);
        self.fresh.extend(late.map(Box::new).map(Fresh::Late));
    }

    /// Drops the calls of a node that is gone. Its writes that were sent and have not landed may
    /// land until the call's grace has passed.
    pub(crate) fn abandon(&mut self, node: NodeId) {
        let late = self.flights.abandon(life(node), self.settings.grace_ms);
        self.fresh.extend(late.into_iter().map(Box::new).map(Fresh::Late));
    }

    /// Adds a call that may land late, and hands it to the scheduler.
    pub(crate) fn add_late(&mut self, late: Late) {
        self.fresh.push(Fresh::Late(Box::new(late.clone())));
        self.flights.add_late(late);
    }

    /// Lands a late call, unless it is gone.
    pub fn land_late(&mut self, late: &Late) -> Verdict {
        if !self.flights.take_late(late, self.now_ms) {
            return Ok(());
        }
        let answer = self.land_call(&late.call)?;
        self.say(|| format!("  {} lands late: {:?} -> {answer:?}", late.from, late.call));
        Ok(())
    }
}
