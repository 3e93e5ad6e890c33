//! Exactly once over connections that are cut.
//!
//! Every run increments its writer's counter and leaves an entry that names the call of the
//! function that made it. Afterwards the test reads directly from the server: the counter is the
//! number of runs that took effect, the entries name them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aft_client::{Begun, Client, Error, Request, Transaction};
use aft_e2e::server::Server;

use crate::cutter::Cutter;
use crate::{increment, number, text};

const WRITERS: u64 = 4;
const RUNS: u64 = 100;

fn seed(default: u64) -> u64 {
    let seed =
        std::env::var("AFT_CLIENT_SEED").map_or(default, |text| text.parse().expect("a seed is a number"));
    println!("seed {seed} (AFT_CLIENT_SEED={seed} replays its cuts)");
    seed
}

/// Creates a client that connects through the cutter. Those of odd writers send each write at once.
fn through(cutter: &Cutter, writer: u64) -> Client {
    let url = format!("http://{}", cutter.address);
    let buffer = if writer.is_multiple_of(2) { 1 << 20 } else { 0 };
    Client::builder(&url)
        .write_buffer_bytes_max(buffer)
        .call_timeout(Duration::from_secs(2))
        .attempts_max(100)
        .build()
        .expect("an address is a URL's")
}

async fn work(t: &Transaction, writer: u64, run: u64, call: u64) -> Result<String, Error> {
    let count = increment(t, &format!("count/{writer}")).await?;
    t.put(format!("entry/{writer}/{run}/{call}"), count.to_string()).await?;
    Ok(format!("{call} made it {count}"))
}

/// Returns a writer's counter and all its entries, as (run, call).
async fn entries(server: SocketAddr, writer: u64) -> (u64, Vec<(u64, u64)>) {
    let client = crate::client(server);
    let Ok(Begun::Open(t)) = client.begin(Request::unnamed()).await else { panic!("undisturbed") };
    let count = t.get(format!("count/{writer}")).await.map(number).expect("undisturbed");
    let listed = t.list(format!("entry/{writer}/")).all().await.expect("undisturbed");
    let parse = |key: &str| {
        let mut parts = key.split('/').skip(2).map(|part| part.parse().expect("entries are numbered"));
        (parts.next().expect("a run"), parts.next().expect("a call"))
    };
    (count, listed.iter().map(|listed| parse(&listed.key)).collect())
}

#[tokio::test]
async fn named_runs_take_effect_once() {
    let seed = seed(1);
    let server = Server::start("memory:");
    let cutter = Arc::new(Cutter::start(server.address(), seed).await);
    let calls = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (client, calls) = (through(&cutter, writer), calls.clone());
            tokio::spawn(async move {
                let mut results = Vec::new();
                for run in 0..RUNS {
                    // Every tenth request is repeated, by two callers at the same time.
                    let once = || {
                        let calls = calls.clone();
                        client.run(format!("{writer}/{run}"), move |t| {
                            let call = calls.fetch_add(1, Ordering::Relaxed);
                            async move { work(&t, writer, run, call).await }
                        })
                    };
                    let ran = once().await.unwrap_or_else(|why| panic!("{writer}/{run}: {why}"));
                    if run % 10 == 0 {
                        let (one, two) = tokio::join!(once(), once());
                        assert_eq!(
                            (one.unwrap().result, two.unwrap().result),
                            (ran.result.clone(), ran.result.clone())
                        );
                    }
                    results.push(ran.result);
                }
                results
            })
        })
        .collect();
    for (writer, task) in (0..).zip(tasks) {
        let results = task.await.unwrap();
        let (count, entries) = entries(server.address(), writer).await;
        assert_eq!(count, RUNS, "writer {writer}: effects of {RUNS} runs");
        assert_eq!(entries.len() as u64, RUNS, "writer {writer}: one entry a run");
        for (run, call) in entries {
            let result = text(&results[run as usize]);
            assert!(
                result.starts_with(&format!("{call} made it")),
                "{writer}/{run}: call {call} took effect, but the result is {result}"
            );
        }
    }
    let (calls, cuts) = (calls.load(Ordering::Relaxed), cutter.cuts());
    println!("{} runs, {calls} calls of the function, {cuts} connections cut", WRITERS * RUNS);
    assert!(cuts > WRITERS * RUNS / 2, "only {cuts} connections were cut, too few to show anything");
    assert!(calls > WRITERS * RUNS, "no request needed a second attempt, so nothing was shown");
}

/// Runs overlapping attempts of one request, all through the cutter, and checks that they return
/// one result.
#[tokio::test]
async fn overlapping_runs_take_effect_once() {
    let seed = seed(2);
    let server = Server::start("memory:");
    let cutter = Cutter::start(server.address(), seed).await;
    let clients: Vec<_> = (0..4).map(|writer| through(&cutter, writer)).collect();
    let calls = AtomicU64::new(0);
    for run in 0..50 {
        let attempts = clients.iter().map(|client| {
            let request = Request::named(run.to_string());
            client.run(request, |t| {
                let call = calls.fetch_add(1, Ordering::Relaxed);
                async move { work(&t, 0, run, call).await }
            })
        });
        let results = futures::future::join_all(attempts).await;
        let results: Vec<_> = results.into_iter().map(|ran| ran.unwrap()).collect();
        assert!(results.iter().all(|ran| ran.result == results[0].result), "{results:?}");
        assert!(results.iter().filter(|ran| !ran.replayed).count() <= 1, "{results:?}");
    }
    let (count, entries) = entries(server.address(), 0).await;
    assert_eq!((count, entries.len()), (50, 50));
}

/// Runs requests without an ID: none takes effect twice, and every reported commit has taken
/// effect.
#[tokio::test]
async fn unnamed_runs_never_take_effect_twice() {
    let seed = seed(3);
    let server = Server::start("memory:");
    let cutter = Arc::new(Cutter::start(server.address(), seed).await);
    let calls = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (client, calls) = (through(&cutter, writer), calls.clone());
            tokio::spawn(async move {
                let mut outcomes = Vec::new();
                for run in 0..RUNS {
                    let calls = calls.clone();
                    let ran = client.run(Request::unnamed(), move |t| {
                        let call = calls.fetch_add(1, Ordering::Relaxed);
                        async move { work(&t, writer, run, call).await }
                    });
                    outcomes.push(match ran.await {
                        Ok(_) => true,
                        // Without an ID an unknown outcome stays unknown: another attempt could
                        // commit twice.
                        Err(Error::Unknown(_)) => false,
                        Err(why) => panic!("{writer}/{run}: {why}"),
                    });
                }
                outcomes
            })
        })
        .collect();
    let mut unknown = 0;
    for (writer, task) in (0..).zip(tasks) {
        let outcomes = task.await.unwrap();
        let (count, entries) = entries(server.address(), writer).await;
        assert_eq!(count, entries.len() as u64, "writer {writer}: counter and entries belong together");
        for (run, told) in (0..).zip(outcomes) {
            let effects = entries.iter().filter(|(of, _)| *of == run).count();
            assert!(effects <= 1, "{writer}/{run}: {effects} effects");
            assert!(!told || effects == 1, "{writer}/{run}: reported as committed");
            unknown += u64::from(!told);
        }
    }
    println!("{} runs, {unknown} unknown, {} connections cut", WRITERS * RUNS, cutter.cuts());
}
