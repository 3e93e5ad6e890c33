//! One connection, and what was learned on it: the server's clock, and the last look at the server.
//!
//! Both belong to the connection, so nothing that was learned from one server is applied to another
//! one to which the address leads later.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use redis::aio::MultiplexedConnection;

use crate::clock::{Clock, Here};
use crate::look::Seen;

/// A connection.
#[derive(Clone)]
pub(super) struct Live {
    /// The number of the connection, which no other has.
    number: u64,
    connection: MultiplexedConnection,
    learned: Arc<Learned>,
}

/// The state of the server, as learned on one connection.
#[derive(Default)]
struct Learned {
    clock: Mutex<Clock>,
    /// The last look that matched, and the time at which it began; `None` before the first, and
    /// while it is in doubt.
    seen: Mutex<Option<(Here, Seen)>>,
    /// The lock that is held during a look.
    looking: tokio::sync::Mutex<()>,
}

impl Live {
    /// Returns a connection on which nothing was learned yet.
    pub(super) fn new(number: u64, connection: MultiplexedConnection) -> Live {
        Live { number, connection, learned: Arc::default() }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    pub(super) fn clock(&self) -> MutexGuard<'_, Clock> {
        self.learned.clock.lock().expect("no holder panics")
    }

    /// Returns the last look that matched; `None` before the first, and while it is in doubt.
    pub(super) fn seen(&self) -> Option<Seen> {
        self.last_look().as_ref().map(|(_, seen)| seen.clone())
    }

    /// Returns true if its last look is more recent than `look_every`.
    pub(super) fn is_fresh(&self, look_every: Duration) -> bool {
        let seen = self.last_look();
        let Some((began, _)) = seen.as_ref() else { return false };
        let here = Here::read();
        here.now - began.now < look_every && !here.was_suspended_since(*began)
    }

    /// Waits until no other caller looks at the server on this connection.
    pub(super) async fn begin_look(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.learned.looking.lock().await
    }

    /// Records a look that matched, and that began at `began`.
    pub(super) fn looked(&self, began: Here, seen: Seen) {
        *self.last_look() = Some((began, seen));
    }

    /// Forgets the last look: another one must match before the connection is used again.
    pub(super) fn doubt(&self) {
        *self.last_look() = None;
    }

    fn last_look(&self) -> MutexGuard<'_, Option<(Here, Seen)>> {
        self.learned.seen.lock().expect("no holder panics")
    }
}
