//! One of the demo's first two runs: opens the accounts, carries out the transfers while auditors
//! read, waits for the last process, and judges the result.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aft_api::Isolation;
use aft_store::{Name, Store};
use indicatif::ProgressBar;
use tokio::task::JoinSet;

use crate::counting::CountingStore;
use crate::demo::access::Access;
use crate::demo::account::{Account, Side, ledger_key};
use crate::demo::audit::{Final, judge, look};
use crate::demo::auditor::{Audits, audit, read_pair};
use crate::demo::bank::{Bank, CONFLICT, Site, errors};
use crate::demo::outcome::{RunFigures, Scale};
use crate::demo::plain::{self, Plain};
use crate::demo::process::Shim;
use crate::demo::timeline::Entries;
use crate::demo::transfer::Transfer;
use crate::error::{Error, Result};
use crate::figures::{Anomalies, Figures};
use crate::http::Server;
use crate::latency::Latencies;
use crate::platform::tally::Tally;
use crate::standard::requests::Counter;

/// The number of auditors: two see each pair often, and use little of the machine.
const AUDITORS: u64 = 2;

/// The settings that both runs share.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) program: &'a Path,
    /// The path of the server's settings file.
    pub(crate) settings: &'a Path,
    pub(crate) transfers: &'a [Transfer],
    pub(crate) scale: Scale,
    pub(crate) seed: u64,
    /// The prefix of all keys, drawn at random so that a store that outlives the demo can be used
    /// again.
    pub(crate) prefix: String,
}

/// The results of a run.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) figures: RunFigures,
    pub(crate) timeline: Entries,
    pub(crate) latencies: Latencies,
}

/// Runs the transfers without the shim: functions write directly to the store as they go.
pub(crate) async fn direct(plan: &Plan<'_>, store: Arc<dyn Store>, bar: ProgressBar) -> Result<Found> {
    let url = store.url();
    let counting = Arc::new(CountingStore::new(store));
    let plain = Plain::start(Arc::clone(&counting) as _).await?;
    let counter = Counter::Store(Arc::clone(&counting));
    let found = carry_out(plan, &plain.url(), &url, false, &counter, bar).await?;
    // Leave the store as it was found: it may not belong to the demo.
    for names in keys(plan).collect::<Vec<_>>().chunks(DELETE_LEN_MAX) {
        counting.delete(names).await?;
    }
    Ok(found)
}

/// The number of names deleted in one call.
const DELETE_LEN_MAX: usize = 100;

/// Returns the name of every object that a direct run may have written.
fn keys(plan: &Plan<'_>) -> impl Iterator<Item = Name> {
    let accounts =
        (0..plan.scale.pairs).flat_map(|pair| [Side::A, Side::B].map(|side| side.key(&plan.prefix, pair)));
    let entries = plan.transfers.iter().flat_map(|transfer| {
        [Side::A, Side::B].map(|side| ledger_key(&side.key(&plan.prefix, transfer.pair), transfer.request))
    });
    accounts.chain(entries).map(|key| plain::name(&key))
}

/// Runs the transfers through `aft serve`. `shown` is the store's URL without secrets.
pub(crate) async fn shim(plan: &Plan<'_>, store: &str, shown: &str, bar: ProgressBar) -> Result<Found> {
    let shim = Shim::start(plan.program, store, plan.settings).await?;
    let counter = Counter::Servers(vec![Server::parse(shim.url(), None)?]);
    let found = carry_out(plan, shim.url(), shown, true, &counter, bar).await;
    shim.stop().await;
    found
}

async fn carry_out(
    plan: &Plan<'_>,
    url: &str,
    store: &str,
    shim: bool,
    counter: &Counter,
    bar: ProgressBar,
) -> Result<Found> {
    let server = Server::parse(url, None)?;
    let failed = |problem: String| Error::Server { url: url.to_owned(), problem };
    // Open the accounts before counting requests: opening them is not part of the load.
    let mut access = Access::new(server.clone(), None);
    for pair in 0..plan.scale.pairs {
        let open = |side: Side| (side.key(&plan.prefix, pair), Account::opening().encode());
        let accounts = [Side::A, Side::B].map(open).into();
        let opened = match shim {
            true => access.write_all(accounts, Isolation::Unspecified).await,
            false => access.write_each(accounts).await,
        };
        opened.map_err(|why| failed(format!("cannot open the accounts: {why:?}")))?;
    }
    let before = counter.asked().await?;
    let site = Site {
        program: plan.program.to_owned(),
        server,
        shim,
        prefix: plan.prefix.clone(),
        isolation: Isolation::Unspecified,
    };
    let jobs = plan.transfers.iter().map(|transfer| transfer.job(&plan.prefix));
    let bank = Bank::new(site, jobs, bar.clone());
    let (tally, audits, elapsed_s) = work(plan, &bank).await;
    let asked = counter.asked().await?.since(&before);

    // Every process has ended: read the final accounts, and judge by these.
    let mut pairs = Vec::new();
    for pair in 0..plan.scale.pairs {
        let read = read_pair(&bank.site, &mut access, pair, Duration::ZERO).await;
        let (a, b) =
            read.map_err(|why| failed(format!("cannot read the accounts after the run: {why:?}")))?;
        // A last sample, so that the report's curve ends at the values that the figures are made
        // of.
        bank.timeline.sample(pair, look(&a, &b).money_off);
        pairs.push((a, b));
    }
    bar.finish_and_clear();
    let acknowledged =
        plan.transfers.iter().filter(|transfer| tally.acknowledged.contains(&transfer.request));
    let end = judge(&pairs, &acknowledged.copied().collect::<Vec<_>>());
    let anomalies = Anomalies { own_write: bank.own_write(), fractured: audits.fractured };
    let mut figures = figures(plan, &tally, audits, anomalies, end, elapsed_s);
    let transactions = figures.common.transactions;
    figures.common.requests_per_transaction = asked.per_transaction(transactions);
    figures.common.consumed_per_transaction = asked.units_per_transaction(transactions);
    figures.common.cost_per_million_transactions = asked.cost_per_million(transactions);
    store.clone_into(&mut figures.common.store);
    figures.common.direct = !shim;
    Ok(Found { figures, timeline: bank.timeline.take(), latencies: tally.latencies })
}

/// Runs transfers and auditors until the last process has ended. Returns the counts, what the
/// auditors saw, and how long the transfers took, in seconds.
async fn work(plan: &Plan<'_>, bank: &Arc<Bank>) -> (Tally, Audits, f64) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut auditors = JoinSet::new();
    for nth in 0..AUDITORS {
        let (bank, stop) = (Arc::clone(bank), Arc::clone(&stop));
        auditors.spawn(audit(bank, plan.scale.pairs, plan.seed ^ nth, stop));
    }
    let (platform, stragglers) = bank.carry_out(plan.scale.workers, plan.seed).await;
    // Late functions do not count as load time, but auditors go on until they have ended.
    let elapsed_s = bank.timeline.now_s();
    stragglers.wait().await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Audits::default();
    while let Some(ended) = auditors.join_next().await {
        let audits = ended.expect("an auditor does not panic, and nobody aborts it");
        all.count += audits.count;
        all.fractured += audits.fractured;
        all.failed += audits.failed;
        all.half_done.extend(audits.half_done);
    }
    (platform.take_tally(), all, elapsed_s)
}

fn figures(
    plan: &Plan<'_>,
    tally: &Tally,
    audits: Audits,
    anomalies: Anomalies,
    end: Final,
    elapsed_s: f64,
) -> RunFigures {
    let transactions = tally.acknowledged.len() as u64;
    let mut errors = errors(tally, audits.failed);
    if tally.conflicts > 0 {
        errors.insert(CONFLICT.to_owned(), tally.conflicts);
    }
    let mut half_done = audits.half_done;
    half_done.extend(end.half_done);
    let common = Figures {
        transactions,
        attempts: tally.attempts,
        transactions_per_s: transactions as f64 / elapsed_s.max(f64::EPSILON),
        latency_ms: tally.latencies.summary(),
        anomalies,
        sessions_broken: None,
        requests_per_transaction: Default::default(),
        consumed_per_transaction: BTreeMap::new(),
        cost_per_million_transactions: None,
        errors,
        seed: plan.seed,
        store: String::new(),
        workload: plan.scale,
        direct: false,
    };
    RunFigures {
        common,
        half_done: half_done.len() as u64,
        double_effects: end.double_effects,
        lost_effects: end.lost_effects,
        money_created: end.money_created,
        money_lost: end.money_lost,
        kills: tally.died,
        duplicates: tally.duplicates,
        zombies: tally.late,
        audits: audits.count,
    }
}
