//! Bank transfers made of real processes that are killed, run twice and come back late; without the shim, then with it, then at both of
//! its levels.
//!
//! * [`Options`] – what the demo is told; [`Outcome`] – what was found.
//! * [`function`] – the processes: the hidden subcommand `demo-function`.
//! * `fate`, `account`, `order` – what is done, to whom, and how processes are told.
//! * `platform`, `process`, `access`, `plain` – a small serverless platform; the shim or a plain server beneath it.
//! * `auditor`, `audit` – who looks on, and what they conclude. Conclusions rest on the accounts alone.
//! * `balances` – transfers without an order, at `read_atomic` and at `serializable`: the sum of all balances.
//! * `run`, `timeline`, `page`, `plot` – one run, what happened when, the HTML report.
//!
//! # How the figures come about
//! Money moves within fixed pairs of accounts. An account's value lists the requests that were applied to it, in the order in which they
//! were, and names the attempt that wrote it. So a pair shows by itself whether a transfer is half done (listed on one side only), whether
//! a read is fractured (two writers), and in the end whether a request had its effect once, twice or not at all.

mod access;
mod account;
mod audit;
mod auditor;
mod balances;
mod fate;
mod folder;
pub mod function;
mod options;
mod order;
mod outcome;
mod page;
mod plain;
mod platform;
mod plot;
mod process;
mod run;
mod timeline;

pub use options::{OpenStore, Opening, Options};
pub use outcome::{Balances, LevelFigures, Outcome, RunFigures, Runs, Scale};

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Result};
use crate::machine;
use folder::Folder;
use run::Plan;

/// Requests under way at once: more than two cores can do, so that the platform is never idle, and few enough for a request to take
/// some tens of milliseconds.
const WORKERS: u32 = 8;
/// Pairs of accounts at least: two a worker, so that a late function meets later requests of its pair.
const PAIRS_MIN: u64 = 16;
/// Requests of one pair, about: an account lists them all, and every function reads and writes that list.
const REQUESTS_OF_A_PAIR: u64 = 200;

/// Runs the demo: the work straight to the store, then through `aft serve`, both with the same seed; then transfers at both levels. Draws progress on standard error
/// (if that is a terminal) and writes the HTML report; prints nothing else.
///
/// # Errors
/// If the store or the server cannot be started, or a file cannot be written; and if the process is told to end meanwhile.
pub async fn run(options: Options) -> Result<Outcome> {
    tokio::select! {
        outcome = all_runs(options) => outcome,
        // What is dropped here takes its processes and its directory along.
        interrupted = interrupted() => Err(interrupted),
    }
}

/// Waits for Ctrl-C or a request to terminate.
async fn interrupted() -> Error {
    let terminated = signal(SignalKind::terminate());
    match terminated {
        Ok(mut terminated) => tokio::select! {
            _ = tokio::signal::ctrl_c() => Error::Interrupted,
            _ = terminated.recv() => Error::Interrupted,
        },
        Err(why) => Error::io("listening for signals")(why),
    }
}

async fn all_runs(options: Options) -> Result<Outcome> {
    let open = options.open.ok_or_else(|| Error::Options("the demo needs a way to open stores".into()))?;
    let program = match options.program {
        Some(program) => program,
        None => std::env::current_exe().map_err(Error::io("finding the running program"))?,
    };
    if options.requests == 0 {
        return Err(Error::Options("at least one request is needed".into()));
    }
    process::probe(&program).await?;
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let folder = Folder::create()?;
    let prefix = format!("bank-{:08x}", rand::random::<u32>());
    let stores = stores(options.store.as_deref(), &folder, &prefix);
    let pairs = options.requests.div_ceil(REQUESTS_OF_A_PAIR).max(PAIRS_MIN);
    let pairs = u32::try_from(pairs).map_err(|_| Error::Options("so many requests take years".into()))?;
    let transfers = fate::transfers(options.requests, pairs, seed);
    // An empty one: the demo shows the defaults, not the settings of the directory in which it is started.
    let settings = folder.path().join("aft.toml");
    std::fs::write(&settings, "").map_err(Error::io("writing the server's settings"))?;
    let plan = Plan {
        program: &program,
        settings: &settings,
        transfers: &transfers,
        scale: Scale { requests: options.requests, pairs, workers: WORKERS },
        seed,
        prefix: prefix.clone(),
    };

    let open =
        async |url: String| (open.0)(url).await.map_err(|why| Error::Options(format!("the store: {why}")));
    let store = open(stores.direct.clone()).await?;
    let shared = !store.capabilities().exclusive;
    // The URL of a shared store may hold a password.
    let shown = match shared {
        true => Stores { balances: beside(&store.url(), &prefix), shim: store.url(), direct: store.url() },
        false => stores.clone(),
    };
    let direct = run::direct(&plan, store, bar("straight to the store", options.requests)).await?;
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
    // The store beside another one is the demo's own, however far it came.
    let removed = match shared {
        true => balances::remove_store(&*open(stores.balances.clone()).await?).await,
        false => Ok(()),
    };
    let found = found?;
    removed?;

    let report = options.report.unwrap_or_else(|| default_report(seed));
    let outcome = Outcome {
        runs: Runs { direct: direct.figures.clone(), shim: shim.figures.clone() },
        balances: found,
        machine: machine::describe(),
        report: report.clone(),
        stores_removed: options.store.is_none(),
    };
    let page = page::page(&outcome, &direct, &shim);
    std::fs::write(&report, page).map_err(Error::io(format!("writing the report {}", report.display())))?;
    Ok(outcome)
}

/// A store's URL for each run.
#[derive(Clone)]
struct Stores {
    direct: String,
    shim: String,
    balances: String,
}

/// Embedded stores get a directory for each run. Other stores are shared by the two runs, whose names do not meet; the balances get a
/// store beside it, whose prefix ends with `name`.
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

/// Returns the URL of a store beside another one, by a longer prefix. One without a prefix is left as it is: it is gone with its process.
fn beside(url: &str, name: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (place, query) = match rest.split_once('?') {
        Some((place, query)) => (place, format!("?{query}")),
        None => (rest, String::new()),
    };
    let place = place.trim_end_matches('/');
    // A password before the @ may have a slash.
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
    fn stores_of_the_runs() {
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
