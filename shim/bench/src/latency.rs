//! Latencies, recorded in a histogram with bounded memory and bounded error.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest latency that the histogram distinguishes; longer ones are recorded as this. A
/// transaction that takes this long is a finding in itself.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// The significant digits that the histogram keeps: an error of at most 0.1 %.
const DIGITS: u8 = 3;

/// A histogram of latencies, in microseconds.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
}

impl Latencies {
    /// Returns an empty histogram.
    pub(crate) fn new() -> Latencies {
        let longest = u64::try_from(LONGEST.as_micros()).expect("fifteen minutes in microseconds fit");
        let histogram = Histogram::new_with_max(longest, DIGITS).expect("the bounds are constants that fit");
        Latencies { histogram }
    }

    /// Records one latency.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds all latencies of `other`.
    pub(crate) fn add(&mut self, other: &Latencies) {
        self.histogram.add(&other.histogram).expect("all have the same bounds");
    }

    /// Returns the percentiles that reports show.
    pub(crate) fn summary(&self) -> LatencyMs {
        LatencyMs {
            p50: self.quantile_ms(0.50),
            p95: self.quantile_ms(0.95),
            p99: self.quantile_ms(0.99),
            max: self.histogram.max() as f64 / 1_000.0,
        }
    }

    /// Returns the latency that the fraction `share` (0 to 1) of all did not exceed, in
    /// milliseconds; 0 if nothing was recorded.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        self.histogram.value_at_quantile(share) as f64 / 1_000.0
    }
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies::new()
    }
}

/// Percentiles in milliseconds; all 0 if nothing was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LatencyMs {
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The longest latency.
    pub max: f64,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Latencies, LatencyMs};

    #[test]
    fn percentiles() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.summary(), LatencyMs { p50: 0.0, p95: 0.0, p99: 0.0, max: 0.0 });
        for ms in 1..=100 {
            latencies.record(Duration::from_millis(ms));
        }
        let mut both = Latencies::new();
        both.record(Duration::from_secs(3600));
        both.add(&latencies);
        let summary = latencies.summary();
        assert!((summary.p50 - 50.0).abs() < 0.1, "{summary:?}");
        assert!((summary.p95 - 95.0).abs() < 0.1, "{summary:?}");
        assert!((summary.max - 100.0).abs() < 0.1, "{summary:?}");
        assert!((both.summary().max / 900_000.0 - 1.0).abs() < 0.01, "{:?}", both.summary());
    }
}
