//! A bucket that reads through to another one, its origin. Here that is the endpoint of a second
//! server of ours, which takes every key; `mirror` has the same with MinIO.

use aft_api::Begin;
use aft_e2e::binary::run_in;
use aft_e2e::client::{Client as Native, encode};
use aft_e2e::server::{Server, local};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier, Tag, Tagging};

use crate::objects::{client_of, fill, put, see, see_all};
use crate::{ANY, S3, temporary};

/// The endpoint that has the origin, and one whose bucket `photos` reads through to it.
struct Pair {
    outside: Server,
    server: Server,
    /// Clients of both, in this order.
    theirs: Client,
    ours: Client,
    store: tempfile::TempDir,
    flag: String,
}

impl Pair {
    /// Starts both. The origin is the bucket `real`, below a prefix; `options` go to its URL.
    async fn start(prefix: &str, options: &str) -> Pair {
        let outside = Server::start_with("memory:", &[&S3[..], &["--bucket", "real"]].concat());
        let url = outside.s3_url().await;
        let flag = format!("photos=s3://real/{prefix}?endpoint={url}&region=r{options}");
        let store = temporary();
        let server = serve(&store, &flag);
        let (theirs, ours) = (client_of(&url), client_of(&server.s3_url().await));
        Pair { outside, server, theirs, ours, store, flag }
    }

    /// Kills the server, and starts another one.
    async fn again(&mut self) {
        let Pair { server, store, flag, .. } = self;
        server.terminate();
        server.wait(std::time::Duration::from_secs(10)).expect("it ends");
        *server = serve(store, flag);
        self.ours = client_of(&server.s3_url().await);
    }
}

fn serve(store: &tempfile::TempDir, flag: &str) -> Server {
    let more = [&S3[..], &["--bucket", flag]].concat();
    Server::start_in(&local(store.path()), &more, &ANY)
}

/// Lists a bucket in pages of some length, and returns keys and common prefixes, in their order.
async fn list(s3: &Client, bucket: &str, delimiter: Option<&str>, page: i32) -> Vec<String> {
    let (mut all, mut token) = (Vec::new(), None);
    loop {
        let ask = s3.list_objects_v2().bucket(bucket).max_keys(page);
        let ask = ask.set_delimiter(delimiter.map(str::to_owned)).set_continuation_token(token);
        let listed = ask.send().await.expect("it lists");
        let keys = listed.contents().iter().filter_map(|object| object.key());
        let prefixes = listed.common_prefixes().iter().filter_map(|common| common.prefix());
        let mut texts: Vec<String> = keys.chain(prefixes).map(str::to_owned).collect();
        assert!(texts.len() <= usize::try_from(page).expect("it is positive"), "{texts:?}");
        texts.sort();
        assert!(
            all.last().is_none_or(|last| texts.first().is_none_or(|first| last < first)),
            "{all:?} {texts:?}"
        );
        all.extend(texts);
        token = listed.next_continuation_token().map(str::to_owned);
        if token.is_none() {
            return all;
        }
    }
}

/// Returns the code of a call that fails.
fn code<T: std::fmt::Debug, E>(result: Result<T, SdkError<E, HttpResponse>>) -> String
where
    E: ProvideErrorMetadata + std::fmt::Debug,
{
    let error = result.expect_err("it is rejected");
    error.code().map_or_else(|| format!("{error:?}"), str::to_owned)
}

#[tokio::test]
async fn every_object_of_the_origin_is_seen_unchanged() {
    let Pair { outside: _outside, server: _server, store: _store, theirs, ours, .. } =
        Pair::start("", "").await;
    let keys = fill(&theirs, "real").await;
    let (expected, seen) = (see_all(&theirs, "real", &keys).await, see_all(&ours, "photos", &keys).await);
    for ((key, expected), (_, seen)) in expected.iter().zip(&seen) {
        assert_eq!(expected.without_bytes(), seen.without_bytes(), "{key:?}");
        assert_eq!(expected.bytes, seen.bytes, "{key:?}");
    }
    // All of it again as versions of the store, by copies within the bucket.
    for key in &keys {
        let source = format!("photos/{}", encode(key));
        let copy = ours.copy_object().bucket("photos").key(format!("copies/{key}")).copy_source(source);
        if format!("copies/{key}").len() <= 1_024 {
            copy.send().await.unwrap_or_else(|why| panic!("{key:?}: {why:?}"));
            let (one, other) =
                (see(&ours, "photos", &format!("copies/{key}")).await, see(&theirs, "real", key).await);
            assert_eq!(one.bytes, other.bytes, "{key:?}");
        }
    }
    let url = aws_sdk_s3::types::EncodingType::Url;
    let listed = theirs.list_objects_v2().bucket("real").encoding_type(url).send().await.expect("it lists");
    assert_eq!(listed.contents().len(), keys.len(), "nothing was written to the origin");
}

#[tokio::test]
async fn writes_stay_in_the_store_and_win() {
    let mut pair = Pair::start("folder", "").await;
    let Pair { theirs, ours, .. } = &pair;
    for key in ["folder/a", "folder/b/1", "folder/b/2", "folder/c/1", "folder/d", "elsewhere"] {
        put(theirs, "real", key, format!("theirs {key}")).await;
    }
    let before = list(theirs, "real", None, 1_000).await;
    assert_eq!(list(ours, "photos", None, 2).await, ["a", "b/1", "b/2", "c/1", "d"]);
    assert_eq!(list(ours, "photos", Some("/"), 1).await, ["a", "b/", "c/", "d"]);
    put(ours, "photos", "a", "ours").await;
    put(ours, "photos", "e", "ours, too").await;
    for key in ["b/1", "c/1", "none"] {
        ours.delete_object().bucket("photos").key(key).send().await.expect("it is deleted");
    }
    let check = async |ours: &Client| {
        for page in [1, 2, 1_000] {
            assert_eq!(list(ours, "photos", None, page).await, ["a", "b/2", "d", "e"], "pages of {page}");
            assert_eq!(list(ours, "photos", Some("/"), page).await, ["a", "b/", "d", "e"], "pages of {page}");
        }
        assert_eq!(see(ours, "photos", "a").await.bytes, b"ours");
        assert_eq!(see(ours, "photos", "d").await.bytes, b"theirs folder/d");
        for key in ["b/1", "c/1", "none", "elsewhere"] {
            assert_eq!(code(ours.get_object().bucket("photos").key(key).send().await), "NoSuchKey", "{key}");
        }
    };
    check(ours).await;
    pair.again().await;
    check(&pair.ours).await;
    let Pair { theirs, ours, .. } = &pair;
    assert_eq!(list(theirs, "real", None, 1_000).await, before, "nothing was written to the origin");
    // Many at once, of both kinds.
    let objects = ["a", "b/2"].map(|key| ObjectIdentifier::builder().key(key).build().expect("it has a key"));
    let delete = Delete::builder().set_objects(Some(objects.to_vec())).build().expect("it has objects");
    ours.delete_objects().bucket("photos").delete(delete).send().await.expect("they are deleted");
    assert_eq!(list(ours, "photos", None, 1_000).await, ["d", "e"]);
    // Tags make it a version of the store, with the same bytes and tag.
    let tag = Tag::builder().key("kind").value("test").build().expect("it has a key and a value");
    let tags = Tagging::builder().tag_set(tag).build().expect("it has tags");
    let etag = see(ours, "photos", "d").await.etag;
    ours.put_object_tagging().bucket("photos").key("d").tagging(tags).send().await.expect("it is tagged");
    theirs.delete_object().bucket("real").key("folder/d").send().await.expect("it is deleted");
    let seen = see(ours, "photos", "d").await;
    assert_eq!((seen.bytes, seen.etag), (b"theirs folder/d".to_vec(), etag));
    assert_eq!(code(ours.delete_bucket().bucket("photos").send().await), "InvalidBucketState");
}

#[tokio::test]
async fn conditions_are_on_what_is_read_through() {
    let Pair { outside: _outside, server: _server, store: _store, theirs, ours, .. } =
        Pair::start("folder", "").await;
    put(&theirs, "real", "folder/a", "theirs").await;
    let etag = see(&ours, "photos", "a").await.etag;
    let body = || ByteStream::from_static(b"ours");
    let write = || ours.put_object().bucket("photos").body(body());
    assert_eq!(code(write().key("a").if_none_match("*").send().await), "PreconditionFailed");
    assert_eq!(code(write().key("a").if_match("\"0\"").send().await), "PreconditionFailed");
    assert_eq!(code(write().key("new").if_match(&etag).send().await), "NoSuchKey");
    let unchanged = ours.get_object().bucket("photos").key("a").if_none_match(&etag).send().await;
    let status = unchanged.expect_err("it has not changed").raw_response().map(|raw| raw.status().as_u16());
    assert_eq!(status, Some(304));
    write().key("new").if_none_match("*").send().await.expect("there is none");
    write().key("a").if_match(&etag).send().await.expect("it is that one");
    assert_eq!(see(&ours, "photos", "a").await.bytes, b"ours");
    ours.delete_object().bucket("photos").key("a").send().await.expect("it is deleted");
    write().key("a").if_none_match("*").send().await.expect("it was deleted");
    let ranged = ours.get_object().bucket("photos").key("b").range("bytes=2-4");
    put(&theirs, "real", "folder/b", "0123456789").await;
    let ranged = ranged.send().await.expect("it has a range");
    assert_eq!(ranged.content_range(), Some("bytes 2-4/10"));
    assert_eq!(ranged.body.collect().await.expect("it arrives").to_vec(), b"234");
}

#[tokio::test]
async fn a_transaction_reads_one_version_0_of_a_key() {
    let Pair { outside: _outside, server, store: _store, theirs, ours, .. } = Pair::start("folder", "").await;
    put(&theirs, "real", "folder/a", "first").await;
    put(&theirs, "real", "folder/b", "first").await;
    let native = Native::new(server.address());
    let token =
        native.begin(&Begin::default()).await.expect("it is open").transaction.expect("it has a token");
    let read = async |key: &str| {
        let header = token.clone();
        let request =
            ours.get_object().bucket("photos").key(key).customize().mutate_request(move |request| {
                request.headers_mut().insert("aft-transaction", header.clone());
            });
        let got = request.send().await.map_err(|why| why.code().unwrap_or_default().to_owned())?;
        Ok::<_, String>(got.body.collect().await.expect("it arrives").to_vec())
    };
    assert_eq!(read("a").await, Ok(b"first".to_vec()));
    assert_eq!(read("none").await, Err("NoSuchKey".into()));
    // A commit of somebody else through the endpoint: the transaction goes on with what it has.
    put(&ours, "photos", "b", "second").await;
    put(&ours, "photos", "a", "second").await;
    assert_eq!(read("a").await, Ok(b"first".to_vec()));
    // A change behind its back is told.
    put(&theirs, "real", "folder/a", "another").await;
    assert_eq!(read("a").await, Err("OperationAborted".into()));
    put(&theirs, "real", "folder/none", "appears").await;
    assert_eq!(read("none").await, Err("OperationAborted".into()));
    assert_eq!(see(&ours, "photos", "a").await.bytes, b"second");
}

#[tokio::test]
async fn a_server_must_know_the_origins_of_its_store() {
    let mut pair = Pair::start("folder", "").await;
    put(&pair.theirs, "real", "folder/a", "theirs").await;
    pair.server.terminate();
    pair.server.wait(std::time::Duration::from_secs(10)).expect("it ends");
    let url = local(pair.store.path());
    let serve = ["serve", "--store", &url, "--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0"];
    run_in(&serve, &ANY).assert_refused(&["photos", "s3://real/folder/", "--bucket"]);
    let other = pair.flag.replace("folder", "another");
    run_in(&[&serve[..], &["--bucket", &other]].concat(), &ANY)
        .assert_refused(&["photos", "another", "folder"]);
    let missing = pair.flag.replace("real", "missing");
    run_in(&[&serve[..], &["--bucket", &missing]].concat(), &ANY).assert_refused(&["photos", "missing"]);
    // An export would have only a part of the bucket.
    let place = temporary();
    let export = ["export", "photos", place.path().to_str().expect("it is text"), "--store", &url];
    run_in(&export, &[]).assert_refused(&["photos", "s3://real/folder/"]);
    // An import would hide, or overwrite, what the origin has.
    std::fs::write(place.path().join("a"), "imported").expect("it is written");
    let import =
        ["import", place.path().to_str().expect("it is text"), "--bucket", "photos", "--store", &url];
    run_in(&import, &[]).assert_refused(&["photos", "s3://real/folder/", "of its own"]);
}

#[tokio::test]
async fn a_bucket_with_objects_gets_no_origin() {
    let store = temporary();
    let server = Server::start_with(&local(store.path()), &[&S3[..], &["--bucket", "photos"]].concat());
    put(&client_of(&server.s3_url().await), "photos", "a", "ours").await;
    drop(server);
    let outside = Server::start_with("memory:", &[&S3[..], &["--bucket", "real"]].concat());
    let flag = format!("photos=s3://real?endpoint={}&region=r&mirror=on", outside.s3_url().await);
    let serve =
        ["serve", "--store", &local(store.path()), "--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0"];
    run_in(&[&serve[..], &["--bucket", &flag]].concat(), &ANY)
        .assert_refused(&["photos", "has objects already"]);
}
