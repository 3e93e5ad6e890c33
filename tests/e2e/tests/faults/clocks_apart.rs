//! Two servers on one Redis, one of them with its wall clock a day and a half ahead.
//!
//! The first protocol compared wall clocks of different machines. An acknowledged request ran twice
//! in 3 of 3 tries, since the fast server had collected its record. When blind writes followed each
//! other within two seconds, 5 of 10 values and 10 of 10 deletes were never seen. The slow server
//! rejected the fast one's session tokens. After one write by a server a day ahead, the others
//! rejected their own. Now every decision rests on the store's time.

use std::time::Duration;

use aft_api::{Begin, Op};
use aft_e2e::client::Client;
use aft_e2e::real_store::RealStore;
use aft_e2e::server::Server;
use aft_e2e::wall_clock::WallClock;
use aft_services::Service;
use futures::future::join_all;

use crate::{QUICK, QUICK_SETTINGS, read_fresh, run, until, values, write};

const AHEAD_S: i64 = 36 * 3_600;
const DAY_S: i64 = 24 * 3_600;
/// The time until the collector must have worked: far above the five seconds in which a mark moves
/// here.
const COLLECT_TIME_MAX: Duration = Duration::from_secs(40);

/// A Redis, a server whose clock is right, and one whose clock is ahead.
struct Pair {
    store: RealStore,
    right: Server,
    ahead: Server,
}

impl Pair {
    /// Starts all three. Returns none if one of them is to be skipped.
    fn start(clock: &WallClock, ahead_s: i64) -> Option<Pair> {
        let store = RealStore::start(Service::Redis)?;
        clock.set(ahead_s);
        let right = Server::start_in(&store.url(), QUICK, QUICK_SETTINGS);
        let ahead = Server::start_in(&store.url(), QUICK, &of(clock));
        Some(Pair { store, right, ahead })
    }

    /// Returns clients of both servers, that of the server with the right clock first.
    fn clients(&self) -> [Client; 2] {
        [Client::new(self.right.address()), Client::new(self.ahead.address())]
    }
}

fn of(clock: &WallClock) -> Vec<(&str, &str)> {
    [clock.environment(), QUICK_SETTINGS.to_vec()].concat()
}

/// Returns a request that puts its own ID under a key of its own, and leaves a result.
fn request(id: &str) -> Begin {
    Begin {
        request_id: Some(id.to_owned()),
        fingerprint: Some("the same".into()),
        // A second execution would be seen: it would overwrite the newer value, with another
        // version.
        ops: vec![Op::put(format!("key/{id}"), id.to_owned())],
        result: Some(format!("result of {id}").into()),
        ..Begin::default()
    }
}

#[test]
fn an_acknowledged_request_never_runs_twice_while_records_are_collected() {
    let Some(clock) = WallClock::or_skip() else { return };
    let Some(pair) = Pair::start(&clock, AHEAD_S) else { return };
    run(async {
        let clients = pair.clients();
        let mut expected = Vec::new();
        for (at, client) in clients.iter().enumerate() {
            for number in 0..10 {
                let id = format!("request-{at}-{number}");
                let reply = client.execute(&request(&id)).await.expect("an undisturbed server answers");
                assert!(reply.committed && !reply.replayed, "{id}: {reply:?}");
                expected.push((id, reply.version));
            }
        }
        // These writes supersede the requests' entries, so that only the retention keeps their
        // records.
        for (id, _) in &expected {
            write(&clients[0], &format!("key/{id}"), "newer").await;
        }
        repeat(&clients, &expected).await;
        let moved =
            async || join_all(clients.each_ref().map(|client| client.metric("aft_marks_moved_total"))).await;
        let removed = async || {
            join_all(clients.each_ref().map(|client| client.metric("aft_entries_removed_total"))).await
        };
        let before: f64 = moved().await.iter().sum();
        let what = "two moves of the mark, and superseded entries removed";
        until(what, COLLECT_TIME_MAX, async || {
            let removed: f64 = removed().await.iter().sum();
            moved().await.iter().sum::<f64>() >= before + 2.0 && removed >= expected.len() as f64
        })
        .await;
        println!("marks moved {:?}, entries removed {:?}", moved().await, removed().await);
        repeat(&clients, &expected).await;
        for (id, _) in &expected {
            let key = format!("key/{id}");
            for client in &clients {
                assert_eq!(read_fresh(client, &[&key]).await, [Some("newer".into())], "{id} ran again");
            }
        }
    });
}

/// Repeats every request on both servers, and checks that each is answered from the first one's
/// record.
async fn repeat(clients: &[Client; 2], expected: &[(String, Option<String>)]) {
    for (id, version) in expected {
        for client in clients {
            let reply = client.execute(&request(id)).await.expect("an undisturbed server answers");
            assert!(reply.replayed && !reply.committed, "{id} ran again: {reply:?}");
            let result = format!("result of {id}");
            assert_eq!((&reply.version, reply.result.as_deref()), (version, Some(result.as_bytes())));
        }
    }
}

#[test]
fn the_later_of_two_blind_writes_is_seen() {
    let Some(clock) = WallClock::or_skip() else { return };
    let Some(pair) = Pair::start(&clock, AHEAD_S) else { return };
    run(async {
        let clients = pair.clients();
        for pause in [Duration::ZERO, Duration::from_secs(2)] {
            for (earlier, later) in [(0, 1), (1, 0)] {
                blind(&clients[earlier], &clients[later], &clients, pause, &format!("{earlier}{pause:?}"))
                    .await;
            }
        }
    });
}

/// Writes ten keys on one server, then overwrites or deletes them on the other, which has never
/// read them, and checks what both servers read.
async fn blind(earlier: &Client, later: &Client, readers: &[Client; 2], pause: Duration, name: &str) {
    let pairs = (0..10).map(async |number| {
        let (put, deleted) = (format!("put/{name}/{number}"), format!("deleted/{name}/{number}"));
        write(earlier, &put, "earlier").await;
        write(earlier, &deleted, "earlier").await;
        tokio::time::sleep(pause).await;
        write(later, &put, "later").await;
        let delete = Begin { ops: vec![Op::delete(&deleted)], ..Begin::default() };
        later.execute(&delete).await.expect("an undisturbed server answers");
        for reader in readers {
            assert_eq!(read_fresh(reader, &[&put, &deleted]).await, [Some("later".into()), None], "{name}");
        }
    });
    join_all(pairs).await;
}

#[test]
fn each_server_accepts_the_session_tokens_of_the_other() {
    let Some(clock) = WallClock::or_skip() else { return };
    let Some(pair) = Pair::start(&clock, AHEAD_S) else { return };
    run(async {
        let clients = pair.clients();
        for (from, to) in [(0, 1), (1, 0)] {
            for number in 0..10 {
                sees(&clients[from], &clients[to], &format!("key/{from}"), &format!("{number}")).await;
            }
        }
    });
}

#[test]
fn after_a_writer_a_day_ahead_the_others_write_as_before() {
    let Some(clock) = WallClock::or_skip() else { return };
    let Some(mut pair) = Pair::start(&clock, DAY_S) else { return };
    let third = Server::start_in(&pair.store.url(), QUICK, QUICK_SETTINGS);
    run(async {
        let [right, ahead] = pair.clients();
        write(&ahead, "key", "by the server ahead").await;
        pair.ahead.terminate();
        let ended = pair.ahead.wait(Duration::from_secs(30));
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
        let third = Client::new(third.address());
        assert_eq!(read_fresh(&right, &["key"]).await, [Some("by the server ahead".into())]);
        for number in 0..5 {
            for (from, to) in [(&right, &right), (&right, &third), (&third, &third), (&third, &right)] {
                sees(from, to, "key", &format!("a {number}")).await;
                sees(from, to, "other", &format!("b {number}")).await;
            }
        }
        // A server that starts after the write behaves in the same way.
        let fourth = Server::start_in(&pair.store.url(), QUICK, QUICK_SETTINGS);
        sees(&right, &Client::new(fourth.address()), "key", "last").await;
    });
}

/// Writes on one server, reads on another with the session token of the write, and checks that the
/// read sees it.
async fn sees(from: &Client, to: &Client, key: &str, value: &str) {
    let session = write(from, key, value).await.session;
    assert!(session.is_some(), "a commit has a session token");
    let begin = Begin { ops: vec![Op::get(key)], session, ..Begin::default() };
    let reply = to.execute(&begin).await.expect("a session token is good everywhere");
    assert_eq!(values(reply), [Some(value.to_owned().into())], "{key}");
}
