//! The client's bounds and times, each with its reason.

use std::time::Duration;

/// What a client is told; [`Builder`](crate::Builder) changes it.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How long a connection may take to open: a server on the same machine or in the same region takes milliseconds.
    pub(crate) connect_timeout: Duration,
    /// How long a call may take, its answer included: above the 10 s that a node gives its store, and above [`WAIT_MAX`].
    pub(crate) call_timeout: Duration,
    /// How long a transaction may stay open; the server's own default (a minute) if not given.
    pub(crate) transaction_timeout: Option<Duration>,
    /// The greatest number of attempts of a run or a whole transaction.
    pub(crate) attempts_max: u32,
    /// After how long a run begins nothing new: what most platforms give a function that answers people.
    pub(crate) run_time_max: Duration,
    /// Whether the session is carried from commit to transaction.
    pub(crate) session: bool,
    /// Bytes of writes that wait for the commit call; 0 sends each at once.
    pub(crate) write_buffer_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(30),
            transaction_timeout: None,
            attempts_max: 10,
            run_time_max: Duration::from_secs(60),
            session: true,
            write_buffer_bytes_max: 1 << 20,
        }
    }
}

impl Settings {
    /// How long an opening waits, on the server: not so long that the answer comes too late.
    pub(crate) fn wait(&self) -> Duration {
        WAIT_MAX.min(self.call_timeout / 2)
    }
}

/// A larger value is sent at once, as a raw body: what it costs is bytes, not calls.
pub(crate) const BUFFERED_VALUE_BYTES_MAX: usize = 64 << 10;
/// Writes that wait for the commit call: half of what one call may have, so that a batch's own operations fit beside them.
pub(crate) const BUFFERED_WRITES_MAX: usize = aft_api::OPS_LEN_MAX / 2;
/// The most bytes of writes that may wait: half of the smallest body limit that servers have by default.
pub(crate) const WRITE_BUFFER_BYTES_LIMIT: usize = 4 << 20;
/// The longest answer, which is held in memory whole. Larger values and results are for a client that reads ranges.
pub(crate) const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How long an idle connection is kept: below the 30 s after which a server closes it.
pub(crate) const IDLE_TIME_MAX: Duration = Duration::from_secs(20);
/// Connections that are kept idle: as many calls as one program has under way, as a rule.
pub(crate) const IDLE_CONNECTIONS_MAX: usize = 64;
/// How long an opening waits, on the server, for another open attempt of its request: as long as servers do by default.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a run waits for the answer to its abort, whose only use is that nobody waits for a dead attempt.
pub(crate) const ABORT_TIME_MAX: Duration = Duration::from_secs(2);
/// How often a call inside a transaction is sent in all, where repeating it is harmless.
pub(crate) const TRIES_IN_PLACE_MAX: u32 = 3;
/// How often a commit in doubt is sent again while another attempt could tell as well: then a new attempt is the better question.
pub(crate) const COMMIT_AGAIN_MAX: u32 = 3;
/// The longest key, as the server has it: a bucket's name and 1 KiB.
pub(crate) const KEY_BYTES_MAX: usize = 1_088;

const _: () = assert!(BUFFERED_WRITES_MAX < aft_api::OPS_LEN_MAX);
const _: () = assert!(BUFFERED_VALUE_BYTES_MAX <= WRITE_BUFFER_BYTES_LIMIT);
