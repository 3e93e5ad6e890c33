//! Goal: nothing that was acknowledged is lost, halved or done twice, whatever the instants at which the server dies.
//!
//! Method: one server on one directory, under load; SIGKILL at random instants, also while it starts; a new server on the same
//! directory. Writers run requests until each is acknowledged, always under the same request ID; every attempt writes values of its own,
//! so that a value names the attempt that wrote it. Readers read sets of keys. What everybody saw goes into one history.
//!
//! ```text
//!   writers ──┐                       ┌─► aft-history: read atomic, one commit a request, stamps in order
//!   readers ──┼─► book (one history) ─┤
//!   killer  ──┘                       └─► ledger: one entry a request, from the attempt that was acknowledged; newest version of each key
//! ```
//!
//! The others leave the server alive and kill its store: a real MinIO, Redis or DynamoDB Local, killed, restarted, stopped and continued at random instants. What
//! cannot be told is *unknown* or *retry*, and once the store is back the same server goes on.
//!
//! SIGKILL ends a process and not its machine: what the operating system had accepted survives. That acknowledged means *fsynced* is held by
//! the tests of the store, not by this one.
//!
//! `AFT_TORTURE_MINUTES` repeats it on the same directory for so long (`cargo xtask torture`). `AFT_TORTURE_SEED` sets the seed: requests and
//! instants follow from it, the operating system's scheduling does not.

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

/// Kills in one epoch: each is a chance of some milliseconds to hit a bad instant.
const KILLS_IN_EPOCH: u32 = 50;
/// All of the node's times are divided by this: the collector comes to work between kills, and intents do not pile up for the next start.
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

/// One epoch, and more while there is time. Each has keys of its own on the same directory, so that memory stays bounded.
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
    // Later kills took nothing of what earlier epochs had stored.
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
    // What is checked is what a new process finds.
    server.kill();
    let server = Server::on(directory);
    ledger::check(&book, &Client::new(server.address())).await;
    assert!(
        book.requests() > u64::from(KILLS_IN_EPOCH),
        "{} requests under {KILLS_IN_EPOCH} kills: that was no load",
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
        // That the same process goes on, its clients have seen. What is checked is what a new one finds.
        server.kill();
        // With its usual times: one transaction of the check reads hundreds of keys that this process has never heard of.
        let server = Server::start_with_other_times(&url, &[], &environment);
        ledger::visible(&book, &Client::new(server.address())).await;
        ledger::check(&book, &Client::new(server.address())).await;
        drop(store);
    });
}

/// Runs clients while something is disturbed: what they saw, and what the disturber gives back.
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
        // A task ends when it is told to, not before: this one found something.
        Some(ended) = tasks.join_next() => {
            ended.expect("a client saw nothing that it must not see");
            unreachable!("clients run until they are told to stop")
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
