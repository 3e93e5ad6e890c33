//! A closed loop: each client makes its next call when the last one was answered. All products that
//! are compared get the same loop.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use hdrhistogram::Histogram;

use crate::data::Seen;
use crate::site::Failed;

/// The longest latency that is recorded exactly; longer ones count as this one.
const LONGEST_US: u64 = 60_000_000;
/// The digits of a recorded latency: an error of at most 0.1 %.
const DIGITS: u8 = 3;
/// The pause between a failed call and the next one, so that a server that rejects everything is
/// not flooded.
const PAUSE: Duration = Duration::from_millis(20);

/// One client.
pub(crate) trait Caller: Send + 'static {
    /// Makes one call, waits for its answer, and returns the number of attempts that it took.
    ///
    /// # Errors
    /// Returns a code or a short text, by which errors are counted.
    fn call(&mut self) -> impl Future<Output = Result<u64, String>> + Send;
}

/// The duration of a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    /// The time for which the load runs before the measurement begins.
    pub(crate) warm_up: Duration,
    pub(crate) time: Duration,
}

/// The measurements of one client.
struct Part<C> {
    caller: C,
    latencies: Histogram<u64>,
    attempts: u64,
    errors: BTreeMap<String, u64>,
}

/// Runs the clients for `length`, and returns the results and the clients. A call counts if its
/// answer comes within the measured time; calls still in flight at the end are waited for.
///
/// # Errors
/// Returns an error if no call ended well, or if a client panicked.
pub(crate) async fn closed<C: Caller>(callers: Vec<C>, length: Length) -> Result<(Seen, Vec<C>), Failed> {
    let from = Instant::now() + length.warm_up;
    let until = from + length.time;
    let tasks = callers.into_iter().map(|caller| tokio::spawn(client(caller, from, until)));
    let parts = try_join_all(tasks).await.map_err(|why| format!("a client failed: {why}"))?;
    // Quantiles are those of all calls together; a mean of the clients' quantiles would hide tails.
    let mut all = latencies();
    let (mut attempts, mut errors, mut callers) = (0, BTreeMap::<String, u64>::new(), Vec::new());
    for part in parts {
        all.add(&part.latencies).expect("all have the same bounds");
        attempts += part.attempts;
        for (code, count) in part.errors {
            *errors.entry(code).or_default() += count;
        }
        callers.push(part.caller);
    }
    if all.is_empty() {
        return Err(format!("no call ended well: {errors:?}"));
    }
    let ms = |share| all.value_at_quantile(share) as f64 / 1_000.0;
    let seen = Seen {
        transactions: all.len(),
        attempts,
        transactions_per_s: all.len() as f64 / length.time.as_secs_f64(),
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        errors,
        ..Seen::default()
    };
    Ok((seen, callers))
}

/// Runs one client until `until`; calls that end before `from` are the warm-up.
async fn client<C: Caller>(mut caller: C, from: Instant, until: Instant) -> Part<C> {
    let (mut latencies, mut attempts, mut errors) = (latencies(), 0, BTreeMap::new());
    while Instant::now() < until {
        let start = Instant::now();
        let answer = caller.call().await;
        let end = Instant::now();
        // By the end of a call: a slow call at the edge counts once, in the window in which its
        // client got the answer.
        let counts = end >= from && end < until;
        match answer {
            Ok(tries) if counts => {
                let micros = (end - start).as_micros();
                latencies.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
                attempts += tries;
            }
            Ok(_) => {}
            Err(code) => {
                *errors.entry(code).or_default() += 1;
                attempts += u64::from(counts);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    Part { caller, latencies, attempts, errors }
}

fn latencies() -> Histogram<u64> {
    Histogram::new_with_max(LONGEST_US, DIGITS).expect("the bounds are constants that fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client whose calls take 5 ms, and fail once.
    struct Slow {
        calls: u64,
        fails_at: u64,
    }

    impl Caller for Slow {
        async fn call(&mut self) -> Result<u64, String> {
            self.calls += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
            if self.calls == self.fails_at { Err("tired".to_owned()) } else { Ok(2) }
        }
    }

    const LENGTH: Length = Length { warm_up: Duration::from_millis(50), time: Duration::from_millis(200) };

    #[tokio::test]
    async fn only_what_ends_within_the_time_counts() {
        let callers = vec![Slow { calls: 0, fails_at: 3 }, Slow { calls: 0, fails_at: 0 }];
        let (seen, callers) = closed(callers, LENGTH).await.expect("calls end well");
        let calls: u64 = callers.iter().map(|slow| slow.calls).sum();
        assert!(seen.transactions > 0 && seen.transactions + 2 < calls, "{seen:?}, {calls} calls");
        assert!(seen.p50_ms >= 5.0 && seen.p99_ms >= seen.p50_ms, "{seen:?}");
        assert_eq!(seen.attempts, 2 * seen.transactions, "{seen:?}");
        assert_eq!(seen.errors, [("tired".to_owned(), 1)].into());
        let per_s = seen.transactions as f64 / LENGTH.time.as_secs_f64();
        assert!((seen.transactions_per_s - per_s).abs() < 1e-9);
    }

    #[tokio::test]
    async fn a_load_with_errors_only_is_an_error() {
        struct Broken;
        impl Caller for Broken {
            async fn call(&mut self) -> Result<u64, String> {
                Err("refused".to_owned())
            }
        }
        let why = closed(vec![Broken], LENGTH).await.err().expect("nothing ended well");
        assert!(why.contains("refused"), "{why}");
    }
}
