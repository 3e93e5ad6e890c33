//! Goal: a listing through the S3 endpoint costs few requests to the store, on a server that knows
//! nothing. Method: servers on MinIO and on DynamoDB Local behind a front that counts; one server
//! writes the objects, and each listing asks another one, which has just started.
//!
//! The bounds hold, but for one: the entry of a checked key, which is the default, is named by the
//! version that it follows, so on S3 its body is read: one get for each key, or for each common
//! prefix. In a read atomic bucket, and on DynamoDB, the listing itself shows all that is needed.

use std::collections::BTreeMap;

use aft_services::{Server, Service};
use aft_store_tests::{Act, Bucket, Front, Serving, Table, aft_in, curl, serve_s3};
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use futures::future::join_all;

const BUCKET: &str = "b-1";
/// The folders below each prefix, which are the common prefixes of a listing.
const FOLDERS: usize = 10;
const KEYS: usize = 1_000;
/// The keys of one transaction, where transactions write several.
const TOGETHER: usize = 10;
/// The calls at a time.
const AT_ONCE: usize = 10;

/// The most requests of a listing of [`KEYS`] keys whose transactions wrote [`TOGETHER`] each: one
/// for the record of each transaction, and some.
const TOGETHER_MAX: usize = 110;
/// The most requests of a listing of [`FOLDERS`] common prefixes, whatever is below them.
const FOLDERS_MAX: usize = 15;

fn client(serving: &Serving) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(serving.s3_url.as_ref().expect("it has an endpoint"))
        .force_path_style(true)
        .credentials_provider(Credentials::new("any", "any", None, None, "test"));
    aws_sdk_s3::Client::from_conf(config.build())
}

/// Returns the key with a number: those of one transaction are in different folders.
fn key(prefix: &str, number: usize) -> String {
    format!("{prefix}/{}/{number:04}", number % FOLDERS)
}

/// Writes an object, within a transaction if there is a token.
async fn put(s3: &aws_sdk_s3::Client, token: Option<String>, key: String) {
    let put = s3.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(b"a value")).customize();
    let put = put.mutate_request(move |request| {
        if let Some(token) = &token {
            request.headers_mut().insert("aft-transaction", token.clone());
        }
    });
    put.send().await.expect("it is stored");
}

/// Opens a longer transaction, and returns its token.
fn open(serving: &Serving, level: &str) -> String {
    let url = format!("{}/v1/transactions", serving.url);
    let said = curl(&["--fail", "--json", &format!(r#"{{"isolation": "{level}"}}"#), &url]);
    let said: serde_json::Value = serde_json::from_str(&said).expect("it answers with JSON");
    said["transaction"].as_str().expect("it is open").to_owned()
}

/// Writes the objects of both prefixes.
async fn write(serving: &Serving, level: &str) {
    let s3 = client(serving);
    let numbers: Vec<usize> = (0..KEYS).collect();
    for numbers in numbers.chunks(AT_ONCE) {
        join_all(numbers.iter().map(|number| put(&s3, None, key("alone", *number)))).await;
    }
    for numbers in numbers.chunks(TOGETHER) {
        let token = open(serving, level);
        join_all(numbers.iter().map(|number| put(&s3, Some(token.clone()), key("together", *number)))).await;
        let path = format!("{}/v1/transactions/{token}/commit", serving.url);
        curl(&["--fail", "--json", "{}", &path]);
    }
}

/// Lists a prefix on a server that has just started, page by page, and returns the requests of its
/// store by kind, and the numbers of keys and common prefixes.
async fn list(
    url: &str,
    server: &Server,
    front: &Front,
    prefix: &str,
    delimiter: Option<&str>,
) -> (BTreeMap<String, usize>, usize, usize) {
    let serving = serve_s3(url, server, &["--maintain", "off"]);
    // What the start asks for is no part of a listing.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    front.take();
    let s3 = client(&serving);
    let (mut keys, mut prefixes, mut token) = (0, 0, None);
    loop {
        let page = s3.list_objects_v2().bucket(BUCKET).prefix(prefix).set_continuation_token(token);
        let page = page.set_delimiter(delimiter.map(str::to_owned)).send().await.expect("it lists");
        keys += page.contents().len();
        prefixes += page.common_prefixes().len();
        token = page.next_continuation_token;
        if token.is_none() {
            break;
        }
    }
    let mut counts = BTreeMap::new();
    for seen in front.take() {
        *counts.entry(seen.what()).or_default() += 1;
    }
    (counts, keys, prefixes)
}

/// A listing, and its bound.
struct Case {
    prefix: &'static str,
    delimiter: Option<&'static str>,
    /// The most requests on `s3:`, and on `dynamodb:`.
    most: [usize; 2],
}

/// The listings of keys, then those of common prefixes.
const CASES: [Case; 4] = [
    Case { prefix: "alone/", delimiter: None, most: [5, 40] },
    Case { prefix: "together/", delimiter: None, most: [TOGETHER_MAX; 2] },
    Case { prefix: "alone/", delimiter: Some("/"), most: [FOLDERS_MAX; 2] },
    Case { prefix: "together/", delimiter: Some("/"), most: [FOLDERS_MAX; 2] },
];
const OF_KEYS: &[Case] = CASES.split_at(2).0;
const OF_PREFIXES: &[Case] = CASES.split_at(2).1;

/// Writes and lists on one store, in a bucket of a level. `store` is the store's place in a case.
async fn check(url: &str, server: &Server, front: &Front, level: &str, cases: &[Case], store: usize) {
    let of_bucket = format!("{BUCKET}/={level}");
    let made = aft_in(&["store", "init", url, "--isolation", &of_bucket], &server.environment());
    assert_eq!(made.code, Some(0), "{made:#?}");
    write(&serve_s3(url, server, &["--bucket", BUCKET]), level).await;
    let mut missed = Vec::new();
    for Case { prefix, delimiter, most } in cases {
        let (counts, keys, prefixes) = list(url, server, front, prefix, *delimiter).await;
        let expected = if delimiter.is_some() { (0, FOLDERS) } else { (KEYS, 0) };
        assert_eq!((keys, prefixes), expected, "{prefix} {delimiter:?}");
        let (requests, most) = (counts.values().sum::<usize>(), most[store]);
        let line =
            format!("{level}: {prefix} {delimiter:?}: {requests} requests, at most {most}: {counts:?}");
        println!("{line}");
        missed.extend((requests > most).then_some(line));
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

async fn check_s3(level: &str, cases: &[Case]) {
    let Some(bucket) = Bucket::start(Service::Minio) else { return };
    let front = Front::start(&bucket.server.endpoint(), |_| Act::Pass).await;
    check(&bucket.url_by(&front.endpoint(), "p"), &bucket.server, &front, level, cases, 0).await;
}

async fn check_dynamodb(level: &str, cases: &[Case]) {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let front = Front::start(&table.server.endpoint(), |_| Act::Pass).await;
    check(&table.url_by(&front.endpoint(), "p"), &table.server, &front, level, cases, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_cost_the_documented_requests_on_s3() {
    check_s3("read_atomic", &CASES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_cost_the_documented_requests_on_dynamodb() {
    check_dynamodb("serializable", &CASES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_of_common_prefixes_of_checked_keys_cost_the_documented_requests_on_s3() {
    check_s3("serializable", OF_PREFIXES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a missed bound: cargo test --locked -p aft-store-tests --test s3_listings -- --ignored --nocapture"]
async fn listings_of_checked_keys_cost_the_documented_requests_on_s3() {
    check_s3("serializable", OF_KEYS).await;
}
