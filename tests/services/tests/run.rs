//! Goal: a test can rely on a started service: it serves when its start returns, keeps its port and
//! (MinIO, Redis, Ceph) its data over a SIGKILL, hangs while it is paused, and is gone afterwards.
//! Method: the real services; S3 content is checked with moto's own client library and with curl,
//! Redis with its inline protocol.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use aft_services::{Home, Server, Service};

/// Runs lines of Python with a signing S3 client named `s3`, and returns what they print.
fn boto3(server: &Server, lines: &str) -> String {
    let python = Home::from_environment().path().join("moto/bin/python");
    assert!(python.exists(), "run `cargo xtask services --fetch moto` first, or set AFT_SKIP_SERVICES=moto");
    let client = format!(
        "import boto3\ns3 = boto3.client('s3', endpoint_url='{}', aws_access_key_id='{}', aws_secret_access_key='{}', region_name='{}')\n",
        server.endpoint(),
        server.access_key(),
        server.secret_key(),
        server.region()
    );
    let output = Command::new(python).args(["-c", &(client + lines)]).output().expect("python starts");
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), server.log_tail());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Returns the status of an unsigned GET.
fn status(url: &str) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", url])
        .output()
        .expect("curl starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[test]
fn minio_keeps_its_data_over_a_sigkill() {
    if Service::Moto.skipped() {
        return;
    }
    let Some(mut server) = Service::Minio.start_or_skip() else { return };
    server.create_bucket("aft").expect("a fresh server takes a bucket");
    server.create_bucket("aft").expect_err("it is there");
    let put = "for n in range(50): s3.put_object(Bucket='aft', Key=f'a/{n}', Body=b'content')";
    boto3(&server, put);
    let (endpoint, port) = (server.endpoint(), server.port());
    for _ in 0..2 {
        server.kill();
        server.kill();
        assert!(!listens(port) && !server.answers());
        server.restart().expect("it comes back");
        assert_eq!(server.endpoint(), endpoint);
        let count = "print(s3.list_objects_v2(Bucket='aft')['KeyCount'], s3.get_object(Bucket='aft', Key='a/49')['Body'].read())";
        assert_eq!(boto3(&server, count), "50 b'content'");
    }
    // It checks signatures.
    assert_eq!(status(&format!("{endpoint}/aft/a/49")), "403");
    drop(server);
    assert!(!listens(port));
}

#[test]
fn moto_forgets_its_data() {
    let Some(mut server) = Service::Moto.start_or_skip() else { return };
    server.create_bucket("aft").expect("a fresh server takes a bucket");
    let bucket = format!("{}/aft", server.endpoint());
    assert_eq!(status(&bucket), "200");
    boto3(&server, "s3.put_object(Bucket='aft', Key='a', Body=b'content')");
    server.restart().expect("it comes back");
    assert_eq!(status(&bucket), "404");
    let port = server.port();
    drop(server);
    assert!(!listens(port));
}

/// Sends a line of Redis's inline protocol, and returns the part of the answer that comes in one
/// piece.
fn redis(server: &Server, line: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).expect("it listens");
    stream.write_all(format!("{line}\r\n").as_bytes()).expect("it reads");
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).expect("it answers");
    String::from_utf8_lossy(&answer[..read]).trim_end().to_owned()
}

#[test]
fn redis_keeps_its_data_over_a_sigkill() {
    let Some(mut server) = Service::Redis.start_or_skip() else { return };
    assert_eq!(server.store_url(), format!("redis://127.0.0.1:{}/aft", server.port()));
    assert!(redis(&server, "CONFIG GET appendfsync").ends_with("always"));
    for round in 1..=3 {
        assert_eq!(redis(&server, "INCR a"), format!(":{round}"));
        server.kill();
        assert!(!listens(server.port()) && !server.answers());
        server.restart().expect("it comes back");
    }
    server.pause();
    assert!(listens(server.port()) && !server.answers());
    server.resume();
    assert!(server.answers());
    assert_eq!(redis(&server, "INCR a"), ":4");
    // It listens on loopback alone.
    assert_eq!(redis(&server, "CONFIG GET bind").lines().last(), Some("127.0.0.1"));
}

#[test]
fn a_paused_service_hangs_until_it_is_resumed() {
    let Some(mut server) = Service::Minio.start_or_skip() else { return };
    assert!(server.answers());
    server.pause();
    assert!(listens(server.port()), "the kernel still takes connections for it");
    assert!(!server.answers());
    server.resume();
    assert!(server.answers());
    // A stopped process can be killed as well.
    server.pause();
    server.restart().expect("it comes back");
    server.pause();
    let port = server.port();
    drop(server);
    assert!(!listens(port));
}

/// Returns the addresses with a listener, as this network namespace shows them.
fn listeners() -> Vec<String> {
    let output = Command::new("ss").args(["-ltnH"]).output().expect("ss starts");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().filter_map(|line| line.split_whitespace().nth(3)).map(str::to_owned).collect()
}

/// Returns the kernel's state of each child of this process that is a java: `S` if it waits, `T` if
/// it is stopped.
fn javas() -> Vec<char> {
    let this = std::process::id().to_string();
    let stat = |entry: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let mut rest = rest.split_whitespace();
        let (state, parent) = (rest.next()?.chars().next()?, rest.next()?);
        (name == "java" && parent == this).then_some(state)
    };
    std::fs::read_dir("/proc").expect("a Linux").flatten().filter_map(stat).collect()
}

/// Sends one signed call to DynamoDB, and returns the answer's body.
fn dynamodb(server: &Server, target: &str, body: &str) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"])
        .args(["--aws-sigv4", "aws:amz:us-east-1:dynamodb"])
        .args(["--user", &format!("{}:{}", server.access_key(), server.secret_key())])
        .args(["--header", "Content-Type: application/x-amz-json-1.0"])
        .args(["--header", &format!("X-Amz-Target: DynamoDB_20120810.{target}")])
        .args(["--data", body, &format!("{}/", server.endpoint())])
        .output()
        .expect("curl starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn dynamodb_keeps_to_loopback_and_keeps_its_data_over_a_sigkill() {
    let beyond = |listeners: Vec<String>| -> Vec<String> {
        listeners.into_iter().filter(|at| !at.starts_with("127.") && !at.starts_with("[::1]")).collect()
    };
    let before = beyond(listeners());
    let Some(mut server) = Service::DynamoDb.start_or_skip() else { return };
    let port = server.port();
    let table = r#"{"TableName": "tee", "BillingMode": "PAY_PER_REQUEST", "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}], "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"}]}"#;
    let made = dynamodb(&server, "CreateTable", table);
    assert!(made.contains("ACTIVE"), "{made}");
    let put = dynamodb(&server, "PutItem", r#"{"TableName": "tee", "Item": {"k": {"S": "kept"}}}"#);
    assert_eq!(put, "{}");
    // Its port is on loopback alone; the one that java takes at every address is inside its own
    // namespace.
    let at: Vec<String> = listeners().into_iter().filter(|at| at.ends_with(&format!(":{port}"))).collect();
    assert_eq!(at, [format!("127.0.0.1:{port}")]);
    let more: Vec<String> = beyond(listeners()).into_iter().filter(|at| !before.contains(at)).collect();
    assert!(more.is_empty(), "somebody listens beyond loopback: {more:?}");
    assert_eq!(javas().len(), 1, "it is a child of this process");
    server.pause();
    assert_eq!(javas(), ['T']);
    assert!(listens(port) && !server.answers());
    server.resume();
    assert!(server.answers());
    server.kill();
    assert!(!listens(port) && javas().is_empty());
    server.restart().expect("it comes back");
    let found = dynamodb(&server, "Scan", r#"{"TableName": "tee"}"#);
    assert!(found.contains("kept"), "{found}");
    drop(server);
    assert!(!listens(port) && javas().is_empty());
}

#[test]
fn two_servers_of_one_service_share_nothing() {
    let (Some(one), Some(two)) = (Service::Minio.start_or_skip(), Service::Minio.start_or_skip()) else {
        return;
    };
    assert_ne!(one.port(), two.port());
    for server in [&one, &two] {
        server.create_bucket("aft").expect("each has buckets of its own");
    }
}

#[test]
#[ignore = "long: cargo xtask services --fetch ceph && cargo test --locked -p aft-services --test run -- --ignored"]
fn all_programs_of_ceph_are_killed_together() {
    let Some(mut server) = Service::Ceph.start_or_skip() else { return };
    server.create_bucket("aft").expect("a fresh server takes a bucket");
    server.create_bucket("aft").expect_err("it is there");
    let (bucket, port) = (format!("{}/aft", server.endpoint()), server.port());
    let monitor = || TcpStream::connect((Ipv4Addr::new(127, 0, 0, 2), port)).is_ok();
    // It checks signatures, and rejects requests without one.
    assert_eq!(status(&bucket), "403");
    assert!(monitor());
    server.kill();
    assert!(!listens(port) && !monitor());
    server.restart().expect("it comes back");
    server.create_bucket("aft").expect_err("it is still there");
    drop(server);
    assert!(!listens(port) && !monitor());
}
