//! Goal: objects of MinIO come into a store unchanged or not at all, whatever happens on the way,
//! and go back. Method: `aft import` and `aft export` as processes; a front before MinIO that
//! delays, changes and counts; SIGKILL.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aft_services::Service;
use aft_store_tests::{Act, Bucket, Front, Ran, Rewrite, aft};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, ServerSideEncryption};
use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use serde_json::Value;

/// The size of all parts of an upload but the last one.
const PART_BYTES: usize = 5 << 20;
/// The longest time until something that must come has come.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Returns a client of the bucket's server, which sends checksums or does not.
fn client_of(bucket: &Bucket, checksums: RequestChecksumCalculation) -> Client {
    let (access, secret) = (bucket.server.access_key(), bucket.server.secret_key());
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(bucket.server.endpoint())
        .force_path_style(true)
        .request_checksum_calculation(checksums)
        .credentials_provider(Credentials::new(access, secret, None, None, "test"));
    Client::from_conf(config.build())
}

async fn put(s3: &Client, key: &str, bytes: impl Into<Vec<u8>>) {
    let body = ByteStream::from(bytes.into());
    let put = s3.put_object().bucket("aft").key(key).body(body).send().await;
    put.unwrap_or_else(|why| panic!("{key:?}: {why:?}"));
}

/// Uploads an object in parts of `PART_BYTES` and a last one of a byte, all of the same bytes.
async fn upload(s3: &Client, key: &str, parts: i32, byte: u8) {
    let made = s3.create_multipart_upload().bucket("aft").key(key).send().await.expect("it is made");
    let id = made.upload_id().expect("it has an ID").to_owned();
    let mut upload = CompletedMultipartUpload::builder();
    for number in 1..=parts {
        let bytes = if number == parts { 1 } else { PART_BYTES };
        let body = ByteStream::from(vec![byte; bytes]);
        let part = s3.upload_part().bucket("aft").key(key).upload_id(&id).part_number(number);
        let part = part.body(body).send().await.expect("it is stored");
        upload = upload.parts(CompletedPart::builder().part_number(number).set_e_tag(part.e_tag).build());
    }
    let done = s3.complete_multipart_upload().bucket("aft").key(key).upload_id(&id);
    done.multipart_upload(upload.build()).send().await.expect("it is complete");
}

/// A store with the commands that move objects.
struct Store {
    bucket: Bucket,
    s3: Client,
    directory: tempfile::TempDir,
}

impl Store {
    /// Starts a server with an empty bucket, and makes a place for a store; none if the environment
    /// leaves the service out.
    fn start(service: Service) -> Option<Store> {
        let bucket = Bucket::start(service)?;
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let s3 = client_of(&bucket, RequestChecksumCalculation::WhenRequired);
        Some(Store { s3, bucket, directory })
    }

    fn url(&self) -> String {
        format!("local:{}", self.directory.path().join("store").display())
    }

    /// Returns the arguments of an import of the bucket at an endpoint.
    fn import(&self, endpoint: &str) -> Vec<String> {
        let source = self.bucket.url_by(endpoint, "");
        ["import", &source, "--store", &self.url(), "--bucket", "b-1"].map(str::to_owned).into()
    }

    fn aft(&self, arguments: &[String]) -> Ran {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        aft(&arguments, Some((self.bucket.server.access_key(), self.bucket.server.secret_key())))
    }

    /// Runs an import that must succeed, and returns its report.
    async fn imported(&self, endpoint: &str) -> Value {
        let ran = self.ran(endpoint, &["--json"]).await;
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        serde_json::from_str(&ran.stdout).expect("it is JSON")
    }

    /// Runs an import to its end, without keeping the front from working.
    async fn ran(&self, endpoint: &str, more: &[&str]) -> Ran {
        let mut arguments = self.import(endpoint);
        arguments.extend(more.iter().map(|more| (*more).to_owned()));
        tokio::task::block_in_place(|| self.aft(&arguments))
    }

    /// Starts a command.
    fn spawn(&self, arguments: &[String]) -> Child {
        let this = std::env::current_exe().expect("a test program knows where it is");
        let beside = this.ancestors().nth(2).expect("cargo puts tests into target/PROFILE/deps").join("aft");
        let mut command = Command::new(std::env::var_os("AFT_BIN").map_or(beside, Into::into));
        command.args(arguments).envs(self.bucket.server.environment());
        command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("the binary starts")
    }

    /// Exports the store, and returns the lines of the manifest with the bytes of their files.
    fn exported(&self) -> Vec<(Value, Vec<u8>)> {
        let place = tempfile::tempdir_in(self.directory.path()).expect("a directory can be made");
        let export = ["export", "b-1", place.path().to_str().expect("text"), "--store", &self.url()];
        let ran = self.aft(&export.map(str::to_owned));
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        let manifest = std::fs::read_to_string(place.path().join("aft-manifest.jsonl")).expect("it is there");
        let line = |line: &str| {
            let line: Value = serde_json::from_str(line).expect("a line is JSON");
            let name = line["name"].as_str().or(line["key"].as_str()).expect("it has a name");
            let bytes = std::fs::read(place.path().join(name)).expect("each line has its file");
            (line, bytes)
        };
        manifest.lines().skip(1).map(line).collect()
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < TIME_MAX, "{what} within {TIME_MAX:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns true if a request reads the object with a key.
fn reads(request: &Request<Incoming>, key: &str) -> bool {
    request.method() == "GET" && request.uri().path() == format!("/aft/{key}") && !is_about_tags(request)
}

fn is_about_tags(request: &Request<Incoming>) -> bool {
    request.uri().query().is_some_and(|query| query.contains("tagging"))
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_come_from_minio_and_go_back() {
    let Some(store) = Store::start(Service::Minio) else { return };
    let s3 = &store.s3;
    for key in ["plain", "a b+c%41", "ä/日本/😀", "folder/file", "quote'\"&<>", "tab\u{1}"] {
        put(s3, key, key).await;
    }
    put(s3, "empty", "").await;
    put(s3, "large", vec![5; 9_000_001]).await;
    upload(s3, "parts", 3, 6).await;
    let about = s3.put_object().bucket("aft").key("about").body(ByteStream::from_static(b"x"));
    let about =
        about.content_type("text/plain").cache_control("no-cache").metadata("m", "v w").tagging("t=u%20v");
    about.send().await.expect("it is put");
    let imported = store.imported(&store.bucket.server.endpoint()).await;
    assert_eq!((&imported["imported"], &imported["not_verified"]), (&10.into(), &0.into()), "{imported:#}");

    // The store has them with the tags of MinIO, and they go back to another bucket there.
    let exported = store.exported();
    store.bucket.server.create_bucket("back").expect("a bucket is made");
    let back = store.bucket.url("").replace("s3://aft/", "s3://back/p");
    let export = ["export", "b-1", &back, "--store", &store.url()].map(str::to_owned);
    let ran = tokio::task::block_in_place(|| store.aft(&export));
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(exported.len(), 10);
    for (line, bytes) in exported {
        let key = line["key"].as_str().expect("a line has a key");
        let theirs = s3.get_object().bucket("aft").key(key).send().await.expect("it is there");
        let ours = s3.get_object().bucket("back").key(format!("p/{key}")).send().await;
        let ours = ours.unwrap_or_else(|why| panic!("{key:?}: {why:?}"));
        assert_eq!(
            theirs.e_tag(),
            Some(format!("\"{}\"", line["etag"].as_str().expect("text")).as_str()),
            "{key:?}"
        );
        assert_eq!(theirs.e_tag(), ours.e_tag(), "{key:?}");
        assert_eq!(theirs.metadata(), ours.metadata(), "{key:?}");
        assert_eq!(theirs.cache_control(), ours.cache_control(), "{key:?}");
        assert_eq!(theirs.tag_count(), ours.tag_count(), "{key:?}");
        if key == "about" {
            assert_eq!(ours.content_type(), Some("text/plain"));
            assert_eq!((ours.tag_count(), &line["tags"]["t"]), (Some(1), &"u v".into()));
        }
        let theirs = theirs.body.collect().await.expect("all of it arrives").into_bytes();
        let ours = ours.body.collect().await.expect("all of it arrives").into_bytes();
        assert!(theirs == ours && theirs == bytes, "{key:?} has other bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_killed_continues() {
    const OBJECTS: usize = 60;
    let Some(store) = Store::start(Service::Minio) else { return };
    for at in 0..OBJECTS {
        put(&store.s3, &format!("k{at:03}"), format!("{at}")).await;
    }
    upload(&store.s3, "a-parts", 3, 1).await;
    // The second part never comes, and every object takes its time.
    let seen = Arc::new(AtomicUsize::new(0));
    let (in_parts, counted) = (Arc::new(AtomicBool::new(false)), seen.clone());
    let reached = in_parts.clone();
    let front = Front::start(&store.bucket.server.endpoint(), move |request| {
        if reads(request, "a-parts")
            && request.uri().query().is_some_and(|query| query.contains("partNumber=2"))
        {
            reached.store(true, Ordering::SeqCst);
            return Act::Late(TIME_MAX);
        }
        if request.method() == "GET" && request.uri().path().starts_with("/aft/k") {
            counted.fetch_add(1, Ordering::SeqCst);
            return Act::Late(Duration::from_millis(100));
        }
        Act::Pass
    })
    .await;
    let mut child = store.spawn(&store.import(&front.endpoint()));
    until("half of the objects are read", || {
        seen.load(Ordering::SeqCst) > OBJECTS / 2 && in_parts.load(Ordering::SeqCst)
    })
    .await;
    child.kill().expect("it runs");
    child.wait().expect("it is ours");

    // Another run continues, and reads only what is missing.
    let front = Front::start(&store.bucket.server.endpoint(), |_| Act::Pass).await;
    let imported = store.imported(&front.endpoint()).await;
    let skipped = imported["skipped"].as_u64().expect("a number");
    println!("{skipped} of {OBJECTS} objects were there after the kill");
    assert!(skipped > OBJECTS as u64 / 4 && skipped < OBJECTS as u64, "{imported:#}");
    assert_eq!(imported["imported"], OBJECTS as u64 + 1 - skipped, "{imported:#}");
    let read =
        front.take().iter().filter(|seen| seen.method == "GET" && seen.path.starts_with("/aft/k")).count();
    assert_eq!(read as u64, OBJECTS as u64 - skipped, "what is there is not read again");
    let exported = store.exported();
    assert_eq!(exported.len(), OBJECTS + 1);
    for (line, bytes) in &exported {
        let key = line["key"].as_str().expect("a key");
        match key.strip_prefix('k') {
            Some(at) => {
                let at: usize = at.parse().expect("a number");
                assert_eq!(bytes, at.to_string().as_bytes(), "{key}");
            }
            None => {
                assert!(bytes.len() == 2 * PART_BYTES + 1 && bytes.iter().all(|byte| *byte == 1), "{key}")
            }
        }
    }
    // The upload that was interrupted is gone with its parts: one state and three parts are left.
    let server = aft_store_tests::serve(&store.url(), &store.bucket.server);
    let list = format!("{}/v1/transactions", server.url);
    let opened = aft_store_tests::curl(&["--json", "{}", &list]);
    let opened: Value = serde_json::from_str(&opened).expect("JSON");
    let token = opened["transaction"].as_str().expect("it is open");
    let keys = aft_store_tests::curl(&[&format!("{list}/{token}/keys?prefix=.uploads")]);
    let keys: Value = serde_json::from_str(&keys).expect("JSON");
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(4), "{keys:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_was_killed_continues_and_touches_nothing_else() {
    const OBJECTS: usize = 60;
    let Some(store) = Store::start(Service::Minio) else { return };
    let source = store.directory.path().join("b-1");
    std::fs::create_dir(&source).expect("a directory can be made");
    for at in 0..OBJECTS {
        std::fs::write(source.join(format!("k{at:03}")), format!("{at}")).expect("a file can be written");
    }
    let import = ["import", source.to_str().expect("text"), "--store", &store.url()].map(str::to_owned);
    let ran = tokio::task::block_in_place(|| store.aft(&import));
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    put(&store.s3, "p/foreign", "foreign").await;
    let export = |endpoint: &str| {
        let place = store.bucket.url_by(endpoint, "p");
        ["export", "b-1", &place, "--store", &store.url()].map(str::to_owned)
    };
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    let front = Front::start(&store.bucket.server.endpoint(), move |request| {
        if request.method() == "PUT" && request.uri().path().starts_with("/aft/p/k") {
            counted.fetch_add(1, Ordering::SeqCst);
            return Act::Late(Duration::from_millis(100));
        }
        Act::Pass
    })
    .await;
    let mut child = store.spawn(&export(&front.endpoint()));
    until("half of the objects are written", || seen.load(Ordering::SeqCst) > OBJECTS / 2).await;
    child.kill().expect("it runs");
    child.wait().expect("it is ours");
    let get = async |name: &str| {
        let got = store.s3.get_object().bucket("aft").key(format!("p/{name}")).send().await.ok()?;
        Some(got.body.collect().await.expect("all of it arrives").to_vec())
    };
    assert_eq!(get("aft-manifest.jsonl").await, None, "there is no whole snapshot");
    assert!(get("aft-manifest.partial.jsonl").await.is_some());
    // What is there is ours, although nothing said so after each object.
    let endpoint = store.bucket.server.endpoint();
    let ran = tokio::task::block_in_place(|| store.aft(&export(&endpoint)));
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let manifest = String::from_utf8(get("aft-manifest.jsonl").await.expect("it is there")).expect("text");
    assert_eq!(manifest.lines().count(), OBJECTS + 1);
    assert_eq!(get("aft-manifest.partial.jsonl").await, None);
    for at in 0..OBJECTS {
        assert_eq!(get(&format!("k{at:03}")).await, Some(format!("{at}").into_bytes()), "k{at:03}");
    }
    assert_eq!(get("foreign").await.as_deref(), Some(&b"foreign"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_changes_in_the_middle_comes_whole_or_not_at_all() {
    let Some(store) = Store::start(Service::Minio) else { return };
    upload(&store.s3, "parts", 3, 1).await;
    let (reached, goes_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let signal = reached.clone();
    let front = Front::start(&store.bucket.server.endpoint(), move |request| {
        let is_second = request.uri().query().is_some_and(|query| query.contains("partNumber=2"));
        if reads(request, "parts") && is_second && !signal.swap(true, Ordering::SeqCst) {
            return Act::Late(Duration::from_secs(3));
        }
        Act::Pass
    })
    .await;
    let changing = {
        let (reached, goes_on, s3) = (reached.clone(), goes_on.clone(), store.s3.clone());
        tokio::spawn(async move {
            until("the second part is asked for", || reached.load(Ordering::SeqCst)).await;
            upload(&s3, "parts", 3, 2).await;
            goes_on.store(true, Ordering::SeqCst);
        })
    };
    let imported = store.imported(&front.endpoint()).await;
    changing.await.expect("it does not panic");
    assert!(goes_on.load(Ordering::SeqCst));
    assert_eq!((&imported["imported"], &imported["not_verified"]), (&1.into(), &0.into()), "{imported:#}");
    let exported = store.exported();
    let (line, bytes) = &exported[0];
    assert_eq!(bytes.len(), 2 * PART_BYTES + 1, "{line:#}");
    assert!(bytes.iter().all(|byte| *byte == 2), "the new object, and nothing of the old one");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_do_not_make_their_entity_tag_are_not_imported() {
    let Some(store) = Store::start(Service::Minio) else { return };
    put(&store.s3, "good", "good").await;
    put(&store.s3, "wrong", "wrong").await;
    put(&store.s3, "wrong-large", vec![1; 2_000_000]).await;
    upload(&store.s3, "wrong-parts", 2, 1).await;
    put(&client_of(&store.bucket, RequestChecksumCalculation::WhenSupported), "summed", "summed").await;
    // One bit of the answer's body is turned over.
    let front = Front::start(&store.bucket.server.endpoint(), |request| {
        let is_last = |request: &Request<Incoming>| {
            request.uri().query().is_none_or(|query| !query.contains("partNumber=1&"))
        };
        let is_wrong =
            ["wrong", "wrong-large", "wrong-parts", "summed"].iter().any(|key| reads(request, key));
        if !is_wrong || !is_last(request) {
            return Act::Pass;
        }
        Act::Rewrite(Rewrite(Arc::new(|body| {
            let flip = |answer: Bytes| {
                let mut answer = answer.to_vec();
                if let Some(last) = answer.last_mut() {
                    *last ^= 1;
                }
                answer.into()
            };
            (body, Box::new(flip))
        })))
    })
    .await;
    let ran = store.ran(&front.endpoint(), &[]).await;
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let keys = ["\"wrong\"", "\"wrong-large\"", "\"wrong-parts\"", "\"summed\""];
    for part in ["imported 1 objects", "failed 4", "entity tag"].iter().chain(&keys) {
        assert!(ran.stdout.contains(part), "{part}: {ran:#?}");
    }
    assert_eq!(store.exported().len(), 1, "nothing of a wrong object is there");
    // Where tags are no digests, one says so, and learns how many were not compared. A checksum
    // must be right in any case.
    let ran = store.ran(&front.endpoint(), &["--accept-any-etag", "--json"]).await;
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let imported: Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
    assert_eq!(
        (&imported["imported"], &imported["not_verified"], &imported["skipped"], &imported["failed"]),
        (&3.into(), &3.into(), &1.into(), &1.into()),
        "{imported:#}"
    );
    let exported = store.exported();
    let wrong = exported.iter().find(|(line, _)| line["key"] == "wrong").expect("it is there");
    assert_eq!(wrong.1, b"wronf");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_tag_is_no_digest_counts_as_not_verified() {
    let Some(store) = Store::start(Service::Moto) else { return };
    put(&store.s3, "plain", "plain").await;
    let put = store.s3.put_object().bucket("aft").key("encrypted").body(ByteStream::from_static(b"secret"));
    put.server_side_encryption(ServerSideEncryption::AwsKms).send().await.expect("it is put");
    let imported = store.imported(&store.bucket.server.endpoint()).await;
    assert_eq!((&imported["imported"], &imported["not_verified"]), (&2.into(), &1.into()), "{imported:#}");
    let again = store.imported(&store.bucket.server.endpoint()).await;
    assert_eq!((&again["imported"], &again["skipped"]), (&0.into(), &2.into()), "{again:#}");
}

/// The answer breaks off at each of the first reads: the object is read again.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_asked_for_again() {
    let Some(store) = Store::start(Service::Minio) else { return };
    put(&store.s3, "small", vec![1; 10_000]).await;
    put(&store.s3, "large", vec![2; 2_000_000]).await;
    let (small, large) = (AtomicBool::new(false), AtomicBool::new(false));
    let front = Front::start(&store.bucket.server.endpoint(), move |request| {
        let is_first =
            |key: &str, seen: &AtomicBool| reads(request, key) && !seen.swap(true, Ordering::SeqCst);
        match is_first("small", &small) || is_first("large", &large) {
            true => Act::CutBody(5_000),
            false => Act::Pass,
        }
    })
    .await;
    let imported = store.imported(&front.endpoint()).await;
    assert_eq!((&imported["imported"], &imported["bytes"]), (&2.into(), &2_010_000.into()), "{imported:#}");
}
