//! The operations of the protocol, one file for each kind, without the protocol's own types.

pub(crate) mod buckets;
pub(crate) mod delete;
pub(crate) mod list;
pub(crate) mod read;
pub(crate) mod tags;
pub(crate) mod uploads;
pub(crate) mod write;

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the time of this machine, in milliseconds since the epoch: the time of writes that have
/// not been committed.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
