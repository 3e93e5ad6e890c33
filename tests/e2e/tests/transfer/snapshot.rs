//! An export beside a writer that keeps two keys equal in each transaction. Two processes: the
//! writer goes through a server, and the export has a node of its own on the same store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aft_e2e::binary;
use aft_e2e::client::Client;
use aft_e2e::real_store::RealStore;
use aft_e2e::server::send;
use aft_services::Service;
use hyper::Method;

use crate::{report, temporary, text};

/// The number of exports. Between the listing of the one key and the reading of the other there are
/// several commits of the writer, on any machine.
const EXPORTS: usize = 8;
/// The pause between two commits. A cloud's store keeps superseded versions for hours, and every
/// listing passes them.
const PAUSE: Duration = Duration::from_millis(5);

/// The header of a body in JSON.
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// Puts objects into the bucket, a hundred at once.
async fn fill(client: &Client, count: usize) {
    for from in (0..count).step_by(100) {
        let ops: Vec<_> = (from..from + 100)
            .map(|at| serde_json::json!({ "put": format!("b-1/k{at:04}"), "text": "x" }))
            .collect();
        let body = serde_json::json!({ "ops": ops }).to_string();
        let put = client.raw(Method::POST, "/v1/execute", &JSON, body).await.expect("it answers");
        assert_eq!(put.status(), 200, "{put:?}");
    }
}

/// Runs exports beside a writer. There are `between` keys between its two keys.
async fn exports_never_show_half_of_a_transaction(service: Service, between: usize) {
    let Some(store) = RealStore::start(service) else { return };
    let server = store.serve(&["--s3-listen", "127.0.0.1:0", "--bucket", "b-1"]);
    let client = Client::new(server.address());
    // A server answers once its buckets are made.
    server.s3_url().await;
    fill(&client, between).await;
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = {
        let (client, stop, written) = (client.clone(), stop.clone(), written.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let value = format!("{}", written.load(Ordering::Relaxed) + 1);
                let ops = ["b-1/a", "b-1/z"].map(|key| serde_json::json!({ "put": key, "text": value }));
                let body = serde_json::json!({ "ops": ops }).to_string();
                let put = client.raw(Method::POST, "/v1/execute", &JSON, body).await.expect("it answers");
                if put.status() == 200 {
                    written.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(PAUSE).await;
            }
        })
    };
    while written.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let directory = temporary();
    let mut seen = Vec::new();
    for _ in 0..EXPORTS {
        let (place, url, environment) = (directory.path().to_owned(), store.url(), store.environment());
        let acknowledged = written.load(Ordering::Relaxed);
        let exported = tokio::task::spawn_blocking(move || {
            report(&["export", "b-1", text(&place), "--store", &url], &environment)
        });
        let exported = exported.await.expect("it does not panic");
        assert_eq!(exported["objects"], between as u64 + 2, "{exported:#}");
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).expect("it is there");
        let (a, z) = (read("a"), read("z"));
        assert_eq!(a, z, "one snapshot has two versions of a transaction's two keys");
        let value: u64 = a.parse().expect("it is a number");
        assert!(value >= acknowledged, "{value} was exported after {acknowledged} was acknowledged");
        seen.push(value);
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.expect("the writer does not panic");
    println!("{} commits, exports of {seen:?}", written.load(Ordering::Relaxed));
    assert!(seen.is_sorted() && seen[0] < *seen.last().expect("some"), "the writer went on: {seen:?}");
}

/// The export is stopped for longer than its transaction may last, and then goes on.
#[tokio::test]
async fn an_export_whose_time_is_over_says_so_and_the_next_one_continues() {
    const COUNT: usize = 2_000;
    // A transaction lasts for 6 s.
    const TIMES: [&str; 2] = ["--test-time-divisor", "10"];
    let Some(store) = RealStore::start(Service::Redis) else { return };
    let server = store.serve(&[&["--s3-listen", "127.0.0.1:0", "--bucket", "b-1"], &TIMES[..]].concat());
    server.s3_url().await;
    fill(&Client::new(server.address()), COUNT).await;
    drop(server);
    let directory = temporary();
    let url = store.url();
    let export = [&["export", "b-1", text(directory.path()), "--store", &url], &TIMES[..]].concat();
    let child = binary::command(&export).spawn().expect("the binary starts");
    let written = || std::fs::read_dir(directory.path()).map_or(0, |files| files.flatten().count());
    let start = Instant::now();
    while written() < 100 {
        assert!(start.elapsed() < Duration::from_secs(60), "it writes nothing");
        std::thread::sleep(Duration::from_millis(1));
    }
    send("STOP", child.id());
    std::thread::sleep(Duration::from_secs(8));
    let there = written();
    send("CONT", child.id());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.expect("no panic");
    let output = output.expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("run the command again"), "{output:?}");
    assert!(there < COUNT, "it was stopped before its end");
    assert!(!directory.path().join("aft-manifest.jsonl").exists(), "there is no whole snapshot");
    // On a slow machine it takes several, and each goes on where the last one ended.
    let again = [&export[..], &["--json"]].concat();
    let mut ran = binary::run(&again);
    let mut runs = 1;
    while ran.code != Some(0) {
        assert!(runs < 20 && ran.stderr.contains("run the command again"), "{ran:#?}");
        (ran, runs) = (binary::run(&again), runs + 1);
    }
    println!("it took {runs} more exports");
    let again = ran.json();
    assert!(
        again["skipped"].as_u64().is_some_and(|skipped| skipped >= 90),
        "what is there is skipped: {again:#}"
    );
    assert_eq!(again["objects"], COUNT as u64, "{again:#}");
    assert!(directory.path().join("aft-manifest.jsonl").exists());
    assert!(!directory.path().join("aft-manifest.partial.jsonl").exists());
}

#[tokio::test]
async fn exports_from_redis_never_show_half_of_a_transaction() {
    // On different pages of the listing.
    exports_never_show_half_of_a_transaction(Service::Redis, 1_200).await;
}

#[tokio::test]
async fn exports_from_minio_never_show_half_of_a_transaction() {
    exports_never_show_half_of_a_transaction(Service::Minio, 100).await;
}
