//! Calls to servers in flight, and their ways: a call waits in the driver's queue, is sent, lands
//! part by part, is answered or fails, or lands late when no process waits for it any more.
//!
//! *Parts* of a call take effect independently. Each lands at a time of its own, or never, and the
//! answer has an outcome for each. To *land* is to take effect in the server.
//!
//! ```text
//!   fly ─► (hold ─► release) ─► to_land, landed: each part ─► answer
//!                                  │
//!                                  └─ fail, abandon ─► late ─► take_late, or never
//! ```
//!
//! Only the bookkeeping is here. The driver splits calls, performs and judges their effects, and
//! joins the outcomes of parts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug, Display};
use std::hash::Hash;
use std::ops::Index;

/// The vocabulary of calls to one kind of server: a shared store, or a node's own disk.
pub trait Calls: Clone + Debug + Eq + Ord + Hash {
    /// A call, or a part of one.
    type Call: Clone + Debug + Eq + Ord + Hash;
    /// A server's answer to a part.
    type Answer: Clone + Debug + Eq + Hash;
    /// An error that the caller gets instead.
    type Error: Clone + Debug + Eq + Hash;

    /// Returns true if the part changes the server, and so may land late.
    fn is_write(part: &Self::Call) -> bool;
}

/// One life of a process: a number that no other life in the world has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life(pub u64);

/// The identity of a call in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlightId {
    /// The life that made it.
    pub life: Life,
    /// The caller's number of the call, unique in its life.
    pub call: u64,
}

impl Display for FlightId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}#{}", self.life.0, self.call)
    }
}

/// A part of a call that takes effect independently of the others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Part<C: Calls> {
    /// The part, as a call.
    pub call: C::Call,
    /// The server's answer, once the part has taken effect.
    pub landed: Option<C::Answer>,
    /// The error that its caller gets, instead of the server's answer if it has landed.
    pub failed: Option<C::Error>,
}

impl<C: Calls> Part<C> {
    /// Returns true once there is an answer or an error for its caller.
    pub fn has_outcome(&self) -> bool {
        self.landed.is_some() || self.failed.is_some()
    }
}

/// A call in flight: made by a process, landed or not, and not yet answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flight<C: Calls> {
    /// The host that made it.
    pub host: usize,
    /// The call.
    pub call: C::Call,
    /// The true time at which it was sent; while it is queued, at which it was made.
    pub sent_ms: u64,
    /// The same instant by the host's monotonic clock.
    pub sent_mono_ms: u64,
    /// True while it waits in the driver's queue, and has not been sent.
    pub queued: bool,
    /// Its parts that take effect independently; at least one.
    pub parts: Vec<Part<C>>,
    /// The server's time at the last landing, as its answer carries it.
    pub server_ms: Option<u64>,
}

impl<C: Calls> Flight<C> {
    /// Returns true once it can be answered.
    pub fn has_outcome(&self) -> bool {
        !self.queued && self.parts.iter().all(Part::has_outcome)
    }

    /// Returns the indices of the parts that have neither landed nor failed.
    pub fn open_parts(&self) -> Vec<usize> {
        (0..self.parts.len()).filter(|place| !self.parts[*place].has_outcome()).collect()
    }

    /// Returns the outcome of each part for the caller, in order. Panics unless all have one.
    pub fn outcomes(&self) -> Vec<Result<C::Answer, C::Error>> {
        let outcome = |part: &Part<C>| match (&part.failed, &part.landed) {
            (Some(error), _) => Err(error.clone()),
            (None, Some(answer)) => Ok(answer.clone()),
            (None, None) => panic!("a call is answered only when every part has an outcome"),
        };
        self.parts.iter().map(outcome).collect()
    }
}

/// A part of a call that no process waits for any more, and that may still land.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Late<C: Calls> {
    /// The last true time at which it may land.
    pub until_ms: u64,
    /// The call that it is a part of.
    pub from: FlightId,
    /// The part, as a call.
    pub call: C::Call,
}

/// The calls in flight, and the parts that may land late.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flights<C: Calls> {
    flights: BTreeMap<FlightId, Flight<C>>,
    late: BTreeSet<Late<C>>,
}

impl<C: Calls> Default for Flights<C> {
    fn default() -> Flights<C> {
        Flights { flights: BTreeMap::new(), late: BTreeSet::new() }
    }
}

impl<C: Calls> Flights<C> {
    /// Puts a call in flight, which its host made at `now_ms` of true time and at `mono_ms` by its
    /// monotonic clock.
    pub fn fly(
        &mut self,
        id: FlightId,
        host: usize,
        call: C::Call,
        parts: Vec<C::Call>,
        now_ms: u64,
        mono_ms: u64,
    ) {
        assert!(!parts.is_empty(), "a call has at least one part");
        let parts = parts.into_iter().map(|call| Part { call, landed: None, failed: None }).collect();
        let flight = Flight {
            host,
            call,
            sent_ms: now_ms,
            sent_mono_ms: mono_ms,
            queued: false,
            parts,
            server_ms: None,
        };
        let before = self.flights.insert(id, flight);
        assert!(before.is_none(), "a process never uses the number of a call twice: {id}");
    }

    /// Leaves a call in the driver's queue until [`Flights::release`].
    pub fn hold(&mut self, id: FlightId) {
        let flight = self.flights.get_mut(&id).expect("a scheduler holds only calls in flight");
        assert!(
            flight.parts.iter().all(|part| !part.has_outcome()),
            "a call of which a part has an outcome was sent, and cannot be held: {id}"
        );
        flight.queued = true;
    }

    /// Sends a queued call, at `now_ms` of true time and at `mono_ms` by its host's monotonic
    /// clock.
    pub fn release(&mut self, id: FlightId, now_ms: u64, mono_ms: u64) {
        let flight = self.flights.get_mut(&id).expect("a scheduler releases only calls in flight");
        assert!(flight.queued, "only a queued call can be released: {id}");
        flight.queued = false;
        flight.sent_ms = now_ms;
        flight.sent_mono_ms = mono_ms;
    }

    /// Removes a call, without a trace in the server beyond the parts that have landed.
    pub fn remove(&mut self, id: FlightId) -> Option<Flight<C>> {
        self.flights.remove(&id)
    }

    /// Returns the part of a call that is to land, unless the call is queued or gone, or the part
    /// has landed.
    pub fn to_land(&self, id: FlightId, place: usize) -> Option<&C::Call> {
        let flight = self.flights.get(&id).filter(|flight| !flight.queued)?;
        let part = &flight.parts[place];
        part.landed.is_none().then_some(&part.call)
    }

    /// Notes that a part has landed, with the server's answer, and the server's time if the answer
    /// carries it.
    pub fn landed(&mut self, id: FlightId, place: usize, answer: C::Answer, server_ms: Option<u64>) {
        let flight = self.flights.get_mut(&id).expect("only calls in flight land");
        assert!(!flight.queued, "a queued call was not sent: {id}");
        let before = flight.parts[place].landed.replace(answer);
        assert!(before.is_none(), "a part lands once: {id}");
        flight.server_ms = server_ms;
    }

    /// Returns the part of a call that is to fail, unless the call is gone or the part has failed.
    pub fn to_fail(&self, id: FlightId, place: usize) -> Option<&Part<C>> {
        self.flights.get(&id).map(|flight| &flight.parts[place]).filter(|part| part.failed.is_none())
    }

    /// Gives a part `error` as its outcome. A write that has not landed may land until
    /// `late_until_ms`, and is returned; with `None` it never lands.
    pub fn fail(
        &mut self,
        id: FlightId,
        place: usize,
        error: C::Error,
        late_until_ms: Option<u64>,
    ) -> Option<Late<C>> {
        let flight = self.flights.get_mut(&id).expect("only calls in flight fail");
        let part = &mut flight.parts[place];
        let before = part.failed.replace(error);
        assert!(before.is_none(), "a part fails once: {id}");
        let until_ms = late_until_ms.filter(|_| part.landed.is_none() && C::is_write(&part.call))?;
        let late = Late { until_ms, from: id, call: part.call.clone() };
        self.late.insert(late.clone());
        Some(late)
    }

    /// Removes all calls of a life that has ended. Returns those of their writes that may still
    /// land: those that were sent and have no outcome, until `grace_ms` after they were sent.
    /// Without grace a write lands when it is sent, or never.
    pub fn abandon(&mut self, life: Life, grace_ms: u64) -> Vec<Late<C>> {
        let ids: Vec<FlightId> = self.of_life(life).collect();
        let mut all = Vec::new();
        for id in ids {
            let flight = self.flights.remove(&id).expect("it was listed");
            // A queue is lost with its process.
            if flight.queued || grace_ms == 0 {
                continue;
            }
            let until_ms = flight.sent_ms + grace_ms;
            let open = flight.parts.into_iter().filter(|part| !part.has_outcome());
            let writes = open.filter(|part| C::is_write(&part.call));
            all.extend(writes.map(|part| Late { until_ms, from: id, call: part.call }));
        }
        self.late.extend(all.iter().cloned());
        all
    }

    /// Adds a call that may land late without having been in flight.
    pub fn add_late(&mut self, late: Late<C>) {
        self.late.insert(late);
    }

    /// Takes out a late call that is to land at `now_ms`, and returns true unless it is gone.
    pub fn take_late(&mut self, late: &Late<C>, now_ms: u64) -> bool {
        let was_there = self.late.remove(late);
        assert!(!was_there || now_ms <= late.until_ms, "a call cannot land after its grace");
        was_there
    }

    /// Removes a late call, which never lands.
    pub fn lose_late(&mut self, late: &Late<C>) {
        self.late.remove(late);
    }

    /// Removes all late calls.
    pub fn lose_all_late(&mut self) {
        self.late.clear();
    }

    /// Returns the calls that may land late.
    pub fn late(&self) -> impl Iterator<Item = &Late<C>> {
        self.late.iter()
    }

    /// Returns a call in flight.
    pub fn get(&self, id: FlightId) -> Option<&Flight<C>> {
        self.flights.get(&id)
    }

    /// Returns true if no call is in flight.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Returns the first call in flight, by caller and number.
    pub fn first(&self) -> Option<FlightId> {
        self.flights.keys().next().copied()
    }

    /// Returns all calls in flight, by caller and number.
    pub fn iter(&self) -> impl Iterator<Item = (FlightId, &Flight<C>)> {
        self.flights.iter().map(|(id, flight)| (*id, flight))
    }

    /// Returns the calls that a life has in flight.
    pub fn of_life(&self, life: Life) -> impl Iterator<Item = FlightId> {
        let (first, last) = (FlightId { life, call: 0 }, FlightId { life, call: u64::MAX });
        self.flights.range(first..=last).map(|(id, _)| *id)
    }
}

impl<C: Calls> Index<FlightId> for Flights<C> {
    type Output = Flight<C>;

    fn index(&self, id: FlightId) -> &Flight<C> {
        &self.flights[&id]
    }
}

#[cfg(test)]
mod tests {
    use super::{Calls, FlightId, Flights, Life};

    /// Calls that are numbers; even ones write.
    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
    struct Numbers;

    impl Calls for Numbers {
        type Call = u32;
        type Answer = &'static str;
        type Error = &'static str;

        fn is_write(part: &u32) -> bool {
            part.is_multiple_of(2)
        }
    }

    const ID: FlightId = FlightId { life: Life(7), call: 1 };

    fn flights(parts: &[u32]) -> Flights<Numbers> {
        let mut flights = Flights::default();
        flights.fly(ID, 0, 0, parts.to_vec(), 1_000, 10);
        flights
    }

    #[test]
    fn a_part_that_landed_and_failed_gives_its_caller_the_error() {
        let mut flights = flights(&[2, 4]);
        assert_eq!(flights.to_land(ID, 0), Some(&2));
        flights.landed(ID, 0, "done", Some(5));
        assert_eq!(flights.to_land(ID, 0), None);
        assert_eq!(flights.fail(ID, 0, "no answer", Some(2_000)), None);
        assert!(!flights[ID].has_outcome());
        flights.landed(ID, 1, "done", Some(6));
        assert_eq!(flights[ID].outcomes(), [Err("no answer"), Ok("done")]);
    }

    #[test]
    fn only_writes_that_were_sent_land_late() {
        let mut flights = flights(&[1, 2]);
        flights.hold(ID);
        assert_eq!(flights.clone().abandon(ID.life, 500), []);
        flights.release(ID, 1_100, 110);
        assert_eq!(flights.fail(ID, 0, "no answer", Some(2_000)), None);
        let late = flights.abandon(ID.life, 500);
        assert_eq!(late.iter().map(|late| (late.call, late.until_ms)).collect::<Vec<_>>(), [(2, 1_600)]);
        assert!(flights.is_empty());
        assert!(flights.take_late(&late[0], 1_600));
        assert!(!flights.take_late(&late[0], 1_600));
    }
}
