//! What a run is told.

use std::time::Duration;

use aft_store::Store;

use crate::error::{Error, Result};
use crate::exactly_once::counter::COUNT_BYTES;

/// Two counters of this size fit one commit record without parts, which is how small values travel.
const VALUE_BYTES_MAX: usize = 256 * 1024;
/// A function that may run longer is no function: the longest that platforms allow.
const FUNCTION_TIMEOUT_MAX: Duration = Duration::from_secs(15 * 60);
/// Far above what platforms wait, and a multiple of it is still a time.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(60 * 60);

/// Everything that a run is told; the same for all three ways.
///
/// The times keep the proportions of a function of 30 s that a platform calls again a minute after it failed and two minutes after it
/// failed again, thirty times faster. So a retry never comes before the record of a dead attempt has expired, which is the record's best
/// case: with an expiry beyond the retry delay, retries would be refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Requests in each of the three runs.
    pub requests: u64,
    /// Clients; each starts a request when the first attempt of its last one has ended. Retries run beside them, as on a platform.
    pub clients: usize,
    /// The share of attempts that are drawn to die, 0 to 1; each at a point of its own.
    pub crashes: f64,
    /// The share of requests that are delivered twice at the same time, 0 to 1.
    pub duplicates: f64,
    /// Attempts of a delivery before it is given up, the first one included. (3: two retries, as for asynchronous calls of AWS Lambda.)
    pub attempts: u32,
    /// How long an attempt may run before the platform ends it. As long is a record in progress, and as long the transaction stays open.
    pub function_timeout: Duration,
    /// From an attempt that failed to the one after it; before the third one twice as long, and so on. A delivery that is refused because
    /// another one is in progress comes again after this, as often as needed.
    pub retry_delay: Duration,
    /// Tasks that look at both counters of requests under way, all the time. Their calls to the store are not counted as the requests',
    /// except through the shim, where they share its cache.
    pub readers: usize,
    /// The size of a counter's value.
    pub value_bytes: usize,
    /// Draws fates. `None`: a fresh one, which the report names.
    pub seed: Option<u64>,
    /// What was typed, for the report: this crate does not read the command line.
    pub command: Option<String>,
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
        }
    }
}

impl Options {
    /// Checks what the types do not say, and what the store can hold.
    pub(crate) fn check(&self, store: &dyn Store) -> Result<()> {
        let wrong = |text: String| Err(Error::Options(text));
        if self.requests == 0 || self.clients == 0 || self.attempts == 0 {
            return wrong("at least one request, one client and one attempt are needed".to_owned());
        }
        for (what, share) in [("crashes", self.crashes), ("duplicates", self.duplicates)] {
            if !(0.0..=1.0).contains(&share) {
                return wrong(format!("the share of {what} is between 0 and 1, not {share}"));
            }
        }
        if !(Duration::from_millis(1)..=FUNCTION_TIMEOUT_MAX).contains(&self.function_timeout) {
            return wrong("a function's time is between a millisecond and 15 minutes".to_owned());
        }
        // A delivery that was refused is not to come again at once, for ever.
        if !(Duration::from_millis(1)..=RETRY_DELAY_MAX).contains(&self.retry_delay) {
            return wrong("the retry delay is between a millisecond and an hour".to_owned());
        }
        let most = VALUE_BYTES_MAX.min(store.capabilities().body_bytes_max / 4);
        if !(COUNT_BYTES..=most).contains(&self.value_bytes) {
            return wrong(format!("a counter has between {COUNT_BYTES} and {most} bytes here"));
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
    fn nonsense_is_refused() {
        check(|options| options.requests = 0, "one request");
        check(|options| options.clients = 0, "one client");
        check(|options| options.attempts = 0, "one attempt");
        check(|options| options.crashes = 1.5, "crashes");
        check(|options| options.duplicates = f64::NAN, "duplicates");
        check(|options| options.function_timeout = Duration::ZERO, "function's time");
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
