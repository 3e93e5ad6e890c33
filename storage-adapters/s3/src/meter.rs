//! The cost of requests: they are counted where they are sent, by the classes in which S3 charges.

use std::sync::atomic::{AtomicU64, Ordering};

use aft_store::{Costs, Requests};

/// List prices. The defaults are those of S3 Standard in us-east-1, read on 2026-11-23 at
/// <https://aws.amazon.com/s3/pricing/>, "Requests & data retrievals". Storage and traffic out of
/// the region cost extra and are not counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// The price of 1,000 PUT, COPY, POST and LIST requests.
    pub writes_dollars_per_1000: f64,
    /// The price of 1,000 GET requests, and of all others that are not free.
    pub reads_dollars_per_1000: f64,
}

impl Default for Prices {
    fn default() -> Prices {
        Prices { writes_dollars_per_1000: 0.005, reads_dollars_per_1000: 0.0004 }
    }
}

/// A class of requests with one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// PUT, COPY, POST, LIST.
    Write,
    /// GET and all others.
    Read,
    /// DELETE. A deletion of many names at once is a POST.
    Free,
}

impl Class {
    const ALL: [Class; 3] = [Class::Write, Class::Read, Class::Free];

    const fn as_str(self) -> &'static str {
        match self {
            Class::Write => "put_post_list",
            Class::Read => "get",
            Class::Free => "delete",
        }
    }
}

/// The requests and bytes counted since the store was opened.
#[derive(Debug)]
pub(crate) struct Meter {
    prices: Prices,
    requests: [AtomicU64; Class::ALL.len()],
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
}

impl Meter {
    pub(crate) fn new(prices: Prices) -> Meter {
        Meter {
            prices,
            requests: Default::default(),
            bytes_out: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
        }
    }

    /// Counts a request that is sent, with a body of `bytes`.
    pub(crate) fn sent(&self, class: Class, bytes: usize) {
        self.requests[class as usize].fetch_add(1, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a received body of `bytes`.
    pub(crate) fn received(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns the counts, and the total price in dollars.
    pub(crate) fn costs(&self) -> Costs {
        let count = |class: Class| self.requests[class as usize].load(Ordering::Relaxed);
        let dollars = count(Class::Write) as f64 * self.prices.writes_dollars_per_1000
            + count(Class::Read) as f64 * self.prices.reads_dollars_per_1000;
        Costs {
            requests: Class::ALL.map(|class| Requests { class: class.as_str(), count: count(class) }).into(),
            consumed: Vec::new(),
            bytes_sent: self.bytes_out.load(Ordering::Relaxed),
            bytes_received: self.bytes_in.load(Ordering::Relaxed),
            dollars: dollars / 1_000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_of_each_class_costs_its_list_price() {
        let meter = Meter::new(Prices::default());
        for class in Class::ALL {
            meter.requests[class as usize].store(1_000_000, Ordering::Relaxed);
        }
        let dollars = meter.costs().dollars;
        assert!((dollars - 5.4).abs() < 1e-9, "{dollars}");
    }

    #[test]
    fn sent_and_received_bytes_are_counted() {
        let meter = Meter::new(Prices { writes_dollars_per_1000: 1_000.0, reads_dollars_per_1000: 1.0 });
        meter.sent(Class::Write, 7);
        meter.sent(Class::Free, 0);
        meter.received(3);
        let costs = meter.costs();
        assert_eq!(costs.requests.iter().map(|of| of.count).collect::<Vec<_>>(), [1, 0, 1]);
        assert_eq!((costs.bytes_sent, costs.bytes_received, costs.dollars), (7, 3, 1.0));
    }
}
