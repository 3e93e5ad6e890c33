//! Goal: JSON logs hold what they promise: one JSON object per line, with the IDs by which a
//! transaction or a request can be traced. Method: a real server that logs everything, and requests
//! whose calls must all be found.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use aft_api::{Begin, Code, Commit, Op};
use aft_e2e::binary;
use aft_e2e::client::{CallError, Client};
use aft_e2e::server::{Server, local, send};
use serde_json::Value;

/// The longest time until a line arrives here.
const LINE_TIME_MAX: Duration = Duration::from_secs(10);

/// The longest time that a server may take to end when nothing is open.
const END_TIME_MAX: Duration = Duration::from_secs(20);

/// Returns the log lines as JSON, and checks that standard output has the start-up lines and
/// nothing else.
fn logged(server: &Server) -> Vec<Value> {
    let lines = server.log_lines();
    let said = |line: &&String| line.starts_with("aft ") || line.starts_with("listening on http://");
    assert_eq!(lines.iter().filter(said).count(), 2, "{}", server.log());
    let logged = lines.iter().filter(|line| !said(line));
    logged
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why} in the line {line}")))
        .collect()
}

/// Waits for a log line for which `is_it` is true.
async fn logs(server: &Server, what: &str, is_it: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + LINE_TIME_MAX;
    while !logged(server).iter().any(&is_it) {
        assert!(Instant::now() < deadline, "no log line about {what}:\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn json_lines_carry_transaction_and_request() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let config = directory.path().join("aft.toml");
    let filter = "[log]\nfilter = \"info,aft_door_native=debug,aft_node=debug\"\n";
    std::fs::write(&config, filter).expect("a file can be written");
    let config = config.to_str().expect("names of temporary files are text");
    let server = Server::start_with("memory:", &["--log-format", "json", "--config", config]);
    let client = Client::new(server.address());

    let begin = |fingerprint: &str| Begin {
        request_id: Some("transfer \"7\"\nof May".into()),
        fingerprint: Some(fingerprint.into()),
        ..Begin::default()
    };
    let opened = client.begin(&begin("one")).await.expect("an undisturbed server answers");
    let transaction = opened.transaction.expect("an open transaction has a token");
    // The log names the attempt, which is the second part of the token.
    let attempt = transaction.split_once('-').expect("a token is node and attempt").1;
    client.commit(&transaction, &Commit::default()).await.expect("an undisturbed server answers");
    logs(&server, "the transaction's end", |line| {
        line["fields"]["transaction"] == attempt && line["fields"]["end"] == "Committed"
    })
    .await;

    let refused = |outcome, expect| match outcome {
        Err(CallError::Refused(problem)) => assert_eq!(problem.code, expect, "{problem:?}"),
        other => panic!("{other:?}"),
    };
    // A rejected call is logged with the request that it belongs to.
    refused(client.begin(&Begin { ops: vec![Op::get("k")], ..begin("another") }).await, Code::KeyReused);
    logs(&server, "the request ID that was used again", |line| {
        line["fields"]["code"] == "key_reused" && line["span"]["request"] == "transfer \"7\"\nof May"
    })
    .await;
    refused(client.put(&transaction, "late", "v").await.map(|()| unreachable!("it has ended")), Code::Ended);
    logs(&server, "the call on an ended transaction", |line| {
        line["fields"]["code"] == "ended" && line["span"]["transaction"] == *transaction
    })
    .await;
    // Every line has the fields that a log collector needs.
    for line in logged(&server) {
        for field in ["timestamp", "level", "target", "fields"] {
            assert!(!line[field].is_null(), "{field} is missing in {line}");
        }
    }
}

/// Damages a stored value, and checks that the default log has a warning with the transaction and
/// the request.
#[tokio::test]
async fn warnings_carry_transaction_and_request_by_default() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let store = directory.path().join("data");
    let server = Server::start_with(&local(&store), &["--log-format", "json"]);
    let client = Client::new(server.address());
    // Large enough to be a file of its own, which is read each time.
    let mark = b"one large value to be found";
    let large = mark.repeat(40_000);
    let put = Begin { ops: vec![Op::put("large", large)], ..Begin::default() };
    assert!(client.execute(&put).await.expect("an undisturbed server answers").committed);
    assert!(damage(&store, mark) > 0, "no file holds the value");

    let get = Begin { request_id: Some("audit-12".into()), ops: vec![Op::get("large")], ..Begin::default() };
    let problem = match client.execute(&get).await {
        Err(CallError::Refused(problem)) => problem,
        other => panic!("the value is damaged: {other:?}"),
    };
    assert_eq!(problem.code, Code::Damaged, "{problem:?}");
    logs(&server, "the damage", |line| {
        let fields = &line["fields"];
        line["level"] == "WARN"
            && fields["code"] == "damaged"
            && fields["request"] == "audit-12"
            && fields["transaction"] == *problem.transaction.as_deref().expect("it was opened")
    })
    .await;
}

/// Changes a byte in every file below `directory` that holds `bytes`, and returns the number of
/// these files.
fn damage(directory: &Path, bytes: &[u8]) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(directory).expect("a directory can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            count += damage(&path, bytes);
            continue;
        }
        let mut held = std::fs::read(&path).expect("a file can be read");
        if let Some(at) = held.windows(bytes.len()).position(|window| window == bytes) {
            held[at] ^= 0x20;
            std::fs::write(&path, held).expect("a file can be written");
            count += 1;
        }
    }
    count
}

/// Closes the log's pipe, as `aft serve 2>&1 | head` does. The line that could not be written once
/// ended the event loop: the server then neither served nor ended.
#[tokio::test]
async fn a_server_whose_log_pipe_is_closed_serves_on() {
    let mut server = binary::command(&["serve", "--store", "memory:", "--listen", "127.0.0.1:0"])
        .env("AFT_LOG__FILTER", "debug")
        .spawn()
        .expect("the server starts");
    let mut said = BufReader::new(server.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let address = said.find_map(|line| line.strip_prefix("listening on http://").map(str::to_owned));
    let address = address.expect("it says where it listens").parse().expect("an address");
    drop(said);
    drop(server.stderr.take());

    let client = Client::new(address);
    for n in 0..3 {
        let put = Begin { ops: vec![Op::put(format!("k{n}"), "v")], commit: Some(true), ..Begin::default() };
        client.execute(&put).await.expect("it serves on");
    }
    send("TERM", server.id());
    let Some(ended) = binary::wait(&mut server, END_TIME_MAX) else {
        server.kill().expect("a child can be killed");
        panic!("it does not end");
    };
    assert_eq!(ended.code(), Some(0), "{ended}");
}

/// A start that takes long says what it waits for, and never repeats a password.
#[tokio::test]
async fn a_start_names_its_settings_file_and_each_step_on_the_store() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let config = directory.path().join("mine.toml");
    std::fs::write(&config, "").expect("a file can be written");
    let store = local(&directory.path().join("store"));
    let server = Server::start_with(
        &store,
        &["--config", config.to_str().expect("names of temporary files are text")],
    );
    server.says("read the settings file").await;
    server.says("reading the description of the store").await;
    let lines = server.log_lines();
    let place = |text: &str| lines.iter().position(|line| line.contains(text)).expect("it was said");
    let file = config.canonicalize().expect("it exists");
    assert!(lines[place("read the settings file")].contains(&file.display().to_string()), "{lines:#?}");
    let opening = place(&format!("opening the store {store}"));
    assert!(opening < place("reading the description of the store"), "{lines:#?}");
    drop(server);
    let server = Server::start("memory:");
    server.says("there is no settings file").await;
    // The listener never answers, so the server stays at this step.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = silent.local_addr().expect("it has an address").port();
    let mut serve = binary::command(&["serve", "--store", &format!("redis://me:hunter2@127.0.0.1:{port}/x")])
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(serve.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("opening the store"));
    serve.kill().and_then(|()| serve.wait()).expect("a child can be killed");
    let line = line.expect("it was said before the store answers");
    assert!(line.contains(&format!("redis://…@127.0.0.1:{port}/x")) && !line.contains("hunter2"), "{line}");
}

/// Without a region the SDK warns with dumps of its types; our message says what to do.
#[test]
fn no_dump_of_the_sdk_comes_before_our_message() {
    let nowhere = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");
    for command in ["store probe s3://bucket/p", "serve --store s3://bucket/p --listen 127.0.0.1:0"] {
        let arguments: Vec<_> = command.split(' ').collect();
        let mut aft = binary::command(&arguments);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                aft.env_remove(name);
            }
        }
        aft.envs([nowhere]).env("HOME", "/nowhere");
        let ran = binary::finish(&mut aft, Duration::from_secs(60));
        ran.assert_refused(&["no region", "AWS_REGION"]);
        let others = ran.stderr.lines().filter(|line| !line.starts_with("aft: ") && !line.contains(" INFO "));
        assert_eq!(others.count(), 0, "{ran:#?}");
    }
}
