//! Store calls in flight, and their ways: a call waits in the driver's queue, is sent, lands piece
//! by piece, is answered or fails, or lands late when no node waits for it any more.
//!
//! *Pieces* are the parts of a call that take effect independently: a commit's record and entries,
//! the names of a deletion. Each lands at a time of its own, or never, and the answer has an
//! outcome for each. To *land* is to take effect in the store.
//!
//! ```text
//!   fly ─► (hold ─► send) ─► land each piece ─► answer
//!                               │
//!                               └─ fail_piece, abandon ─► ghost ─► land_ghost, or never
//! ```

use std::cmp::Reverse;

use aft_core::clock::{Reference, StoreTime};
use aft_core::ids::{Key, NodeId};
use aft_core::message::Input;
use aft_core::record::VersionEntry;
use aft_core::store::{Answer, Body, Call, CallError, CallId, Created, Found, Name, Pieces, Writes};
use aft_sim::verdict::{Verdict, Violation};

use crate::audit::Scene;
use crate::model::sort_entries;
use crate::world::{Fresh, World};

/// The identity of a store call in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlightId {
    /// The node that made it: one life of its host.
    pub node: NodeId,
    /// The node's id of the call.
    pub call: CallId,
}

/// A part of a call that takes effect independently of the others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Piece {
    /// The part, as a call.
    pub call: Call,
    /// The store's answer, once the part has taken effect.
    pub landed: Option<Answer>,
    /// The error that its caller gets, instead of the store's answer if it has landed.
    pub outcome: Option<CallError>,
}

impl Piece {
    /// Returns true once there is an answer or an error for its caller.
    pub fn has_outcome(&self) -> bool {
        self.landed.is_some() || self.outcome.is_some()
    }
}

/// A store call in flight: made by a node, landed or not, and not yet answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flight {
    /// The host that made it.
    pub host: usize,
    /// The call.
    pub call: Call,
    /// The true time at which it was sent; while it is queued, at which it was made.
    pub sent_ms: u64,
    /// The same instant by the host's monotonic clock.
    pub sent_mono_ms: u64,
    /// True while it waits in the driver's queue, and has not been sent.
    pub queued: bool,
    /// Its parts that take effect independently.
    pub pieces: Vec<Piece>,
    /// The store's time at the last landing, as its answer carries it.
    pub store_ms: Option<u64>,
}

impl Flight {
    /// Returns true once it can be answered.
    pub fn has_outcome(&self) -> bool {
        !self.queued && self.pieces.iter().all(Piece::has_outcome)
    }

    /// Returns the indices of the pieces that have neither landed nor failed.
    pub fn open_pieces(&self) -> Vec<usize> {
        (0..self.pieces.len()).filter(|place| !self.pieces[*place].has_outcome()).collect()
    }

    /// Returns the answer for the node. Panics unless every piece has an outcome.
    fn answer(&self) -> Answer {
        let mut outcomes = self.pieces.iter().map(|piece| match (&piece.outcome, &piece.landed) {
            (Some(error), _) => Answer::Failed(error.clone()),
            (None, Some(answer)) => answer.clone(),
            (None, None) => panic!("a call is answered only when every piece has an outcome"),
        });
        match &self.call {
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
            | Call::Scan { .. } => outcomes.next().expect("a call has a piece"),
        }
    }
}

/// Joins the outcomes of a commit's pieces. There is one for each part, in order, or, from a store
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
            // The record's piece comes first: a failure before it has an outcome is its own.
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

/// Splits a call into its pieces. A store that commits `at_once` takes every call as one.
fn split(call: &Call, at_once: bool) -> Vec<Piece> {
    let part = |record, entries| Call::Commit(Writes { record, entries });
    let calls: Vec<Call> = match call {
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
    };
    calls.into_iter().map(|call| Piece { call, landed: None, outcome: None }).collect()
}

/// A piece of a call that no node waits for any more, and that may still land.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ghost {
    /// The last true time at which it may land.
    pub until_ms: u64,
    /// The call that it is a piece of.
    pub from: FlightId,
    /// The piece, as a call.
    pub call: Call,
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
        let flight = Flight {
            host,
            sent_ms: self.now_ms,
            sent_mono_ms: self.clocks(host).mono_ms,
            queued: false,
            pieces: split(&call, self.store.abilities.commit_at_once),
            call,
            store_ms: None,
        };
        assert!(!flight.pieces.is_empty(), "a call has at least one piece");
        let before = self.flights.insert(id, flight);
        assert!(before.is_none(), "a node never uses a call id twice");
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
        let flight = self.flights.get_mut(&id).expect("a scheduler holds only calls in flight");
        assert!(
            flight.pieces.iter().all(|piece| !piece.has_outcome()),
            "a call of which a piece has an outcome was sent, and cannot be held"
        );
        flight.queued = true;
        self.say(|| format!("  {}#{} waits in the driver", id.node, id.call.0));
    }

    /// Sends a call that waited in the driver's queue, if the node still allows it, and returns
    /// true. Otherwise answers it as expired and returns false.
    ///
    /// # Errors
    ///
    /// Returns the violation if the node's reaction to the answer breaks a promise.
    pub fn send(&mut self, id: FlightId) -> Result<bool, Violation> {
        let Some(host) = self.flights.get(&id).filter(|flight| flight.queued).map(|flight| flight.host)
        else {
            return Ok(false);
        };
        let now = self.clocks(host);
        let node = self.hosts[host].node.as_ref().expect("a queue is lost with its process");
        let wanted = node.may_send(now, id.call);
        self.say(|| format!("  {}#{} may be sent: {wanted}", id.node, id.call.0));
        if !wanted {
            self.flights.remove(&id);
            let answer = Answer::Failed(CallError::Expired);
            self.step(host, Input::Answer(id.call, answer, None))?;
            return Ok(false);
        }
        let flight = self.flights.get_mut(&id).expect("looked up above");
        flight.queued = false;
        flight.sent_ms = self.now_ms;
        flight.sent_mono_ms = now.mono_ms;
        Ok(true)
    }

    /// Lets one piece of a call in flight take effect, unless it has already.
    pub fn land(&mut self, id: FlightId, place: usize) -> Verdict {
        let Some(flight) = self.flights.get(&id).filter(|flight| !flight.queued) else { return Ok(()) };
        if flight.pieces[place].landed.is_some() {
            return Ok(());
        }
        let call = flight.pieces[place].call.clone();
        let answer = self.land_call(&call)?;
        self.say(|| format!("  {}#{} lands: {call:?} -> {answer:?}", id.node, id.call.0));
        let store_ms = self.store_clock.shown_at(self.now_ms);
        let flight = self.flights.get_mut(&id).expect("looked up above");
        flight.pieces[place].landed = Some(answer);
        flight.store_ms = Some(store_ms);
        Ok(())
    }

    /// Lands every piece that has neither landed nor failed.
    pub fn land_rest(&mut self, id: FlightId) -> Verdict {
        let Some(flight) = self.flights.get(&id) else { return Ok(()) };
        flight.open_pieces().into_iter().try_for_each(|place| self.land(id, place))
    }

    /// Answers a call. Every piece of it must have an outcome.
    pub fn answer(&mut self, id: FlightId) -> Verdict {
        let Some(flight) = self.flights.remove(&id) else { return Ok(()) };
        let answer = self.resolved(&flight.call, flight.answer());
        self.remember_values(&flight.call, &answer, flight.host);
        let heard = self.store_time(&flight);
        // An answer with the store's time shows every pause that ended before its call was sent.
        if heard.is_some() {
            let unheard_ms = &mut self.hosts[flight.host].unheard_ms;
            unheard_ms.retain(|ended_ms| flight.sent_ms < *ended_ms);
        }
        self.step(flight.host, Input::Answer(id.call, answer, heard))
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
            at_ms: flight.store_ms?,
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
        let Some(Flight { host, call: Call::Fetch { txn, key, .. }, store_ms: None, .. }) =
            self.flights.get(&id)
        else {
            return Ok(false);
        };
        let host = *host;
        if !self.hosts[host].cache.contains(&(*txn, key.clone())) {
            return Ok(false);
        }
        let write =
            self.audit.write(txn.attempt, key).expect("the cache holds only committed versions").clone();
        self.flights.remove(&id);
        self.step(host, Input::Answer(id.call, Answer::Cached(write), None))?;
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

    /// Gives one piece `error` as its outcome. If it is a write that has not landed, it becomes a
    /// ghost that may land until `late_until_ms`; with `None` it never lands.
    pub fn fail_piece(&mut self, id: FlightId, place: usize, error: CallError, late_until_ms: Option<u64>) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let piece = &mut flight.pieces[place];
        if piece.outcome.is_some() {
            return;
        }
        let (landed, call) = (piece.landed.is_some(), piece.call.clone());
        piece.outcome = Some(error.clone());
        self.say(|| format!("  {}#{} fails: {call:?}: {error:?} (landed: {landed})", id.node, id.call.0));
        if let (false, Some(until_ms)) = (landed, late_until_ms)
            && call.is_write()
        {
            self.haunt(Ghost { until_ms, from: id, call });
        }
    }

    /// Drops a call whose node is gone. Its writes that were sent and have not landed become
    /// ghosts, which may land until the call's grace has passed.
    pub(crate) fn abandon(&mut self, id: FlightId) {
        let flight = self.flights.remove(&id).expect("only calls in flight are abandoned");
        // A queue is lost with its process; and without grace a write lands when it is sent, or
        // never.
        if flight.queued || self.settings.grace_ms == 0 {
            return;
        }
        let until_ms = flight.sent_ms + self.settings.grace_ms;
        for piece in flight.pieces.into_iter().filter(|piece| !piece.has_outcome()) {
            if piece.call.is_write() {
                self.haunt(Ghost { until_ms, from: id, call: piece.call });
            }
        }
    }

    /// Adds a ghost, and hands it to the scheduler.
    pub(crate) fn haunt(&mut self, ghost: Ghost) {
        self.fresh.push(Fresh::Ghost(Box::new(ghost.clone())));
        self.ghosts.insert(ghost);
    }

    /// Lands a ghost, unless it is gone.
    pub fn land_ghost(&mut self, ghost: &Ghost) -> Verdict {
        if !self.ghosts.remove(ghost) {
            return Ok(());
        }
        assert!(self.now_ms <= ghost.until_ms, "a call cannot land after its grace");
        let answer = self.land_call(&ghost.call)?;
        self.say(|| {
            format!("  {}#{} lands late: {:?} -> {answer:?}", ghost.from.node, ghost.from.call.0, ghost.call)
        });
        Ok(())
    }
}
