//! The settings of a run.

use std::time::Duration;

use aft_store::Store;

use crate::error::{Error, Result};
use crate::exactly_once::counter::COUNT_BYTES;

/// The maximum size of a counter's value: two of this size fit in one commit record without parts,
/// which is how small values are stored.
const VALUE_BYTES_MAX: usize = 256 * 1024;
/// The maximum function timeout: the longest that platforms allow.
const FUNCTION_TIMEOUT_MAX: Duration = Duration::from_secs(15 * 60);
/// The maximum retry delay: far above what platforms wait, and small enough that multiples of it do
/// not overflow.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(60 * 60);

/// The settings of a run, the same for all three ways.
///
/// The default times are thirty times shorter than on a platform, in the same proportion: a
/// function of 30 s that is retried one minute after the first failure and two minutes after the
/// second. So a retry never comes before the record of a dead attempt has expired, which is the
/// record's best case: if it expired after the retry delay, retries would be rejected.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The number of requests in each of the three runs.
    pub requests: u64,
    /// The number of clients. Each starts a request when the first attempt of its last one has
    /// ended. Retries run beside them, as on a platform.
    pub clients: usize,
    /// The share of attempts that die, 0 to 1; each at a point of its own.
    pub crashes: f64,
    /// The share of requests that are delivered twice at the same time, 0 to 1.
    pub duplicates: f64,
    /// The number of attempts after which a delivery is abandoned, the first one included. (3 means
    /// two retries, as for asynchronous calls of AWS Lambda.)
    pub attempts: u32,
    /// The time after which the platform ends an attempt. It is also the time that a record is in
    /// progress, and the timeout of the transaction.
    pub function_timeout: Duration,
    /// The delay from a failed attempt to the second one. It is twice as long before the third one,
    /// and so on. A delivery that is rejected because another one is in progress is retried after
    /// this delay, as often as necessary.
    pub retry_delay: Duration,
    /// The number of tasks that read both counters of requests in flight, all the time. Their calls
    /// to the store are not counted as the requests' own, except through the shim, where they share
    /// its cache.
    pub readers: usize,
    /// The size of a counter's value in bytes.
    pub value_bytes: usize,
    /// The seed that draws fates. `None`: a random one, which the report shows.
    pub seed: Option<u64>,
    /// The command line, for the report. This crate does not read it itself.
    pub command: Option<String>,
    /// True to draw progress on standard error, if that is a terminal.
    pub progress: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            requests: 1_000,
            clients: 10,
            crashes: 0.2,
            duplicates: 0.05,
            attempts: 3,
            function_timeout: Duration::from_secs(1),
            retry_delay: Duration::from_secs(2),
            readers: 2,
            value_bytes: 4_096,
            seed: None,
            command: None,
            progress: false,
        }
    }
}

impl Options {
    /// Checks the settings against each other and against what the store can hold.
    pub(crate) fn check(&self, store: &dyn Store) -> Result<()> {
        let wrong = |text: String| Err(Error::Options(text));
        if self.requests == 0 || self.clients == 0 || self.attempts == 0 {
            return wrong("the run needs at least one request, one client and one attempt".to_owned());
        }
        for (what, share) in [("crashes", self.crashes), ("duplicates", self.duplicates)] {
            if !(0.0..=1.0).contains(&share) {
                return wrong(format!("the share of {what} must be between 0 and 1, not {share}"));
            }
        }
        if !(Duration::from_millis(1)..=FUNCTION_TIMEOUT_MAX).contains(&self.function_timeout) {
            return wrong("the function timeout must be between 1 ms and 15 minutes".to_owned());
        }
        // Without a delay, a rejected delivery would be retried in a busy loop.
        if !(Duration::from_millis(1)..=RETRY_DELAY_MAX).contains(&self.retry_delay) {
            return wrong("the retry delay must be between 1 ms and 1 hour".to_owned());
        }
        let most = VALUE_BYTES_MAX.min(store.capabilities().body_bytes_max / 4);
        if !(COUNT_BYTES..=most).contains(&self.value_bytes) {
            return wrong(format!(
                "the value size must be between {COUNT_BYTES} and {most} bytes on this store"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aft_store_memory::MemoryStore;

    use super::Options;

    fn check(change: impl FnOnce(&mut Options), says: &str) {
        let (store, mut options) = (MemoryStore::new(), Options::default());
        options.check(&store).unwrap();
        change(&mut options);
        let text = options.check(&store).unwrap_err().to_string();
        assert!(text.contains(says), "{text}");
    }

    #[test]
    fn invalid_options_are_rejected() {
        check(|options| options.requests = 0, "one request");
        check(|options| options.clients = 0, "one client");
        check(|options| options.attempts = 0, "one attempt");
        check(|options| options.crashes = 1.5, "crashes");
        check(|options| options.duplicates = f64::NAN, "duplicates");
        check(|options| options.function_timeout = Duration::ZERO, "function timeout");
        check(|options| options.retry_delay = Duration::ZERO, "retry delay");
        check(|options| options.retry_delay = Duration::MAX, "retry delay");
        check(|options| options.value_bytes = 7, "between 8 and");
        check(|options| options.value_bytes = 1 << 20, "between 8 and");
    }

    #[test]
    fn by_default_a_retry_finds_the_record_of_a_dead_attempt_expired() {
        let options = Options::default();
        assert!(options.retry_delay > options.function_timeout);
    }
}
