//! The requests that callers hand to a [`Link`](super::Link): a read, or a run of a script; with
//! the timeout of each, and the connections that it may use.

use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::Value;

use crate::scripts::Script;

/// The timeout of listings. All timeouts here include the wait for a permit and for a connection.
/// They are longer than those of a node's own calls (5, 10 and 30 s), which end those calls first;
/// these here are for other callers.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of writes with small bodies.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// The timeout of reads of a whole object, which may be large, and of writes with large bodies: 4
/// MiB at 1 Mbit/s take half a minute.
pub(super) const LARGE_TIMEOUT: Duration = Duration::from_secs(45);
/// The size above which bodies use a separate connection, so that small requests do not wait behind
/// them.
const LARGE_BYTES: usize = 64 << 10;

/// The connections that a request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// One of several connections, for small bodies.
    Small,
    /// A single connection, for large bodies.
    Large,
}

impl Lane {
    /// Returns the lane for a body of `bytes`.
    pub(crate) fn of(bytes: usize) -> Lane {
        if bytes > LARGE_BYTES { Lane::Large } else { Lane::Small }
    }
}

/// A request that reads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Read {
    /// A whole object.
    Get(Lane),
    /// A listing.
    List,
}

/// A run of a script, without its moment and the store's identity.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) script: Script,
    pub(crate) keys: Vec<Bytes>,
    pub(crate) arguments: Vec<Bytes>,
    /// The size of the bodies.
    pub(crate) bytes: usize,
}

impl Run {
    /// Returns the deadline of a run that begins now: after its timeout, but not later than
    /// `until`.
    pub(crate) fn deadline(&self, until: Option<Instant>) -> Instant {
        let deadline = Instant::now() + self.timeout();
        until.map_or(deadline, |until| until.min(deadline))
    }

    /// Returns the time that the run may take.
    pub(crate) fn timeout(&self) -> Duration {
        match (self.script, Lane::of(self.bytes)) {
            (Script::Scan, _) => READ_TIMEOUT,
            (_, Lane::Small) => WRITE_TIMEOUT,
            (_, Lane::Large) => LARGE_TIMEOUT,
        }
    }

    /// Returns true if the script writes, and therefore has a moment.
    pub(super) fn is_write(&self) -> bool {
        self.script != Script::Scan
    }
}

/// The answer of a script.
#[derive(Debug)]
pub(crate) struct Ran {
    /// True if the script took effect; false if its condition did not hold.
    pub(crate) done: bool,
    /// The rest of its answer, after status and time.
    pub(crate) rest: Vec<Value>,
}
