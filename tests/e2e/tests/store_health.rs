//! Goal: an operator sees when a store stops answering, fills up, or is not what it was, and when
//! it is well again: one line in the log each, `/readyz`, a metric, the cause in the answers.
//! Method: a real Redis that is killed, filled, flushed and restarted under a server with idle and
//! with busy clients.

use std::time::{Duration, Instant};

use aft_e2e::client::{CallError, Client};
use aft_e2e::real_store::RealStore;
use aft_e2e::server::Server;
use aft_services::Service;
use hyper::Method;
use hyper::StatusCode;

/// The time until a change of the store must show. It is above the 5 s after which a silent store
/// makes a server not ready, with room for a machine that is shared.
const SHOWS_TIME_MAX: Duration = Duration::from_secs(40);

/// Asks `/readyz` until it answers `status`, and returns the answer's text.
async fn ready_is(server: &Server, status: StatusCode) -> String {
    let client = Client::new(server.address());
    let start = Instant::now();
    loop {
        let answer = client.raw(Method::GET, "/readyz", &[], "").await.expect("the server answers");
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        if answer.status() == status {
            return text;
        }
        assert!(start.elapsed() < SHOWS_TIME_MAX, "/readyz is still {text}:\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Returns the number of log lines that contain `text`.
fn lines(server: &Server, text: &str) -> usize {
    server.log_lines().iter().filter(|line| line.contains(text)).count()
}

async fn put(client: &Client, key: &str, bytes: usize) -> Result<(), CallError> {
    let path = format!("/v1/keys/{key}");
    let answer = client.raw(Method::PUT, &path, &[], vec![b'x'; bytes]).await?;
    match answer.status().is_success() {
        true => Ok(()),
        false => Err(CallError::NoAnswer(String::from_utf8_lossy(answer.body()).into_owned())),
    }
}

/// Runs `redis-cli`'s job: sends one command to the server in Redis's protocol.
fn redis(store: &RealStore, command: &[&str]) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", store.service.port())).expect("it listens");
    let mut text = format!("*{}\r\n", command.len());
    command.iter().for_each(|word| text.push_str(&format!("${}\r\n{word}\r\n", word.len())));
    stream.write_all(text.as_bytes()).expect("it reads");
    let mut answer = [0; 512];
    let len = stream.read(&mut answer).expect("it answers");
    String::from_utf8_lossy(&answer[..len]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_server_notices_that_its_store_is_gone() {
    let Some(mut store) = RealStore::start(Service::Redis) else { return };
    let server = store.serve(&[]);
    ready_is(&server, StatusCode::OK).await;
    store.service.kill();
    let told = ready_is(&server, StatusCode::SERVICE_UNAVAILABLE).await;
    assert!(told.contains("store_unavailable") && told.contains("the store has answered no "), "{told}");
    let client = Client::new(server.address());
    let health = client.raw(Method::GET, "/healthz", &[], "").await.expect("the process works");
    assert_eq!(health.status(), StatusCode::OK);
    assert_eq!(lines(&server, "the store does not answer"), 1, "{}", server.log());
    assert!(client.metric("aft_store_up").await < 2.0, "of the two kinds of calls, one is down");

    store.service.restart().expect("it comes back");
    ready_is(&server, StatusCode::OK).await;
    server.says("the store answers again").await;
    assert_eq!(lines(&server, "the store answers again"), 1, "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_store_is_logged_once_and_named_to_callers() {
    let Some(mut store) = RealStore::start(Service::Redis) else { return };
    let server = store.serve(&[]);
    let client = Client::new(server.address());
    put(&client, "k", 1).await.expect("an undisturbed server answers");
    // A commit whose store dies before it.
    let json = [("content-type", "application/json")];
    let opened = client.raw(Method::POST, "/v1/transactions", &json, r#"{"timeout_ms":3000}"#).await;
    let opened = opened.expect("it opens");
    let opened: serde_json::Value = serde_json::from_slice(opened.body()).expect("a reply is JSON");
    let path = format!("/v1/transactions/{}", opened["transaction"].as_str().expect("it is open"));
    for method in [Method::GET, Method::PUT] {
        client.raw(method, &format!("{path}/keys/k"), &[], "x").await.expect("the key is read and written");
    }
    store.service.kill();
    let commit =
        client.raw(Method::POST, &format!("{path}/commit"), &[], "").await.expect("the server answers");
    let text = String::from_utf8_lossy(commit.body()).into_owned();
    assert!(text.contains(r#""code":"unknown""#) && text.to_lowercase().contains("refused"), "{text}");
    // Reads of twenty keys, all of which fail.
    let calls = (0..20).map(|n| {
        let client = client.clone();
        async move { client.raw(Method::GET, &format!("/v1/keys/other-{n}"), &[], "").await }
    });
    for answer in futures::future::join_all(calls).await {
        let answer = answer.expect("the server answers");
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{text}");
        assert!(text.to_lowercase().contains("refused"), "the cause is missing in {text}");
    }
    assert_eq!(lines(&server, "the store does not answer"), 1, "{}", server.log());
    store.service.restart().expect("it comes back");
    ready_is(&server, StatusCode::OK).await;
    put(&client, "k", 1).await.expect("it is well again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_is_logged_once_and_takes_writes_again_when_there_is_room() {
    let Some(store) = RealStore::start(Service::Redis) else { return };
    let server = store.serve(&[]);
    let client = Client::new(server.address());
    put(&client, "before", 10).await.expect("there is room");
    assert!(redis(&store, &["CONFIG", "SET", "maxmemory", "1mb"]).contains("OK"));
    for n in 0..10 {
        let refused = put(&client, &format!("k{n}"), 1_000).await.expect_err("there is no room");
        assert!(format!("{refused:?}").contains("maxmemory"), "{refused:?}");
    }
    let read = client.raw(Method::GET, "/v1/keys/before", &[], "").await.expect("reads go on");
    assert_eq!(read.status(), StatusCode::OK);
    assert_eq!(lines(&server, "the store rejects calls"), 1, "{}", server.log());
    assert!(redis(&store, &["CONFIG", "SET", "maxmemory", "0"]).contains("OK"));
    put(&client, "after", 10).await.expect("there is room again");
    server.says("the store takes calls again").await;
    ready_is(&server, StatusCode::OK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_lost_its_data_is_not_ready() {
    let Some(store) = RealStore::start(Service::Redis) else { return };
    let server = store.serve(&[]);
    let client = Client::new(server.address());
    put(&client, "k", 10).await.expect("there is room");
    assert!(redis(&store, &["FLUSHALL"]).contains("OK"));
    let told = ready_is(&server, StatusCode::SERVICE_UNAVAILABLE).await;
    assert!(told.contains("rejected every "), "{told}");
    assert_eq!(lines(&server, "the store rejects calls"), 1, "{}", server.log());
}

/// With 64 open files, connections take their half, and the store keeps working.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_leave_the_store_its_files() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let server = Server::start_with_files(&aft_e2e::server::local(directory.path()), 64);
    let client = Client::new(server.address());
    let mut idle = Vec::new();
    for _ in 0..60 {
        let mut stream = tokio::net::TcpStream::connect(server.address()).await.expect("the kernel accepts");
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\n").await.expect("it is open");
        idle.push(stream);
    }
    for n in 0..300 {
        put(&client, &format!("k{n}"), 20_000).await.expect("the store has its files");
    }
    drop(idle);
    put(&client, "last", 1).await.expect("the store has its files");
    ready_is(&server, StatusCode::OK).await;
}

/// Removes the directory of a store under its server: what the server syncs to its open files from
/// then on is kept nowhere, so nothing is acknowledged, and the process ends for its supervisor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_directory_is_noticed_at_the_next_write() {
    let above = tempfile::tempdir().expect("a folder can be made");
    let directory = above.path().join("store");
    let mut server = Server::on(&directory);
    let client = Client::new(server.address());
    put(&client, "before", 10).await.expect("an undisturbed server answers");
    std::fs::remove_dir_all(&directory).expect("it is ours");
    put(&client, "after", 10).await.expect_err("it was acknowledged");
    server.says("removed, moved or replaced").await;
    let ended = server.wait(SHOWS_TIME_MAX);
    assert!(ended.is_some_and(|status| !status.success()), "{ended:?}\n{}", server.log());
}

/// Sends SIGHUP to a server that has no files to read again: it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_up_ends_no_server() {
    let server = Server::start("memory:");
    let client = Client::new(server.address());
    server.hang_up();
    server.says("no credentials and no certificate to read again").await;
    put(&client, "k", 10).await.expect("it goes on");
}
