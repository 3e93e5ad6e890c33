//! Bounds that the documents name, at the S3 endpoint: memory, operations at a time, and keys of a
//! transaction.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use aft_e2e::client::Client;
use aft_e2e::real_store::RealStore;
use aft_e2e::server::{Server, local};
use aft_services::Service;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use futures::future::join_all;
use hyper::Method;

use crate::rust_sdk::client_of;
use crate::uploads::open;
use crate::{Key, S3};

/// The setting of the server's memory, which is the bound of the process's: the least value.
const MEMORY_BYTES: u64 = 192 << 20;
/// An object with more bytes than that, and its MD5, by md5sum.
const LARGE: (u64, &str) = (256 << 20, "1f5039e50bd66b290c56684d8550c6c2");
/// The object of the long test.
const LARGEST: (u64, &str) = (1 << 30, "cd573cfaace07e7949bc0c46028904ff");
const PIECE_BYTES: usize = 1 << 20;
/// The longest time of a call: far above what a debug build takes.
const CALL_TIME_MAX: Duration = Duration::from_secs(300);

/// Sends the head of a request, and returns its connection.
fn send(url: &str, method: &str, more: &str) -> TcpStream {
    let (host, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a URL");
    let mut stream = TcpStream::connect(host).expect("the server listens");
    stream.set_read_timeout(Some(CALL_TIME_MAX)).expect("a time-out can be set");
    stream.set_write_timeout(Some(CALL_TIME_MAX)).expect("a time-out can be set");
    let head = format!("{method} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}\r\n");
    stream.write_all(head.as_bytes()).expect("the server reads");
    stream
}

/// Reads an answer to its end: its head, and the number of bytes of its body, which must be zeros.
fn answer(stream: &mut TcpStream) -> (String, u64) {
    let mut piece = vec![0; PIECE_BYTES];
    let (mut head, mut bytes) = (Vec::new(), 0);
    loop {
        let read = stream.read(&mut piece).expect("the server answers");
        if read == 0 {
            return (String::from_utf8(head).expect("a head is text"), bytes);
        }
        let mut rest = &piece[..read];
        while !head.ends_with(b"\r\n\r\n")
            && let Some((byte, after)) = rest.split_first()
        {
            head.push(*byte);
            rest = after;
        }
        assert!(!head.starts_with(b"HTTP/1.1 200") || rest.iter().all(|byte| *byte == 0), "a byte is wrong");
        bytes += rest.len() as u64;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_of_256_mib_passes_through_a_server_with_192_mib() {
    pass(LARGE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: cargo test --locked -p aft-e2e --test s3 -- --ignored --nocapture"]
async fn an_object_of_1_gib_passes_through_a_server_with_192_mib() {
    pass(LARGEST).await;
}

/// Checks that the process's peak memory stays below the server's setting while an object of zeros
/// passes in both directions, each in one request: with signatures that do not cover the bytes,
/// since the client makes them as they pass.
async fn pass((size, md5): (u64, &str)) {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let config = directory.path().join("aft.toml");
    std::fs::write(&config, format!("[serve]\nmemory_bytes_max = {MEMORY_BYTES}\n")).expect("a file");
    let config = config.to_str().expect("a temporary directory's name is text");
    let key = Key::make("");
    let more = ["--config", config, "--bucket", "large"];
    let server = key.serve_with(&local(&directory.path().join("store")), &more);
    let s3 = client_of(&server.s3_url().await, &key.id, &key.secret);
    let hour = || PresigningConfig::expires_in(Duration::from_secs(3_600)).expect("an hour is allowed");
    let url = s3.put_object().bucket("large").key("k").presigned(hour()).await.expect("it can be signed");
    let start = Instant::now();
    let mut stream = send(url.uri(), "PUT", &format!("content-length: {size}\r\n"));
    let zeros = vec![0; PIECE_BYTES];
    for _ in 0..size / PIECE_BYTES as u64 {
        stream.write_all(&zeros).expect("the server reads");
    }
    let (head, _) = answer(&mut stream);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}\n{}", server.log());
    assert!(head.contains(md5), "{head}");
    let (put, peak) = (start.elapsed().as_secs_f64(), server.resident_peak_bytes() >> 20);
    let url = s3.get_object().bucket("large").key("k").presigned(hour()).await.expect("it can be signed");
    let start = Instant::now();
    let (head, bytes) = answer(&mut send(url.uri(), "GET", ""));
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(bytes, size);
    let (get, peak_after) = (start.elapsed().as_secs_f64(), server.resident_peak_bytes() >> 20);
    println!("{size} bytes: PUT {put:.1} s, peak {peak} MiB; GET {get:.1} s, peak {peak_after} MiB");
    assert!(server.resident_peak_bytes() <= MEMORY_BYTES, "{peak_after} MiB");
}

/// The most operations of one transaction at a time.
const AT_ONCE: usize = 64;
/// The longest time for which the store does not answer, well below the one that the server waits
/// for it.
const PAUSE: Duration = Duration::from_secs(5);

/// Commits a longer transaction.
async fn commit(client: &Client, token: &str) {
    let path = format!("/v1/transactions/{token}/commit");
    let json = [("content-type", "application/json")];
    let answer = client.raw(Method::POST, &path, &json, "{}").await.expect("the server answers");
    assert_eq!(answer.status(), 200, "{answer:?}");
}

/// Puts an object within a transaction. Returns the code of the failure.
async fn put(s3: &aws_sdk_s3::Client, token: &str, key: String, body: Vec<u8>) -> Result<(), String> {
    let token = token.to_owned();
    let put = s3.put_object().bucket("b-1").key(key).body(ByteStream::from(body)).customize();
    let put = put.mutate_request(move |request| {
        request.headers_mut().insert("aft-transaction", token.clone());
    });
    match put.send().await {
        Ok(_) => Ok(()),
        Err(why) => {
            let code = why.as_service_error().and_then(|error| error.meta().code().map(str::to_owned));
            Err(code.unwrap_or_else(|| panic!("{why:?}")))
        }
    }
}

/// Any number of calls may be sent at once within one transaction: those that the server has no
/// room for get an answer that SDKs repeat, and none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_puts_at_once_in_one_transaction_all_arrive() {
    let Some(mut store) = RealStore::start(Service::Redis) else { return };
    // The bucket is made by another server, so that the puts have to ask the store for it.
    drop(store.serve(&[&S3[..], &["--bucket", "b-1"]].concat()));
    let body = |at: usize| vec![at as u8; 1 << (at % 18)];
    // Without repetitions, and with those that every SDK makes by default.
    for (name, retries, pause) in [
        ("once", RetryConfig::disabled(), PAUSE),
        ("often", RetryConfig::standard(), Duration::from_millis(500)),
    ] {
        let server = store.serve(&S3);
        let client = Client::new(server.address());
        let patient = client_of(&server.s3_url().await, "any", "any");
        let config = patient.config().to_builder().retry_config(retries).build();
        let s3 = aws_sdk_s3::Client::from_conf(config);
        let token = open(&client, "serializable").await;
        // All of them wait for a store that does not answer for a moment.
        store.service.pause();
        let puts = (0..200).map(|at| {
            let (s3, token) = (s3.clone(), token.clone());
            tokio::spawn(async move { put(&s3, &token, format!("{name}/{at}"), body(at)).await })
        });
        let puts: Vec<_> = puts.collect();
        // Those that are too many are answered at once, and none of the others is.
        let start = Instant::now();
        while puts.iter().filter(|put| put.is_finished()).count() < 200 - AT_ONCE && start.elapsed() < pause {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        store.service.resume();
        let puts = join_all(puts).await.into_iter().map(|put| put.expect("it does not panic"));
        let puts: Vec<Result<(), String>> = puts.collect();
        let failed: Vec<usize> = (0..200).filter(|at| puts[*at].is_err()).collect();
        println!("{name}: {} of 200 were answered with SlowDown in the end", failed.len());
        assert!(name == "often" || failed.len() == 200 - AT_ONCE, "{failed:?}");
        for at in &failed {
            assert_eq!(puts[*at], Err("SlowDown".to_owned()));
            put(&s3, &token, format!("{name}/{at}"), body(*at)).await.expect("there is room for one");
        }
        patient.head_object().bucket("b-1").key(format!("{name}/1")).send().await.expect_err("not committed");
        commit(&client, &token).await;
        for at in 0..200 {
            let got = patient.get_object().bucket("b-1").key(format!("{name}/{at}")).send().await;
            let got = got.expect("it is there").body.collect().await.expect("all of it").into_bytes();
            assert!(got == body(at), "{name}/{at}");
        }
    }
}

/// A transaction with too many keys is rejected with their number, and can be committed without
/// the one that was too many.
#[tokio::test]
async fn a_transaction_with_too_many_keys_says_how_many_are_allowed() {
    const KEYS_MAX: usize = 10_000;
    let server = Server::start_with("memory:", &[&S3[..], &["--bucket", "b-1"]].concat());
    let s3 = client_of(&server.s3_url().await, "any", "any");
    let client = Client::new(server.address());
    let token = open(&client, "read_atomic").await;
    for some in (0..KEYS_MAX).collect::<Vec<_>>().chunks(1_000) {
        let names = some
            .iter()
            .map(|at| ObjectIdentifier::builder().key(at.to_string()).build().expect("it has a key"));
        let delete = Delete::builder().set_objects(Some(names.collect())).build().expect("it has objects");
        let token = token.clone();
        let call = s3.delete_objects().bucket("b-1").delete(delete).customize();
        let call = call.mutate_request(move |request| {
            request.headers_mut().insert("aft-transaction", token.clone());
        });
        assert_eq!(call.send().await.expect("they are few enough").deleted().len(), 1_000);
    }
    let inside = token.clone();
    let one_more = s3.put_object().bucket("b-1").key("one more").customize().mutate_request(move |request| {
        request.headers_mut().insert("aft-transaction", inside.clone());
    });
    let refused = one_more.send().await.expect_err("it is one too many");
    assert_eq!(refused.raw_response().map(|answer| answer.status().as_u16()), Some(400));
    let said = format!("{refused:?}");
    assert!(said.contains(&format!("at most {KEYS_MAX} are allowed")), "{said}");
    commit(&client, &token).await;
    s3.head_object().bucket("b-1").key("one more").send().await.expect_err("it was rejected");
}
