//! The driver's bounds and times, each with its reason.

use std::time::Duration;

use aft_core::settings::Settings;
use aft_format::{Race, Times};
use aft_store::Capabilities;

use crate::handle::StartError;

/// Verbs that wait for the event loop. It takes some hundred thousand a second, so a full queue is some ten milliseconds of work;
/// whoever comes then is better told so at once.
const QUEUE_LEN_MAX: usize = 4_096;
/// Store calls under way at once: enough to keep a store 20 ms away busy at 50,000 calls a second; each holds a connection's place.
const STORE_CALLS_MAX: usize = 1_024;
/// Bytes of values in the cache.
const VALUE_CACHE_BYTES_MAX: u64 = 256 << 20;
/// The largest value within a commit record: reading one key's value reads the whole record.
const INLINE_VALUE_BYTES_MAX: usize = 256 << 10;
/// Of a store's largest body, the share that one inline value may have, and the share that all of a record may have. The rest is for
/// keys, attributes and the result.
const INLINE_SHARES: (usize, usize) = (4, 2);

/// A read answers with at most a record of a few MiB: on a slow link a second or two. Then the store is asked again.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// A write may wait for a store's own replication and retries. Far below any store's `grace`.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// A part of a large value is up to 8 MiB: half a minute is a link of 2 Mbit/s.
const PART_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest deadline on a store that others write to and that holds writes to their deadlines: it keeps everything in memory, where superseded
/// versions stay for two such deadlines (protocol, section 9).
const TIMEOUT_MAX_MS_IN_MEMORY: u64 = 60_000;
/// The pause between two sweeps there. A mark settles after 72 s, so that each sweep moves one: of what is overwritten all the time, about three and a
/// half minutes are kept, where hourly sweeps keep three hours.
const SWEEP_INTERVAL_MS_IN_MEMORY: u64 = 60_000;

/// How long a store call may take before it counts as unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreTimeouts {
    /// Of gets and listings.
    pub read: Duration,
    /// Of puts, creates, replaces and deletes.
    pub write: Duration,
    /// Of parts of large values, either way.
    pub part: Duration,
}

impl Default for StoreTimeouts {
    fn default() -> StoreTimeouts {
        StoreTimeouts { read: READ_TIMEOUT, write: WRITE_TIMEOUT, part: PART_TIMEOUT }
    }
}

/// What a node is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// The core's. Its levels are those of a store that is made now; where there is one, its own count.
    pub core: Settings,
    /// Divides all times of `core`. For tests: a process that is open to others must refuse it.
    pub time_divisor: u64,
    /// Sweeps the store from time to time. Any number of nodes may; one is enough.
    pub maintain: bool,
    /// The verdict of a race probe, if one was made: a store that is new is made with it.
    pub race: Race,
    /// Verbs that may wait for the event loop; more are answered `Overloaded`.
    pub queue_len_max: usize,
    /// Store calls under way at once; more wait in order.
    pub store_calls_max: usize,
    /// Bytes of values in the cache; 0 switches it off.
    pub value_cache_bytes_max: u64,
    /// The largest value that [`NodeHandle::run`](crate::NodeHandle::run) leaves inline.
    pub inline_value_bytes_max: usize,
    /// How long a store call may take.
    pub timeouts: StoreTimeouts,
}

impl NodeSettings {
    /// The defaults for a store with these capabilities.
    pub fn new(store: &Capabilities) -> NodeSettings {
        let mut core = Settings::new(store.exclusive, store.grace_ms, store.delete_if);
        if !store.exclusive && store.grace_ms == 0 {
            core.timeout_max_ms = core.timeout_max_ms.min(TIMEOUT_MAX_MS_IN_MEMORY);
            core.sweep_interval_ms = core.sweep_interval_ms.min(SWEEP_INTERVAL_MS_IN_MEMORY);
        }
        core.record_bytes_max = core.record_bytes_max.min(store.body_bytes_max);
        let (value_share, record_share) = INLINE_SHARES;
        core.write_buffer_bytes_max = core.write_buffer_bytes_max.min(store.body_bytes_max / record_share);
        NodeSettings {
            core,
            time_divisor: 1,
            maintain: false,
            race: if store.exclusive { Race::Exclusive } else { Race::NotProbed },
            queue_len_max: QUEUE_LEN_MAX,
            store_calls_max: STORE_CALLS_MAX,
            value_cache_bytes_max: VALUE_CACHE_BYTES_MAX,
            inline_value_bytes_max: INLINE_VALUE_BYTES_MAX.min(store.body_bytes_max / value_share),
            timeouts: StoreTimeouts::default(),
        }
    }

    /// Returns one node's share of the bounds, where a process runs so many.
    pub(crate) fn shared_by(&self, count: usize) -> NodeSettings {
        assert!(count > 0, "somebody has a share");
        NodeSettings {
            queue_len_max: self.queue_len_max.div_ceil(count),
            store_calls_max: self.store_calls_max.div_ceil(count),
            value_cache_bytes_max: self.value_cache_bytes_max / count as u64,
            ..self.clone()
        }
    }

    /// Returns the times that all nodes on a store share, as this node has them.
    ///
    /// # Errors
    /// [`StartError::Settings`] if the settings break a relation.
    pub fn times(&self) -> Result<Times, StartError> {
        self.scaled_core().map(|core| Times::of(&core))
    }

    /// The core's settings with the divisor applied, checked.
    pub(crate) fn scaled_core(&self) -> Result<Settings, StartError> {
        if self.time_divisor == 0 || self.queue_len_max == 0 || self.store_calls_max == 0 {
            return Err(StartError::Settings(
                "time_divisor, queue_len_max and store_calls_max must be at least 1".into(),
            ));
        }
        let mut core = self.core.clone();
        // Not `break_after_ms`: it is for what a store takes, and stores are no faster in tests. A
        // lock that is broken while its commit is under way only makes more conflicts.
        let times = [
            &mut core.timeout_default_ms,
            &mut core.timeout_max_ms,
            &mut core.recheck_after_ms,
            &mut core.skew_max_ms,
            &mut core.grace_ms,
            &mut core.put_limit_ms,
            &mut core.retention_default_ms,
            &mut core.retention_max_ms,
            &mut core.sweep_interval_ms,
            &mut core.look_at_all_ms,
            &mut core.retry_min_ms,
            &mut core.retry_max_ms,
            &mut core.store_patience_ms,
            &mut core.commit_patience_ms,
            &mut core.commit_wait_max_ms,
        ];
        for time in times {
            // What was not nothing stays at least the clock's unit.
            *time = (*time).min(1).max(*time / self.time_divisor);
        }
        core.check().map_err(StartError::Settings)?;
        Ok(core)
    }
}

/// Returns one node's share of the core's bounds, where a process runs so many.
pub(crate) fn core_shared_by(core: Settings, count: usize) -> Settings {
    assert!(count > 0, "somebody has a share");
    Settings {
        transactions_max: core.transactions_max.div_ceil(count),
        transactions_bytes_max: core.transactions_bytes_max.div_ceil(count),
        index_bytes_max: core.index_bytes_max.div_ceil(count),
        ended_kept_max: core.ended_kept_max.div_ceil(count),
        entered_kept_max: core.entered_kept_max.div_ceil(count),
        checked_keys_max: core.checked_keys_max.div_ceil(count),
        ..core
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities() -> Capabilities {
        Capabilities {
            delete_if: true,
            exclusive: false,
            grace_ms: 3_600_000,
            body_bytes_max: 400_000,
            blob_part_bytes: 256 << 10,
            durability: "of a test",
        }
    }

    fn settings() -> NodeSettings {
        NodeSettings::new(&capabilities())
    }

    /// The fields called `…_ms`, whatever their number, by way of the debug form.
    fn times(core: &Settings) -> Vec<(String, u64)> {
        let text = format!("{core:?}");
        let fields = text.split(['{', ',', '}']).filter_map(|field| field.trim().split_once(": "));
        fields
            .filter(|(name, _)| name.ends_with("_ms"))
            .map(|(name, value)| (name.to_owned(), value.parse().expect("a time is a number")))
            .collect()
    }

    #[test]
    fn the_divisor_divides_every_time() {
        let settings = NodeSettings { time_divisor: 10, ..settings() };
        let scaled = times(&settings.scaled_core().unwrap());
        assert!(scaled.len() >= 12);
        for ((name, before), (_, after)) in times(&settings.core).into_iter().zip(scaled) {
            let divisor = if name == "break_after_ms" { 1 } else { 10 };
            assert_eq!(after, before / divisor, "{name}");
        }
    }

    #[test]
    fn a_great_divisor_leaves_no_time_at_nothing() {
        let settings = NodeSettings { time_divisor: 1_000, ..settings() };
        let core = settings.scaled_core().unwrap();
        assert_eq!((core.retry_min_ms, core.commit_wait_max_ms), (1, 1));
        let exclusive = NodeSettings { core: Settings::new(true, 0, true), ..settings };
        assert_eq!(exclusive.scaled_core().unwrap().grace_ms, 0);
    }

    #[test]
    fn a_small_store_bounds_what_is_inline() {
        let settings = settings();
        assert_eq!(settings.inline_value_bytes_max, 100_000);
        assert_eq!(settings.core.write_buffer_bytes_max, 200_000);
        assert_eq!(settings.core.record_bytes_max, 400_000);
    }

    /// Where everything lies in memory, superseded versions must not stay for hours.
    #[test]
    fn a_shared_store_without_grace_has_short_deadlines_and_frequent_sweeps() {
        let with = |exclusive, grace_ms| {
            let store = Capabilities { exclusive, grace_ms, ..capabilities() };
            let core = NodeSettings::new(&store).core;
            (core.timeout_max_ms, core.sweep_interval_ms)
        };
        assert_eq!(with(false, 0), (60_000, 60_000));
        assert_eq!(with(true, 0), (900_000, 3_600_000));
        assert_eq!(with(false, 3_600_000), (900_000, 3_600_000));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(NodeSettings { time_divisor: 0, ..settings() }.scaled_core().is_err());
        assert!(NodeSettings { store_calls_max: 0, ..settings() }.scaled_core().is_err());
        let mut broken = settings();
        broken.core.retention_max_ms = 1;
        assert!(
            matches!(broken.scaled_core(), Err(StartError::Settings(text)) if text.contains("retention_max"))
        );
    }
}
