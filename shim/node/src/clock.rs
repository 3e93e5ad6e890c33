//! The clocks, and what is drawn by chance: the two things besides I/O that the core takes as arguments.

use std::time::{SystemTime, UNIX_EPOCH};

use aft_core::ids::{AttemptId, NodeId};
use aft_core::message::{Batch, Begin, Now, Visibility};
use aft_wire::durable::own_hash;
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

/// Both clocks, read once for one step. The monotonic one counts suspension: what a node knew before it slept is old when it wakes.
pub(crate) fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set to a time after 1970");
    let mono = clock_gettime(ClockId::Boottime);
    let mono_ms = mono.tv_sec as u64 * 1_000 + mono.tv_nsec as u64 / 1_000_000;
    Now { wall_ms: wall.as_millis() as u64, mono_ms }
}

/// A name for a new attempt: a fresh UUIDv7.
pub fn fresh_attempt() -> AttemptId {
    AttemptId(Uuid::now_v7().into_bytes())
}

/// The opening of a transaction whose request has no name: a fresh attempt, the defaults, nothing to run at once. What is to differ is
/// replaced: `Begin { batch, ..fresh_begin() }`.
pub fn fresh_begin() -> Begin {
    let attempt = fresh_attempt();
    Begin {
        attempt,
        hash: own_hash(attempt),
        named: false,
        fingerprint: None,
        timeout_ms: None,
        wait_ms: 0,
        overlap: false,
        session: Vec::new(),
        retention_ms: None,
        visibility: Visibility::Relaxed,
        batch: Batch::default(),
    }
}

/// A name for a node's life: the random half of a fresh UUIDv7.
pub(crate) fn fresh_node() -> NodeId {
    NodeId(Uuid::now_v7().as_u64_pair().1)
}
