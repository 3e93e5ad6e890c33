//! The place of one connection: the connection if there is one, the attempts to make the next, and
//! the bytes in flight.
//!
//! ```text
//!   empty ── live_or_make ──► live ── forget (failed, or silent for a while) ──► empty
//!     └── the attempt failed, or `reject` after a look: callers get that failure for a while
//! ```
//!
//! Requests that are in flight on a dropped connection keep it until they end.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aft_store::Error;

use super::live::Live;

/// The time without an answer after which a dropped request makes its connection suspect: it may be
/// dead without the system knowing, and is not used again.
const SUSPECT_AFTER: Duration = Duration::from_secs(3);
/// The time after which a server that did not match is looked at again. Until then, calls are
/// rejected without a look.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A failed attempt to get a connection.
#[derive(Debug)]
struct Failed {
    at: Instant,
    why: Unusable,
}

impl Failed {
    /// Returns true if this failure stands in for a new attempt, for a caller that began to wait at
    /// `since`.
    fn counts(&self, since: Instant) -> bool {
        match self.why {
            Unusable::Error(_) => self.at >= since,
            Unusable::Unfit(_) => self.at >= since || self.at.elapsed() < LOOK_AGAIN,
        }
    }

    /// Returns the failure as the error of the call `asked`.
    fn error(&self, asked: &str) -> Error {
        match &self.why {
            Unusable::Error(error) => error.clone(),
            Unusable::Unfit(problem) => Error::Refused(format!("{asked}: {problem}")),
        }
    }
}

/// The reasons why a server cannot be used.
#[derive(Debug)]
pub(super) enum Unusable {
    /// It does not answer, or gives a malformed answer.
    Error(Error),
    /// It answers, but does not match; the text says why, and what to do.
    Unfit(String),
}

/// The place of one connection, and the attempts to make the next.
#[derive(Default)]
pub(super) struct Slot {
    live: Mutex<Option<Live>>,
    /// The lock that is held while a connection is made, and the failure of the last attempt.
    making: tokio::sync::Mutex<Option<Failed>>,
    /// The size of the requests that are in flight on the connection, or wait for it.
    in_flight: AtomicUsize,
}

impl Slot {
    pub(super) fn live(&self) -> Option<Live> {
        self.live.lock().expect("no holder panics").clone()
    }

    /// Returns the slot's connection, or makes a new one. A caller that waits while another
    /// caller's attempt fails gets the same failure, so that no caller waits for two attempts.
    pub(super) async fn live_or_make<F>(&self, asked: &str, make: impl FnOnce() -> F) -> Result<Live, Error>
    where
        F: Future<Output = Result<Live, Unusable>>,
    {
        if let Some(live) = self.live() {
            return Ok(live);
        }
        // Failures from before this time are of no interest to this caller.
        let since = Instant::now();
        let mut making = self.making.lock().await;
        if let Some(live) = self.live() {
            return Ok(live);
        }
        if let Some(failed) = making.as_ref()
            && failed.counts(since)
        {
            return Err(failed.error(asked));
        }
        // This caller makes the connection; others wait for the lock.
        match make().await {
            Ok(live) => {
                *self.live.lock().expect("no holder panics") = Some(live.clone());
                *making = None;
                Ok(live)
            }
            Err(why) => Err(making.insert(Failed { at: Instant::now(), why }).error(asked)),
        }
    }

    /// Returns true if the slot still has the connection `number`.
    pub(super) fn holds(&self, number: u64) -> bool {
        self.live.lock().expect("no holder panics").as_ref().is_some_and(|live| live.number() == number)
    }

    /// Drops the connection `number`, if the slot still has it.
    pub(super) fn forget(&self, number: u64) {
        let mut live = self.live.lock().expect("no holder panics");
        if live.as_ref().is_some_and(|live| live.number() == number) {
            *live = None;
        }
    }

    /// Drops the connection `number` because its server does not match, rejects calls for a while,
    /// and returns the error of the call `asked`.
    pub(super) async fn reject(&self, asked: &str, number: u64, problem: String) -> Error {
        let mut making = self.making.lock().await;
        self.forget(number);
        making.insert(Failed { at: Instant::now(), why: Unusable::Unfit(problem) }).error(asked)
    }

    /// Returns the size of the requests that are in flight on the connection, or wait for it.
    pub(super) fn bytes(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Returns true if a spare connection can be used now, or may be made. One that was idle since
    /// its last look expired is dropped first, since it may be dead without the system knowing.
    pub(super) fn is_open(&self, look_every: Duration) -> bool {
        if let Some(live) = self.live() {
            if self.bytes() > 0 || live.is_fresh(look_every) {
                return true;
            }
            self.forget(live.number());
        }
        // While it is made, and for a while after a failure, the other connections carry the load.
        let Ok(making) = self.making.try_lock() else { return false };
        making.as_ref().is_none_or(|failed| failed.at.elapsed() >= LOOK_AGAIN)
    }
}

/// The share of a slot that a request of `bytes` takes, until it is dropped.
pub(super) struct Place<'a> {
    slot: &'a Slot,
    bytes: usize,
}

impl<'a> Place<'a> {
    pub(super) fn on(slot: &'a Slot, bytes: usize) -> Place<'a> {
        slot.in_flight.fetch_add(bytes, Ordering::Relaxed);
        Place { slot, bytes }
    }

    pub(super) fn slot(&self) -> &'a Slot {
        self.slot
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let before = self.slot.in_flight.fetch_sub(self.bytes, Ordering::Relaxed);
        assert!(before >= self.bytes, "a place is released once");
    }
}

/// A request in flight. If it is dropped after a while without an answer, its connection is not
/// used again.
pub(super) struct Pending<'a> {
    slot: &'a Slot,
    number: u64,
    since: Instant,
    answered: bool,
}

impl Pending<'_> {
    /// Returns a request that was sent at `since` on the connection `number`.
    pub(super) fn new(slot: &Slot, number: u64, since: Instant) -> Pending<'_> {
        Pending { slot, number, since, answered: false }
    }

    /// Ends the request; one that was answered says nothing against the connection.
    pub(super) fn end(mut self, answered: bool) {
        self.answered = answered;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.answered && self.since.elapsed() >= SUSPECT_AFTER {
            self.slot.forget(self.number);
        }
    }
}
