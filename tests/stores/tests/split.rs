//! Goal: a store whose records are in a table and whose large values are in a bucket keeps the
//! contract; its large values are in the bucket, and nowhere else, until a sweep removes them; and
//! no two stores share a place in a bucket, however they are opened.
//!
//! Method: DynamoDB Local and MinIO, with one pair of keys; the conformance suite; the binary, and
//! then a look into the table and the bucket with a store of its own for each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_services::{Server, Service};
use aft_store::{Space, Store, conformance};
use aft_store_dynamodb::DynamoDbStore;
use aft_store_s3::S3Store;
use aft_store_split::{Halves, SplitStore};
use aft_store_tests::{Bucket, Ran, aft, curl, serve_s3};

/// The size of a large value: above what a record of DynamoDB holds.
const LARGE_BYTES: usize = 5_000_000;
/// The longest time until unused parts are removed: about two minutes on an idle machine, most of
/// which is the retention of their record.
const SWEPT_WITHIN: Duration = Duration::from_secs(900);

/// Arguments with which curl fails at an error, and retries one that passes: at divided times a
/// store that is slow for a moment counts as silent.
const PATIENT: [&str; 5] = ["--fail", "--retry", "100", "--retry-delay", "1"];

/// A table and a bucket.
struct Both {
    table: Server,
    bucket: Bucket,
}

impl Both {
    /// Starts both servers; none if the environment leaves one of them out.
    fn start() -> Option<Both> {
        let table = Service::DynamoDb.start_or_skip()?;
        let bucket = Bucket::start(Service::Minio)?;
        assert!(bucket.server.access_key().chars().all(|c| c.is_ascii_alphanumeric()));
        Some(Both { table, bucket })
    }

    fn keys(&self) -> (&str, &str) {
        (self.bucket.server.access_key(), self.bucket.server.secret_key())
    }

    /// Returns the URL of the records of a store.
    fn records(&self, prefix: &str) -> String {
        format!("dynamodb://aft/{prefix}?endpoint={}&region=us-east-1", self.table.endpoint())
    }

    /// Returns the URL of a store.
    fn url(&self, prefix: &str, blobs: &str) -> String {
        Halves { records: self.records(prefix), blobs: self.bucket.url(blobs) }.joined()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        aft(arguments, Some(self.keys()))
    }

    fn init(&self, url: &str) -> Ran {
        self.run(&["store", "init", url])
    }

    async fn open_table(&self, prefix: &str) -> DynamoDbStore {
        let (access, secret) = self.keys();
        let options = aft_store_dynamodb::Options::with_keys(access, secret);
        DynamoDbStore::init(&self.records(prefix), &options).await.expect("the server runs").0
    }

    async fn open_bucket(&self, prefix: &str) -> S3Store {
        S3Store::open(&self.bucket.url(prefix), &self.bucket.options()).await.expect("the server runs")
    }
}

#[track_caller]
fn assert_ready(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    words.iter().for_each(|word| assert!(ran.stdout.contains(word), "{word:?} is missing in {ran:#?}"));
}

/// Returns the number of attempts that have parts in a store.
async fn attempts_with_parts(store: &dyn Store) -> usize {
    store.groups(Space::Blob, b"", None, 1_000).await.expect("the server runs").groups.len()
}

/// Each of the two is checked alone elsewhere, and the routes between them over stores in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: cargo test --locked -p aft-store-tests --test split -- --ignored --nocapture"]
async fn the_store_keeps_the_contract_on_dynamodb_local_and_minio() {
    let Some(both) = tokio::task::spawn_blocking(Both::start).await.expect("it does not panic") else {
        return;
    };
    let number = std::sync::atomic::AtomicUsize::new(0);
    let make = async || {
        let prefix = format!("fresh/{}", number.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let (records, blobs) = (both.open_table(&prefix).await, both.open_bucket(&prefix).await);
        Arc::new(SplitStore::new(Arc::new(records), Arc::new(blobs))) as Arc<dyn Store>
    };
    let report = conformance::run(make).await;
    println!("{report}");
    report.assert_passed();
}

#[test]
fn large_values_are_in_the_bucket_until_they_are_swept() {
    let Some(both) = Both::start() else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let url = both.url("shop", "large");
    let missing = both.run(&["serve", "--store", &url, "--listen", "127.0.0.1:0"]);
    missing.assert_refused(&["no such table", "aft store init"]);
    // The times of the store are divided, so that its parts are old soon. The allowance for clocks
    // is not, because the store's time comes in whole seconds; nor are deadlines, to most of their
    // extent.
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("aft.toml");
    let text = "[node]\nskew_max_ms = 2000000\ntimeout_max_ms = 20000000\ntimeout_default_ms = 20000000\n";
    std::fs::write(&config, text).expect("a file");
    let config = config.display().to_string();
    let times = ["--config", &config, "--test-time-divisor", "1000"];
    assert_ready(
        &both.run(&[&["store", "init", &url], &times[..]].concat()),
        &[
            "made the table aft",
            "the bucket aft was there already",
            "is ready",
            "made now",
            "parts of large values: stored by S3",
        ],
    );
    assert_ready(&both.run(&[&["store", "init", &url], &times[..]].concat()), &["is ready", "made before"]);
    let shown = both.run(&["store", "show", &url, "--json"]);
    assert_ready(&shown, &["\"blobs\": \"s3://aft/large?endpoint="]);
    assert_ready(
        &both.run(&["store", "probe", &url]),
        &["store dynamodb://aft/shop", "store s3://aft/large"],
    );

    let large: Vec<u8> = (0..LARGE_BYTES).map(|at| (at * 31 % 251) as u8).collect();
    let file = directory.path().join("large");
    std::fs::write(&file, &large).expect("a file");
    let serving = serve_s3(&url, &both.bucket.server, &[&times[..], &["--maintain", "off"]].concat());
    let key = format!("{}/v1/keys/large", serving.url);
    curl(&[&PATIENT[..], &["--upload-file", &file.display().to_string(), &key]].concat());
    curl(&[&PATIENT[..], &["-X", "PUT", "--data", "4", &format!("{}/v1/keys/small", serving.url)]].concat());
    let metrics = curl(&[&format!("{}/metrics", serving.url)]);
    for class in ["put_item", "put_post_list"] {
        assert!(metrics.contains(&format!("class=\"{class}\"")), "{class}: {metrics}");
    }
    // SIGKILL, and a new process.
    drop(serving);
    let (records, blobs) =
        runtime.block_on(async { (both.open_table("shop").await, both.open_bucket("large").await) });
    let parts = || {
        runtime.block_on(async { (attempts_with_parts(&records).await, attempts_with_parts(&blobs).await) })
    };
    // A call that was retried has parts of its earlier tries as well.
    let (in_table, stored) = parts();
    assert!(in_table == 0 && stored >= 1, "{in_table} attempts in the table, {stored} in the bucket");
    let serving = serve_s3(&url, &both.bucket.server, &[&times[..], &["--maintain", "off"]].concat());
    let key = format!("{}/v1/keys/large", serving.url);
    // Bytes through a file: curl's output is read as text.
    let read = directory.path().join("read");
    curl(&[&PATIENT[..], &["--output", &read.display().to_string(), &key]].concat());
    assert!(std::fs::read(&read).expect("curl wrote it") == large, "other bytes are read than were written");
    curl(&[&PATIENT[..], &["-X", "DELETE", &key]].concat());
    let status = ["--output", "/dev/null", "--write-out", "%{http_code}", &key];
    assert_eq!(curl(&[&PATIENT[1..], &status[..]].concat()), "404");
    drop(serving);
    assert_eq!(parts(), (0, stored), "a deletion removes nothing at once");

    let since = Instant::now();
    while parts() != (0, 0) {
        assert!(since.elapsed() < SWEPT_WITHIN, "the parts are still there");
        let ran = both.run(&[&["maintain", &url, "--for", "15"], &times[..]].concat());
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        println!("{}", ran.stdout);
    }
    let claim = runtime.block_on(blobs.groups(Space::Store, b"", None, 10)).expect("the server runs");
    assert_eq!(claim.groups, ["claim"], "the place is still claimed");
}

#[test]
fn a_store_is_opened_with_its_own_place_or_not_at_all() {
    let Some(both) = Both::start() else { return };
    let (url, alone) = (both.url("shop", "large"), both.records("shop"));
    let other = both.url("shop", "other");
    assert_ready(&both.init(&url), &["is ready"]);
    let commands = |url: &str| -> Vec<Vec<String>> {
        [
            &["serve", "--store", url, "--listen", "127.0.0.1:0"][..],
            &["store", "show", url],
            &["store", "init", url],
            &["maintain", url, "--once"],
        ]
        .map(|words| words.iter().map(|word| (*word).to_owned()).collect())
        .into()
    };
    let check = |url: &str, words: &[&str]| {
        for command in commands(url) {
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            both.run(&command).assert_refused(words);
        }
    };
    check(&alone, &["lie in s3://aft/large?endpoint=", "add blobs=s3://aft/large?endpoint="]);
    check(&other, &["into s3://aft/other?endpoint=", "those of this store lie in s3://aft/large?endpoint="]);
    // A store that was made without a place does not get one.
    let plain = both.records("plain");
    assert_ready(&both.init(&plain), &["is ready"]);
    check(&both.url("plain", "plain"), &["into s3://aft/plain", "without blobs=", "leave blobs= out"]);
    // A place that another store has claimed, or that lies in one, or that is a store.
    let taken = both.init(&both.url("second", "large"));
    taken.assert_refused(&[
        "s3://aft/large",
        "another store lie here",
        "dynamodb://aft/shop",
        "another prefix",
    ]);
    both.init(&both.url("second", "large/deep")).assert_refused(&["lies within the store s3://aft/large/"]);
    both.init(&both.bucket.url("large"))
        .assert_refused(&["the large values of another store", "another prefix"]);
    assert_ready(&both.init(&both.bucket.url("own")), &["is ready"]);
    both.init(&both.url("second", "own")).assert_refused(&["data of a store", "another prefix"]);
    // Only `store init` makes such a store.
    let new = both.url("third", "third");
    let serving = both.run(&["serve", "--store", &new, "--listen", "127.0.0.1:0"]);
    serving.assert_refused(&["there is no store here", "aft store init"]);
    // URLs that cannot be read.
    let table = both.records("shop");
    for (blobs, word) in [("", "names no store"), ("local:./x", "s3://BUCKET/PREFIX"), ("s3://aft%2", "%26")]
    {
        let wrong = format!("{table}&blobs={blobs}");
        both.run(&["store", "show", &wrong]).assert_refused(&["blobs", word]);
    }
    let secret = format!("{table}&blobs=s3://me:hunter2%40aft");
    let ran = both.run(&["serve", "--store", &secret, "--listen", "127.0.0.1:0"]);
    ran.assert_refused(&["names a user"]);
    assert!(!ran.stderr.contains("hunter2") && !ran.stdout.contains("hunter2"), "{ran:#?}");
    // The store itself is as it was.
    assert_ready(&both.run(&["store", "show", &url]), &["large values         in s3://aft/large?endpoint="]);
}

/// MinIO is reached at another address: the claim shows that it is the same place.
#[test]
fn a_place_may_get_another_address() {
    let Some(both) = Both::start() else { return };
    let url = both.url("shop", "large");
    assert_ready(&both.init(&url), &["is ready"]);
    let moved = url.replace(
        &format!("blobs={}", both.bucket.url("large").replace('&', "%26")),
        &format!("blobs={}", both.bucket.url("large").replace("127.0.0.1", "localhost").replace('&', "%26")),
    );
    assert_ne!(url, moved);
    let show = |url: &str| both.run(&["store", "show", url]);
    show(&moved).assert_refused(&["new address", "aft store init"]);
    assert_ready(&both.init(&moved), &["is ready", "in s3://aft/large?endpoint=http://localhost:"]);
    assert_ready(&show(&moved), &["in s3://aft/large?endpoint=http://localhost:"]);
    show(&url).assert_refused(&["lie in s3://aft/large?endpoint=http://localhost:"]);
}
