//! Results of named requests expire after their retention, also on a store that cannot delete by
//! tag.
//!
//! In the first protocol records stayed for ever on such a store (MinIO is one). Now a sweep
//! replaces such a record by a stub, by tag: the result is removed, and the request never runs
//! again.

use std::time::{Duration, Instant};

use aft_api::{Begin, Code, Op, Reply};
use aft_e2e::client::{CallError, Client};
use aft_e2e::real_store::RealStore;
use aft_e2e::server::Server;
use aft_services::Service;

use crate::{run, until};

/// With this divisor an hour's grace is 3.6 s. With the settings below, a transaction lasts 1.5 s
/// at most, and the store's time is known to 2 s, since S3 reports whole seconds. So a record is
/// kept for 12.2 s at least.
const TIMES: &[&str] = &["--test-time-divisor", "1000"];
const SETTINGS: &[(&str, &str)] = &[
    ("AFT_NODE__TIMEOUT_MAX_MS", "1500000"),
    ("AFT_NODE__TIMEOUT_DEFAULT_MS", "1500000"),
    ("AFT_NODE__COMMIT_PATIENCE_MS", "1500000"),
    ("AFT_NODE__SKEW_MAX_MS", "2000000"),
    ("AFT_NODE__SWEEP_INTERVAL_MS", "500000"),
];
const LEAST: Duration = Duration::from_secs(12);
const GONE_TIME_MAX: Duration = Duration::from_secs(120);

fn request(value: &str) -> Begin {
    Begin {
        request_id: Some("request".into()),
        fingerprint: Some("the same".into()),
        ops: vec![Op::put("key", value.to_owned())],
        result: Some("a result that takes space".into()),
        // Raised to the smallest that is allowed.
        retention_s: Some(1),
        ..Begin::default()
    }
}

#[test]
fn results_expire_without_delete_by_tag() {
    let Some(store) = RealStore::start(Service::Minio) else { return };
    run(async {
        let environment = [store.environment(), SETTINGS.to_vec()].concat();
        let server = Server::start_in(&store.url(), TIMES, &environment);
        let client = Client::new(server.address());
        let since = Instant::now();
        commit(&client, &request("1")).await;
        // Superseded by this write: no entry keeps the record any more.
        commit(&client, &Begin { ops: vec![Op::put("key", "2")], ..Begin::default() }).await;
        // A process looks at every record in its first complete sweeps and then once a day, so the
        // test restarts the server after a few sweeps.
        let mut servers = vec![server];
        until("the request's result is gone", GONE_TIME_MAX, async || {
            let last = servers.last().expect("there is one");
            let client = Client::new(last.address());
            match client.request("request").await {
                Err(CallError::Refused(problem)) if problem.code == Code::ResultGone => return true,
                Ok(found) => assert_eq!(found.result.as_deref(), Some(&b"a result that takes space"[..])),
                // Divided by a thousand, the time to wait for the store is over at once on a busy
                // machine.
                Err(CallError::Refused(problem)) => {
                    assert!(
                        matches!(problem.code, Code::StoreUnavailable | Code::Unknown),
                        "{:?} after the commit: {problem:?}",
                        since.elapsed()
                    );
                }
                Err(other) => panic!("{other:?}"),
            }
            if last.log_lines().iter().filter(|line| line.contains("a sweep ended")).count() >= 6 {
                servers.clear();
                servers.push(Server::start_in(&store.url(), TIMES, &environment));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            false
        })
        .await;
        println!("the result was removed {:.1} s after its commit", since.elapsed().as_secs_f64());
        assert!(since.elapsed() >= LEAST, "{:?}: too early", since.elapsed());

        let client = Client::new(servers.last().expect("there is one").address());
        match client.execute(&request("again")).await {
            Err(CallError::Refused(problem)) => assert_eq!(problem.code, Code::ResultGone, "{problem:?}"),
            other => panic!("a request ran again: {other:?}"),
        }
        let read = Begin { ops: vec![Op::get("key")], fresh: true, ..Begin::default() };
        let read = execute(&client, &read).await;
        assert_eq!(read.results[0].value.as_deref(), Some(&b"2"[..]));
    });
}

/// Commits, and retries while the server answers that nothing took effect.
async fn commit(client: &Client, begin: &Begin) {
    let reply = execute(client, begin).await;
    assert!(reply.committed || reply.replayed, "{reply:?}");
}

/// Runs a transaction, and retries while the server answers that nothing took effect: divided by a
/// thousand, the time to wait for the store is over at once on a busy machine.
async fn execute(client: &Client, begin: &Begin) -> Reply {
    loop {
        match client.execute(begin).await {
            Ok(reply) => return reply,
            Err(CallError::Refused(problem)) => {
                println!("{problem:?}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}
