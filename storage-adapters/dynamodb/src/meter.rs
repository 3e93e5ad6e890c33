//! The cost of requests: they are counted where they are sent, and by the consumed capacity that
//! their answers report.
//!
//! DynamoDB charges by units and not by requests: a write unit for each KB that is written or
//! deleted (of the larger of the old and the new item), a read unit for each 4 KB that are read.
//! Every answer reports its units, except for that of a condition that did not hold, which is
//! charged as well: it is counted by the bytes sent. The units of a request without an answer are
//! not counted.

use std::sync::atomic::{AtomicU64, Ordering};

use aft_store::{Costs, Requests, Units};

/// List prices. The defaults are those of on-demand capacity of a standard table in us-east-1, read
/// on 2026-11-23 at <https://aws.amazon.com/dynamodb/pricing/on-demand/>. Storage and traffic out
/// of the region cost extra and are not counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// The price of a million write request units.
    pub writes_dollars_per_million: f64,
    /// The price of a million read request units.
    pub reads_dollars_per_million: f64,
}

impl Default for Prices {
    fn default() -> Prices {
        Prices { writes_dollars_per_million: 0.625, reads_dollars_per_million: 0.125 }
    }
}

/// The capacity that was consumed so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Consumed {
    /// The number of write request units.
    pub write_units: f64,
    /// The number of read request units.
    pub read_units: f64,
}

/// A class of requests, by call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Get,
    Query,
    Put,
    Delete,
    /// A batch of up to 25 puts or deletions.
    Batch,
    /// A read of several items at one moment.
    TransactGet,
    /// A write of several items at one moment.
    TransactPut,
    /// A call about the table itself, which is free.
    Table,
}

impl Class {
    const ALL: [Class; 8] = [
        Class::Get,
        Class::Query,
        Class::Put,
        Class::Delete,
        Class::Batch,
        Class::TransactGet,
        Class::TransactPut,
        Class::Table,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Class::Get => "get_item",
            Class::Query => "query",
            Class::Put => "put_item",
            Class::Delete => "delete_item",
            Class::Batch => "batch_write_item",
            Class::TransactGet => "transact_get_items",
            Class::TransactPut => "transact_write_items",
            Class::Table => "table",
        }
    }

    /// Returns true if the class consumes write units, false if it consumes read units.
    const fn writes(self) -> bool {
        matches!(self, Class::Put | Class::Delete | Class::Batch | Class::TransactPut)
    }
}

/// The counters' steps per unit: DynamoDB reports half units.
const UNIT: f64 = 1_000.0;

/// The requests, units and bytes counted since the store was opened.
#[derive(Debug)]
pub(crate) struct Meter {
    prices: Prices,
    requests: [AtomicU64; Class::ALL.len()],
    write_units: AtomicU64,
    read_units: AtomicU64,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
}

impl Meter {
    pub(crate) fn new(prices: Prices) -> Meter {
        Meter {
            prices,
            requests: Default::default(),
            write_units: AtomicU64::new(0),
            read_units: AtomicU64::new(0),
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

    /// Counts the units that an answer reports for its request.
    pub(crate) fn consumed(&self, class: Class, units: f64) {
        let kept = if class.writes() { &self.write_units } else { &self.read_units };
        // A server's mistake is no reason to panic: the conversion turns negative numbers and NaN
        // into 0.
        kept.fetch_add((units * UNIT).round() as u64, Ordering::Relaxed);
    }

    /// Returns the units counted so far.
    pub(crate) fn so_far(&self) -> Consumed {
        let units = |kept: &AtomicU64| kept.load(Ordering::Relaxed) as f64 / UNIT;
        Consumed { write_units: units(&self.write_units), read_units: units(&self.read_units) }
    }

    /// Returns the counts, and the total price in dollars.
    pub(crate) fn costs(&self) -> Costs {
        let count = |class: Class| self.requests[class as usize].load(Ordering::Relaxed);
        let Consumed { write_units, read_units } = self.so_far();
        let millionths = write_units * self.prices.writes_dollars_per_million
            + read_units * self.prices.reads_dollars_per_million;
        Costs {
            requests: Class::ALL.map(|class| Requests { class: class.as_str(), count: count(class) }).into(),
            consumed: vec![
                Units { unit: "write_units", amount: write_units },
                Units { unit: "read_units", amount: read_units },
            ],
            bytes_sent: self.bytes_out.load(Ordering::Relaxed),
            bytes_received: self.bytes_in.load(Ordering::Relaxed),
            dollars: millionths / 1_000_000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_units_of_each_cost_their_list_price() {
        let meter = Meter::new(Prices::default());
        meter.consumed(Class::Put, 999_999.5);
        meter.consumed(Class::Batch, 0.5);
        meter.consumed(Class::Query, 999_990.0);
        meter.consumed(Class::Get, 10.0);
        assert_eq!(meter.so_far(), Consumed { write_units: 1e6, read_units: 1e6 });
        let dollars = meter.costs().dollars;
        assert!((dollars - 0.75).abs() < 1e-9, "{dollars}");
    }

    #[test]
    fn sent_and_received_bytes_are_counted() {
        let meter = Meter::new(Prices::default());
        meter.sent(Class::Put, 7);
        meter.sent(Class::Table, 0);
        meter.received(3);
        meter.consumed(Class::Get, f64::NAN);
        meter.consumed(Class::Get, -1.0);
        let costs = meter.costs();
        assert_eq!(costs.requests.iter().map(|of| of.count).collect::<Vec<_>>(), [0, 0, 1, 0, 0, 0, 0, 1]);
        assert_eq!((costs.bytes_sent, costs.bytes_received, costs.dollars), (7, 3, 0.0));
        assert!(costs.consumed.iter().all(|units| units.amount == 0.0), "{costs:?}");
    }
}
