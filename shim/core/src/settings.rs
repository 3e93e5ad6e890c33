//! All bounds and times of the state machine, each with its reason, and the relations between them
//! (protocol, section 9).

use std::collections::BTreeMap;
use std::fmt;

use crate::clock::Reference;
use crate::ids::{Key, Session};
use crate::isolation::Isolation;

/// A node's settings. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    /// A transaction's timeout if its caller gives none: a minute, far above a function's usual
    /// time.
    pub timeout_default_ms: u64,
    /// The longest timeout that a caller may ask for, the same on all nodes of a store: 15 minutes,
    /// the longest time of a Lambda function.
    pub timeout_max_ms: u64,
    /// The age at which a listing expires, where other nodes write.
    pub recheck_after_ms: u64,
    /// The largest error of a node's time with which it commits and sweeps.
    pub skew_max_ms: u64,
    /// The time within which a store call without an answer takes effect, if it ever does.
    pub grace_ms: u64,
    /// The greatest age of the mark on which a put of another attempt's entries may be based.
    pub put_limit_ms: u64,
    /// The retention of a named request's record if its caller gives none.
    pub retention_default_ms: u64,
    /// The longest retention. A longer one is clamped to it.
    pub retention_max_ms: u64,
    /// True if this node's process is the only one that writes to the store.
    pub exclusive: bool,
    /// True if the store can delete by tag.
    pub delete_if: bool,
    /// The levels of the keys, by prefix, where several processes share the store. All of them must
    /// have the same.
    pub levels: Levels,
    /// True if the levels are known. If not, nothing is written to a store that several processes
    /// share: an entry of one level would break what the others promise at the other level.
    pub levels_known: bool,
    /// The age of an undecided commit's entry at which a transaction that wants to write the same
    /// key stops waiting and breaks that commit, where the store checks the key.
    pub break_after_ms: u64,
    /// True if the node lives inside a function's environment: every transaction is fresh, and it
    /// sweeps only on request.
    pub guest: bool,
    /// The longest wait beside a commit for the store's time to pass the commit time. If more time
    /// is missing, the keys are listed first.
    pub commit_wait_max_ms: u64,
    /// The greatest number of open transactions on one node.
    pub transactions_max: usize,
    /// The greatest size of all open transactions in bytes, estimated as about a kilobyte each,
    /// plus their writes and reads. Above half of it new ones are rejected, so that the open ones
    /// can end.
    pub transactions_bytes_max: usize,
    /// The greatest number of operations in flight in one transaction: a function's fan-out.
    pub operations_in_transaction_max: usize,
    /// The greatest number of waiters for one request: duplicates that a platform sends at once.
    pub waiters_max: usize,
    /// The number of ended transactions that are remembered, so that a repeated commit gets its
    /// answer again: about 200 bytes each, 20 MiB in all.
    pub ended_kept_max: usize,
    /// The number of this node's commits that are remembered as entered: all their entries are or
    /// were in place. About 200 bytes each, 40 MiB in all. A sweep need not read the record of an
    /// unnamed one that is remembered.
    pub entered_kept_max: usize,
    /// The number of keys of ended commits that are kept for serializable transactions that were
    /// open at the same time; about 200 bytes each. Beyond it the oldest are forgotten, and a
    /// transaction that began before them gets a conflict.
    pub checked_keys_max: usize,
    /// The number of transactions that a session names; at most [`Session::LEN_MAX`].
    pub session_len_max: usize,
    /// The greatest size of the inline values of one transaction, in bytes. It is small because a
    /// read of one of them reads the whole record.
    pub write_buffer_bytes_max: usize,
    /// The greatest size of a stored commit record, in bytes: the largest body that the store
    /// takes.
    pub record_bytes_max: usize,
    /// The greatest number of keys that one transaction may write: their entries must be durable
    /// within its deadline.
    pub write_set_len_max: usize,
    /// The greatest number of keys that one transaction may read.
    pub read_set_len_max: usize,
    /// The size of the index in bytes, estimated rather too high than too low, above which it
    /// forgets the coldest keys.
    pub index_bytes_max: usize,
    /// The number of versions of one key that the index keeps once it holds twice as many. Older
    /// ones are listed again if a read needs them.
    pub versions_kept_max: usize,
    /// The number of version entries requested in one listing of a key.
    pub version_page_len: u32,
    /// The number of names requested in one page of a scan: a page of S3.
    pub scan_page_len: u32,
    /// The number of names in one deletion: a batch of S3.
    pub delete_batch_len: usize,
    /// The greatest number of calls of one sweep in flight.
    pub sweep_calls_max: usize,
    /// The greatest number of attempts some of whose entries a sweep has met, and not all. Beyond
    /// it the sweep lowers its target.
    pub sweep_window_max: usize,
    /// The number of request hashes, 8 bytes each, that a sweep holds at once. A larger store is
    /// swept in several ranges of hashes.
    pub sweep_hashes_max: usize,
    /// The pause between two sweeps.
    pub sweep_interval_ms: u64,
    /// The time between two sweeps of one process that look at every record without entries, where
    /// the store's listing says when a record was written: the others look only at those written
    /// since the mark. Each look is a get that most often finds that the retention has not passed.
    pub look_at_all_ms: u64,
    /// The time for which a read or a look-up retries a store that fails before it reports the
    /// failure to the caller.
    pub store_patience_ms: u64,
    /// The longest wait of a caller for a commit's outcome before it is reported as unknown. The
    /// commit goes on until the transaction's deadline, and a repeated commit waits for the same
    /// outcome.
    pub commit_patience_ms: u64,
    /// The first pause before a store call is retried. It doubles up to `retry_max_ms`.
    pub retry_min_ms: u64,
    /// The longest pause before a store call is retried.
    pub retry_max_ms: u64,
    /// True to run every script twice at each of its steps, which reveals steps that are not safe
    /// to run again.
    pub run_scripts_twice: bool,
    /// A planted bug.
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<crate::bug::Bug>,
}

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The levels of a store's keys, by prefix. The longest prefix of a key decides; a key without one
/// is read atomic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Levels(BTreeMap<String, Isolation>);

impl Levels {
    /// Returns levels that give `level` to every key.
    pub fn everywhere(level: Isolation) -> Levels {
        Levels(BTreeMap::from([(String::new(), level)]))
    }

    /// Sets the level of a prefix.
    pub fn set(&mut self, prefix: String, level: Isolation) {
        self.0.insert(prefix, level);
    }

    /// Returns the prefix that gives a text its level, and the level.
    pub fn of(&self, text: &str) -> (&str, Isolation) {
        let longest = self.0.iter().rfind(|(prefix, _)| text.starts_with(*prefix));
        longest.map_or(("", Isolation::ReadAtomic), |(prefix, level)| (prefix, *level))
    }

    /// Returns true if every writer of the key is checked.
    pub fn checks(&self, key: &Key) -> bool {
        self.of(key.as_str()).1 == Isolation::Serializable
    }

    /// Returns all prefixes with their levels, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Isolation)> {
        self.0.iter().map(|(prefix, level)| (prefix.as_str(), *level))
    }
}

/// One line for logs: every prefix with its level, and the level of all other keys.
impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (prefix, level) in self.iter().filter(|(prefix, _)| !prefix.is_empty()) {
            write!(f, "{prefix:?} {}, ", level.as_str())?;
        }
        let others = if self.0.keys().all(String::is_empty) { "all keys" } else { "all other keys" };
        write!(f, "{others} {}", self.of("").1.as_str())
    }
}

impl Settings {
    /// Returns the pinned defaults for a store with the given properties.
    pub fn new(exclusive: bool, grace_ms: u64, delete_if: bool) -> Settings {
        Settings {
            timeout_default_ms: MINUTE,
            timeout_max_ms: 15 * MINUTE,
            recheck_after_ms: 10_000,
            skew_max_ms: 2_000,
            grace_ms,
            put_limit_ms: 30_000,
            retention_default_ms: DAY,
            retention_max_ms: 15 * DAY,
            exclusive,
            delete_if,
            levels: Levels::default(),
            levels_known: true,
            break_after_ms: 1_000,
            guest: false,
            commit_wait_max_ms: 50,
            transactions_max: 10_000,
            transactions_bytes_max: 256 << 20,
            operations_in_transaction_max: 64,
            waiters_max: 64,
            ended_kept_max: 100_000,
            entered_kept_max: 200_000,
            checked_keys_max: 100_000,
            session_len_max: Session::LEN_MAX,
            write_buffer_bytes_max: 1 << 20,
            record_bytes_max: 16 << 20,
            write_set_len_max: 10_000,
            read_set_len_max: 100_000,
            index_bytes_max: 256 << 20,
            versions_kept_max: 32,
            version_page_len: 16,
            scan_page_len: 1_000,
            delete_batch_len: 1_000,
            sweep_calls_max: 8,
            sweep_window_max: 100_000,
            sweep_hashes_max: 4_000_000,
            sweep_interval_ms: HOUR,
            look_at_all_ms: DAY,
            store_patience_ms: 10_000,
            // A store call counts as unanswered after 10 s; this leaves 5 s for a retry.
            commit_patience_ms: 15_000,
            retry_min_ms: 20,
            retry_max_ms: 1_000,
            run_scripts_twice: false,
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }

    /// Returns the clock that gives the store's time.
    pub fn reference(&self) -> Reference {
        if self.exclusive { Reference::Own } else { Reference::Store }
    }

    /// Returns true if every writer of the key is checked, and its entries are locks.
    pub fn locks(&self, key: &Key) -> bool {
        // Where one process holds the store, transactions choose their level, and no entry is a
        // lock.
        !self.exclusive && self.levels.checks(key)
    }

    /// Returns true if writers of some keys are checked by locks.
    pub fn locks_any(&self) -> bool {
        let checks = |(_, level): (&str, Isolation)| level == Isolation::Serializable;
        !self.exclusive && self.levels.iter().any(checks)
    }

    /// Returns true if this process moves the mark by what it knows of its own attempts, and by no
    /// clock: no other process writes, and no call takes effect after its answer (protocol, section
    /// 7, *exclusive stores*).
    pub fn moves_mark_alone(&self) -> bool {
        let alone = self.exclusive && self.grace_ms == 0;
        assert!(!alone || self.reference() == Reference::Own, "one process has its own clock");
        alone
    }

    /// Returns the time after which an attempt is over: no call of it can take effect any more.
    /// Younger versions cannot be at or below the mark.
    pub fn over_after_ms(&self) -> u64 {
        let over_ms = self.timeout_max_ms + self.grace_ms;
        assert!(over_ms >= self.grace_ms, "a call that was sent at the deadline may land within the grace");
        over_ms
    }

    /// Relation (a): returns the distance of a sweep's target from the store's time.
    pub fn target_lag_ms(&self) -> u64 {
        let lag_ms = self.over_after_ms() + self.skew_max_ms;
        assert!(lag_ms >= self.timeout_max_ms + self.grace_ms, "attempts below the target are over");
        lag_ms
    }

    /// Relation (b): returns the time for which the mark must have been in its place before it is
    /// settled.
    pub fn settle_after_ms(&self) -> u64 {
        // A whole entry of a checked key is the commit, and may land late: until then no other
        // entry that follows the same version may have come and been removed, since it would free
        // the name.
        let late_ms = if self.locks_any() { self.grace_ms } else { 0 };
        let for_readers = self.timeout_max_ms + self.recheck_after_ms + late_ms;
        let for_safety = self.put_limit_ms + self.grace_ms;
        let after_ms = for_readers.max(for_safety) + self.skew_max_ms;
        assert!(after_ms >= for_readers + self.skew_max_ms, "readers that began before have ended");
        assert!(after_ms >= for_safety + self.skew_max_ms, "puts that rest on the mark before have landed");
        after_ms
    }

    /// Relation (c): returns the least retention.
    pub fn retention_min_ms(&self) -> u64 {
        let retention_ms = 2 * self.over_after_ms() + self.skew_max_ms + 1;
        assert!(retention_ms > self.target_lag_ms(), "a record outlasts the attempts that began before it");
        retention_ms
    }

    /// Returns the greatest `timeout_max_ms` that relation (c) allows with the other settings.
    pub fn timeout_max_limit_ms(&self) -> u64 {
        (self.retention_max_ms.saturating_sub(self.skew_max_ms + 1) / 2).saturating_sub(self.grace_ms)
    }

    /// Checks the relations that safety rests on.
    ///
    /// # Errors
    /// Returns a text that names the broken relation, its values, and the setting to change.
    pub fn check(&self) -> Result<(), String> {
        if self.retention_max_ms < self.retention_min_ms() {
            return Err(format!(
                "retention_max ({} ms) must be greater than 2 (the longest deadline + grace) + skew_max ({} ms): raise it",
                self.retention_max_ms,
                self.retention_min_ms() - 1
            ));
        }
        if self.grace_ms != 0 && self.skew_max_ms >= self.grace_ms {
            return Err(format!(
                "skew_max ({} ms) must be less than grace ({} ms): lower it",
                self.skew_max_ms, self.grace_ms
            ));
        }
        let bounds = [
            ("timeout_max", self.timeout_max_ms),
            ("put_limit", self.put_limit_ms),
            ("version_page_len", self.version_page_len.into()),
            ("scan_page_len", self.scan_page_len.into()),
            ("delete_batch_len", self.delete_batch_len as u64),
            ("sweep_calls_max", self.sweep_calls_max as u64),
            ("sweep_window_max", self.sweep_window_max as u64),
            ("sweep_hashes_max", self.sweep_hashes_max as u64),
            ("versions_kept_max", self.versions_kept_max as u64),
        ];
        match bounds.iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(format!("{name} must be at least 1: raise it")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Levels, Settings};
    use crate::isolation::Isolation;

    #[test]
    fn the_longest_prefix_counts() {
        let mut levels = Levels::everywhere(Isolation::Serializable);
        levels.set("shop/".into(), Isolation::ReadAtomic);
        levels.set("shop/stock/".into(), Isolation::Serializable);
        let of = |text| levels.of(text);
        assert_eq!(of("shop/stock/tea"), ("shop/stock/", Isolation::Serializable));
        assert_eq!(of("shop/stock"), ("shop/", Isolation::ReadAtomic));
        assert_eq!(of("shop"), ("", Isolation::Serializable));
        let text = "\"shop/\" read_atomic, \"shop/stock/\" serializable, all other keys serializable";
        assert_eq!(levels.to_string(), text);
        assert_eq!(Levels::default().to_string(), "all keys read_atomic");
    }

    #[test]
    fn the_greatest_timeout_is_the_greatest_that_passes() {
        let check = |settings: Settings| {
            let limit = settings.timeout_max_limit_ms();
            let with = |timeout_max_ms| Settings { timeout_max_ms, ..settings.clone() };
            assert_eq!(with(limit).check(), Ok(()), "{limit}");
            assert!(with(limit + 1).check().is_err(), "{limit}");
        };
        check(Settings::new(true, 0, true));
        check(Settings::new(false, 60_000, false));
    }
}
