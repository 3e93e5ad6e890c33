//! Bounds that count and do not time: what a transaction costs until nothing of it is left, and what a cold node asks for to list keys.
//!
//! The protocol's times are divided, so that minutes show what takes days: as many sweeps come by between a commit and its removal as with the
//! usual times, each of them lists what is there then, and every record is looked at once when its retention has passed. What stays as it is,
//! since it is measured against real clocks: the error of time, and how long a store is waited for.

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

/// The counts of one kind of store, taken side by side: nobody asks how long they take.
const VARIANTS: [Variant; 4] = [
    Variant { way: ONE_SERVER, purpose: "count-1-1", servers: 1, writes: 1, per_s: 15.0 },
    Variant { way: ONE_SERVER, purpose: "count-1-2", servers: 1, writes: 2, per_s: 15.0 },
    Variant { way: ONE_SERVER, purpose: "count-1-10", servers: 1, writes: 10, per_s: 5.0 },
    Variant { way: FOUR_SERVERS, purpose: "count-4-2", servers: 4, writes: 2, per_s: 15.0 },
];

/// Divides the protocol's times: an hour is 15 seconds.
const DIVISOR: u64 = 240;
/// Keys: few enough that nearly all that is written is superseded.
const KEYS: usize = 500;
/// A value's size: with its transaction's record well below a KiB.
const VALUE_BYTES: usize = 100;
/// The time of the load, before it is scaled.
const LOAD: Duration = Duration::from_secs(220);
/// The time after which what is superseded must have gone: several sweeps.
const DRAIN_MAX: Duration = Duration::from_secs(300);
const CLIENTS: usize = 16;

/// Keys that a cold node lists.
const LISTED: u32 = 1_000;

/// A load of its own on a part of the store of its own.
#[derive(Debug, Clone, Copy)]
struct Variant {
    way: &'static str,
    purpose: &'static str,
    servers: usize,
    writes: usize,
    /// Transactions a second: together a load that leaves the two cores room, since a server that is late looks at keys before it writes them.
    per_s: f64,
}

/// Divides the times of a node.
pub(crate) fn hasten(core: &mut Settings) -> u64 {
    // As long as they are by the clock: the error of the store's time, and the patience with a store that is busy.
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
    // A transaction's usual minute would be a quarter of a second.
    core.timeout_default_ms = core.timeout_max_ms;
    // The least that a record is kept: a day would be six minutes.
    core.retention_default_ms = 0;
    DIVISOR
}

/// Counts every variant; for each its way, its number of writes, and what was seen.
///
/// # Errors
/// If it cannot be run, or leaves something over.
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
        // One version of each key stays, with the record that it leads to.
        until(&*watch, Space::Version, KEYS).await?;
        sweeping.end().await;
        // A job that looks at every record, as each does once a day.
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

    /// Starts a node that sweeps, on a store whose requests count.
    async fn sweep(self, site: &Site, stores: &mut Vec<Arc<dyn Store>>) -> Result<Served, Failed> {
        let store = site.open(self.purpose, Speed::AsIs).await?;
        stores.push(Arc::clone(&store));
        site.serve(store, Serve::CountedSweeper).await
    }
}

fn target(servers: &[Served]) -> Target {
    match servers {
        [one] => Target::Server { url: one.url.clone() },
        // A session would ask for what other servers committed; here everybody writes blindly.
        some => {
            Target::Servers { urls: some.iter().map(|server| server.url.clone()).collect(), sessions: false }
        }
    }
}

/// Waits until at most so many objects of a space are there.
async fn until(store: &dyn Store, space: Space, at_most: usize) -> Result<(), Failed> {
    let since = Instant::now();
    loop {
        let found = count(store, space).await?;
        if found <= at_most {
            return Ok(());
        }
        if since.elapsed() > DRAIN_MAX {
            return Err(format!("{found} objects of {} are left, not {at_most}", space.as_str()));
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

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

/// The requests of several handles of a store.
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
    /// Returns the requests since an earlier moment, of handles that were there then and of later ones.
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

/// Lists keys on a node that has just started, each of which was written by a transaction of its own.
///
/// # Errors
/// If it cannot be run.
pub(crate) async fn cold_listing(site: &Site) -> Result<Vec<(String, f64, Seen)>, Failed> {
    let open = async || site.open("listed", Speed::AsIs).await;
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
    assert!(asked.requests() > 0, "a cold node asks its store");
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

/// Lists all keys in one transaction; their number.
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
