//! Counts of a node's work since its start, as plain numbers: for figures, tests and the command
//! line.

/// The kinds of calls to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallKind {
    /// A get of a record or of the mark.
    Get,
    /// A get of a record for one value that the cache did not hold.
    Fetch,
    /// A put.
    Put,
    /// A create.
    Create,
    /// A commit: a record and its entries.
    Commit,
    /// A replace.
    Replace,
    /// A delete, of any number of names.
    Delete,
    /// A conditional delete.
    DeleteIf,
    /// A page of a group.
    List,
    /// A page of names across groups.
    Scan,
    /// A put of a part of a large value.
    PutPart,
    /// A get of a part of a large value.
    GetPart,
}

impl CallKind {
    /// Every kind, in the order of their discriminants.
    pub const ALL: [CallKind; 12] = [
        CallKind::Get,
        CallKind::Fetch,
        CallKind::Put,
        CallKind::Create,
        CallKind::Commit,
        CallKind::Replace,
        CallKind::Delete,
        CallKind::DeleteIf,
        CallKind::List,
        CallKind::Scan,
        CallKind::PutPart,
        CallKind::GetPart,
    ];

    /// Returns the kind's name in metrics and figures.
    pub const fn as_str(self) -> &'static str {
        match self {
            CallKind::Get => "get",
            CallKind::Fetch => "fetch",
            CallKind::Put => "put",
            CallKind::Create => "create",
            CallKind::Commit => "commit",
            CallKind::Replace => "replace",
            CallKind::Delete => "delete",
            CallKind::DeleteIf => "delete_if",
            CallKind::List => "list",
            CallKind::Scan => "scan",
            CallKind::PutPart => "put_part",
            CallKind::GetPart => "get_part",
        }
    }
}

/// A node's counts since its start, and its state now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Open transactions, now.
    pub open_transactions: u64,
    /// Verbs that wait for the event loop, now.
    pub queue_len: u64,
    /// Store calls in flight, now.
    pub store_calls_open: u64,
    /// Store calls that wait for their turn, now.
    pub store_calls_waiting: u64,
    /// Bytes in the value cache, now, estimated.
    pub value_cache_bytes: u64,
    /// Bytes of the index, now, estimated.
    pub index_bytes: u64,
    /// Bytes of open transactions, now, estimated.
    pub transactions_bytes: u64,
    /// Verbs that the event loop answered.
    pub verbs: u64,
    /// Verbs rejected because the queue was full.
    pub queue_full: u64,
    /// Calls to the store by kind, in the order of [`CallKind::ALL`].
    pub store_calls: [u64; CallKind::ALL.len()],
    /// Store calls that failed, for any reason.
    pub store_errors: u64,
    /// Values answered from the cache.
    pub value_cache_hits: u64,
    /// Values that the cache did not hold.
    pub value_cache_misses: u64,
    /// Transactions that committed.
    pub committed: u64,
    /// Transactions that their client aborted.
    pub aborted: u64,
    /// Attempts that found another attempt of their request committed.
    pub lost_to_other: u64,
    /// Transactions that failed with a conflict: another one had written keys that they read.
    pub conflicted: u64,
    /// Transactions whose deadline passed before a commit was sent.
    pub expired: u64,
    /// Transactions whose outcome could not be determined.
    pub unknown: u64,
    /// Verbs answered with another attempt's result.
    pub replayed: u64,
    /// The part of `replayed` whose verbs came while that attempt was open on this node, and waited
    /// for it.
    pub replayed_after_wait: u64,
    /// Verbs rejected because another attempt of the request was open.
    pub in_progress: u64,
    /// Superseded version entries that sweeps removed.
    pub entries_removed: u64,
    /// Version entries that sweeps put for commits whose nodes had not put them.
    pub entries_repaired: u64,
    /// Commit records that sweeps removed.
    pub records_removed: u64,
    /// Parts of large values that sweeps removed.
    pub parts_removed: u64,
    /// Bytes of the entries and records that sweeps removed, estimated: names, bodies, and the
    /// large values of a record, although a later sweep removes their parts. Parts of attempts that
    /// did not commit are not counted.
    pub bytes_reclaimed: u64,
    /// Sweeps that ended.
    pub sweeps: u64,
    /// The part of `sweeps` that covered the whole store.
    pub sweeps_whole: u64,
    /// Moves of the mark by this node.
    pub marks_moved: u64,
    /// Pauses of the process after which it dropped what it knew of the store's time.
    pub thaws: u64,
    /// Age of the mark, now, in seconds: the time by which collection lags behind. `None` if the
    /// mark is lost.
    pub mark_age_s: Option<u64>,
    /// Error of the node's estimate of the store's time, now, in milliseconds; `None` while the
    /// time is not known.
    pub time_error_ms: Option<u64>,
    /// Lead of the node's commit times over the store's time, now, in milliseconds.
    pub time_ahead_ms: u64,
}

impl Stats {
    /// Returns the sums of this node's and `other`'s counts. Of the mark's age, and of the error
    /// and the lead of times, it takes the larger value; an unknown one stays unknown.
    pub(crate) fn with(self, other: &Stats) -> Stats {
        let mut store_calls = self.store_calls;
        store_calls.iter_mut().zip(other.store_calls).for_each(|(calls, more)| *calls += more);
        let worse = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a.max(b));
        Stats {
            open_transactions: self.open_transactions + other.open_transactions,
            queue_len: self.queue_len + other.queue_len,
            store_calls_open: self.store_calls_open + other.store_calls_open,
            store_calls_waiting: self.store_calls_waiting + other.store_calls_waiting,
            value_cache_bytes: self.value_cache_bytes + other.value_cache_bytes,
            index_bytes: self.index_bytes + other.index_bytes,
            transactions_bytes: self.transactions_bytes + other.transactions_bytes,
            verbs: self.verbs + other.verbs,
            queue_full: self.queue_full + other.queue_full,
            store_calls,
            store_errors: self.store_errors + other.store_errors,
            value_cache_hits: self.value_cache_hits + other.value_cache_hits,
            value_cache_misses: self.value_cache_misses + other.value_cache_misses,
            committed: self.committed + other.committed,
            aborted: self.aborted + other.aborted,
            lost_to_other: self.lost_to_other + other.lost_to_other,
            conflicted: self.conflicted + other.conflicted,
            expired: self.expired + other.expired,
            unknown: self.unknown + other.unknown,
            replayed: self.replayed + other.replayed,
            replayed_after_wait: self.replayed_after_wait + other.replayed_after_wait,
            in_progress: self.in_progress + other.in_progress,
            entries_removed: self.entries_removed + other.entries_removed,
            entries_repaired: self.entries_repaired + other.entries_repaired,
            records_removed: self.records_removed + other.records_removed,
            parts_removed: self.parts_removed + other.parts_removed,
            bytes_reclaimed: self.bytes_reclaimed + other.bytes_reclaimed,
            sweeps: self.sweeps + other.sweeps,
            sweeps_whole: self.sweeps_whole + other.sweeps_whole,
            marks_moved: self.marks_moved + other.marks_moved,
            thaws: self.thaws + other.thaws,
            mark_age_s: worse(self.mark_age_s, other.mark_age_s),
            time_error_ms: worse(self.time_error_ms, other.time_error_ms),
            time_ahead_ms: self.time_ahead_ms.max(other.time_ahead_ms),
        }
    }

    /// Returns the number of calls to the store of one kind.
    pub fn calls(&self, kind: CallKind) -> u64 {
        self.store_calls[kind as usize]
    }

    /// Returns the number of calls to the store of all kinds.
    pub fn calls_total(&self) -> u64 {
        self.store_calls.iter().sum()
    }
}
