//! A commit that one server has acknowledged is read at once by a transaction that begins fresh on
//! another one.
//!
//! The first protocol had no fresh begin: a commit was seen elsewhere when a listing was repeated,
//! after up to ten seconds.
//!
//! `cargo xtask torture` makes it 10,000 commits on each store.

use std::time::{Duration, Instant};

use aft_api::{Begin, Op};
use aft_e2e::client::Client;
use aft_e2e::real_store::RealStore;
use aft_services::Service;
use futures::future::join_all;

use crate::{read_fresh, run, write};

/// The number of commits to check, if the time suffices.
const COMMITS: u64 = 1_000;
const COMMITS_IN_TORTURE: u64 = 10_000;
/// The time after which a slow machine may stop with fewer commits.
const TIME_MAX: Duration = Duration::from_secs(20);
/// The number of clients, each with its own key: both servers write and list it in turn.
const CLIENTS: u64 = 8;

#[test]
fn fresh_reads_see_acknowledged_commits_on_redis() {
    check(Service::Redis, COMMITS);
}

#[test]
fn fresh_reads_see_acknowledged_commits_on_minio() {
    check(Service::Minio, 200);
}

#[test]
fn fresh_reads_see_acknowledged_commits_on_dynamodb() {
    check(Service::DynamoDb, 200);
}

fn check(kind: Service, least: u64) {
    let Some(store) = RealStore::start(kind) else { return };
    let torture = std::env::var_os("AFT_TORTURE_MINUTES").is_some();
    let commits = if torture { COMMITS_IN_TORTURE } else { COMMITS };
    run(async {
        let servers = [store.serve(&[]), store.serve(&[])];
        let clients = servers.each_ref().map(|server| Client::new(server.address()));
        let since = Instant::now();
        let is_late = |done: u64| !torture && since.elapsed() > TIME_MAX && done * CLIENTS >= least;
        let each = (0..CLIENTS).map(async |client| {
            let key = format!("key/{client}");
            let mut done = 0;
            while done < commits / CLIENTS && !is_late(done) {
                let (writer, reader) = (&clients[done as usize % 2], &clients[(done as usize + 1) % 2]);
                let value = done.to_string();
                // All forms of a commit: one key, which is a whole entry; or two keys in a record,
                // with a request ID or without.
                if done % 3 == 0 {
                    write(writer, &key, &value).await;
                } else {
                    let ops = vec![Op::put(&key, value.clone()), Op::put(format!("{key}/b"), value.clone())];
                    let request_id = (done % 3 == 1).then(|| format!("request-{client}-{done}"));
                    let begin = Begin { ops, request_id, ..Begin::default() };
                    assert!(writer.execute(&begin).await.expect("the server answers").committed);
                }
                let read = read_fresh(reader, &[&key]).await;
                assert_eq!(read, [Some(value.into())], "{kind}: {key}, acknowledged before this read began");
                done += 1;
            }
            done
        });
        let seen: u64 = join_all(each).await.into_iter().sum();
        assert!(seen >= least, "{kind}: {seen} commits");
        println!("{kind}: {seen} of {seen} acknowledged commits were read by a fresh begin elsewhere");
    });
}
