//! Goal: no acknowledged request is lost, applied in part or applied twice, at whichever instants
//! the server dies.
//!
//! Method: one server on one directory, under load; SIGKILL at random instants, also while it
//! starts; a new server on the same directory. Writers run requests until each is acknowledged,
//! always under the same request ID; every attempt writes values of its own, so that a value names
//! the attempt that wrote it. Readers read sets of keys. All observations go into one history.
//!
//! ```text
//!   writers ──┐                       ┌─► aft-history: read atomic, one commit a request,
//!   readers ──┼─► book (one history) ─┤   stamps in order
//!   killer  ──┘                       └─► ledger: one entry a request, from the attempt that was
//!                                         acknowledged; newest version of each key
//! ```
//!
//! The other tests leave the server alive and kill its store: a real MinIO, Redis or DynamoDB
//! Local, killed, restarted, stopped and continued at random instants. Calls whose outcome cannot
//! be known are answered with *unknown* or *retry*, and once the store is back the same server
//! continues.
//!
//! SIGKILL ends a process and not its machine: what the operating system had accepted survives. The
//! stores' own tests check that acknowledged means *fsynced*; this one does not.
//!
//! `AFT_TORTURE_MINUTES` repeats it on the same directory for that time (`cargo xtask torture`).
//! `AFT_TORTURE_SEED` sets the seed: requests and instants follow from it, the operating system's
//! scheduling does not.

mod book;
mod killer;
mod ledger;
mod reader;
mod store_killer;
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_e2e::client::Client;
use aft_e2e::real_store::RealStore;
use aft_e2e::server::{Server, local};
use aft_services::Service;
use book::Book;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use store_killer::Blows;
use tokio::sync::watch;

/// Kills per epoch: each is a chance of some milliseconds to hit a bad instant.
const KILLS_IN_EPOCH: u32 = 50;
/// Divides all of the node's times: the collector then works between kills, and unpublished commits
/// do not accumulate for the next start.
const TIME: &[&str] = &["--test-time-divisor", "20"];
const WRITERS: u64 = 6;
const READERS: u64 = 3;

#[test]
fn nothing_acknowledged_is_lost_or_done_twice() {
    let seed = variable("AFT_TORTURE_SEED").unwrap_or_else(|| rand::rng().random());
    println!("seed {seed} (AFT_TORTURE_SEED={seed} repeats the requests and the instants of the kills)");
    let minutes = variable("AFT_TORTURE_MINUTES").unwrap_or(0);
    let until = Instant::now() + Duration::from_secs(60 * minutes);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(epochs(seed, until));
}

/// Runs one epoch, and more while there is time. Each has its own keys on the same directory, so
/// that the book's memory stays bounded.
async fn epochs(seed: u64, until: Instant) {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let mut ledgers = Vec::new();
    for number in 0.. {
        let start = Instant::now();
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(number));
        let book = epoch(&mut rng, number, directory.path()).await;
        println!("epoch {number}: {} in {:.1} s", book.summary(), start.elapsed().as_secs_f64());
        ledgers.push((book.ledger_prefix(), book.requests()));
        if Instant::now() >= until {
            break;
        }
    }
    // Later kills removed nothing of what earlier epochs had stored.
    let server = Server::on(directory.path());
    for (prefix, requests) in ledgers {
        ledger::check_count(&Client::new(server.address()), &prefix, requests).await;
    }
}

async fn epoch(rng: &mut StdRng, number: u64, directory: &std::path::Path) -> Book {
    let server = Server::start_with(&local(directory), TIME);
    let (address, addresses) = watch::channel(server.address());
    let mut killers = StdRng::seed_from_u64(rng.random());
    let killing = |_| killer::run(&mut killers, server, directory, &address);
    let (book, server) = load(rng, number, addresses, killing).await;
    // The checks run against a new process.
    server.kill();
    let server = Server::on(directory);
    ledger::check(&book, &Client::new(server.address())).await;
    assert!(
        book.requests() > u64::from(KILLS_IN_EPOCH),
        "{} requests under {KILLS_IN_EPOCH} kills are too little load to show anything",
        book.requests()
    );
    book
}

#[test]
fn a_minio_that_dies_loses_and_doubles_nothing() {
    a_store_dies(Service::Minio, Blows { kills: 20, hangs: 6 });
}

#[test]
fn a_redis_that_dies_loses_and_doubles_nothing() {
    a_store_dies(Service::Redis, Blows { kills: 20, hangs: 6 });
}

#[test]
fn a_dynamodb_that_dies_loses_and_doubles_nothing() {
    // Fewer: a Java program takes seconds to come back.
    a_store_dies(Service::DynamoDb, Blows { kills: 8, hangs: 4 });
}

fn a_store_dies(kind: Service, blows: Blows) {
    let Some(store) = RealStore::start(kind) else { return };
    let seed = variable("AFT_TORTURE_SEED").unwrap_or_else(|| rand::rng().random());
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let server = store.serve(TIME);
        let (_address, addresses) = watch::channel(server.address());
        let (url, environment) = (store.url(), store.environment());
        let mut killers = StdRng::seed_from_u64(rng.random());
        let killing = |book: Arc<Book>| store_killer::run(&mut killers, store, blows, book);
        let (book, store) = load(&mut rng, 0, addresses, killing).await;
        println!("{}", book.summary());
        // The clients have seen that the same process continues. The checks run against a new one.
        server.kill();
        // With the default times: one transaction of the check reads hundreds of keys that this
        // process does not know yet.
        let server = Server::start_with_other_times(&url, &[], &environment);
        ledger::visible(&book, &Client::new(server.address())).await;
        ledger::check(&book, &Client::new(server.address())).await;
        drop(store);
    });
}

/// Runs clients while `disturb` runs. Returns the book of what they saw, and the result of
/// `disturb`.
async fn load<T, F: Future<Output = T>>(
    rng: &mut StdRng,
    number: u64,
    addresses: watch::Receiver<std::net::SocketAddr>,
    disturb: impl FnOnce(Arc<Book>) -> F,
) -> (Book, T) {
    let book = Arc::new(Book::new(number, addresses.clone()));
    let copy = || Arc::new(book.at(addresses.clone(), false));
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        tasks.spawn(writer::run(copy(), writer, StdRng::seed_from_u64(rng.random())));
    }
    for _ in 0..READERS {
        tasks.spawn(reader::run(copy(), StdRng::seed_from_u64(rng.random())));
    }
    let disturbed = tokio::select! {
        disturbed = disturb(Arc::clone(&book)) => disturbed,
        // A task ends only when it is stopped: this one has found an error.
        Some(ended) = tasks.join_next() => {
            ended.expect("a client saw nothing that it must not see");
            unreachable!("clients run until the book is stopped")
        }
    };
    book.stop();
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a client saw nothing that it must not see");
    }
    (Arc::into_inner(book).expect("all tasks have ended"), disturbed)
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|why| panic!("{name}={text}: {why}")))
}
