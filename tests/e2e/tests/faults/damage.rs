//! Damaged objects affect nothing but themselves.
//!
//! In the first protocol one name that could not be decoded stopped the collector for good, with an
//! error in every pass; and a read of a value with a missing part was answered *run again* for
//! ever.

use std::time::Duration;

use aft_api::{Begin, Code, Op};
use aft_e2e::client::{CallError, Client, encode};
use aft_e2e::real_store::RealStore;
use aft_e2e::server::Server;
use aft_services::Service;
use aft_store::{Name, Space, Store as _};
use aft_store_redis::{Options, RedisStore};
use bytes::Bytes;
use hyper::Method;

use crate::{QUICK, QUICK_SETTINGS, read_fresh, run, until, write};

const COLLECT_TIME_MAX: Duration = Duration::from_secs(40);
/// The size of a value that is stored in several parts, since a record does not hold it inline.
const LARGE_BYTES: usize = 3 << 20;

async fn open(store: &RealStore) -> RedisStore {
    RedisStore::open(&store.url(), &Options::default()).await.expect("the store opens")
}

#[test]
fn unreadable_names_do_not_stop_the_collector() {
    let Some(store) = RealStore::start(Service::Redis) else { return };
    let server = Server::start_in(&store.url(), QUICK, QUICK_SETTINGS);
    run(async {
        let client = Client::new(server.address());
        write(&client, "before", "1").await;
        write(&client, "broken", "good").await;
        // Put into the store directly: entries, a record and a part whose names are truncated or
        // garbled.
        let by_hand = open(&store).await;
        let broken = [
            (Space::Version, &b"broken"[..], &b"\x02 no entry"[..]),
            (Space::Version, b"\xff no key", b"\x02"),
            (Space::Commit, b"no hash", b""),
            (Space::Blob, b"no group", b"\x02"),
        ];
        for (space, group, item) in broken {
            let name = Name::new(space, Bytes::from_static(group), Bytes::from_static(item));
            by_hand.put(&name, Bytes::from_static(b"no body")).await.expect("the store answers");
        }

        let moved = client.metric("aft_marks_moved_total").await;
        let removed = client.metric("aft_entries_removed_total").await;
        for number in 0..5 {
            write(&client, "before", &number.to_string()).await;
            write(&client, "after", &number.to_string()).await;
        }
        // Every sweep finds the names. The mark still moves, and superseded entries are removed.
        until("the mark moves and superseded entries are removed", COLLECT_TIME_MAX, async || {
            client.metric("aft_marks_moved_total").await >= moved + 3.0
                && client.metric("aft_entries_removed_total").await >= removed + 8.0
        })
        .await;
        let other = Server::start_in(&store.url(), QUICK, QUICK_SETTINGS);
        for client in [&client, &Client::new(other.address())] {
            let values = read_fresh(client, &["before", "after"]).await;
            assert_eq!(values, [Some("4".into()), Some("4".into())]);
        }
        // The key with the broken entry has either its good version, or is reported as damaged.
        let begin = Begin { ops: vec![Op::get("broken")], fresh: true, ..Begin::default() };
        match client.execute(&begin).await {
            Ok(reply) => assert_eq!(reply.results[0].value.as_deref(), Some(&b"good"[..])),
            Err(CallError::Refused(problem)) => assert_eq!(problem.code, Code::Damaged, "{problem:?}"),
            Err(other) => panic!("{other:?}"),
        }
        // Many sweeps have found the names, but each name is logged once.
        let is_report = |line: &String| line.contains("cannot be read");
        let reports: Vec<String> = server.log_lines().into_iter().filter(is_report).collect();
        println!("{} sweeps, {} reports:", client.metric("aft_sweeps_total").await, reports.len());
        reports.iter().for_each(|line| println!("  {line}"));
        assert_eq!(reports.len(), broken.len(), "each once:\n{}", reports.join("\n"));
        for said in ["version/broken/", "version/\\\\xff no key/", "commit/no hash/", "blob/no group:"] {
            let count = reports.iter().filter(|line| line.contains(said)).count();
            assert_eq!(count, 1, "reports of {said}:\n{}", reports.join("\n"));
        }
    });
}

#[test]
fn a_missing_part_is_reported_as_damage_and_not_as_retryable() {
    let Some(store) = RealStore::start(Service::Redis) else { return };
    let server = Server::start_in(&store.url(), QUICK, QUICK_SETTINGS);
    run(async {
        let client = Client::new(server.address());
        let path = format!("/v1/keys/{}", encode("large"));
        let put = client.raw(Method::PUT, &path, &[], vec![7; LARGE_BYTES]).await.expect("it answers");
        assert_eq!(put.status(), 200, "{put:?}");
        write(&client, "small", "1").await;

        let by_hand = open(&store).await;
        let parts = by_hand.scan(Space::Blob, b"", None, 100).await.expect("the store answers").names;
        assert!(parts.len() > 1, "{} parts", parts.len());
        let last = parts.last().expect("counted above");
        let name = Name::new(Space::Blob, last.group.clone(), last.item.clone());
        by_hand.delete(std::slice::from_ref(&name)).await.expect("the store answers");

        let other = Server::start_in(&store.url(), QUICK, QUICK_SETTINGS);
        for client in [&client, &Client::new(other.address())] {
            // Each read that touches the part is answered *damaged*, the first and every later one.
            for _ in 0..3 {
                let range = format!("bytes={}-{}", LARGE_BYTES - 10, LARGE_BYTES - 1);
                let headers = [("range", range.as_str())];
                let read = client.raw(Method::GET, &path, &headers, "").await.expect("it answers");
                let text = String::from_utf8_lossy(read.body()).into_owned();
                assert_eq!(read.status(), 503, "{text}");
                assert!(text.contains(r#""code":"damaged""#), "{text}");
                assert!(text.contains(r#""action":"internal""#), "{text}");
            }
            let small = read_fresh(client, &["small"]).await;
            assert_eq!(small, [Some("1".into())]);
            // Ranges in the other parts can be read.
            let headers = [("range", "bytes=0-9")];
            let read = client.raw(Method::GET, &path, &headers, "").await.expect("it answers");
            assert_eq!((read.status().as_u16(), &read.body()[..]), (206, &[7; 10][..]));
        }
        // A new write repairs the key.
        let put = client.raw(Method::PUT, &path, &[], vec![8; LARGE_BYTES]).await.expect("it answers");
        assert_eq!(put.status(), 200, "{put:?}");
        let read = client.raw(Method::GET, &path, &[], "").await.expect("it answers");
        assert!(read.status() == 200 && read.body()[..] == vec![8; LARGE_BYTES][..], "{}", read.status());
    });
}
