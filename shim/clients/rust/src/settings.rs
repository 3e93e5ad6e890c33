//! The client's bounds and times, each with its reason.

use std::time::Duration;

/// The settings of a client; [`Builder`](crate::Builder) changes them.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The timeout for opening a connection, with its TLS handshake. A server on the same machine
    /// or in the same region takes milliseconds.
    pub(crate) connect_timeout: Duration,
    /// The longest time of a call without a byte in either direction. It is above the 10 s that a
    /// node gives its store, and above [`WAIT_MAX`].
    pub(crate) call_timeout: Duration,
    /// The deadline of a transaction, from its opening; the server's default (a minute) if `None`.
    pub(crate) transaction_timeout: Option<Duration>,
    /// The most attempts of a run or a whole transaction.
    pub(crate) attempts_max: u32,
    /// The time after which a run starts no new attempt. The default is what most platforms give a
    /// function that answers people.
    pub(crate) run_time_max: Duration,
    /// False if nothing is tried again.
    pub(crate) repeats: bool,
    /// True if the session's token is sent with each transaction.
    pub(crate) session: bool,
    /// The most bytes of writes that are buffered until the commit; 0 sends each at once.
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
            repeats: true,
            session: true,
            write_buffer_bytes_max: 1 << 20,
        }
    }
}

impl Settings {
    /// Returns the time that an opening waits on the server, if the run has `left`: short enough
    /// that the answer comes before the call's timeout, and before the run's end.
    pub(crate) fn wait(&self, left: Duration) -> Duration {
        WAIT_MAX.min(self.call_timeout / 2).min(left.saturating_sub(CALL_TIME_MIN))
    }
}

/// The longest time that a limit means: 24 days, as in the other clients. A longer one counts
/// as this one, since an instant that far ahead may not exist.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(24 * 86_400);
/// The largest value that is buffered. A larger one is sent at once, as a raw body: its cost is in
/// its bytes, not in the call.
pub(crate) const BUFFERED_VALUE_BYTES_MAX: usize = 64 << 10;
/// The most writes that are buffered: half of what one call may have, so that a batch's own
/// operations fit beside them.
pub(crate) const BUFFERED_WRITES_MAX: usize = aft_api::OPS_LEN_MAX / 2;
/// The most bytes of buffered writes that can be set: half of the smallest body limit that servers
/// have by default.
pub(crate) const WRITE_BUFFER_BYTES_LIMIT: usize = 4 << 20;
/// The longest answer that is held in memory as a whole. Larger values and results are read as
/// streams.
pub(crate) const ANSWER_BYTES_MAX: usize = 256 << 20;
/// The time that an idle connection is kept: below the 30 s after which a server closes it.
pub(crate) const IDLE_TIME_MAX: Duration = Duration::from_secs(20);
/// The most idle connections that are kept: as many as one program usually has calls in flight.
pub(crate) const IDLE_CONNECTIONS_MAX: usize = 64;
/// The longest wait for a kept connection whose last call has ended: its task only has to run once.
pub(crate) const READY_TIME_MAX: Duration = Duration::from_millis(50);
/// The least time that a call gets, also if the time of its run is over: the aborts that decide an
/// outcome are worth one round trip.
pub(crate) const CALL_TIME_MIN: Duration = Duration::from_millis(250);
/// The least time that a commit gets: the function that came before it may have used the time of
/// the run, and a store takes a few hundred milliseconds.
pub(crate) const COMMIT_TIME_MIN: Duration = Duration::from_secs(1);
/// The longest time that a commit waits for tasks that hold the transaction and have no call in
/// flight: between two of their calls they need a moment, and a handle may be kept for ever.
pub(crate) const HANDLES_TIME_MAX: Duration = Duration::from_millis(100);
/// The longest time that an opening waits, on the server, for another open attempt of its request:
/// the servers' default.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The time that a run waits for the answer to its abort. The abort's only use is that other
/// attempts do not wait for a dead one.
pub(crate) const ABORT_TIME_MAX: Duration = Duration::from_secs(2);
/// The most times that a call inside a transaction is sent, if repeating it is harmless.
pub(crate) const TRIES_IN_PLACE_MAX: u32 = 3;
/// The most times that a commit is sent if the request has an ID. After that a new attempt finds
/// out as much, and makes progress.
pub(crate) const COMMIT_AGAIN_MAX: u32 = 3;
/// The longest key in bytes, as the server has it: a bucket's name and 1 KiB.
pub(crate) const KEY_BYTES_MAX: usize = 1_088;

const _: () = assert!(BUFFERED_WRITES_MAX < aft_api::OPS_LEN_MAX);
const _: () = assert!(BUFFERED_VALUE_BYTES_MAX <= WRITE_BUFFER_BYTES_LIMIT);
