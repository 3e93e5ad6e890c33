//! Balances at the two isolation levels of the shim: transfers between any two of a few accounts at
//! the same time, first at `read_atomic`, then at `serializable`.
//!
//! The functions and their fates are the same as in the two runs; only the order of the requests is
//! gone. Two transactions that read the same balance may both commit at `read_atomic`: the later
//! one overwrites the earlier one (a lost update), and the sum of all balances changes. At
//! `serializable` one of the two is rejected with `conflict`, and retried.
//!
//! Both levels use one server on a store of their own. Where one process holds the store, each
//! transaction names its level. On a shared store the level belongs to the prefix of the keys, and
//! is set when the store is created; so the demo creates a store beside the one that it was given,
//! and removes it at the end. A demo that is interrupted leaves it there. The levels of a store in
//! use are not changed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aft_api::Isolation;
use aft_store::{Name, Scanned, Space, Store};
use indicatif::ProgressBar;
use tokio::time::sleep;

use crate::demo::access::Access;
use crate::demo::account::{Account, OPENING_BALANCE};
use crate::demo::audit::{Books, judge_books};
use crate::demo::bank::{Bank, CONFLICT, Job, Site, errors};
use crate::demo::order::Ended;
use crate::demo::outcome::{Balances, LevelFigures};
use crate::demo::process::{self, Shim};
use crate::demo::transfer::{Move, moves};
use crate::error::{Error, Result};
use crate::http::Server;

/// The number of accounts: two per worker, so that most transfers conflict with another one, and
/// yet make progress.
const ACCOUNTS: u32 = 16;
/// The divisor for the number of transfers at each level: a fifth of a run's requests.
const SHARE: u64 = 5;
/// The pause between two audits, each of which reads every account.
const BETWEEN_AUDITS: Duration = Duration::from_millis(10);
/// The number of attempts to read all accounts at the end, when nobody writes any more.
const READ_TRIES_MAX: u32 = 10;
/// The number of names listed and deleted in one call.
const PAGE_LEN: usize = 100;

/// The store of the balances, and the settings of their runs.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) program: &'a Path,
    /// The path of the server's settings file.
    pub(crate) settings: &'a Path,
    /// The URL of the store, which is still empty.
    pub(crate) store: &'a str,
    /// The store's URL without secrets.
    pub(crate) shown: &'a str,
    /// True if several servers may share the store, so that its keys have levels.
    pub(crate) shared: bool,
    /// The number of requests in each of the two runs.
    pub(crate) requests: u64,
    pub(crate) workers: u32,
    pub(crate) seed: u64,
    /// The prefix of all keys.
    pub(crate) prefix: String,
}

impl Plan<'_> {
    /// Returns the number of transfers at each level.
    pub(crate) fn transfers(&self) -> u64 {
        self.requests.div_ceil(SHARE)
    }

    fn prefix_of(&self, level: Isolation) -> String {
        format!("{}-{}", self.prefix, name(level))
    }
}

fn name(level: Isolation) -> &'static str {
    match level {
        Isolation::ReadAtomic => "read_atomic",
        Isolation::Serializable => "serializable",
        Isolation::Unspecified => unreachable!("each of the two levels is named"),
    }
}

/// Runs the transfers at both levels. `bar` returns the progress bar of a level.
///
/// # Errors
/// Returns an error if the store cannot be created, the server cannot be started, or the accounts
/// cannot be opened or read.
pub(crate) async fn balances(plan: &Plan<'_>, bar: impl Fn(&'static str) -> ProgressBar) -> Result<Balances> {
    if plan.shared {
        make_store(plan).await?;
    }
    let shim = Shim::start(plan.program, plan.store, plan.settings).await?;
    let both = async {
        let read_atomic = at_level(plan, shim.url(), Isolation::ReadAtomic, bar("at read_atomic")).await?;
        let serializable =
            at_level(plan, shim.url(), Isolation::Serializable, bar("at serializable")).await?;
        Ok(Balances { store: plan.shown.to_owned(), read_atomic, serializable })
    };
    let both = both.await;
    // Kill the server: a drain would wait for the transactions of killed functions.
    shim.kill().await;
    both
}

/// Creates a shared store with a level for each of the two prefixes.
async fn make_store(plan: &Plan<'_>) -> Result<()> {
    let level = |level| format!("{}/={}", plan.prefix_of(level), name(level));
    let (read_atomic, serializable) = (level(Isolation::ReadAtomic), level(Isolation::Serializable));
    let settings = plan.settings.to_string_lossy();
    // The store's prefix is random, so other stores around it are expected (`--among-others`).
    let arguments = ["store", "init", plan.store, "--among-others", "--config", &settings];
    let levels = ["--isolation", &read_atomic, "--isolation", &serializable];
    process::aft(plan.program, &[&arguments[..], &levels[..]].concat()).await
}

/// Deletes everything in a store that was created for the balances.
///
/// # Errors
/// Returns [`Error::Store`] if the store does not answer. Objects may remain then.
pub(crate) async fn remove_store(store: &dyn Store) -> Result<()> {
    for space in Space::ALL {
        loop {
            let page = store.scan(space, b"", None, PAGE_LEN).await?;
            let name = |scanned: Scanned| Name::new(space, scanned.group, scanned.item);
            let names: Vec<Name> = page.names.into_iter().map(name).collect();
            if names.is_empty() {
                break;
            }
            store.delete(&names).await?;
        }
    }
    Ok(())
}

async fn at_level(plan: &Plan<'_>, url: &str, level: Isolation, bar: ProgressBar) -> Result<LevelFigures> {
    let server = Server::parse(url, None)?;
    let failed = |problem: String| Error::Server { url: url.to_owned(), problem };
    let prefix = plan.prefix_of(level);
    let keys: Vec<String> = (0..ACCOUNTS).map(|account| key(&prefix, account)).collect();
    let opening = keys.iter().map(|key| (key.clone(), Account::opening().encode())).collect();
    let opened = Access::new(server.clone(), None).write_all(opening, level).await;
    opened.map_err(|why| failed(format!("cannot open the accounts: {why:?}")))?;

    // Transfers and one auditor at the same time.
    let moves = moves(plan.transfers(), ACCOUNTS, plan.seed);
    let site = Site {
        program: plan.program.to_owned(),
        server: server.clone(),
        shim: true,
        prefix: prefix.clone(),
        isolation: level,
    };
    let bank = Bank::new(site, moves.iter().map(|one| job(one, &prefix)), bar.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let auditor = tokio::spawn(audit(server.clone(), keys.clone(), level, Arc::clone(&stop)));
    let (platform, stragglers) = bank.carry_out(plan.workers, plan.seed).await;
    let elapsed_s = bank.timeline.now_s();
    stragglers.wait().await;
    stop.store(true, Ordering::Relaxed);
    let audits = auditor.await.expect("the auditor does not panic, and nobody aborts it");
    bar.finish_and_clear();

    // Every process has ended: read the final accounts, and judge by these.
    let accounts = read_at_the_end(server, &keys, level).await;
    let accounts =
        accounts.map_err(|why| failed(format!("cannot read the accounts after the run: {why:?}")))?;
    let tally = platform.take_tally();
    let is_acknowledged = |one: &&Move| tally.acknowledged.contains(&one.request);
    let acknowledged: Vec<Move> = moves.iter().filter(is_acknowledged).copied().collect();
    let Books { sum, overwritten, double_effects } = judge_books(&accounts, &acknowledged);
    Ok(LevelFigures {
        accounts: ACCOUNTS,
        transfers: plan.transfers(),
        acknowledged: acknowledged.len() as u64,
        attempts: tally.attempts,
        conflicts: tally.conflicts,
        kills: tally.died,
        duplicates: tally.duplicates,
        zombies: tally.late,
        sum_before: opening_sum(),
        sum_after: sum,
        overwritten,
        double_effects,
        audits: audits.count,
        audits_off: audits.off,
        errors: errors(&tally, audits.failed),
        transfers_per_s: acknowledged.len() as f64 / elapsed_s.max(f64::EPSILON),
    })
}

/// Returns the sum of all balances when the accounts are opened.
fn opening_sum() -> i64 {
    i64::from(ACCOUNTS) * OPENING_BALANCE
}

fn key(prefix: &str, account: u32) -> String {
    format!("{prefix}/account-{account}")
}

/// Returns the job of the bank. Workers take the requests in turn, regardless of their
/// accounts.
fn job(one: &Move, prefix: &str) -> Job {
    Job {
        request: one.request,
        queue: (one.request & u64::from(u32::MAX)) as u32,
        from: key(prefix, one.from),
        to: key(prefix, one.to),
        amount: one.amount,
    }
}

/// The auditor's findings.
#[derive(Debug, Default)]
struct Audits {
    /// Completed reads of all accounts.
    count: u64,
    /// Reads whose sum was wrong.
    off: u64,
    /// Reads that failed, except by conflicts.
    failed: u64,
}

/// Reads all accounts in one transaction at `level`, repeatedly, until `stop` is set.
async fn audit(server: Server, keys: Vec<String>, level: Isolation, stop: Arc<AtomicBool>) -> Audits {
    let mut access = Access::new(server, None);
    let mut audits = Audits::default();
    while !stop.load(Ordering::Relaxed) {
        match read(&mut access, &keys, level, false).await {
            Ok(accounts) => {
                let sum: i64 = accounts.iter().map(|account| account.balance).sum();
                audits.count += 1;
                audits.off += u64::from(sum != opening_sum());
            }
            // An account was written during the read; the next audit starts over.
            Err(Ended::Retry(code)) if code == CONFLICT => {}
            Err(_) => audits.failed += 1,
        }
        sleep(BETWEEN_AUDITS).await;
    }
    audits
}

/// Reads all accounts after every process has ended.
async fn read_at_the_end(
    server: Server,
    keys: &[String],
    level: Isolation,
) -> std::result::Result<Vec<Account>, Ended> {
    let mut access = Access::new(server, None);
    let mut ended = Ended::Unknown;
    for _ in 0..READ_TRIES_MAX {
        match read(&mut access, keys, level, true).await {
            Ok(accounts) => return Ok(accounts),
            Err(failed @ Ended::Failed(_)) => return Err(failed),
            Err(other) => ended = other,
        }
        sleep(BETWEEN_AUDITS).await;
    }
    Err(ended)
}

async fn read(
    access: &mut Access,
    keys: &[String],
    level: Isolation,
    fresh: bool,
) -> std::result::Result<Vec<Account>, Ended> {
    let values = access.read_all(keys, level, fresh).await?;
    let accounts = keys.iter().zip(values).map(|(key, value)| {
        let account = value.as_deref().and_then(Account::decode);
        account.ok_or_else(|| Ended::Failed(format!("account {key} is missing or damaged")))
    });
    accounts.collect()
}

#[cfg(test)]
mod tests {
    use aft_store::{Name, Space, Store};
    use aft_store_memory::MemoryStore;
    use bytes::Bytes;

    use super::{PAGE_LEN, remove_store};

    #[tokio::test]
    async fn nothing_is_left_of_a_store_that_is_removed() {
        let store = MemoryStore::new();
        for number in 0..2 * PAGE_LEN + 1 {
            for space in [Space::Commit, Space::Version] {
                let name = Name::new(space, format!("group-{number}"), "item");
                store.put(&name, Bytes::from_static(b"x")).await.unwrap();
            }
        }
        remove_store(&store).await.unwrap();
        for space in Space::ALL {
            assert!(store.scan(space, b"", None, 1).await.unwrap().names.is_empty(), "{space:?}");
        }
    }
}
