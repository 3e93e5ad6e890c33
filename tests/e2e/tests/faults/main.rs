//! Goal: the faults that a review found in the first protocol stay fixed.
//!
//! Method: each file describes one of them, with what the first protocol lost, and provokes it on
//! real servers: processes that are killed, stopped, and given wrong wall clocks; stores with
//! objects that the test has damaged.
//!
//! * [`clock_set_back`] – a server dies under load, and its clock is set back.
//! * [`stopped`] – a process is stopped for longer than its transactions may last.
//! * [`clocks_apart`] – two servers on one store, one with its clock a day and a half ahead.
//! * [`repeated_commits`] – a commit is repeated much later, and on another process.
//! * [`damage`] – names that cannot be decoded, and missing parts.
//! * [`retention`] – results expire on a store that cannot delete by tag.
//! * [`fresh`] – a commit that was acknowledged on one server is read on another.

mod clock_set_back;
mod clocks_apart;
mod damage;
mod fresh;
mod repeated_commits;
mod retention;
mod stopped;

use std::time::{Duration, Instant};

use aft_api::{Begin, Code, Op, Reply};
use aft_e2e::client::{CallError, Client};
use bytes::Bytes;

/// The protocol's times on Redis, divided so that seconds suffice instead of minutes: transactions
/// last 2 s at most, the mark settles after 2.6 s, a request is kept for 4.3 s at least.
const QUICK: &[&str] = &["--test-time-divisor", "30"];
/// The times that the divisor would make too short for a shared machine, multiplied accordingly:
/// the store's time is known to 300 ms, a commit waits 50 ms, sweeps are half a second apart.
const QUICK_SETTINGS: &[(&str, &str)] = &[
    ("AFT_NODE__SKEW_MAX_MS", "9000"),
    ("AFT_NODE__COMMIT_WAIT_MAX_MS", "1500"),
    ("AFT_NODE__COMMIT_PATIENCE_MS", "60000"),
    ("AFT_NODE__SWEEP_INTERVAL_MS", "15000"),
];
/// The longest time of a transaction with [`QUICK`].
const QUICK_TIMEOUT: Duration = Duration::from_secs(2);
/// The time within which a loaded machine catches up.
const INSIST_MAX: Duration = Duration::from_secs(20);

/// Reads keys in one transaction that begins fresh.
async fn read_fresh(client: &Client, keys: &[&str]) -> Vec<Option<Bytes>> {
    let ops = keys.iter().map(|key| Op::get(*key)).collect();
    values(insist(client, &Begin { ops, fresh: true, ..Begin::default() }).await)
}

/// Executes a transaction on an undisturbed server. With such short times, a loaded machine may
/// take longer than a verb waits for the store, and a transaction may end before a dead holder of
/// its keys is broken. In both cases nothing took effect, and the transaction is sent again.
async fn insist(client: &Client, begin: &Begin) -> Reply {
    let since = Instant::now();
    loop {
        match client.execute(begin).await {
            Err(CallError::Refused(problem))
                if matches!(problem.code, Code::StoreUnavailable | Code::Conflict) =>
            {
                assert!(
                    since.elapsed() < INSIST_MAX,
                    "the store has not answered for {INSIST_MAX:?}: {problem:?}"
                );
            }
            reply => return reply.expect("an undisturbed server answers"),
        }
    }
}

/// Writes a key in a transaction without a request ID.
async fn write(client: &Client, key: &str, value: &str) -> Reply {
    insist(client, &Begin { ops: vec![Op::put(key, value.to_owned())], ..Begin::default() }).await
}

fn values(reply: Reply) -> Vec<Option<Bytes>> {
    reply.results.into_iter().map(|read| read.value).collect()
}

/// Waits until `done` returns true; `what` names the condition in the failure's message.
async fn until(what: &str, at_most: Duration, mut done: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !done().await {
        assert!(since.elapsed() < at_most, "not within {at_most:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Runs a test's future on a runtime with two threads, because some of its calls block.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(test)
}
