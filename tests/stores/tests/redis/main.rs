//! Goal: the store on Redis keeps the contract, costs what its docs promise, classifies failures by
//! what may have happened, and rejects servers that would lose data. Method: a real Redis (fsynced
//! append-only file) that is killed, paused and reconfigured, its own counts of commands, and a
//! fake server that gives prepared answers.

mod commits;
mod failures;
mod fake;
mod identity;
mod levels;
mod opening;
mod requests;
mod scans;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aft_services::{Server, Service};
use aft_store::conformance;
use aft_store::{Name, Space, Store};
use aft_store_redis::{Options, RedisStore};
use aft_store_tests::name;
use bytes::Bytes;

/// Starts a server for one test.
fn server() -> Option<Server> {
    Service::Redis.start_or_skip()
}

fn url(server: &Server) -> String {
    server.store_url()
}

/// Returns the URL of a store under `prefix`.
fn at(server: &Server, prefix: &str) -> String {
    format!("redis://127.0.0.1:{}/{prefix}", server.port())
}

async fn open(url: &str) -> Arc<RedisStore> {
    Arc::new(RedisStore::open(url, &Options::default()).await.unwrap_or_else(|why| panic!("{why}")))
}

/// Opens an administrator's connection.
fn admin(server: &Server) -> redis::Connection {
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/0", server.port())).expect("a plain URL");
    client.get_connection().expect("the server runs")
}

/// Sends an administrator's command, which is split at spaces.
fn tell<T: redis::FromRedisValue>(admin: &mut redis::Connection, words: &str) -> T {
    let mut words = words.split(' ');
    let mut command = redis::cmd(words.next().expect("a command has a name"));
    words.for_each(|word| {
        command.arg(word);
    });
    command.query(admin).unwrap_or_else(|why| panic!("{why}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_keeps_the_contract() {
    let Some(server) = server() else { return };
    let mut admin = admin(&server);

    // The probe first, on a server without any key: it leaves none but the identity.
    let longest = at(&server, &"p".repeat(64));
    let report = conformance::probe(open(&longest).await).await;
    println!("{report}");
    report.assert_passed();
    assert_eq!(tell::<Vec<String>>(&mut admin, "KEYS *"), [format!("{}/identity", "p".repeat(64))]);

    let stores = AtomicUsize::new(0);
    let fresh = async || {
        let prefix = stores.fetch_add(1, Ordering::Relaxed);
        let store: Arc<dyn Store> = open(&at(&server, &format!("fresh:{prefix}"))).await;
        store
    };
    let report = conformance::run(fresh).await;
    println!("{report}");
    report.assert_passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_leave_no_key() {
    let Some(server) = server() else { return };
    let (store, mut admin) = (open(&url(&server)).await, admin(&server));
    let names: Vec<Name> = (0..2_500_u32)
        .map(|i| Name::new(Space::Version, format!("k/{}", i % 7), i.to_be_bytes().to_vec()))
        .collect();
    for name in &names[..50] {
        store.put(name, Bytes::from_static(b"body")).await.expect("the server runs");
    }
    // 50 objects, 7 groups, one space, and the store's identity.
    assert_eq!(tell::<usize>(&mut admin, "DBSIZE"), 50 + 7 + 1 + 1);
    let (_, tag) = store.get(&names[3]).await.unwrap().expect("it was put");
    store.delete_if(&names[3], &tag).await.unwrap();
    store.delete(&names).await.expect("most of them were never there");
    assert_eq!(tell::<Vec<String>>(&mut admin, "KEYS *"), ["aft/identity"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_on_one_server_share_nothing() {
    let Some(server) = server() else { return };
    let one = open(&at(&server, "one")).await;
    let two = open(&at(&server, "one:two")).await;
    let other_database = open(&at(&server, "one?db=5")).await;
    one.put(&name("a"), Bytes::from_static(b"body")).await.unwrap();
    for store in [two, other_database] {
        assert_eq!(store.get(&name("a")).await, Ok(None));
        assert!(store.groups(Space::Version, b"", None, 10).await.unwrap().groups.is_empty());
    }
}
