//! Goal: the server starts only where it can keep its promises, says clearly why it does not start,
//! and ends without dropping open transactions. Method: real processes with good, bad and damaged
//! directories, and SIGTERM.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aft_api::{Begin, Code, Commit, Op, Reply};
use aft_e2e::binary::{Ran, run};
use aft_e2e::client::{CallError, Client};
use aft_e2e::server::{Server, local};
use hyper::Method;

/// The longest time that a server may take to end when nothing is open.
const END_TIME_MAX: Duration = Duration::from_secs(20);

fn serve(store: &str) -> Ran {
    run(&["serve", "--store", store, "--listen", "127.0.0.1:0"])
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory can be made")
}

async fn ready(client: &Client) -> (u16, String) {
    match client.raw(Method::GET, "/readyz", &[], "").await {
        Ok(response) => (response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned()),
        Err(why) => panic!("readyz: {why:?}"),
    }
}

async fn get(client: &Client, key: &str) -> Option<bytes::Bytes> {
    let reply = client.execute(&Begin { ops: vec![Op::get(key)], ..Begin::default() }).await;
    reply.expect("an undisturbed server answers").results.remove(0).value
}

#[tokio::test]
async fn sigterm_drains_open_transactions() {
    let directory = directory();
    let mut server = Server::on(directory.path());
    let client = Client::new(server.address());
    assert_eq!(ready(&client).await.0, 200);
    let opened = client.begin(&Begin::default()).await.expect("an undisturbed server answers");
    let transaction = opened.transaction.expect("an open transaction has a token");
    client.put(&transaction, "drained", "value").await.expect("an undisturbed server answers");

    // While it drains, the server is not ready and opens no transactions, but finishes open ones.
    server.terminate();
    let deadline = Instant::now() + END_TIME_MAX;
    let draining = loop {
        match ready(&client).await {
            (200, _) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(5)).await,
            other => break other,
        }
    };
    assert!(draining.0 == 503 && draining.1.contains("drain"), "{draining:?}");
    match client.begin(&Begin::default()).await {
        Err(CallError::Refused(problem)) => assert_eq!(problem.code, Code::NotServing, "{problem:?}"),
        other => panic!("a draining server opens no transaction: {other:?}"),
    }
    let committed = client.commit(&transaction, &Commit::default()).await;
    let committed = committed.expect("a draining server finishes what is open");
    assert!(matches!(&committed, Reply { committed: true, version: Some(_), .. }), "{committed:?}");
    let ended = server.wait(END_TIME_MAX);
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "{ended:?}\n{}", server.log());

    // The commit that was acknowledged while draining is durable.
    let server = Server::on(directory.path());
    assert_eq!(get(&Client::new(server.address()), "drained").await.as_deref(), Some(&b"value"[..]));
}

#[tokio::test]
async fn sigterm_ends_an_idle_server_at_once() {
    let mut server = Server::start("memory:");
    let client = Client::new(server.address());
    // An idle connection does not delay the end.
    assert_eq!(ready(&client).await.0, 200);
    let start = Instant::now();
    server.terminate();
    let ended = server.wait(END_TIME_MAX);
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "{ended:?}\n{}", server.log());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

/// Sends one call after the other on a kept connection while the server ends: each is answered, the
/// last one with the note that the connection ends. If the connection closed between two calls, a
/// client that has just sent one would not know what became of it.
#[tokio::test]
async fn calls_on_a_kept_connection_are_answered_until_the_server_says_that_it_ends() {
    let mut server = Server::start("memory:");
    let mut kept = TcpStream::connect(server.address()).expect("it listens");
    kept.set_read_timeout(Some(END_TIME_MAX)).expect("a time above zero");
    let mut ask = |what: &str| {
        let call = format!("{what} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n");
        kept.write_all(call.as_bytes()).expect("the connection is open");
        let mut answer = [0; 4_096];
        let len = kept.read(&mut answer).expect("it answers in time");
        String::from_utf8_lossy(&answer[..len]).to_lowercase()
    };
    assert!(ask("GET /healthz").starts_with("http/1.1 200"), "an undisturbed server answers");
    server.terminate();
    loop {
        let answer = ask("PUT /v1/keys/k");
        assert!(answer.starts_with("http/1.1 "), "the connection closed without a word: {answer:?}");
        if answer.contains("connection: close") {
            break;
        }
    }
    let ended = server.wait(END_TIME_MAX);
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "{ended:?}\n{}", server.log());
}

/// Sends a second signal, which ends the server without waiting for the open transactions that the
/// first one spares.
#[tokio::test]
async fn a_second_sigterm_ends_a_draining_server_at_once() {
    let directory = directory();
    let mut server = Server::on(directory.path());
    let client = Client::new(server.address());
    let open = client.begin(&Begin::default()).await.expect("an undisturbed server answers");
    let open = open.transaction.expect("an open transaction has a token");
    client.put(&open, "open", "value").await.expect("an undisturbed server answers");
    let ops = vec![Op::put("acknowledged", "value")];
    client.execute(&Begin { ops, ..Begin::default() }).await.expect("an undisturbed server answers");

    server.terminate();
    let deadline = Instant::now() + END_TIME_MAX;
    while ready(&client).await.0 == 200 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.wait(Duration::from_millis(200)), None, "it drains as long as a transaction is open");
    let start = Instant::now();
    server.terminate();
    let ended = server.wait(END_TIME_MAX);
    assert_eq!(ended.and_then(|status| status.code()), Some(130), "{ended:?}\n{}", server.log());
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());

    let server = Server::on(directory.path());
    let client = Client::new(server.address());
    assert_eq!(get(&client, "acknowledged").await.as_deref(), Some(&b"value"[..]));
    assert_eq!(get(&client, "open").await, None);
}

/// Starts a server without a value cache, and with a default outside its bounds, which is adjusted
/// with a warning in the log.
#[tokio::test]
async fn a_cache_of_nothing_works_and_a_default_out_of_bounds_is_adjusted() {
    let directory = directory();
    let config = directory.path().join("aft.toml");
    std::fs::write(&config, "[node]\nvalue_cache_bytes_max = 0\nretention_default_ms = 5\n")
        .expect("a file can be written");
    let config = config.to_str().expect("names of temporary files are text");
    let server = Server::start_with("memory:", &["--config", config]);
    let warned = server.says("node.retention_default_ms").await;
    for part in ["WARN", " is 5, which is not from 1802001 to 1296000000: 1802001 is used"] {
        assert!(warned.contains(part), "{part:?} is missing in {warned}");
    }
    let client = Client::new(server.address());
    let transaction =
        client.begin(&Begin::default()).await.expect("an undisturbed server answers").transaction;
    let transaction = transaction.expect("an open transaction has a token");
    client.put(&transaction, "k", "v").await.expect("an undisturbed server answers");
    client.commit(&transaction, &Commit::default()).await.expect("an undisturbed server answers");
    assert_eq!(get(&client, "k").await.as_deref(), Some(&b"v"[..]));
}

#[test]
fn unknown_stores_are_rejected() {
    serve("bogus:somewhere").assert_refused(&["bogus", "memory:", "local:"]);
    serve("somewhere").assert_refused(&["somewhere"]);
}

#[test]
fn paths_that_cannot_be_directories_are_rejected() {
    let directory = directory();
    let file = directory.path().join("file");
    std::fs::write(&file, "not a directory").expect("a file can be written");
    serve(&local(&file)).assert_refused(&[file.to_str().expect("names of temporary files are text")]);
    let below = file.join("below");
    serve(&local(&below)).assert_refused(&[below.to_str().expect("names of temporary files are text")]);
}

#[test]
fn a_directory_is_held_by_one_process() {
    let directory = directory();
    let first = Server::on(directory.path());
    let name = directory.path().to_str().expect("names of temporary files are text");
    serve(&local(directory.path())).assert_refused(&[name, "process"]);
    // The lock belongs to the process, not to a file that would remain.
    first.kill();
    drop(Server::on(directory.path()));
}

#[test]
fn other_addresses_need_authentication() {
    let ran = run(&["serve", "--store", "memory:", "--listen", "0.0.0.0:0"]);
    ran.assert_refused(&["0.0.0.0", "loopback"]);
}

/// Flips a byte of the journal, in the middle of acknowledged writes: that is not a torn tail, and
/// must not be ignored.
#[tokio::test]
async fn a_damaged_journal_is_reported() {
    let directory = directory();
    let server = Server::on(directory.path());
    let client = Client::new(server.address());
    for number in 0..50 {
        let ops = vec![Op::put(format!("key/{number}"), format!("value {number} which is here on purpose"))];
        client.execute(&Begin { ops, ..Begin::default() }).await.expect("an undisturbed server answers");
    }
    server.kill();

    let damaged = holding(directory.path(), b"value 20 which is here on purpose");
    assert!(!damaged.is_empty(), "no file holds the value");
    for (path, at) in &damaged {
        let mut bytes = std::fs::read(path).expect("a file can be read");
        bytes[*at] ^= 0x20;
        std::fs::write(path, bytes).expect("a file can be written");
    }
    let name = directory.path().to_str().expect("names of temporary files are text");
    serve(&local(directory.path())).assert_refused(&[name, "damaged"]);
}

/// Returns the files below `directory` that hold `bytes`, and the offset in each.
fn holding(directory: &Path, bytes: &[u8]) -> Vec<(PathBuf, usize)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            found.extend(holding(&path, bytes));
        } else if let Ok(content) = std::fs::read(&path) {
            let at = content.windows(bytes.len()).position(|window| window == bytes);
            found.extend(at.map(|at| (path, at)));
        }
    }
    found
}
