//! Failures while a store is in use: each is classified by what may have happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aft_store::{Created, Damage, Error, Name, Position, Replaced, Space, Store, Tag, Writes};
use aft_store_redis::RedisStore;
use aft_store_tests::{busy, name, no_answer, refused};
use bytes::Bytes;

use crate::fake::{FINE, Fake, START_US, Says};
use crate::{admin, open, server, tell, url};

/// A check of an error's kind.
type Expect = fn(&Error) -> bool;

fn damaged(error: &Error) -> bool {
    matches!(error, Error::Damaged(_))
}

/// Returns a tag in the store's format.
fn tag() -> Tag {
    Tag(Bytes::from_static(b"1 sixteen bytes.."))
}

/// Makes every call while the fake answers `says`, and checks that each fails with an error for
/// which `expect` is true and whose message contains `word`.
async fn every_call(fake: &Fake, store: &RedisStore, says: Says, expect: Expect, word: &str) {
    fake.says(says.clone());
    let (there, body) = (name("there"), Bytes::from_static(b"body"));
    let two = Writes { create: Some((name("new"), Bytes::new())), puts: vec![(there.clone(), Bytes::new())] };
    let failures = [
        ("get", store.get(&there).await.err()),
        ("put", store.put(&there, body.clone()).await.err()),
        ("create", store.create(&there, body.clone()).await.err()),
        ("replace", store.replace(&there, &tag(), body).await.err()),
        ("delete_if", store.delete_if(&there, &tag()).await.err()),
        ("delete", store.delete(&[there.clone(), name("new")]).await.err()),
        ("list", store.list(Space::Version, b"there", None, 10).await.err()),
        ("groups", store.groups(Space::Version, b"", None, 10).await.err()),
        ("scan", store.scan(Space::Version, b"", None, 10).await.err()),
        ("commit", store.commit(two.clone()).await.created.expect("there is a record").err()),
    ];
    for (call, error) in failures {
        let error = error.unwrap_or_else(|| panic!("{call} under {says:?} succeeded"));
        assert!(expect(&error), "{call} under {says:?}: {error:?}");
        let text = error.to_string();
        for word in [word, &format!("{}/aft: {call}", fake.url())] {
            assert!(text.contains(word), "{call} under {says:?}: {word:?} is missing in {text}");
        }
    }
    // After any answer, the next request finds a connection that works.
    fake.says(Says::Fine);
    assert_eq!(store.get(&there).await, Ok(None), "after {says:?}");
    store.put(&there, Bytes::new()).await.unwrap_or_else(|why| panic!("after {says:?}: {why}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_classified_by_what_may_have_happened() {
    let fake = Fake::start(FINE).await;
    let store = open(&fake.url()).await;
    let said: &[(&'static [u8], Expect, &str)] = &[
        (b"-LOADING Redis is loading the dataset in memory\r\n", busy, "LOADING"),
        (b"-BUSY Redis is busy running a script.\r\n", busy, "BUSY"),
        (b"-TRYAGAIN Multiple keys request during rehashing\r\n", busy, "TRYAGAIN"),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", refused, "free memory"),
        (b"-READONLY You can't write against a read only replica.\r\n", refused, "primary"),
        (b"-MISCONF Errors writing to the AOF file\r\n", refused, "disk"),
        (b"-NOAUTH Authentication required.\r\n", refused, "AFT_REDIS_PASSWORD"),
        (b"-NOPERM this user has no permissions\r\n", refused, "allow this user"),
        (b"-MOVED 1 127.0.0.1:2\r\n", refused, "Cluster"),
        (b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", damaged, "another type"),
        (b"-NOSCRIPT No matching script.\r\n", busy, "drops scripts"),
        (b"-ERR something that nobody foresaw\r\n", no_answer, "nobody foresaw"),
        // Valid answers that no call expects.
        (b"+QUEUED\r\n", no_answer, "does not speak Redis"),
        (b":7\r\n", no_answer, "does not speak Redis"),
        (b"*2\r\n:7\r\n:2\r\n", no_answer, "does not speak Redis"),
        // The Redis library ends the connection, and reports the reason only for a request that was
        // sent alone.
        (b"HTTP/1.1 200 OK\r\n\r\n", no_answer, ""),
    ];
    for (bytes, expect, word) in said {
        every_call(&fake, &store, Says::Bytes(bytes), *expect, word).await;
    }
    every_call(&fake, &store, Says::Cut, no_answer, "").await;
    // No request was repeated by the library: 10 calls with one request each, and a get and a put
    // afterwards.
    fake.take();
    every_call(&fake, &store, Says::Cut, no_answer, "").await;
    assert_eq!(fake.take().len(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_latest_begin_of_a_write_follows_the_servers_clock() {
    let fake = Fake::start(FINE).await;
    let store = open(&fake.url()).await;
    let put = async || store.put(&name("a"), Bytes::new()).await;
    // A write may begin within its timeout of 15 s, less the drift; the fake's clock has advanced a
    // little since it was set.
    let within = |clock_us: i64, ms: std::ops::Range<i64>| {
        let ahead = (fake.moment() - clock_us) / 1_000;
        assert!(ms.contains(&ahead), "{ahead} ms ahead");
    };
    put().await.unwrap();
    within(START_US, 14_900..15_900);
    // The server's clock jumps ahead by more than a year.
    let later = START_US + 50_000_000_000_000;
    fake.says(Says::Bytes(b"*2\r\n:-1\r\n:1750000000000000\r\n"));
    let error = put().await.expect_err("it did nothing");
    assert!(busy(&error) && error.to_string().contains("took no effect"), "{error:?}");
    fake.says(Says::Fine);
    fake.shows(later);
    put().await.unwrap();
    within(later, 14_900..15_900);
    // The connection for large bodies knows the new time, too.
    let put_large = async || store.put(&name("a"), vec![0; 100_000].into()).await;
    put_large().await.unwrap();
    within(later, 44_900..45_900);
    // The clock is set back. The first write whose answer shows that was sent under the old time,
    // and the next one is not, on either connection.
    let earlier = START_US - 3_600_000_000;
    fake.shows(earlier);
    put().await.unwrap();
    within(later, 14_900..15_900);
    put_large().await.unwrap();
    within(earlier, 44_900..45_900);
    put().await.unwrap();
    within(earlier, 14_900..15_900);

    // A deadline limits the latest begin as well.
    let bounded = store.until(Instant::now() + Duration::from_secs(2)).expect("it can");
    bounded.put(&name("a"), Bytes::new()).await.unwrap();
    within(earlier, 1_900..2_900);
    let nested = bounded.until(Instant::now() + Duration::from_secs(9)).expect("it can");
    nested.delete(&[name("a")]).await.unwrap();
    within(earlier, 1_900..2_900);
    // A call whose deadline is over is not sent.
    fake.take();
    let over = store.until(Instant::now()).expect("it can");
    let error = over.put(&name("a"), Bytes::new()).await.expect_err("it is late");
    assert!(busy(&error) && error.to_string().contains("not sent"), "{error:?}");
    assert_eq!(fake.take(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_listings_count_as_no_answer() {
    let fake = Fake::start(FINE).await;
    let store = open(&fake.url()).await;
    for bytes in [
        &b"*2\r\n$1\r\nb\r\n$1\r\na\r\n"[..],
        b"*2\r\n$1\r\na\r\n$1\r\na\r\n",
        b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n",
    ] {
        fake.says(Says::Bytes(bytes));
        let error = store.list(Space::Version, b"g", None, 1).await.expect_err("out of order, or too long");
        assert!(no_answer(&error), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_objects_are_reported_as_damage() {
    let Some(server) = server() else { return };
    let (store, mut admin) = (open(&url(&server)).await, admin(&server));
    let key = "aft/version/o/0001/g/item";
    tell::<()>(&mut admin, &format!("SET {key} short"));
    assert!(damaged(&store.get(&name("g")).await.expect_err("nothing here wrote it")));
    tell::<()>(&mut admin, &format!("DEL {key}"));
    tell::<()>(&mut admin, &format!("LPUSH {key} a"));
    assert!(damaged(&store.get(&name("g")).await.expect_err("a list is no object")));
    assert!(damaged(
        &store.replace(&name("g"), &tag(), Bytes::new()).await.expect_err("a list is no object")
    ));
    // The index has another type: the object is not written either.
    tell::<()>(&mut admin, "SET aft/version/i/h text");
    assert!(damaged(&store.put(&name("h"), Bytes::new()).await.expect_err("text is no index")));
    assert_eq!(store.get(&name("h")).await, Ok(None));
    // A scan reports it, and continues after it.
    let others = ["a", "z"].map(name);
    for other in &others {
        store.put(other, Bytes::new()).await.expect("it is well");
    }
    tell::<()>(&mut admin, "ZADD aft/version/g 0 h");
    for limit in [1, 2, 100] {
        let (mut found, mut met, mut after) = (Vec::new(), Damage::default(), None);
        loop {
            let page = store.scan(Space::Version, b"", after.as_ref(), limit).await.expect("a page");
            met.append(page.damaged);
            found.extend(page.names.iter().map(|name| name.group.clone()));
            let Some(last) = page.names.last().filter(|_| page.more) else { break };
            after = Some(Position { group: last.group.clone(), item: Some(last.item.clone()) });
        }
        assert_eq!(found, others.each_ref().map(|name| name.group.clone()), "by {limit}");
        assert!(met.first().is_some_and(|text| text.contains("aft/version/i/h")), "by {limit}: {met:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_refuses_and_still_deletes() {
    let Some(server) = server() else { return };
    let (store, mut admin) = (open(&url(&server)).await, admin(&server));
    store.put(&name("a"), Bytes::from_static(b"body")).await.unwrap();
    tell::<()>(&mut admin, "CONFIG SET maxmemory 1");
    let error = store.create(&name("b"), Bytes::new()).await.expect_err("there is no memory");
    assert!(
        refused(&error) && error.to_string().contains("OOM") && error.to_string().contains("free memory"),
        "{error:?}"
    );
    let writes = Writes { create: Some((name("c"), Bytes::new())), puts: vec![(name("d"), Bytes::new())] };
    let committed = store.commit(writes).await;
    assert!(committed.created.expect("there is a record").is_err_and(|error| refused(&error)));
    assert!(refused(committed.puts[0].as_ref().expect_err("there is no memory")));
    // Without a record, the entries fail one by one.
    let writes = Writes { create: None, puts: vec![(name("d"), Bytes::new()), (name("e"), Bytes::new())] };
    for put in store.commit(writes).await.puts {
        assert!(refused(&put.expect_err("there is no memory")));
    }
    assert_eq!(store.get(&name("a")).await.unwrap().expect("it was put").0, "body");
    store.delete(&[name("a")]).await.expect("deletions make room");
    tell::<()>(&mut admin, "CONFIG SET maxmemory 0");
    // Nothing of the failed writes is there.
    assert_eq!(tell::<Vec<String>>(&mut admin, "KEYS *"), ["aft/identity"]);
    store.create(&name("b"), Bytes::new()).await.expect("there is room");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_scripts_are_loaded_again() {
    let Some(server) = server() else { return };
    let (store, mut admin) = (open(&url(&server)).await, admin(&server));
    for i in 0..3 {
        tell::<()>(&mut admin, "SCRIPT FLUSH");
        store.put(&name("a"), Bytes::from(i.to_string())).await.unwrap();
        let (body, tag) = store.get(&name("a")).await.unwrap().expect("it was put");
        assert_eq!(body, i.to_string());
        tell::<()>(&mut admin, "SCRIPT FLUSH");
        assert_eq!(store.replace(&name("a"), &tag, Bytes::from_static(b"new")).await, Ok(Replaced::Replaced));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_keeps_acknowledged_writes() {
    let Some(mut server) = server() else { return };
    let store = open(&url(&server)).await;
    let numbered =
        |writer: u64, i: u64| Name::new(Space::Commit, (writer << 32 | i).to_be_bytes().to_vec(), "");
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8_u64)
        .map(|writer| {
            let (store, stop) = (store.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut acknowledged, mut failed) = (Vec::new(), 0);
                for i in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    match store.create(&numbered(writer, i), Bytes::from(i.to_string())).await {
                        Ok(created) => {
                            assert_eq!(created, Created::Created);
                            acknowledged.push(i);
                        }
                        Err(error) => {
                            // The server is down, or still reads its file.
                            assert!(no_answer(&error) || busy(&error), "{error:?}");
                            failed += 1;
                            tokio::time::sleep(Duration::from_millis(2)).await;
                        }
                    }
                }
                (acknowledged, failed)
            })
        })
        .collect();
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(50)).await;
        server = tokio::task::spawn_blocking(move || {
            server.restart().expect("it comes back");
            server
        })
        .await
        .expect("it comes back");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let (mut kept, mut lost) = (0, 0);
    for (writer, ended) in (0..8).zip(writers) {
        let (acknowledged, failed) = ended.await.expect("a writer saw nothing strange");
        // The same store continued, also after the last restart.
        assert!(failed > 0 && !acknowledged.is_empty());
        for i in &acknowledged {
            let found = store.get(&numbered(writer, *i)).await.expect("the server runs");
            assert_eq!(found.expect("it was acknowledged").0, i.to_string());
        }
        kept += acknowledged.len();
        lost += failed;
    }
    println!("{kept} acknowledged, {lost} failed");
    let mut listed = 0;
    let mut after: Option<Bytes> = None;
    loop {
        let page = store.groups(Space::Commit, b"", after.as_deref(), 1_000).await.expect("the server runs");
        listed += page.groups.len();
        for group in &page.groups {
            // The index never names a missing object.
            let name = Name::new(Space::Commit, group.clone(), "");
            assert!(store.get(&name).await.expect("the server runs").is_some(), "{name}");
        }
        after = page.groups.last().cloned();
        if !page.more {
            break;
        }
    }
    assert!(listed >= kept, "{listed} listed of {kept}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_executes_nothing_late() {
    let Some(mut server) = server() else { return };
    let store = open(&url(&server)).await;
    store.put(&name("there"), Bytes::from_static(b"body")).await.unwrap();

    // The call is abandoned and executed soon after: a server that continues executes the calls
    // that wait in its socket.
    server.pause();
    let soon = name("soon");
    let put = store.put(&soon, Bytes::from_static(b"soon"));
    assert!(tokio::time::timeout(Duration::from_secs(1), put).await.is_err());
    server.resume();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(
        store.get(&name("soon")).await.unwrap().is_some(),
        "without this the rest of the test would show nothing"
    );

    // The calls end by themselves, in bounded time, and the server no longer executes them.
    let start = Instant::now();
    server.pause();
    let (late, there) = (name("late"), [name("there")]);
    let (put, delete, list, after) = tokio::join!(
        store.put(&late, Bytes::from_static(b"late")),
        store.delete(&there),
        store.list(Space::Version, b"there", None, 10),
        async {
            // Sent when the first connection is known to be unusable.
            tokio::time::sleep(Duration::from_secs(12)).await;
            store.put(&late, Bytes::from_static(b"later")).await
        }
    );
    for error in [put.err(), delete.err(), list.err(), after.err()] {
        let error = error.expect("nobody answers");
        assert!(no_answer(&error), "{error:?}");
    }
    server.resume();
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
    assert!(store.get(&name("there")).await.unwrap().is_some(), "deleted after its deadline");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(store.get(&name("late")).await, Ok(None), "put after its deadline");
    store.put(&name("late"), Bytes::from_static(b"now")).await.expect("the server runs");
}
