//! Goal: no acknowledged request is lost, applied in part or applied twice, whichever faults
//! servers and their clocks have: with a single server, and with two that share a Redis.
//!
//! Method: the writers, the readers, the book and the ledger of the test `kill`. Under their load a
//! server is killed and started again, stopped for less or more than its transactions may last, or
//! given another wall clock, while it runs or with a new process. With two servers, clients move
//! from one to the other as they repeat their requests.
//!
//! `cargo xtask torture` makes it fifty of each in an epoch, and runs epochs for the given time.
//! `AFT_TORTURE_SEED` sets the seed: requests and instants follow from it, the operating system's
//! scheduling does not.

#[path = "../kill/book.rs"]
mod book;
mod disturber;
#[path = "../kill/ledger.rs"]
mod ledger;
#[path = "../kill/reader.rs"]
mod reader;
#[path = "../kill/writer.rs"]
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_e2e::client::Client;
use aft_e2e::real_store::RealStore;
use aft_e2e::server::{Server, local};
use aft_e2e::wall_clock::WallClock;
use aft_services::Service;
use book::Book;
use disturber::{Place, Site};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;

const WRITERS: u64 = 6;
const READERS: u64 = 4;
/// Events of each kind per epoch.
const EVENTS: u32 = 10;
const EVENTS_IN_TORTURE: u32 = 50;

#[test]
fn one_server_outlives_kills_stops_and_clocks() {
    let Some(clock) = WallClock::or_skip() else { return };
    let directory = tempfile::tempdir().expect("a directory can be made");
    let site = Site {
        url: local(directory.path()),
        arguments: &["--test-time-divisor", "20"],
        settings: Vec::new(),
        // The server's clock is the store's, by which requests expire: minutes, far below their
        // retention.
        off_max_s: 120,
        places: vec![Place { clock, server: None }],
    };
    epochs(site);
}

#[test]
fn two_servers_outlive_kills_stops_and_clocks() {
    let Some(clocks) = WallClock::or_skip().zip(WallClock::or_skip()) else { return };
    let Some(store) = RealStore::start(Service::Redis) else { return };
    let places = <[WallClock; 2]>::from(clocks).map(|clock| Place { clock, server: None });
    let site = Site {
        url: store.url(),
        // A transaction lasts 2 s at most.
        arguments: &["--test-time-divisor", "30"],
        settings: vec![
            ("AFT_NODE__SKEW_MAX_MS", "9000"),
            ("AFT_NODE__COMMIT_WAIT_MAX_MS", "1500"),
            ("AFT_NODE__COMMIT_PATIENCE_MS", "60000"),
            ("AFT_NODE__SWEEP_INTERVAL_MS", "15000"),
        ],
        off_max_s: 36 * 3_600,
        places: places.into(),
    };
    epochs(site);
}

/// Runs one epoch, and more while there is time.
fn epochs(mut site: Site) {
    let seed = variable("AFT_TORTURE_SEED").unwrap_or_else(|| rand::rng().random());
    println!("seed {seed} (AFT_TORTURE_SEED={seed} repeats the requests and the instants)");
    let minutes = variable("AFT_TORTURE_MINUTES");
    let events = if minutes.is_some() { EVENTS_IN_TORTURE } else { EVENTS };
    let until = Instant::now() + Duration::from_secs(60 * minutes.unwrap_or(0));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let mut ledgers = Vec::new();
        for number in 0.. {
            let mut rng = StdRng::seed_from_u64(seed.wrapping_add(number));
            let start = Instant::now();
            let book = epoch(&mut rng, number, &mut site, events).await;
            println!("epoch {number}: {} in {:.1} s", book.summary(), start.elapsed().as_secs_f64());
            ledgers.push((book.ledger_prefix(), book.requests()));
            if Instant::now() >= until {
                break;
            }
        }
        // Later events removed nothing of what earlier epochs had stored.
        let server = Server::start(&site.url);
        for (prefix, requests) in ledgers {
            ledger::check_count(&Client::new(server.address()), &prefix, requests).await;
        }
    });
}

async fn epoch(rng: &mut StdRng, number: u64, site: &mut Site, events: u32) -> Book {
    site.start();
    let addresses = site.addresses();
    let mut senders = Vec::new();
    let mut tasks = JoinSet::new();
    let (_, receiver) = watch::channel(addresses[0]);
    let book = Book::new(number, receiver);
    for client in 0..WRITERS + READERS {
        let (sender, receiver) = watch::channel(addresses[client as usize % addresses.len()]);
        senders.push(sender);
        let own = Arc::new(book.at(receiver, addresses.len() > 1));
        let seed = StdRng::seed_from_u64(rng.random());
        if client < WRITERS {
            tasks.spawn(writer::run(own, client, seed));
        } else {
            tasks.spawn(reader::run(own, seed));
        }
    }
    tokio::select! {
        () = disturber::run(rng, site, events, &senders) => {}
        Some(ended) = tasks.join_next() => {
            ended.expect("a client saw nothing that it must not see");
            unreachable!("clients run until the book is stopped")
        }
    }
    book.stop();
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a client saw nothing that it must not see");
    }
    // The checks run against a new process, with the right time and the default times.
    site.end();
    let server = Server::start_with_other_times(&site.url, &[], &[]);
    let client = Client::new(server.address());
    ledger::visible(&book, &client).await;
    ledger::check(&book, &client).await;
    assert!(book.requests() > u64::from(3 * events), "{}: too little load to show anything", book.summary());
    book
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|why| panic!("{name}={text}: {why}")))
}
