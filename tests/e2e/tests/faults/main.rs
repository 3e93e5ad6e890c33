//! Goal: the faults that a review found in the first protocol stay gone.
//!
//! Method: each file tells one of them, and makes it happen on real servers: processes that are
//! killed, stopped, and given wall clocks that are wrong; stores in which something is broken by
//! hand. What the first protocol lost stands at the top of each.
//!
//! * [`set_back`] – a server dies under load, and its clock is set back.
//! * [`stopped`] – a process stands still for longer than its transactions may last.
//! * [`apart`] – two servers on one store, one with its clock a day and a half ahead.
//! * [`repeated`] – a commit is repeated long after, and elsewhere.
//! * [`damage`] – names that nobody can read, and parts that are gone.
//! * [`retention`] – results go where a store cannot delete by tag.
//! * [`fresh`] – what was acknowledged on one server is read on another.

mod apart;
mod damage;
mod fresh;
mod repeated;
mod retention;
mod set_back;
mod stopped;

use std::time::{Duration, Instant};

use aft_api::{Begin, Code, Op, Reply};
use aft_e2e::client::{CallError, Client};
use bytes::Bytes;

/// The protocol's times on Redis, divided so that seconds show what takes minutes: transactions last
/// 2 s at most, the mark settles after 2.6 s, a request is kept for 4.3 s at least.
const QUICK: &[&str] = &["--test-time-divisor", "30"];
/// Times that would be too short for a machine that is shared, multiplied by the divisor: a time is
/// known to 300 ms, a commit waits 50 ms, sweeps are half a second apart.
const QUICK_SETTINGS: &[(&str, &str)] = &[
    ("AFT_NODE__SKEW_MAX_MS", "9000"),
    ("AFT_NODE__COMMIT_WAIT_MAX_MS", "1500"),
    ("AFT_NODE__COMMIT_PATIENCE_MS", "60000"),
    ("AFT_NODE__SWEEP_INTERVAL_MS", "15000"),
];
/// The longest time of a transaction there.
const QUICK_TIMEOUT: Duration = Duration::from_secs(2);
/// A loaded machine catches up within this.
const INSIST_MAX: Duration = Duration::from_secs(20);

/// Reads keys in one transaction that begins fresh.
async fn read_fresh(client: &Client, keys: &[&str]) -> Vec<Option<Bytes>> {
    let ops = keys.iter().map(|key| Op::get(*key)).collect();
    values(insist(client, &Begin { ops, fresh: true, ..Begin::default() }).await)
}

/// Executes on a server that nobody disturbs. With times so short, a loaded machine may take longer
/// than a verb waits for the store, and a transaction ends before a dead holder of its keys is
/// broken: then nothing took effect, and it is sent again.
async fn insist(client: &Client, begin: &Begin) -> Reply {
    let since = Instant::now();
    loop {
        match client.execute(begin).await {
            Err(CallError::Refused(problem))
                if matches!(problem.code, Code::StoreUnavailable | Code::Conflict) =>
            {
                assert!(since.elapsed() < INSIST_MAX, "the store is there: {problem:?}");
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

/// Waits until `done` says so.
async fn until(what: &str, at_most: Duration, mut done: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !done().await {
        assert!(since.elapsed() < at_most, "not within {at_most:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Runs a test's future on threads of its own: some of its calls block.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(test)
}
