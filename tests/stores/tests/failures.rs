//! Goal: failures between the store and its server are classified by what may have happened, and
//! the message names the remedy. Method: a front before moto that breaks one answer at a time (moto
//! checks no signatures, so headers can be removed), and MinIO for credentials, regions and a
//! SIGKILL.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aft_services::Service;
use aft_store::{Created, Error, Name, Replaced, Space, Store, Tag, Writes};
use aft_store_s3::{Options, S3Store};
use aft_store_tests::{Act, Behind, Bucket, Front, both_ways, busy, name, no_answer, redis_speaker, refused};
use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_LENGTH, ETAG};

const HTML: &str = "<html><body>Welcome to the hotel's network</body></html>";
const SLOW_DOWN: &str =
    "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
const INTERNAL: &str =
    "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>";
const CONFLICT: &str =
    "<Error><Code>ConditionalRequestConflict</Code><Message>Another one is under way.</Message></Error>";
const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
const REDIRECT: &str =
    "<Error><Code>PermanentRedirect</Code><Message>Elsewhere.</Message><Region>eu-west-1</Region></Error>";
const MALFORMED: &str = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'mars-1' is wrong</Message><Region>eu-west-1</Region></Error>";
const KEY_STAYS: &str = "<DeleteResult><Error><Key>k</Key><Code>InternalError</Code><Message>Try again.</Message></Error></DeleteResult>";

async fn behind() -> Option<(Bucket, Behind<S3Store>)> {
    let bucket = Bucket::start(Service::Moto)?;
    let (url, deleted) = ("s3://aft/p?endpoint=", vec![name("there"), name("new")]);
    let behind = Behind::start(&bucket.server, url, deleted, async |endpoint: String| {
        bucket.open(&bucket.url_by(&endpoint, "p")).await.expect("all passes")
    })
    .await;
    Some((bucket, behind))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_classified_by_what_may_have_happened() {
    let Some((_bucket, behind)) = behind().await else { return };
    behind.every_call(Act::PassButCut, no_answer, &[]).await;
    behind.every_call(Act::Answer(500, INTERNAL), no_answer, &["InternalError"]).await;
    behind.every_call(Act::Answer(502, HTML), no_answer, &[]).await;
    behind.every_call(Act::Answer(503, HTML), no_answer, &[]).await;
    behind.every_call(Act::Answer(504, ""), no_answer, &[]).await;
    behind.every_call(Act::Answer(503, SLOW_DOWN), busy, &["SlowDown"]).await;
    behind.every_call(Act::Answer(429, ""), busy, &[]).await;
    behind.every_call(Act::Answer(403, DENIED), refused, &["AccessDenied", "s3:PutObject"]).await;
    behind.every_call(Act::Answer(301, REDIRECT), refused, &["region=eu-west-1"]).await;
    behind.every_call(Act::Answer(403, HTML), no_answer, &["does not speak S3"]).await;
    // No request was repeated by the SDK: 10 calls with one request each, and a put and a get
    // before.
    behind.front.take();
    behind.every_call(Act::Answer(500, INTERNAL), no_answer, &[]).await;
    assert_eq!(behind.front.take().len(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_s3_counts_as_no_answer() {
    let Some((_bucket, behind)) = behind().await else { return };
    let store = &behind.store;
    let check = |what: &str, error: Option<Error>| {
        let error = error.unwrap_or_else(|| panic!("{what} succeeded"));
        assert!(no_answer(&error) && error.to_string().contains("does not speak S3"), "{what}: {error:?}");
    };
    let there = name("there");
    store.put(&there, Bytes::from("body")).await.expect("all passes");
    // A server that answers "200 OK" to everything.
    behind.set(Act::Answer(200, HTML));
    check("get", store.get(&there).await.err());
    check("put", store.put(&there, Bytes::new()).await.err());
    check("create", store.create(&there, Bytes::new()).await.err());
    check("list", store.list(Space::Version, b"there", None, 10).await.err());
    check("groups", store.groups(Space::Version, b"", None, 10).await.err());
    check("scan", store.scan(Space::Version, b"", None, 10).await.err());
    behind.set(Act::AnswerWithout(ETAG));
    check("get without ETag", store.get(&there).await.err());
    check("put without ETag", store.put(&there, Bytes::from("carried out")).await.err());
    behind.set(Act::Pass);
    assert_eq!(store.get(&there).await.unwrap().unwrap().0, "carried out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_body_counts_as_no_answer() {
    let Some((_bucket, behind)) = behind().await else { return };
    let (store, there) = (&behind.store, name("there"));
    let body = Bytes::from(vec![7; 300_000]);
    store.put(&there, body.clone()).await.expect("all passes");
    for len in [0, 1, 100_000, 299_999] {
        behind.set(Act::CutBody(len));
        let error = store.get(&there).await.expect_err("the body breaks off");
        assert!(no_answer(&error), "{len}: {error:?}");
    }
    behind.set(Act::AnswerWithout(CONTENT_LENGTH));
    assert_eq!(store.get(&there).await.unwrap().unwrap().0, body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_piece_of_a_commit_has_its_own_outcome() {
    let Some(bucket) = Bucket::start(Service::Moto) else { return };
    let front = Front::start(&bucket.server.endpoint(), |request| {
        let path = request.uri().path();
        match (request.method(), path) {
            (&Method::PUT, _) if path.contains("20slow") => Act::Answer(503, SLOW_DOWN),
            (&Method::PUT, _) if path.contains("20lost") => Act::PassButCut,
            (&Method::PUT, _) if path.contains("20denied") => Act::Answer(403, DENIED),
            _ => Act::Pass,
        }
    })
    .await;
    let store = bucket.open(&bucket.url_by(&front.endpoint(), "p")).await.expect("all passes");
    let entry = |key: &'static str| (Name::new(Space::Version, key, "i"), Bytes::from(key));
    let record = (Name::new(Space::Commit, "request", ""), Bytes::from("record"));
    let puts = vec![entry("a fine"), entry("a slow"), entry("a lost"), entry("a denied"), entry("b fine")];
    let writes = Writes { create: Some(record.clone()), puts };
    let committed = store.commit(writes.clone()).await;
    assert_eq!(committed.created, Some(Ok(Created::Created)));
    let outcomes = &committed.puts;
    assert!(outcomes[0].is_ok() && outcomes[4].is_ok(), "{outcomes:?}");
    let failed = |at: usize| outcomes[at].as_ref().expect_err("the front broke it");
    assert!(busy(failed(1)) && no_answer(failed(2)) && refused(failed(3)), "{outcomes:?}");
    // A write that was reported as done is done; the one without an answer was carried out here.
    for (at, there) in [(0, true), (1, false), (2, true), (3, false), (4, true)] {
        let found = store.get(&writes.puts[at].0).await.expect("reads pass");
        assert_eq!(found.is_some(), there, "{at}");
    }
    assert_eq!(store.get(&record.0).await.expect("reads pass").expect("it was created").0, record.1);
}

/// Reads a full part, which comes in many pieces: the pieces before the connection broke are the
/// start of the part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_part_yields_the_pieces_before_the_cut() {
    let Some((_bucket, behind)) = behind().await else { return };
    let (store, there) = (&behind.store, name("part"));
    let body: Bytes = (0..store.capabilities().blob_part_bytes).map(|at| (at * 31 % 251) as u8).collect();
    store.put(&there, body.clone()).await.expect("all passes");
    let pieces = async || {
        let (mut read, mut count) = (Vec::new(), 0);
        let mut take = |piece: Bytes| {
            read.extend_from_slice(&piece);
            count += 1;
        };
        let outcome = store.get_pieces(&there, &mut take).await;
        (outcome, read, count)
    };
    let (outcome, read, count) = pieces().await;
    let (_, tag) = store.get(&there).await.expect("all passes").expect("it was put");
    assert_eq!(outcome, Ok(Some(tag)));
    assert!(read == body && count > 1, "{count} pieces");
    for len in [0, 1, body.len() / 2, body.len() - 1] {
        behind.set(Act::CutBody(len));
        let (outcome, read, _) = pieces().await;
        let error = outcome.expect_err("the body breaks off");
        assert!(no_answer(&error), "{len}: {error:?}");
        assert!(read.len() <= len && body.starts_with(&read), "{len}: {}", read.len());
    }
    behind.set(Act::Pass);
    assert_eq!(store.get_pieces(&name("nothing"), &mut |_| panic!("there is none")).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_without_an_answer_may_have_taken_effect() {
    let Some((_bucket, behind)) = behind().await else { return };
    let (store, new) = (&behind.store, name("new"));
    behind.set(Act::PassButAnswer(500, INTERNAL));
    let error = store.create(&new, Bytes::from("mine")).await.expect_err("the answer is lost");
    assert!(no_answer(&error), "{error:?}");
    behind.set(Act::Pass);
    assert_eq!(store.create(&new, Bytes::from("mine")).await, Ok(Created::Exists));
    assert_eq!(store.get(&new).await.unwrap().unwrap().0, "mine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conditional_request_conflict_is_retried_and_then_reported_as_busy() {
    let Some(bucket) = Bucket::start(Service::Moto) else { return };
    let left = Arc::new(AtomicUsize::new(0));
    let rule = left.clone();
    let front = Front::start(&bucket.server.endpoint(), move |request| {
        let counts = request.method() == Method::PUT || request.method() == Method::DELETE;
        let take = |left: usize| left.checked_sub(1);
        match counts && rule.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            true => Act::Answer(409, CONFLICT),
            false => Act::Pass,
        }
    })
    .await;
    let store = bucket.open(&bucket.url_by(&front.endpoint(), "p")).await.expect("all passes");
    let new = name("new");
    left.store(3, Ordering::Relaxed);
    assert_eq!(store.create(&new, Bytes::from("1")).await, Ok(Created::Created));
    let (_, tag) = store.get(&new).await.unwrap().unwrap();
    left.store(3, Ordering::Relaxed);
    assert_eq!(store.replace(&new, &tag, Bytes::from("2")).await, Ok(Replaced::Replaced));
    left.store(3, Ordering::Relaxed);
    assert_eq!(store.delete_if(&new, &tag).await, Ok(Replaced::Changed));
    left.store(usize::MAX, Ordering::Relaxed);
    let error = store.create(&name("newer"), Bytes::new()).await.expect_err("every request gets a conflict");
    assert!(busy(&error) && error.to_string().contains("ConditionalRequestConflict"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_that_is_not_deleted_fails_the_whole_deletion() {
    let Some((_bucket, behind)) = behind().await else { return };
    behind.set(Act::Answer(200, KEY_STAYS));
    let error = behind.store.delete(&[name("a"), name("b")]).await.expect_err("a key stays");
    assert!(no_answer(&error) && error.to_string().contains("InternalError"), "{error:?}");
}

/// Puts an object into the bucket directly; moto checks no signatures.
fn put_by_hand(bucket: &Bucket, key: &str) {
    let url = format!("{}/aft/{}", bucket.server.endpoint(), key.replace('+', "%2B"));
    let put = std::process::Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "-X", "PUT", "-d", "foreign", &url])
        .output()
        .expect("curl starts");
    assert!(put.status.success(), "{url}: {}", String::from_utf8_lossy(&put.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_objects_are_reported_and_skipped() {
    let Some((bucket, behind)) = behind().await else { return };
    let store = &behind.store;
    // Two groups that share three whole segments, and end in a digest; others before and after.
    let mut groups = ["a", "z"].map(str::to_owned).to_vec();
    groups.extend(["1", "2"].map(|end| "b".repeat(600) + end));
    groups.sort();
    for group in &groups {
        let name = Name::new(Space::Version, group.clone(), "item");
        store.put(&name, Bytes::from("body")).await.expect("all passes");
    }
    let full = format!("{}+/", "b".repeat(160)).repeat(3);
    // Foreign objects beside the groups, in a group, beside the digests, below a name that looks
    // like a digest, and more of them than a page has names.
    let foreign = [
        "notes.txt".to_owned(),
        "a!/no.item".to_owned(),
        format!("{full}notes.txt"),
        format!("{full}{}!/-", "d".repeat(43)),
    ];
    for key in &foreign {
        put_by_hand(&bucket, &format!("p/version/{key}"));
    }
    for number in 0..7 {
        put_by_hand(&bucket, &format!("p/version/m/{number}"));
    }
    let all: Vec<&str> =
        foreign.iter().map(String::as_str).chain(["p/version/m/0", "p/version/m/6"]).collect();
    for limit in [1, 2, 3, 1_000] {
        let [scan, by_group] = both_ways(&**store, Space::Version, limit).await;
        scan.check(&groups, &all);
        by_group.check(&groups, &["p/version/notes.txt", "p/version/m/", "ddd"]);
    }
    let page = store.list(Space::Version, b"a", None, 1).await.expect("a page");
    assert_eq!((page.items, page.more), (vec![Bytes::from("item")], true));
    let page = store.list(Space::Version, b"a", Some(b"item"), 1).await.expect("a page");
    assert!(page.items.is_empty() && page.damaged.first().is_some_and(|text| text.contains("no.item")));
}

#[tokio::test]
async fn a_tag_of_another_store_matches_nothing() {
    let Some(bucket) = Bucket::start(Service::Moto) else { return };
    let store = bucket.open(&bucket.url("p")).await.expect("the server runs");
    store.put(&name("a"), Bytes::new()).await.unwrap();
    for tag in ["", "7", "*", "\u{1}"] {
        let tag = Tag(Bytes::from(tag));
        assert_eq!(store.replace(&name("a"), &tag, Bytes::new()).await, Ok(Replaced::Changed), "{tag:?}");
        assert_eq!(store.delete_if(&name("a"), &tag).await, Ok(Replaced::Changed), "{tag:?}");
    }
}

async fn cannot_open(url: &str, options: &Options, words: &[&str]) {
    let why = S3Store::open(url, options).await.expect_err("it cannot be opened").to_string();
    for word in words {
        assert!(why.contains(word), "{word:?} is missing in {why}");
    }
    let secret = options.keys.as_ref().map_or("", |keys| keys.secret.as_str());
    assert!(!why.contains(secret), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_settings_are_reported_at_the_start() {
    let Some(bucket) = Bucket::start(Service::Minio) else { return };
    let (endpoint, options) = (bucket.server.endpoint(), bucket.options());
    let url = |bucket: &str, rest: &str| format!("s3://{bucket}/p?endpoint={endpoint}{rest}");
    let fine = url("aft", "");
    cannot_open(&url("missing", ""), &options, &["s3://missing/p", "no such bucket", "aft store init"]).await;
    let stranger = Options::with_keys("nobody", "hunter2hunter2");
    cannot_open(&fine, &stranger, &["InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"]).await;
    let forger = Options::with_keys(bucket.server.access_key(), "hunter2hunter2");
    cannot_open(&fine, &forger, &["SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"]).await;
    // This server accepts any region, so the front gives the answer of one that does not.
    let elsewhere = Front::start(&endpoint, |_| Act::Answer(400, MALFORMED)).await;
    let elsewhere = format!("s3://aft/p?endpoint={}&region=mars-1", elsewhere.endpoint());
    cannot_open(&elsewhere, &options, &["mars-1", "write region=eu-west-1"]).await;
    let nowhere = "s3://aft/p?endpoint=http://127.0.0.1:1";
    cannot_open(nowhere, &options, &["127.0.0.1:1", "onnection refused"]).await;
    let html = Front::start(&endpoint, |_| Act::Answer(200, HTML)).await;
    let html = format!("s3://aft/p?endpoint={}", html.endpoint());
    cannot_open(&html, &options, &["does not speak S3", "endpoint"]).await;
    let redis = redis_speaker().await;
    cannot_open(&format!("s3://aft/p?endpoint={redis}"), &options, &["s3://aft/p"]).await;
    S3Store::open(&fine, &options).await.expect("nothing is wrong with this one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_made_once() {
    let Some(bucket) = Bucket::start(Service::Minio) else { return };
    let url = format!("s3://made/p?endpoint={}", bucket.server.endpoint());
    for again in [false, true] {
        let (store, prepared) = S3Store::init(&url, &bucket.options(), false).await.expect("the server runs");
        assert_eq!(prepared.bucket_is_new, !again, "{prepared:?}");
        store.put(&name("a"), Bytes::from("body")).await.unwrap();
    }
    let store = S3Store::open(&url, &bucket.options()).await.expect("it is there");
    assert_eq!(store.get(&name("a")).await.unwrap().unwrap().0, "body");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_continues_after_its_server_was_killed_and_restarted() {
    killed_and_back(Service::Minio).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: cargo xtask services --fetch ceph && cargo test --locked -p aft-store-tests --test failures -- --ignored"]
async fn a_store_continues_after_its_ceph_was_killed_and_restarted() {
    killed_and_back(Service::Ceph).await;
}

async fn killed_and_back(service: Service) {
    let Some(mut bucket) = Bucket::start(service) else { return };
    let store = bucket.open(&bucket.url("p")).await.expect("the server runs");
    let numbered = |i: usize| Name::new(Space::Commit, i.to_be_bytes().to_vec(), "");
    let mut kept = Vec::new();
    for i in 0..50 {
        store.create(&numbered(i), Bytes::from(i.to_string())).await.expect("the server runs");
        kept.push(i);
    }
    bucket.server.kill();
    let error = store.create(&numbered(50), Bytes::new()).await.expect_err("nobody listens");
    assert!(no_answer(&error), "{error:?}");
    assert!(no_answer(&store.get(&numbered(0)).await.expect_err("nobody listens")));
    bucket.server.restart().expect("it comes back");
    // The same store continues, over new connections.
    for i in kept {
        assert_eq!(store.create(&numbered(i), Bytes::new()).await, Ok(Created::Exists));
        assert_eq!(
            store.get(&numbered(i)).await.expect("the server runs").expect("it was created").0,
            i.to_string()
        );
    }
    assert_eq!(store.create(&numbered(50), Bytes::new()).await, Ok(Created::Created));

    // A server that hangs: the call ends at its caller's timeout, and may take effect later.
    bucket.server.pause();
    let late =
        tokio::time::timeout(Duration::from_secs(2), store.put(&numbered(51), Bytes::from("late"))).await;
    assert!(late.is_err(), "{late:?}");
    bucket.server.resume();
    store.put(&numbered(52), Bytes::new()).await.expect("the server runs");
}
