//! Bank transfers by real processes that are killed, run twice, and finish late: first without the
//! shim, then through it, then at both of its isolation levels.
//!
//! * [`Options`] – the settings of the demo; [`Outcome`] – its results.
//! * [`function`] – the code of the processes: the hidden subcommand `demo-function`.
//! * `transfer`, `account`, `order` – the transfers; the accounts; the messages between the demo
//!   and its processes.
//! * `bank`, `process`, `access`, `plain` – attempts on the simulated platform, whose functions are
//!   processes, and below them the shim or a plain server.
//! * `auditor`, `audit` – clients that read accounts during a run, and the conclusions, which are
//!   drawn from the accounts alone.
//! * `balances` – transfers without an order, at `read_atomic` and at `serializable`, and the sum
//!   of all balances.
//! * `run`, `timeline` – one run, its events over time. `page`, `plot`, `report` – the HTML report
//!   and its file.
//!
//! # How faults are found
//! Money moves within fixed pairs of accounts. An account's value lists the requests applied to it,
//! in order, and names the attempt that wrote it. A pair of accounts therefore shows whether a
//! transfer is half done (it is listed on one side only), whether a read is fractured (the two
//! sides have different writers), and, at the end, whether a request took effect once, twice or not
//! at all.

mod access;
mod account;
mod audit;
mod auditor;
mod balances;
mod bank;
mod folder;
pub mod function;
mod options;
mod order;
mod outcome;
mod page;
mod plain;
mod plot;
mod process;
mod report;
mod run;
mod timeline;
mod transfer;

pub use options::{OpenStore, Opening, Options};
pub use outcome::{Balances, LevelFigures, Outcome, RunFigures, Runs, Scale};

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Result};
use crate::machine;
use folder::Folder;
use report::ReportFile;
use run::Plan;

/// Requests in flight at once: more than two cores can process, so that the platform is never idle,
/// and few enough that a request takes some tens of milliseconds.
const WORKERS: u32 = 8;
/// The minimum number of pairs of accounts: two per worker, so that a late function meets later
/// requests of its pair.
const PAIRS_MIN: u64 = 16;
/// The approximate number of requests per pair. It is bounded because an account lists them all,
/// and each function reads and writes that list.
const REQUESTS_OF_A_PAIR: u64 = 200;

/// Runs the demo: the transfers directly against the store, then through `aft serve`, both with the
/// same seed; then transfers at both levels. Draws progress on standard error (if that is a
/// terminal) and writes the HTML report; prints nothing else.
///
/// # Errors
/// Returns an error if the store or the server cannot be started, if the report cannot be opened
/// for writing, or if the process receives SIGINT or SIGTERM. A report that cannot be written at
/// the end is a part of the outcome.
pub async fn run(options: Options) -> Result<Outcome> {
    tokio::select! {
        outcome = all_runs(options) => outcome,
        // Dropping the runs ends their processes and removes their directory.
        interrupted = interrupted() => Err(interrupted),
    }
}

/// Waits for SIGINT (Ctrl-C) or SIGTERM.
async fn interrupted() -> Error {
    let terminated = signal(SignalKind::terminate());
    match terminated {
        Ok(mut terminated) => tokio::select! {
            _ = tokio::signal::ctrl_c() => Error::Interrupted,
            _ = terminated.recv() => Error::Interrupted,
        },
        Err(why) => Error::io("cannot listen for signals")(why),
    }
}

async fn all_runs(options: Options) -> Result<Outcome> {
    // Check the options and the program before anything is created.
    let open = options
        .open
        .ok_or_else(|| Error::Options("the caller of the demo must set `Options::open`".into()))?;
    let program = match options.program {
        Some(program) => program,
        None => std::env::current_exe().map_err(Error::io("cannot find the path of the running program"))?,
    };
    if options.requests == 0 {
        return Err(Error::Options(
            "the demo needs at least one request: set --requests to 1 or more".into(),
        ));
    }
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let report = ReportFile::open(options.report.unwrap_or_else(|| default_report(seed)))?;
    process::probe(&program).await?;
    let folder = Folder::create()?;
    // A random prefix keeps runs apart that use the same store.
    let prefix = format!("bank-{:08x}", rand::random::<u32>());
    let stores = stores(options.store.as_deref(), &folder, &prefix);
    let pairs = options.requests.div_ceil(REQUESTS_OF_A_PAIR).max(PAIRS_MIN);
    let pairs = u32::try_from(pairs).map_err(|_| {
        Error::Options("--requests is too large: it would take years; choose a smaller number".into())
    })?;
    let transfers = transfer::transfers(options.requests, pairs, seed);
    // An empty settings file: the demo shows the defaults, not the settings in its working
    // directory.
    let settings = folder.path().join("aft.toml");
    std::fs::write(&settings, "").map_err(Error::io("cannot write the server's settings"))?;
    let plan = Plan {
        program: &program,
        settings: &settings,
        transfers: &transfers,
        scale: Scale { requests: options.requests, pairs, workers: WORKERS },
        seed,
        prefix: prefix.clone(),
    };

    let open = async |url: String| {
        (open.0)(url).await.map_err(|why| Error::Options(format!("cannot open the store: {why}")))
    };
    let store = open(stores.direct.clone()).await?;
    let shared = !store.capabilities().exclusive;
    // Reports show the store's own form of its URL, since the given one may hold a password.
    let shown = match shared {
        true => Stores { balances: beside(&store.url(), &prefix), shim: store.url(), direct: store.url() },
        false => stores.clone(),
    };
    let direct = run::direct(&plan, store, bar("directly to the store", options.requests)).await?;
    let shim = run::shim(&plan, &stores.shim, &shown.shim, bar("through the shim", options.requests)).await?;

    let balances = balances::Plan {
        program: &program,
        settings: &settings,
        store: &stores.balances,
        shown: &shown.balances,
        shared,
        requests: options.requests,
        workers: WORKERS,
        seed,
        prefix,
    };
    let transfers = balances.transfers();
    let found = balances::balances(&balances, |level| bar(level, transfers)).await;
    // On a shared store the balances have a store made for them: remove it even if they failed.
    let removed = match shared {
        true => balances::remove_store(&*open(stores.balances.clone()).await?).await,
        false => Ok(()),
    };
    let found = found?;
    removed?;

    let mut outcome = Outcome {
        runs: Runs { direct: direct.figures.clone(), shim: shim.figures.clone() },
        balances: found,
        machine: machine::describe(),
        report: report.path().to_owned(),
        report_failed: None,
        stores_removed: options.store.is_none(),
    };
    let page = page::page(&outcome, &direct, &shim);
    outcome.report_failed = report.write(&page).err();
    Ok(outcome)
}

/// The URL of each run's store.
#[derive(Clone)]
struct Stores {
    direct: String,
    shim: String,
    balances: String,
}

/// Returns the URL of each run's store. Embedded stores get a directory for each run. On other
/// stores the first two runs share one store, with names that do not collide, and the balances get
/// a store beside it, whose prefix ends with `name`.
fn stores(url: Option<&str>, folder: &Folder, name: &str) -> Stores {
    let within = |folder: PathBuf| {
        let url = |name: &str| format!("local:{}", folder.join(name).display());
        Stores { direct: url("direct"), shim: url("shim"), balances: url("balances") }
    };
    match url {
        None => within(folder.path().to_owned()),
        Some(url) => match url.strip_prefix("local:") {
            Some(folder) => within(PathBuf::from(folder)),
            None => Stores { direct: url.to_owned(), shim: url.to_owned(), balances: beside(url, name) },
        },
    }
}

/// Returns the URL of a store beside the one at `url`, by extending its prefix with `name`. A URL
/// without a place for a prefix (`memory:`) is returned unchanged: that store ends with its
/// process.
fn beside(url: &str, name: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (place, query) = match rest.split_once('?') {
        Some((place, query)) => (place, format!("?{query}")),
        None => (rest, String::new()),
    };
    let place = place.trim_end_matches('/');
    // A password before the @ may contain a slash, so look for the prefix after the @ only.
    let host = place.rsplit_once('@').map_or(place, |(_, host)| host);
    let joint = if host.contains('/') { '-' } else { '/' };
    format!("{scheme}://{place}{joint}{name}{query}")
}

fn default_report(seed: u64) -> PathBuf {
    std::env::temp_dir().join(format!("aft-demo-{seed}.html"))
}

fn bar(what: &'static str, requests: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:>22} {wide_bar} {pos}/{len} {elapsed}");
    let style = style.expect("the template is a constant that parses");
    ProgressBar::new(requests).with_style(style).with_prefix(what)
}

#[cfg(test)]
mod tests {
    use super::folder::Folder;
    use super::stores;

    #[test]
    fn each_run_gets_its_own_store() {
        let folder = Folder::create().unwrap();
        let path = folder.path().display().to_string();
        let check = |url: Option<&str>, direct: &str, shim: &str, balances: &str| {
            let stores = stores(url, &folder, "bank-7");
            let all = (stores.direct.as_str(), stores.shim.as_str(), stores.balances.as_str());
            assert_eq!(all, (direct, shim, balances));
        };
        let within = |name: &str| format!("local:{path}/{name}");
        check(None, &within("direct"), &within("shim"), &within("balances"));
        check(Some("local:/data"), "local:/data/direct", "local:/data/shim", "local:/data/balances");
        let shared = |url: &str, balances: &str| check(Some(url), url, url, balances);
        shared("memory:", "memory:");
        shared("redis://h:1/p", "redis://h:1/p-bank-7");
        shared("redis://h:1", "redis://h:1/bank-7");
        shared("redis://:a/b@h:1/?db=2", "redis://:a/b@h:1/bank-7?db=2");
        shared("s3://b/p/q/?region=r", "s3://b/p/q-bank-7?region=r");
        shared("dynamodb://t?endpoint=http://h:1/", "dynamodb://t/bank-7?endpoint=http://h:1/");
        let gone = folder.path().to_owned();
        drop(folder);
        assert!(!gone.exists());
    }
}
