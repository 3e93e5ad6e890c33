//! The plan of the measurements: which loads, on which store, at which speed, and for how long.

use std::time::Duration;

use aft_bench::standard::{Prepare, Way, Workload};
use aft_services::Service;
use aft_store_faulty::Latency;

use crate::data::Speed;

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Local,
    S3,
    DynamoDb,
    Redis,
}

impl Kind {
    /// All kinds in the order in which they are measured, the fastest first.
    pub(crate) const ALL: [Kind; 5] = [Kind::Memory, Kind::Local, Kind::Redis, Kind::DynamoDb, Kind::S3];

    /// Returns the name that the data uses.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Memory => "memory",
            Kind::Local => "local",
            Kind::S3 => "S3",
            Kind::DynamoDb => "DynamoDB",
            Kind::Redis => "Redis",
        }
    }

    /// Returns the server that provides the store; none for an embedded store.
    pub(crate) fn service(self) -> Option<Service> {
        match self {
            Kind::Memory | Kind::Local => None,
            Kind::S3 => Some(Service::Minio),
            Kind::DynamoDb => Some(Service::DynamoDb),
            Kind::Redis => Some(Service::Redis),
        }
    }

    /// Returns the latency of its calls in the cloud; none for an embedded store.
    pub(crate) fn latency(self) -> Option<Latency> {
        match self {
            Kind::Memory | Kind::Local => None,
            Kind::S3 => Some(Latency::S3),
            Kind::DynamoDb => Some(Latency::DYNAMODB),
            Kind::Redis => Some(Latency::REDIS),
        }
    }

    /// Returns the speeds at which it is measured.
    pub(crate) fn speeds(self) -> Vec<Speed> {
        match self.latency() {
            None => vec![Speed::AsIs],
            Some(_) => vec![Speed::AsIs, Speed::Cloud],
        }
    }
}

/// The kind of server that runs the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serve {
    /// A server with the default value cache. Nothing is collected, so that a measurement does not
    /// pay for what earlier ones left behind.
    Usual,
    /// The same on a store of its own, configured to be its only writer: it lists no key a second
    /// time.
    Alone,
    /// The same as [`Serve::Alone`], without a value cache.
    NoCache,
    /// A server on a store of its own that collects superseded versions beside the load, some
    /// seconds after they were superseded.
    Collecting,
    /// The same, but nothing is collected.
    NotCollecting,
    /// The same as [`Serve::Usual`] with divided times; its requests to the store are counted.
    Counted,
    /// The same as [`Serve::Counted`], and it sweeps. It is the only one on its store that does,
    /// like `aft maintain` beside servers that do not sweep.
    CountedSweeper,
}

/// The way in which the work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Over HTTP, through a server of AFT.
    Aft(Serve),
    /// Directly on the store.
    Without(Way),
    /// All ways of `aft bench exactly-once`, with `requests` requests each.
    ExactlyOnce { requests: usize },
    /// All variants of [`crate::counts::requests`].
    Requests,
    /// [`crate::counts::cold_listing`].
    ColdListing,
}

/// One measurement, or several for [`How::ExactlyOnce`] and [`How::Requests`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Task {
    pub(crate) figure: &'static str,
    pub(crate) way: &'static str,
    pub(crate) how: How,
    pub(crate) x: f64,
    pub(crate) workload: Workload,
    pub(crate) clients: usize,
    /// Transactions that start per second, whether earlier ones have ended or not. None for a
    /// closed loop.
    pub(crate) rate: Option<f64>,
    /// The time for which the load runs before the measurement begins.
    pub(crate) warm_up: Duration,
    pub(crate) time: Duration,
}

/// The number of keys of most loads, as in the paper.
const KEYS: usize = 1_000;
/// The number of keys of the figure about caching and skew, as in the paper.
const MANY_KEYS: usize = 100_000;
/// The number of clients of an open loop: more than are ever busy.
const RATE_CLIENTS: usize = 64;
/// The warm-up before each measurement, in seconds: connections are made, and the load is steady.
const WARM_UP_S: f64 = 0.25;
/// The warm-up before collecting is measured, in seconds: by then the first superseded versions are
/// being removed, unless the time is scaled to much less.
const WARM_UP_COLLECTING_S: f64 = 22.0;
/// The warm-up before latencies are measured on a store that reports its time in whole seconds: by
/// then a node knows that time to within a round trip. It is not scaled.
const WARM_UP_TIME: Duration = Duration::from_secs(3);
/// The number of clients of most loads, as in the paper.
const CLIENTS: usize = 10;

pub(crate) const PLAIN: &str = "plain";
pub(crate) const AFT: &str = "aft";
pub(crate) const TRANSACTIONS: &str = "store's transactions";
pub(crate) const PLAIN_IN_ORDER: &str = "plain, one after the other";
pub(crate) const PLAIN_AT_ONCE: &str = "plain, all at once";
pub(crate) const AFT_IN_ORDER: &str = "aft, a call a write";
pub(crate) const AFT_AT_ONCE: &str = "aft, one call";
pub(crate) const ALONE: &str = "aft, alone on its store";
pub(crate) const NO_CACHE: &str = "aft without cache";
pub(crate) const COLLECTING: &str = "aft, collecting";
pub(crate) const NOT_COLLECTING: &str = "aft, not collecting";
pub(crate) const COLD: &str = "aft, cold";

/// Returns the number of keys that have a value before the load, beginning with the most read ones.
/// These are all keys of most loads. Of the [`MANY_KEYS`] they are those that get 81 % of the reads
/// at zipf 1.0 and more than 98 % at 1.5.
pub(crate) fn prepared_keys(kind: Kind) -> usize {
    match kind {
        Kind::DynamoDb | Kind::Redis => 10_000,
        Kind::Memory | Kind::Local | Kind::S3 => KEYS,
    }
}

fn standard() -> Workload {
    Workload { keys: KEYS, prepare: Prepare::Nothing, ..Workload::default() }
}

/// Returns the measurements of one store at one speed, in the order in which they run. `scale`
/// multiplies every time except [`WARM_UP_TIME`].
pub(crate) fn tasks(kind: Kind, speed: Speed, scale: f64) -> Vec<Task> {
    let mut tasks = Vec::new();
    let seconds = |s: f64| Duration::from_secs_f64(s * scale);
    let cloud = speed == Speed::Cloud;
    let mut add = |figure, way, how, x: f64, workload: Workload, clients, s| {
        let learns_time =
            figure == "io-latency" && matches!((&how, kind), (How::Aft(_), Kind::S3 | Kind::DynamoDb));
        let warm_up = match figure {
            "collecting" => seconds(WARM_UP_COLLECTING_S),
            _ if learns_time => WARM_UP_TIME,
            _ => seconds(WARM_UP_S),
        };
        tasks.push(Task { figure, way, how, x, workload, clients, rate: None, warm_up, time: seconds(s) });
    };
    let usual = How::Aft(Serve::Usual);

    // Latencies of writes and of whole transactions: not on the memory store, whose calls take no
    // time. A slower store needs more time for a similar number of transactions.
    if kind != Kind::Memory {
        let time = match (cloud, kind) {
            (true, Kind::S3) => 5.0,
            (true, _) => 2.5,
            (false, _) => 1.0,
        };
        for writes in [1, 5, 10] {
            let x = writes as f64;
            let one = Workload { functions: 1, writes, reads: 0, ..standard() };
            let each = Workload { functions: writes, writes: 1, reads: 0, ..standard() };
            let id = "io-latency";
            add(id, PLAIN_IN_ORDER, How::Without(Way::Direct), x, one.clone(), 1, time);
            add(id, PLAIN_AT_ONCE, How::Without(Way::DirectAtOnce), x, one.clone(), 1, time);
            add(id, AFT_IN_ORDER, usual, x, each, 1, time);
            add(id, AFT_AT_ONCE, usual, x, one, 1, time);
        }
        let time = match (cloud, kind) {
            (true, Kind::S3) => 15.0,
            (true, _) => 10.0,
            (false, _) => 4.0,
        };
        let id = "end-to-end";
        add(id, PLAIN, How::Without(Way::Direct), 0.0, standard(), CLIENTS, time);
        if kind == Kind::DynamoDb {
            add(id, TRANSACTIONS, How::Without(Way::Transactions), 0.0, standard(), CLIENTS, time);
        }
        add(id, AFT, usual, 0.0, standard(), CLIENTS, time);
        add(id, ALONE, How::Aft(Serve::Alone), 0.0, standard(), CLIENTS, time);

        let id = "fixed-rate";
        add(id, PLAIN, How::Without(Way::Direct), 0.0, standard(), RATE_CLIENTS, time);
        if kind == Kind::DynamoDb {
            add(id, TRANSACTIONS, How::Without(Way::Transactions), 0.0, standard(), RATE_CLIENTS, time);
        }
        add(id, AFT, usual, 0.0, standard(), RATE_CLIENTS, time);
        add(id, ALONE, How::Aft(Serve::Alone), 0.0, standard(), RATE_CLIENTS, time);
    }

    // The paper's figures 4 to 6, on the stores on which the paper has them.
    if matches!(kind, Kind::DynamoDb | Kind::Redis) {
        for zipf in [1.0, 1.5, 2.0] {
            let many = Workload { keys: MANY_KEYS, zipf, ..standard() };
            if kind == Kind::DynamoDb {
                let how = How::Without(Way::Transactions);
                add("cache", TRANSACTIONS, how, zipf, many.clone(), CLIENTS, 2.0);
            }
            add("cache", NO_CACHE, How::Aft(Serve::NoCache), zipf, many.clone(), CLIENTS, 2.0);
            add("cache", AFT, How::Aft(Serve::Alone), zipf, many, CLIENTS, 2.0);
        }
        for reads in 0..=5 {
            let shape = Workload { functions: 2, reads, writes: 5 - reads, ..standard() };
            let x = 20.0 * reads as f64;
            add("read-share", PLAIN, How::Without(Way::Direct), x, shape.clone(), CLIENTS, 1.5);
            add("read-share", AFT, usual, x, shape, CLIENTS, 1.5);
        }
        for functions in [1, 2, 4, 6, 8, 10] {
            let shape = Workload { functions, ..standard() };
            let x = functions as f64;
            add("length", PLAIN, How::Without(Way::Direct), x, shape.clone(), CLIENTS, 1.5);
            add("length", AFT, usual, x, shape, CLIENTS, 1.5);
        }
    }

    // Calls at the speed of the cloud wait longer, so it takes more clients to fill the server.
    let clients: &[usize] = if cloud { &[1, 8, 32, 64, 128, 256] } else { &[1, 2, 4, 8, 16, 32, 64] };
    for clients in clients {
        let skewed = Workload { zipf: 1.5, ..standard() };
        add("clients", AFT, usual, *clients as f64, skewed, *clients, 1.5);
    }

    // One node and 40 clients, as in the paper.
    let embedded = matches!(kind, Kind::Memory | Kind::Local);
    if embedded || (cloud && kind != Kind::S3) {
        let skewed = Workload { zipf: 1.5, ..standard() };
        // Each way comes first and last, because a process that has served for long is slower, by
        // as much as the difference that is measured. Embedded stores run twice, because their
        // throughput varies by a tenth with the disk and the machine.
        let (without, with) =
            ((NOT_COLLECTING, How::Aft(Serve::NotCollecting)), (COLLECTING, How::Aft(Serve::Collecting)));
        for _ in 0..if embedded { 2 } else { 1 } {
            for (way, how) in [without, with, with, without] {
                add("collecting", way, how, 0.0, skewed.clone(), 40, 20.0);
            }
        }
    }
    // Counts do not depend on speed, and only these stores charge by request.
    if !cloud && matches!(kind, Kind::DynamoDb | Kind::S3) {
        add("cold-listing", COLD, How::ColdListing, 0.0, standard(), 1, 0.0);
        add("requests", "", How::Requests, 0.0, standard(), CLIENTS, 0.0);
    }
    if kind != Kind::Memory {
        let requests = (if cloud { 300.0 } else { 600.0 } * scale).max(20.0) as usize;
        add("exactly-once", "", How::ExactlyOnce { requests }, 0.0, standard(), CLIENTS, 0.0);
    }
    let rated = tasks.iter_mut().filter(|task| task.figure == "fixed-rate");
    rated.for_each(|task| task.rate = Some(rate(kind)));
    tasks
}

/// Returns the transactions per second that every way can do on the two cores, with room to spare.
fn rate(kind: Kind) -> f64 {
    match kind {
        Kind::Memory | Kind::Local => 500.0,
        Kind::Redis => 200.0,
        Kind::DynamoDb => 50.0,
        Kind::S3 => 25.0,
    }
}
