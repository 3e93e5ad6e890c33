//! A server that loses the store's data, or the settings on which acknowledgements rest, while a
//! store is open: every call is rejected, at once if data is missing, after the next check if
//! settings are weaker; with the reason and the remedy, until the server is right again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aft_services::Server;
use aft_store::{Error, Name, Space, Store, Tag, Writes};
use aft_store_redis::{Options, RedisStore};
use aft_store_tests::{name, refused};
use bytes::Bytes;

use crate::{admin, open, server, tell, url};

/// Opens a store that checks its server often.
async fn watchful(server: &Server) -> Arc<RedisStore> {
    let options = Options::default().looking_every(Duration::from_millis(200));
    Arc::new(RedisStore::open(&url(server), &options).await.unwrap_or_else(|why| panic!("{why}")))
}

/// Makes every call, and checks that each is rejected with a message that contains all of `words`.
async fn refuses_every_call(store: &dyn Store, words: &[&str]) {
    let (there, body) = (name("there"), Bytes::from_static(b"late"));
    let tag = Tag(Bytes::from_static(b"1 sixteen bytes.."));
    let two = Writes { create: Some((name("new"), body.clone())), puts: vec![(there.clone(), body.clone())] };
    let large = Name::new(Space::Blob, "large", "");
    let errors: [(&str, Option<Error>); 11] = [
        ("put", store.put(&there, body.clone()).await.err()),
        ("get", store.get(&there).await.err()),
        ("create", store.create(&name("new"), body.clone()).await.err()),
        ("commit", store.commit(two).await.created.expect("there is a record").err()),
        ("replace", store.replace(&there, &tag, body.clone()).await.err()),
        ("delete", store.delete(std::slice::from_ref(&there)).await.err()),
        ("delete_if", store.delete_if(&there, &tag).await.err()),
        ("list", store.list(Space::Version, b"there", None, 10).await.err()),
        ("groups", store.groups(Space::Version, b"", None, 10).await.err()),
        ("scan", store.scan(Space::Version, b"", None, 10).await.err()),
        ("put of a large body", store.put(&large, vec![0; 100_000].into()).await.err()),
    ];
    for (call, error) in errors {
        let error = error.unwrap_or_else(|| panic!("{call} succeeded"));
        assert!(refused(&error), "{call}: {error:?}");
        for word in words {
            assert!(error.to_string().contains(word), "{call}: {word:?} is missing in {error}");
        }
    }
}

/// Uses the connections that died with a server, so that the next calls make new ones.
async fn meets_dead_connections(store: &dyn Store) {
    tokio::time::sleep(Duration::from_millis(100)).await;
    for space in [Space::Version, Space::Blob] {
        let _ = store.get(&Name::new(space, "there", "item")).await;
    }
}

/// Checks that the store serves again after its next check.
async fn serves_again(store: &dyn Store) {
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    store.put(&name("again"), Bytes::new()).await.unwrap_or_else(|why| panic!("{why}"));
    store
        .put(&Name::new(Space::Blob, "large", ""), vec![0; 100_000].into())
        .await
        .unwrap_or_else(|why| panic!("{why}"));
    assert!(store.get(&name("again")).await.is_ok_and(|found| found.is_some()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_data_is_noticed_at_once() {
    let Some(server) = server() else { return };
    let mut admin = admin(&server);
    // This store checks its server rarely: the calls themselves must notice.
    let store = open(&url(&server)).await;
    store.put(&name("there"), Bytes::from_static(b"body")).await.unwrap();
    let identity: String = tell(&mut admin, "GET aft/identity");
    assert_eq!(identity.len(), 32);
    let second = open(&url(&server)).await;
    assert_eq!(tell::<String>(&mut admin, "GET aft/identity"), identity, "written once");
    tell::<()>(&mut admin, "FLUSHALL");
    // The first call of each kind must notice by itself.
    assert!(refused(&second.get(&name("there")).await.expect_err("no key may read as absent")));
    let third = second.list(Space::Version, b"there", None, 10).await;
    assert!(refused(&third.expect_err("no listing may read as empty")));
    refuses_every_call(&*store, &["aft/identity is missing", "restore them, or restart this process"]).await;
    assert_eq!(tell::<usize>(&mut admin, "DBSIZE"), 0, "nothing was written");

    // Another store is created in its place.
    let newer = open(&url(&server)).await;
    newer.put(&name("there"), Bytes::from_static(b"newer")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    refuses_every_call(&*store, &["the data of another store", "aft/identity"]).await;
    assert_eq!(newer.get(&name("there")).await.unwrap().expect("it was put").0, "newer");

    // The data is restored.
    tell::<()>(&mut admin, &format!("SET aft/identity {identity}"));
    serves_again(&*store).await;
    assert!(refused(&newer.get(&name("there")).await.expect_err("it is not its own")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_without_data_is_noticed() {
    let Some(mut server) = server() else { return };
    let store = open(&url(&server)).await;
    store.put(&name("there"), Bytes::from_static(b"body")).await.unwrap();
    let (_, directory): (String, PathBuf) = {
        let (name, place): (String, String) =
            redis::cmd("CONFIG").arg("GET").arg("dir").query(&mut admin(&server)).unwrap();
        (name, place.into())
    };
    // Without its append-only file the server starts empty.
    let kept = directory.join("kept");
    let file = directory.join("appendonlydir");

    server.kill();
    std::fs::rename(&file, &kept).expect("the file is there");
    let mut server = tokio::task::spawn_blocking(move || {
        server.restart().expect("it comes back, empty");
        server
    })
    .await
    .unwrap();
    meets_dead_connections(&*store).await;
    refuses_every_call(&*store, &["aft/identity is missing", "restarted or replaced without them"]).await;
    assert_eq!(tell::<usize>(&mut admin(&server), "DBSIZE"), 0, "nothing was written");

    server.kill();
    // With the file back in place, the store accepts the server again by itself.
    std::fs::remove_dir_all(&file).expect("the empty server made one");
    std::fs::rename(&kept, &file).expect("the file is there");
    let server = tokio::task::spawn_blocking(move || {
        server.restart().expect("it comes back, with its data");
        server
    })
    .await
    .unwrap();
    meets_dead_connections(&*store).await;
    serves_again(&*store).await;
    assert_eq!(store.get(&name("there")).await.unwrap().expect("it was kept").0, "body");
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weaker_settings_are_noticed() {
    let Some(server) = server() else { return };
    let mut admin = admin(&server);
    let store = watchful(&server).await;
    let cases: [(&str, &str, &[&str]); 7] = [
        (
            "CONFIG SET maxmemory-policy allkeys-lru",
            "CONFIG SET maxmemory-policy noeviction",
            &["maxmemory-policy was noeviction", "is allkeys-lru", "set it back"],
        ),
        (
            "CONFIG SET maxmemory-policy volatile-lru",
            "CONFIG SET maxmemory-policy noeviction",
            &["is volatile-lru"],
        ),
        (
            "CONFIG SET appendfsync everysec",
            "CONFIG SET appendfsync always",
            &["does under appendonly yes, appendfsync everysec"],
        ),
        (
            "CONFIG SET appendfsync no",
            "CONFIG SET appendfsync always",
            &["appendfsync always", "appendfsync no", "set it back"],
        ),
        (
            "CONFIG SET no-appendfsync-on-rewrite yes",
            "CONFIG SET no-appendfsync-on-rewrite no",
            &["does under appendonly yes, appendfsync always, no-appendfsync-on-rewrite yes"],
        ),
        ("CONFIG SET appendonly no", "CONFIG SET appendonly yes", &["does under appendonly no"]),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", &["is a replica", "primary"]),
    ];
    for (weaker, back, words) in cases {
        tell::<()>(&mut admin, weaker);
        tokio::time::sleep(Duration::from_millis(250)).await;
        refuses_every_call(&*store, words).await;
        tell::<()>(&mut admin, back);
        serves_again(&*store).await;
    }
    // A change that weakens nothing is accepted.
    tell::<()>(&mut admin, "CONFIG SET maxmemory 1gb");
    tokio::time::sleep(Duration::from_millis(250)).await;
    store.put(&name("there"), Bytes::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weaker_settings_are_noticed_on_a_new_connection() {
    let Some(server) = server() else { return };
    let mut admin = admin(&server);
    // This store checks its server once a minute.
    let store = open(&url(&server)).await;
    store.put(&name("there"), Bytes::new()).await.unwrap();
    tell::<()>(&mut admin, "CONFIG SET appendfsync no");
    store.put(&name("there"), Bytes::new()).await.expect("it was looked at a moment ago");
    tell::<()>(&mut admin, "CLIENT KILL TYPE normal SKIPME yes");
    meets_dead_connections(&*store).await;
    refuses_every_call(&*store, &["appendfsync no"]).await;
    tell::<()>(&mut admin, "CONFIG SET appendfsync always");
    serves_again(&*store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evicted_keys_are_noticed_after_the_fact() {
    let Some(server) = server() else { return };
    let mut admin = admin(&server);
    let store = watchful(&server).await;
    for number in 0..200 {
        store.put(&Name::new(Space::Version, number.to_string(), ""), vec![0; 10_000].into()).await.unwrap();
    }
    // Everything happens between two checks.
    tell::<()>(&mut admin, "CONFIG SET maxmemory-policy allkeys-random");
    tell::<()>(&mut admin, "CONFIG SET maxmemory 2mb");
    tell::<()>(&mut admin, "SET foreign text");
    tell::<()>(&mut admin, "CONFIG SET maxmemory 0");
    tell::<()>(&mut admin, "CONFIG SET maxmemory-policy noeviction");
    assert!(tell::<usize>(&mut admin, "DBSIZE") < 200, "else the test shows nothing");
    tokio::time::sleep(Duration::from_millis(250)).await;
    let error = store.get(&name("1")).await.expect_err("keys may be missing");
    let text = error.to_string();
    // The identity may have been evicted as well.
    assert!(refused(&error) && (text.contains("has evicted") || text.contains("is missing")), "{text}");
}
