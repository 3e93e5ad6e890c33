//! Store calls under way: they land, are answered, fail, or land late when nobody waits for them any more.

use aft_core::ids::NodeId;
use aft_core::message::Input;
use aft_core::store::{Answer, Body, Call, CallError, CallId};

use crate::audit::{Scene, Verdict, Violation};
use crate::model::is_write;
use crate::world::{Fresh, World};

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

impl World {
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
}
