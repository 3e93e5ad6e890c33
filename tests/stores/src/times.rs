//! A store's own time, as its answers carry it, compared with this machine's clock: the tests'
//! servers run on the same machine.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aft_store::{Created, Name, Space, Store, TIMES_KEPT_MAX, TimeHeard};
use bytes::Bytes;

/// The largest difference, in milliseconds, between two readings of the same clock at the same
/// time.
const JITTER_MS: f64 = 5.0;

/// Checks that every answer of a store carries the server's time, correct to the second, also the
/// answer of a create that finds an object; and that the times are kept up to their bound and
/// returned once. No other request to the store may be in flight.
///
/// # Panics
/// If one of these does not hold.
pub async fn check_times(store: &dyn Store) {
    let wall = Wall::now();
    store.times_heard();
    let name = Name::new(Space::Commit, "times", "");
    assert_eq!(store.create(&name, Bytes::new()).await, Ok(Created::Created));
    // Answered with an error: 412, or an exception.
    assert_eq!(store.create(&name, Bytes::new()).await, Ok(Created::Exists));
    assert!(store.get(&name).await.expect("the server runs").is_some());
    // Answered with an error on S3: 404.
    let missing = Name::new(Space::Commit, "missing", "");
    assert_eq!(store.get(&missing).await, Ok(None));
    let heard = store.times_heard();
    assert_eq!(heard.len(), 4, "one for each answer: {heard:?}");
    assert!(heard.is_sorted_by(|a, b| a.received <= b.sent), "oldest first: {heard:?}");
    heard.iter().for_each(|heard| wall.assert_right(heard));
    assert_eq!(store.times_heard(), [], "given once");

    // Over more than a second: the times follow the server's clock.
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < Duration::from_millis(1_300) || count <= TIMES_KEPT_MAX {
        store.get(&name).await.expect("the server runs");
        count += 1;
    }
    let heard = store.times_heard();
    assert_eq!(heard.len(), TIMES_KEPT_MAX, "of {count}");
    heard.iter().for_each(|heard| wall.assert_right(heard));
    let newest = heard.last().expect("it is full").received;
    assert!(newest.elapsed() < Duration::from_secs(1), "the newest are kept");
}

/// An instant on both clocks.
struct Wall {
    at: Instant,
    ms: f64,
}

impl Wall {
    fn now() -> Wall {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        Wall { at: Instant::now(), ms: since.as_secs_f64() * 1_000.0 }
    }

    fn ms_at(&self, moment: Instant) -> f64 {
        self.ms + moment.duration_since(self.at).as_secs_f64() * 1_000.0
    }

    /// Asserts that the clock had the reported reading at some instant between sending and
    /// receiving.
    fn assert_right(&self, heard: &TimeHeard) {
        let (sent, received) = (self.ms_at(heard.sent), self.ms_at(heard.received));
        let (from, to) = (heard.at_ms as f64, (heard.at_ms + heard.span_ms) as f64);
        assert_eq!(heard.span_ms, 1_000);
        assert!(
            received >= from - JITTER_MS && sent < to + JITTER_MS,
            "heard [{from}, {to}) between {sent} and {received}"
        );
    }
}
