//! A mirror: commits of a bucket reach its origin, under their plain names.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aft_e2e::client::Client as Native;
use aft_e2e::real_store::RealStore;
use aft_e2e::server::{Server, local};
use aft_services::Service;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use rand::RngExt as _;

use crate::objects::{client_of, fill, put, see};
use crate::{ANY, S3, temporary};

/// The longest time that a mirror may need in these tests, on a busy machine.
const LAG_MAX: Duration = Duration::from_secs(60);

/// Returns the keys of a bucket with their entity tags.
async fn tags(s3: &Client, bucket: &str) -> BTreeMap<String, String> {
    let (mut all, mut token) = (BTreeMap::new(), None);
    loop {
        let ask = s3.list_objects_v2().bucket(bucket).set_continuation_token(token);
        let listed = ask.encoding_type(aws_sdk_s3::types::EncodingType::Url).send().await.expect("it lists");
        for object in listed.contents() {
            let (key, etag) = (object.key().expect("a key"), object.e_tag().expect("a tag"));
            all.insert(key.to_owned(), etag.to_owned());
        }
        token = listed.next_continuation_token().map(str::to_owned);
        if token.is_none() {
            return all;
        }
    }
}

/// Waits until both buckets have the same objects.
async fn same(ours: (&Client, &str), theirs: (&Client, &str)) {
    let since = Instant::now();
    loop {
        let (one, other) = (tags(ours.0, ours.1).await, tags(theirs.0, theirs.1).await);
        if one == other {
            return;
        }
        assert!(since.elapsed() < LAG_MAX, "after {LAG_MAX:?}: {one:#?}\n{other:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn mark(server: &Server) -> Native {
    Native::new(server.address())
}

#[tokio::test]
async fn commits_reach_the_origin_as_they_are() {
    let outside = Server::start_with("memory:", &[&S3[..], &["--bucket", "real"]].concat());
    let url = outside.s3_url().await;
    let (store, flag) = (temporary(), format!("photos=s3://real?endpoint={url}&region=r&mirror=on"));
    let server = Server::start_in(&local(store.path()), &[&S3[..], &["--bucket", &flag]].concat(), &ANY);
    let (theirs, ours) = (client_of(&url), client_of(&server.s3_url().await));
    for key in ["folder/deleted", "overwritten", "stays"] {
        put(&theirs, "real", key, "before").await;
    }
    let keys = fill(&ours, "photos").await;
    put(&ours, "photos", "overwritten", "ours").await;
    ours.delete_object().bucket("photos").key("folder/deleted").send().await.expect("it is deleted");
    same((&ours, "photos"), (&theirs, "real")).await;
    for key in &keys {
        let (ours, theirs) = (see(&ours, "photos", key).await, see(&theirs, "real", key).await);
        assert_eq!(ours.bytes, theirs.bytes, "{key:?}");
        let (ours, theirs) = (ours.without_bytes(), theirs.without_bytes());
        assert!(theirs.has_mark(), "{key:?}: {theirs:?}");
        assert_eq!(ours.without_mark(), theirs.without_mark(), "{key:?}");
    }
    assert!(!see(&theirs, "real", "stays").await.has_mark(), "it was never written");
    // The mirror's own entries are gone.
    let native = mark(&server);
    let since = Instant::now();
    while native.metric("aft_s3_mirror_due").await != 0.0 {
        assert!(since.elapsed() < LAG_MAX, "something is still due");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(native.metric("aft_s3_mirror_lag_seconds").await, 0.0);
}

#[tokio::test]
async fn a_mirror_that_is_switched_on_catches_up() {
    let outside = Server::start_with("memory:", &[&S3[..], &["--bucket", "real"]].concat());
    let url = outside.s3_url().await;
    let theirs = client_of(&url);
    for key in ["a", "b", "stays"] {
        put(&theirs, "real", key, "before").await;
    }
    let store = temporary();
    for (mirror, number) in [("off", 1), ("on", 2), ("off", 3), ("on", 4)] {
        let flag = format!("photos=s3://real?endpoint={url}&region=r&mirror={mirror}");
        let server = Server::start_in(&local(store.path()), &[&S3[..], &["--bucket", &flag]].concat(), &ANY);
        let ours = client_of(&server.s3_url().await);
        if mirror == "on" {
            same((&ours, "photos"), (&theirs, "real")).await;
        }
        put(&ours, "photos", "a", format!("{number}")).await;
        put(&ours, "photos", &format!("new {number}"), "new").await;
        ours.delete_object().bucket("photos").key("b").send().await.expect("it is deleted");
        let last = format!("new {}", number - 1);
        ours.delete_object().bucket("photos").key(last).send().await.expect("it is deleted");
        if mirror == "on" {
            same((&ours, "photos"), (&theirs, "real")).await;
        }
    }
    assert!(!see(&theirs, "real", "stays").await.has_mark());
}

#[tokio::test]
async fn a_foreign_object_is_reported_and_left() {
    let outside = Server::start_with("memory:", &[&S3[..], &["--bucket", "real"]].concat());
    let url = outside.s3_url().await;
    let (store, flag) = (temporary(), format!("photos=s3://real/p?endpoint={url}&region=r&mirror=on"));
    let server = Server::start_in(&local(store.path()), &[&S3[..], &["--bucket", &flag]].concat(), &ANY);
    let (theirs, ours) = (client_of(&url), client_of(&server.s3_url().await));
    let native = mark(&server);
    put(&ours, "photos", "a", "first").await;
    let since = Instant::now();
    // The record of a mirrored key comes after the object.
    while !(tags(&theirs, "real").await.contains_key("p/a")
        && native.metric("aft_s3_mirror_due").await == 0.0)
    {
        assert!(since.elapsed() < LAG_MAX, "it is not mirrored");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    put(&theirs, "real", "p/a", "foreign").await;
    put(&ours, "photos", "a", "second").await;
    server.says("somebody else has overwritten a mirrored object").await;
    assert_eq!(see(&theirs, "real", "p/a").await.bytes, b"foreign");
    assert_eq!(see(&ours, "photos", "a").await.bytes, b"second");
    assert!(native.metric("aft_s3_mirror_foreign_total").await >= 1.0);
    // When it is out of the way, the next commit is mirrored.
    theirs.delete_object().bucket("real").key("p/a").send().await.expect("it is deleted");
    put(&ours, "photos", "a", "third").await;
    let since = Instant::now();
    while !tags(&theirs, "real").await.contains_key("p/a") {
        assert!(since.elapsed() < LAG_MAX, "it is not mirrored again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(see(&theirs, "real", "p/a").await.bytes, b"third");
}

/// Two servers on MinIO, the origin in the same MinIO, and kills: in the end the origin has the
/// newest version of every key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_stays_unmirrored_after_kills() {
    let Some(store) = RealStore::start(Service::Minio) else { return };
    store.service.create_bucket("real").expect("it takes a second bucket");
    let url = store.url();
    let (_, query) = url.split_once('?').expect("it names an endpoint");
    let flag = format!("photos=s3://real?{query}&mirror=on");
    let start = || store.serve(&[&S3[..], &["--bucket", &flag]].concat());
    let mut servers = [start(), start()];
    let mut clients = Vec::new();
    for server in &servers {
        clients.push(client_of(&server.s3_url().await));
    }
    let (access, secret) = {
        let environment = store.environment();
        let value = |name: &str| environment.iter().find(|(found, _)| *found == name).expect("it is set").1;
        (value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY"))
    };
    let endpoint = query.split('&').find_map(|option| option.strip_prefix("endpoint=")).expect("it is named");
    let theirs = crate::objects::client_with(endpoint, access, secret);
    for key in 0..8 {
        put(&theirs, "real", &format!("k{key}"), "before").await;
    }
    let until = Instant::now() + Duration::from_secs(15);
    let mut number = 0;
    while Instant::now() < until {
        number += 1;
        let (key, at) = (format!("k{}", number % 8), usize::from(rand::rng().random_bool(0.5)));
        let s3 = &clients[at];
        // A call that a kill interrupts has either outcome.
        if number % 5 == 0 {
            drop(s3.delete_object().bucket("photos").key(&key).send().await);
        } else {
            let body = ByteStream::from(format!("{key} {number}").into_bytes());
            drop(s3.put_object().bucket("photos").key(&key).body(body).send().await);
        }
        if number % 12 == 0 {
            let next = start();
            clients[at] = client_of(&next.s3_url().await);
            std::mem::replace(&mut servers[at], next).kill();
        }
    }
    same((&clients[0], "photos"), (&theirs, "real")).await;
    same((&clients[1], "photos"), (&theirs, "real")).await;
    for (key, _) in tags(&theirs, "real").await {
        let (ours, theirs) = (see(&clients[0], "photos", &key).await, see(&theirs, "real", &key).await);
        assert_eq!(ours.bytes, theirs.bytes, "{key}");
    }
}
