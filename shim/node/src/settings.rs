//! The driver's bounds and times, each with its reason.

use std::time::Duration;

use aft_core::settings::Settings;
use aft_format::{Race, Times};
use aft_store::Capabilities;

use crate::handle::StartError;

/// The most verbs that wait for the event loop. The loop takes some hundred thousand a second, so a
/// full queue is some ten milliseconds of work; beyond that a caller is better rejected at once.
const QUEUE_LEN_MAX: usize = 4_096;
/// The most store calls in flight at once: enough for 50,000 calls a second to a store 20 ms away;
/// each takes a connection.
const STORE_CALLS_MAX: usize = 1_024;
/// The most bytes of values in the cache.
const VALUE_CACHE_BYTES_MAX: u64 = 256 << 20;
/// The largest value within a commit record: reading one key's value reads the whole record.
const INLINE_VALUE_BYTES_MAX: usize = 256 << 10;
/// The shares of a store's largest body, as divisors, that one inline value may take, and that all
/// inline values of a record may take. The rest is for keys, attributes and the result.
const INLINE_SHARES: (usize, usize) = (4, 2);

/// The timeout of a read. Its answer is at most a record of a few MiB, which takes a second or two
/// on a slow link.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout of a write, which may wait for a store's own replication and retries. It is far
/// below any store's `grace`.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of a part of a large value. A part is up to 8 MiB, which takes half a minute on a
/// link of 2 Mbit/s.
const PART_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest deadline of transactions on a store that several processes share and that holds
/// writes to their deadlines. Such a store keeps everything in memory, where superseded versions
/// stay for two such deadlines (protocol, section 9).
const TIMEOUT_MAX_MS_IN_MEMORY: u64 = 60_000;
/// The pause between two sweeps of such a store. A mark settles after 72 s, so that each sweep
/// moves one: of a key that is overwritten all the time, the versions of about three and a half
/// minutes are kept, where hourly sweeps keep those of three hours.
const SWEEP_INTERVAL_MS_IN_MEMORY: u64 = 60_000;

/// The timeouts of store calls: a call that takes longer counts as unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreTimeouts {
    /// The timeout of gets and listings; 5 s by default.
    pub read: Duration,
    /// The timeout of commits, puts, creates, replaces and deletes; 10 s by default.
    pub write: Duration,
    /// The timeout of a read or write of one part of a large value; 30 s by default.
    pub part: Duration,
}

impl Default for StoreTimeouts {
    fn default() -> StoreTimeouts {
        StoreTimeouts { read: READ_TIMEOUT, write: WRITE_TIMEOUT, part: PART_TIMEOUT }
    }
}

/// The settings of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// The settings of the core. Their levels are for a store that is made now; an existing store
    /// has its own.
    pub core: Settings,
    /// A divisor of all times of `core` but one, `break_after_ms`; 1 by default. It is for tests: a
    /// process that serves others must reject it.
    pub time_divisor: u64,
    /// True if the node sweeps the store from time to time; false by default. Any number of nodes
    /// may sweep a store, and one is enough.
    pub maintain: bool,
    /// The verdict of a race probe, if one was made; it goes into the description of a new store.
    pub race: Race,
    /// The most verbs that wait for the event loop; 4,096 by default. Further ones are rejected
    /// with `Overloaded`.
    pub queue_len_max: usize,
    /// The most store calls in flight at once; 1,024 by default. Further ones wait in order.
    pub store_calls_max: usize,
    /// The most bytes of values in the cache; 256 MiB by default, and 0 switches the cache off.
    pub value_cache_bytes_max: u64,
    /// The largest value, in bytes, that [`NodeHandle::run`](crate::NodeHandle::run) leaves inline;
    /// by default 256 KiB, or a quarter of the store's largest body if that is less.
    pub inline_value_bytes_max: usize,
    /// The timeouts of store calls.
    pub timeouts: StoreTimeouts,
}

/// The least time for which a read waits for the store, whatever the divisor of times: three calls
/// to a slow one.
const STORE_PATIENCE_MIN_MS: u64 = 250;

impl NodeSettings {
    /// Returns the default settings for a store with these capabilities.
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

    /// Returns one node's share of the bounds in a process that runs `count` nodes.
    pub(crate) fn shared_by(&self, count: usize) -> NodeSettings {
        assert!(count > 0, "there is at least one node");
        NodeSettings {
            queue_len_max: self.queue_len_max.div_ceil(count),
            store_calls_max: self.store_calls_max.div_ceil(count),
            value_cache_bytes_max: self.value_cache_bytes_max / count as u64,
            ..self.clone()
        }
    }

    /// Returns this node's values of the times that all nodes on a store share.
    ///
    /// # Errors
    /// Returns [`StartError::Settings`] if the settings contradict each other.
    pub fn times(&self) -> Result<Times, StartError> {
        self.scaled_core().map(|core| Times::of(&core))
    }

    /// Returns the core's settings with the divisor applied, after checking them.
    pub(crate) fn scaled_core(&self) -> Result<Settings, StartError> {
        if self.time_divisor == 0 || self.queue_len_max == 0 || self.store_calls_max == 0 {
            return Err(StartError::Settings(
                "time_divisor, queue_len_max and store_calls_max must be at least 1".into(),
            ));
        }
        let mut core = self.core.clone();
        // `break_after_ms` is left out: it allows for the time that a store takes, and stores are
        // no faster in tests. A lock that is broken while its commit is in flight only causes
        // conflicts.
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
            // A time above zero stays at least at one millisecond, the clock's unit.
            *time = (*time).min(1).max(*time / self.time_divisor);
        }
        // A store takes as long in tests: with less, a key of two versions could never be read.
        core.store_patience_ms =
            core.store_patience_ms.max(STORE_PATIENCE_MIN_MS.min(self.core.store_patience_ms));
        core.check().map_err(StartError::Settings)?;
        Ok(core)
    }
}

/// Returns one node's share of the core's bounds in a process that runs `count` nodes.
pub(crate) fn core_shared_by(core: Settings, count: usize) -> Settings {
    assert!(count > 0, "there is at least one node");
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

    /// Returns all fields that are called `…_ms`, taken from the debug form.
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
    fn a_large_divisor_leaves_no_time_at_zero() {
        let settings = NodeSettings { time_divisor: 1_000, ..settings() };
        let core = settings.scaled_core().unwrap();
        assert_eq!((core.retry_min_ms, core.commit_wait_max_ms), (1, 1));
        assert_eq!(core.store_patience_ms, STORE_PATIENCE_MIN_MS, "stores are no faster in tests");
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

    /// A store that keeps everything in memory must not keep superseded versions for hours.
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
    fn contradictory_settings_are_rejected() {
        assert!(NodeSettings { time_divisor: 0, ..settings() }.scaled_core().is_err());
        assert!(NodeSettings { store_calls_max: 0, ..settings() }.scaled_core().is_err());
        let mut broken = settings();
        broken.core.retention_max_ms = 1;
        assert!(
            matches!(broken.scaled_core(), Err(StartError::Settings(text)) if text.contains("retention_max"))
        );
    }
}
