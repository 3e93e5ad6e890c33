//! Functions with an idempotency record, as is common today (Powertools for AWS Lambda and similar
//! libraries): one record per request, beside the data.
//!
//! ```text
//!   create   "in progress, expires at …", if there is no record  → this attempt does the work
//!            if there is a record:
//!              done                      → answer with its result
//!              in progress, not expired  → rejected; retry later
//!              in progress, expired      → replace it if unchanged; this attempt does the work
//!   work     directly against the store
//!   put      "done, with this result"
//! ```
//!
//! The record gets the best case wherever there is a choice:
//!
//! * Reads are consistent, all attempts share one clock, and of concurrent takeovers one wins.
//! * A record in progress expires at the deadline of its function, and the platform ends the
//!   function then. So an attempt begins no call after another one has taken over.
//! * A rejected delivery does not use up one of its attempts.
//! * A function whose call fails leaves its record to expire. (Deleting the record, as is usual,
//!   allows the retry earlier, with the same effect.)
//! * Records that are done never expire.
//!
//! The remaining fault cannot be fixed by any record beside the data: an attempt that dies between
//! its effects and marking the record as done leaves effects that the next attempt does not know
//! about.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_store::{Created, Replaced, Store};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::exactly_once::counter::{Counter, Counts, Values};
use crate::exactly_once::plain::{Plain, failed};
use crate::exactly_once::way::{Answer, Attempt, Claim, Failed, Way};
use crate::figures::json;

/// The last part of a record's name, after its request's.
pub(crate) const RECORD: &str = "record";
/// The result of a request that was carried out.
pub(crate) const RESULT: &str = "done";

/// Functions over one store, with a record for each request.
#[derive(Debug)]
pub(crate) struct Recorded {
    data: Plain,
    /// The start of the clock of the records, which counts milliseconds.
    start: Instant,
}

/// The record.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Record {
    InProgress {
        /// The time of expiry by the run's clock, in milliseconds.
        expires_ms: u64,
    },
    Done {
        result: String,
    },
}

impl Recorded {
    pub(crate) fn new(store: Arc<dyn Store>, prefix: String, values: Values) -> Recorded {
        Recorded { data: Plain::new(store, prefix, values), start: Instant::now() }
    }

    /// Deletes the counters and records of requests `0..requests`.
    pub(crate) async fn clean_up(&self, requests: u64) -> aft_store::Result<()> {
        let [a, b] = Counter::ALL.map(Counter::as_str);
        self.data.clean_up(requests, &[a, b, RECORD]).await
    }

    /// Returns the expiry of an attempt's record, rounded up: never before the function's deadline.
    fn expires_ms(&self, attempt: &Attempt) -> u64 {
        millis(attempt.deadline.saturating_duration_since(self.start)) + 1
    }

    fn now_ms(&self) -> u64 {
        millis(self.start.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("a run is shorter than 2^64 ms")
}

#[async_trait]
impl Way for Recorded {
    async fn claim(&self, attempt: &Attempt) -> Answer<Claim> {
        let (store, name) = (&self.data.store, self.data.name(attempt.request, RECORD));
        // The first attempt creates the record; of concurrent ones, one wins.
        let ours = json(&Record::InProgress { expires_ms: self.expires_ms(attempt) });
        match store.create(&name, ours.clone().into()).await.map_err(failed)? {
            Created::Created => return Ok(Claim::Work),
            Created::Exists => {}
        }
        // The record exists: its state decides.
        let (bytes, tag) = store.get(&name).await.map_err(failed)?.ok_or(Failed("record_gone"))?;
        match serde_json::from_slice(&bytes).map_err(|_| Failed("damaged"))? {
            Record::Done { .. } => Ok(Claim::Answered),
            Record::InProgress { expires_ms } if self.now_ms() < expires_ms => Ok(Claim::InProgress),
            Record::InProgress { .. } => {
                match store.replace(&name, &tag, ours.into()).await.map_err(failed)? {
                    Replaced::Replaced => Ok(Claim::Work),
                    // Another attempt took over first.
                    Replaced::Changed => Ok(Claim::InProgress),
                }
            }
        }
    }

    async fn read(&self, attempt: &Attempt, counter: Counter) -> Answer<u64> {
        self.data.read(attempt, counter).await
    }

    async fn write(&self, attempt: &Attempt, counter: Counter, count: u64) -> Answer<()> {
        self.data.write(attempt, counter, count).await
    }

    async fn finish(&self, attempt: &Attempt) -> Answer<()> {
        let done = json(&Record::Done { result: RESULT.to_owned() });
        self.data.store.put(&self.data.name(attempt.request, RECORD), done.into()).await.map_err(failed)
    }

    async fn look(&self, request: u64) -> Answer<Counts> {
        self.data.look(request).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use aft_node::fresh_attempt;
    use aft_store_memory::MemoryStore;

    use super::Recorded;
    use crate::exactly_once::counter::Values;
    use crate::exactly_once::way::{Attempt, Claim, Way};

    fn attempt(time: Duration) -> Attempt {
        Attempt { request: 7, id: fresh_attempt(), deadline: Instant::now() + time }
    }

    #[tokio::test]
    async fn a_record_is_claimed_once_until_it_expires_and_never_when_done() {
        let store = Arc::new(MemoryStore::new());
        let way = Recorded::new(Arc::clone(&store) as _, "test".to_owned(), Values::new(8, 1));
        let (long, short) = (Duration::from_secs(3_600), Duration::ZERO);
        let claim = async |time| way.claim(&attempt(time)).await;
        assert_eq!(claim(short).await, Ok(Claim::Work));
        tokio::time::sleep(Duration::from_millis(3)).await;
        // The record has expired: an attempt takes it over, for an hour.
        assert_eq!(claim(long).await, Ok(Claim::Work));
        assert_eq!(claim(long).await, Ok(Claim::InProgress));
        way.finish(&attempt(long)).await.unwrap();
        assert_eq!(claim(long).await, Ok(Claim::Answered));
        way.clean_up(8).await.unwrap();
        assert!(store.objects().is_empty());
    }

    #[tokio::test]
    async fn one_of_two_concurrent_takeovers_wins() {
        let store = Arc::new(MemoryStore::new());
        let way = Recorded::new(store, "test".to_owned(), Values::new(8, 1));
        assert_eq!(way.claim(&attempt(Duration::ZERO)).await, Ok(Claim::Work));
        tokio::time::sleep(Duration::from_millis(3)).await;
        let (one, other) = (attempt(Duration::from_secs(60)), attempt(Duration::from_secs(60)));
        let (one, other) = tokio::join!(way.claim(&one), way.claim(&other));
        let mut claims = [one.unwrap(), other.unwrap()];
        claims.sort_by_key(|claim| *claim != Claim::Work);
        assert_eq!(claims, [Claim::Work, Claim::InProgress]);
    }
}
