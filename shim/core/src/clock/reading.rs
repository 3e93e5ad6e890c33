//! Readings of clocks: those of the node at one step, and that of the store in an answer.

/// The clocks at one step, read once by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Now {
    /// Milliseconds of a clock that never goes back and does not count suspension
    /// (`CLOCK_MONOTONIC`). Timers go by it.
    pub mono_ms: u64,
    /// Milliseconds of a clock that never goes back and counts suspension (`CLOCK_BOOTTIME`).
    pub boot_ms: u64,
    /// Milliseconds since the Unix epoch. May jump.
    pub wall_ms: u64,
}

/// The store's time as one answer carried it: at some moment between sending and receiving, the
/// store's clock read a value in `[at_ms, at_ms + span_ms)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreTime {
    /// The earliest instant at which the request was sent, by the node's monotonic clock.
    pub sent_mono_ms: u64,
    /// The latest instant at which the answer had come, by the node's monotonic clock.
    pub received_mono_ms: u64,
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    /// The resolution of the store's time, in milliseconds; at least 1.
    pub span_ms: u64,
}

/// The monotonic clock, and the time that it has not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct At {
    pub(super) mono_ms: u64,
    pub(super) slip_ms: u64,
}
