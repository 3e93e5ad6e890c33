//! Every bound and time of the state machine, each with its reason; and the relations between them (protocol, section 8).

/// What a node is told at its start. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    /// A transaction's time if its caller names none: a minute, far above a function's usual time.
    pub timeout_default_ms: u64,
    /// The longest time a caller may ask: 15 minutes, the longest time of a Lambda function.
    pub timeout_max_ms: u64,
    /// How old a listing may be before it is made again, where other nodes write.
    pub recheck_after_ms: u64,
    /// Versions younger than this are never collected, and an unhindered publisher is done within it.
    pub slack_ms: u64,
    /// How far two nodes' clocks may be apart.
    pub skew_max_ms: u64,
    /// A store call without an answer takes effect within this time or never.
    pub grace_ms: u64,
    /// How long the record of a named request is kept unless its caller says otherwise.
    pub retention_default_ms: u64,
    /// The longest retention; longer wishes are clamped.
    pub retention_max_ms: u64,
    /// When a tombstone that is its key's only version may go.
    pub tombstone_age_ms: u64,
    /// This node's process is the only one that writes to the store.
    pub exclusive: bool,
    /// The store can delete by tag.
    pub delete_if: bool,
    /// Whether this node's intents are collected by itself as maintainer; `false` switches the collector off (publishing goes on).
    pub collect: bool,
    /// Open transactions on one node.
    pub transactions_max: usize,
    /// Estimated bytes of all open transactions: about a kilobyte each, what they wrote, what they read. New ones are refused from half of it on, so
    /// that those that are open can end.
    pub transactions_bytes_max: usize,
    /// Operations under way in one transaction: a function's fan-out.
    pub operations_in_transaction_max: usize,
    /// Waiters for one request: duplicates that a platform sends at once.
    pub waiters_max: usize,
    /// Bytes of inline values in one transaction: who reads one of them reads the whole record.
    pub write_buffer_bytes_max: usize,
    /// Bytes of a stored commit record: the largest body that the store takes, for a collect entry has as many.
    pub record_bytes_max: usize,
    /// Keys that one transaction may write: they stand in every collect entry and tell.
    pub write_set_len_max: usize,
    /// Keys that one transaction may read.
    pub read_set_len_max: usize,
    /// Version entries waiting to be published before new transactions are refused: each holds up to 2 KiB, in calls to the store for the most part.
    pub publish_queue_max: usize,
    /// Bytes of the index, estimated and rather too much than too little, before it forgets the coldest keys.
    pub index_bytes_max: usize,
    /// Version entries asked for in one listing.
    pub version_page_len: u32,
    /// Maintenance batches under way at once.
    pub maintenance_tasks_max: usize,
    /// Intents in a batch at most: what their transactions share is asked once.
    pub maintenance_batch_len: usize,
    /// Bytes of commit records that a batch should hold at once: batches grow and shrink with the records that they meet.
    pub maintenance_batch_bytes: usize,
    /// Keys written by the transactions of a batch, unless one alone writes more.
    pub maintenance_batch_writes_max: usize,
    /// How many transactions are collected while a hundred commit; 0: as many as can be. Above 100, or what is left grows.
    pub collect_pace_percent: u64,
    /// Pause between two passes of the maintainer.
    pub maintenance_interval_ms: u64,
    /// The pause after passes that found nothing to do doubles up to this: an idle node costs its store next to nothing.
    pub maintenance_pause_max_ms: u64,
    /// How long a read or a look-up keeps asking a store that fails before the caller is told.
    pub store_patience_ms: u64,
    /// How long whoever asked for a commit waits for its outcome before being told that it is not known yet. The commit goes on, until the
    /// transaction's deadline: who asks again waits for the same outcome.
    pub commit_patience_ms: u64,
    /// First pause before a store call is repeated; doubles up to `retry_max_ms`.
    pub retry_min_ms: u64,
    /// Longest pause before a store call is repeated.
    pub retry_max_ms: u64,
    /// A fault put in on purpose.
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<crate::bug::Bug>,
}

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

impl Settings {
    /// The pinned defaults for a store with the given properties.
    pub fn new(exclusive: bool, grace_ms: u64, delete_if: bool) -> Settings {
        Settings {
            timeout_default_ms: MINUTE,
            timeout_max_ms: 15 * MINUTE,
            recheck_after_ms: 10_000,
            slack_ms: MINUTE,
            skew_max_ms: 10_000,
            grace_ms,
            retention_default_ms: DAY,
            retention_max_ms: 15 * DAY,
            tombstone_age_ms: 16 * DAY,
            exclusive,
            delete_if,
            collect: true,
            transactions_max: 10_000,
            transactions_bytes_max: 256 << 20,
            operations_in_transaction_max: 64,
            waiters_max: 64,
            write_buffer_bytes_max: 1 << 20,
            record_bytes_max: 16 << 20,
            write_set_len_max: 1_000,
            read_set_len_max: 100_000,
            publish_queue_max: 32_768,
            index_bytes_max: 256 << 20,
            version_page_len: 16,
            maintenance_tasks_max: 2,
            maintenance_batch_len: 128,
            maintenance_batch_bytes: 4 << 20,
            maintenance_batch_writes_max: 1_000,
            collect_pace_percent: 110,
            maintenance_interval_ms: 1_000,
            maintenance_pause_max_ms: 15_000,
            store_patience_ms: 10_000,
            // A store call that is not answered counts so after 10 s; the next one may be.
            commit_patience_ms: 15_000,
            retry_min_ms: 20,
            retry_max_ms: 1_000,
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }

    /// The least retention that relation (b) allows.
    pub fn retention_min_ms(&self) -> u64 {
        2 * (self.timeout_max_ms + self.grace_ms) + self.skew_max_ms + 1
    }

    /// The greatest `timeout_max_ms` that relations (a) and (b) allow with the other times as they are.
    pub fn timeout_max_limit_ms(&self) -> u64 {
        let of_tombstones = self.tombstone_age_ms.saturating_sub(
            self.retention_max_ms + 2 * self.grace_ms + self.recheck_after_ms + self.skew_max_ms + 1,
        );
        let of_retention =
            (self.retention_max_ms.saturating_sub(self.skew_max_ms + 1) / 2).saturating_sub(self.grace_ms);
        of_tombstones.min(of_retention)
    }

    /// A record older than this is never replayed (protocol, section 6).
    pub fn replay_limit_ms(&self) -> u64 {
        self.tombstone_age_ms.saturating_sub(2 * self.grace_ms + self.timeout_max_ms + self.skew_max_ms)
    }

    /// Checks the relations that safety rests on.
    ///
    /// # Errors
    /// A text that names the relation, its values, and what to change.
    pub fn check(&self) -> Result<(), String> {
        let least = self.retention_max_ms
            + 2 * self.grace_ms
            + self.recheck_after_ms
            + self.timeout_max_ms
            + self.skew_max_ms;
        if self.tombstone_age_ms <= least {
            return Err(format!(
                "tombstone_age ({} ms) must be greater than retention_max + 2 grace + recheck_after + the longest deadline + skew_max ({least} ms): raise it, or lower one of these",
                self.tombstone_age_ms
            ));
        }
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
        if self.slack_ms <= self.skew_max_ms {
            return Err(format!(
                "slack ({} ms) must be greater than skew_max ({} ms): raise it",
                self.slack_ms, self.skew_max_ms
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

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
        // Here the retention is what bounds it.
        check(Settings { tombstone_age_ms: u64::MAX / 2, ..Settings::new(false, 60_000, true) });
    }
}
