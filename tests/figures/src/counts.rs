//! Bounds on counts instead of times: the price of a transaction until its last object is removed,
//! and the requests of a cold node that lists keys.
//!
//! The protocol's times are divided, so that minutes show what otherwise takes days: as many sweeps
//! pass between a commit and its removal as with the usual times, each of them lists what is there
//! then, and every record is looked at once when its retention has passed. Two kinds of times are
//! not divided, because they are measured against real clocks: the error of the store's time, and
//! the time that a node waits for a store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_bench::standard::{Dataset, Length, Options, Pace, Prepare, Target, Workload, run as bench};
use aft_core::ids::Key;
use aft_core::message::{Batch, Begin, CommitArgs, ListKeys, Op};
use aft_core::record::{Location, Value};
use aft_core::settings::Settings;
use aft_node::{NodeHandle, fresh_begin};
use aft_store::{Costs, Position, Space, Store};
use bytes::Bytes;
use futures::future::{join_all, try_join_all};

use crate::data::{Seen, Speed};
use crate::plan::{COLD, Serve};
use crate::site::{Failed, Served, Site};

pub(crate) const ONE_SERVER: &str = "aft, one server";
pub(crate) const FOUR_SERVERS: &str = "aft, four servers";

/// The variants that are counted on each kind of store. They run side by side, because their
/// latency is not a result.
const VARIANTS: [Variant; 4] = [
    Variant { way: ONE_SERVER, purpose: "count-1-1", servers: 1, writes: 1, per_s: 15.0 },
    Variant { way: ONE_SERVER, purpose: "count-1-2", servers: 1, writes: 2, per_s: 15.0 },
    Variant { way: ONE_SERVER, purpose: "count-1-10", servers: 1, writes: 10, per_s: 5.0 },
    Variant { way: FOUR_SERVERS, purpose: "count-4-2", servers: 4, writes: 2, per_s: 15.0 },
];

/// The divisor of the protocol's times: an hour becomes 15 seconds.
const DIVISOR: u64 = 240;
/// The number of keys: so few that nearly every version is superseded.
const KEYS: usize = 500;
/// The size of a value: so small that a transaction's record is well below a KiB.
const VALUE_BYTES: usize = 100;
/// The duration of the load, before it is scaled.
const LOAD: Duration = Duration::from_secs(220);
/// The time within which superseded versions and their records must be removed: several sweeps.
const DRAIN_MAX: Duration = Duration::from_secs(300);
const CLIENTS: usize = 16;

/// The number of keys that a cold node lists.
const LISTED: u32 = 1_000;

/// A load with a part of the store of its own.
#[derive(Debug, Clone, Copy)]
struct Variant {
    way: &'static str,
    purpose: &'static str,
    servers: usize,
    writes: usize,
    /// Transactions per second. All variants together must leave room on the two cores, because a
    /// server that falls behind looks at keys before it writes them, which costs requests.
    per_s: f64,
}

/// Prepares the settings of a node whose times are to be divided, and returns the divisor.
pub(crate) fn hasten(core: &mut Settings) -> u64 {
    // These keep their length by the clock: the error of the store's time, and the waits for a
    // store that is busy. They are multiplied here because the node divides all times.
    for kept in [
        &mut core.skew_max_ms,
        &mut core.commit_wait_max_ms,
        &mut core.store_patience_ms,
        &mut core.commit_patience_ms,
        &mut core.retry_min_ms,
        &mut core.retry_max_ms,
    ] {
        *kept *= DIVISOR;
    }
    // A transaction's default of a minute would become a quarter of a second.
    core.timeout_default_ms = core.timeout_max_ms;
    // Keep records for the least time: a day would become six minutes, longer than the drain.
    core.retention_default_ms = 0;
    DIVISOR
}

/// Counts every variant, and returns the way, the number of writes and the results of each.
///
/// # Errors
/// Returns an error if a variant cannot be run, or if versions or records are left that should have
/// been collected.
pub(crate) async fn requests(site: &mut Site, scale: f64) -> Result<Vec<(String, f64, Seen)>, Failed> {
    let datasets = VARIANTS.map(|_| site.dataset());
    let site = &*site;
    let each = VARIANTS.iter().zip(datasets).map(async |(variant, dataset)| {
        let seen = variant.run(site, dataset, scale).await;
        let seen = seen.map_err(|why| format!("{}, {} writes: {why}", variant.way, variant.writes))?;
        Ok::<_, Failed>((variant.way.to_owned(), variant.writes as f64, seen))
    });
    try_join_all(each).await
}

impl Variant {
    async fn run(self, site: &Site, dataset: Dataset, scale: f64) -> Result<Seen, Failed> {
        let open = async || site.open(self.purpose, Speed::AsIs).await;
        // A handle of its own, so that the requests of this check are not counted.
        let watch = open().await?;
        let mut stores = Vec::new();
        let mut servers = Vec::new();
        for _ in 0..self.servers {
            let store = open().await?;
            servers.push(site.serve(Arc::clone(&store), Serve::Counted).await?);
            stores.push(store);
        }
        let sweeping = self.sweep(site, &mut stores).await?;
        let before = total(&stores);

        let report = bench(Options {
            target: target(&servers),
            workload: Workload {
                functions: 1,
                reads: 0,
                writes: self.writes,
                value_bytes: VALUE_BYTES,
                keys: KEYS,
                zipf: 0.0,
                prepare: Prepare::Nothing,
            },
            length: Length::For(LOAD.mul_f64(scale)),
            warm_up: Some(Duration::ZERO),
            pace: Pace::Open { per_s: self.per_s },
            clients: CLIENTS,
            seed: Some(site.seed),
            dataset: Some(dataset),
            ..Options::default()
        });
        let figures = report.await.map_err(|why| why.to_string())?.figures;
        // One version of each key stays, and so does the record that it points to.
        until(&*watch, Space::Version, KEYS).await?;
        sweeping.end().await;
        // A second sweeper starts by looking at every record, as each one does once a day. Only
        // then are the last records removed, and their share of the price is counted.
        let sweeping = self.sweep(site, &mut stores).await?;
        until(&*watch, Space::Commit, KEYS).await?;
        while sweeping.node().stats().sweeps_whole == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        sweeping.end().await;
        let asked = total(&stores).since(&before);
        join_all(servers.into_iter().map(Served::end)).await;

        let transactions = figures.transactions;
        if transactions == 0 {
            return Err(format!("no transaction ended well: {:?}", figures.errors));
        }
        Ok(Seen {
            transactions,
            attempts: figures.attempts,
            transactions_per_s: figures.transactions_per_s,
            p50_ms: figures.latency_ms.p50,
            p99_ms: figures.latency_ms.p99,
            requests: asked.requests_per(transactions),
            dollars_per_million: Some(asked.dollars * 1e6 / transactions as f64),
            errors: figures.errors,
            ..Seen::default()
        })
    }

    /// Starts a node that sweeps; its handle is added to `stores`, so that its requests are
    /// counted.
    async fn sweep(self, site: &Site, stores: &mut Vec<Arc<dyn Store>>) -> Result<Served, Failed> {
        let store = site.open(self.purpose, Speed::AsIs).await?;
        stores.push(Arc::clone(&store));
        site.serve(store, Serve::CountedSweeper).await
    }
}

fn target(servers: &[Served]) -> Target {
    match servers {
        [one] => Target::Server { url: one.url.clone() },
        // Without sessions: a session would make a server look for what other servers committed,
        // and blind writes do not need that.
        some => {
            Target::Servers { urls: some.iter().map(|server| server.url.clone()).collect(), sessions: false }
        }
    }
}

/// Waits until `space` holds at most `at_most` objects.
async fn until(store: &dyn Store, space: Space, at_most: usize) -> Result<(), Failed> {
    let since = Instant::now();
    loop {
        let found = count(store, space).await?;
        if found <= at_most {
            return Ok(());
        }
        if since.elapsed() > DRAIN_MAX {
            return Err(format!(
                "{found} objects of {} are left, at most {at_most} should be",
                space.as_str()
            ));
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// Counts the objects in `space`.
async fn count(store: &dyn Store, space: Space) -> Result<usize, Failed> {
    let (mut found, mut after): (usize, Option<Position>) = (0, None);
    loop {
        let page = store.scan(space, b"", after.as_ref(), 1_000).await.map_err(|why| why.to_string())?;
        found += page.names.len();
        after = match (page.more, page.names.last()) {
            (true, Some(last)) => Some(Position { group: last.group.clone(), item: Some(last.item.clone()) }),
            _ => return Ok(found),
        };
    }
}

/// The requests of several handles of a store, and their price.
#[derive(Debug, Default)]
struct Asked {
    costs: Vec<Costs>,
    dollars: f64,
}

fn total(stores: &[Arc<dyn Store>]) -> Asked {
    let costs: Vec<Costs> = stores.iter().filter_map(|store| store.costs()).collect();
    let dollars = costs.iter().map(|costs| costs.dollars).sum();
    Asked { costs, dollars }
}

impl Asked {
    /// Returns the requests since `before`, with those of handles that were opened later.
    fn since(self, before: &Asked) -> Asked {
        let mut costs = self.costs;
        for (now, then) in costs.iter_mut().zip(&before.costs) {
            for (of, earlier) in now.requests.iter_mut().zip(&then.requests) {
                of.count -= earlier.count;
            }
        }
        Asked { costs, dollars: self.dollars - before.dollars }
    }

    fn requests_per(&self, transactions: u64) -> std::collections::BTreeMap<String, f64> {
        let mut requests = std::collections::BTreeMap::new();
        for of in self.costs.iter().flat_map(|costs| &costs.requests) {
            *requests.entry(of.class.to_owned()).or_default() += of.count as f64 / transactions as f64;
        }
        requests
    }

    fn requests(&self) -> u64 {
        self.costs.iter().flat_map(|costs| &costs.requests).map(|of| of.count).sum()
    }
}

/// Lists keys on a node that has just started; each key was written by a transaction of its own.
///
/// # Errors
/// Returns an error if the keys cannot be written or listed, or if some are missing in the listing.
pub(crate) async fn cold_listing(site: &Site) -> Result<Vec<(String, f64, Seen)>, Failed> {
    let open = async || site.open("listed", Speed::AsIs).await;
    // Another node writes the keys: the node that lists must not know any of them.
    let writer = site.serve(open().await?, Serve::Usual).await?;
    let each = (0..CLIENTS as u32).map(async |client| {
        for key in (client..LISTED).step_by(CLIENTS) {
            write(writer.node(), key).await?;
        }
        Ok::<_, Failed>(())
    });
    try_join_all(each).await?;
    writer.end().await;

    let store = open().await?;
    let cold = site.serve(Arc::clone(&store), Serve::Usual).await?;
    let before = total(std::slice::from_ref(&store));
    let since = Instant::now();
    let listed = list(cold.node()).await?;
    let took_ms = since.elapsed().as_secs_f64() * 1e3;
    let asked = total(std::slice::from_ref(&store)).since(&before);
    cold.end().await;
    if listed != LISTED as usize {
        return Err(format!("{listed} keys were listed, not {LISTED}"));
    }
    let seen = Seen {
        transactions: 1,
        attempts: 1,
        transactions_per_s: 1e3 / took_ms,
        p50_ms: took_ms,
        p99_ms: took_ms,
        requests: asked.requests_per(1),
        dollars_per_million: Some(asked.dollars * 1e6),
        ..Seen::default()
    };
    assert!(asked.requests() > 0, "a cold node cannot list keys without a request to its store");
    Ok(vec![(COLD.to_owned(), f64::from(LISTED), seen)])
}

async fn write(node: &NodeHandle, key: u32) -> Result<(), Failed> {
    let key = Key::parse(&format!("listed/{key:06}")).expect("a short name is a key");
    let bytes = Bytes::from_static(b"a value");
    let size = bytes.len() as u64;
    let value =
        Value { location: Location::Inline(bytes), size, etag: Bytes::new(), attributes: Bytes::new() };
    let batch = Batch { ops: vec![Op::Put(key, value)], commit: Some(CommitArgs::default()) };
    let begin = Begin { batch, ..fresh_begin() };
    node.begin(Box::new(begin)).await.map(drop).map_err(|why| format!("a write: {why:?}"))
}

/// Lists all keys in one transaction, page by page, and returns their number.
async fn list(node: &NodeHandle) -> Result<usize, Failed> {
    let begin = fresh_begin();
    let attempt = begin.attempt;
    let opened = node.begin(Box::new(begin)).await;
    opened.map_err(|why| format!("a begin: {why:?}"))?;
    let (mut listed, mut after) = (0, None);
    loop {
        let page = ListKeys { prefix: String::new(), after, limit: LISTED, delimiter: None };
        let page = node.list(attempt, page).await.map_err(|why| format!("a listing: {why:?}"))?;
        listed += page.keys.len();
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(listed),
        }
    }
}
