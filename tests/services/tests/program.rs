//! Goal: `cargo xtask services` serves until it is stopped, and no server outlives the process that
//! started it, in whichever way that ended. Method: the program as a child, ended by SIGINT and by
//! SIGKILL; then its ports are closed and its data is gone.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aft_services::Service;

/// The longest time that the operating system and a shell may take to end a process.
const END_TIME_MAX: Duration = Duration::from_secs(20);

/// Starts the program with its data below `directory`, and reads its output up to the point where
/// it waits.
fn start(directory: &Path) -> (Child, Vec<String>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_aft-services"))
        .args(["minio", "moto"])
        .env("TMPDIR", directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let lines: Vec<_> = lines
        .map(|line| line.expect("the program prints text"))
        .take_while(|line| !line.starts_with("Ctrl-C"))
        .collect();
    (child, lines)
}

fn ports(lines: &[String]) -> Vec<u16> {
    let port = |line: &String| line.strip_suffix(':')?.rsplit_once(" at 127.0.0.1:")?.1.parse().ok();
    lines.iter().filter_map(port).collect()
}

fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn entries(directory: &Path) -> usize {
    std::fs::read_dir(directory).expect("a directory").count()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < END_TIME_MAX, "{what} did not come within {END_TIME_MAX:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs the program, ends it with `signal`, and checks its exit code and that nothing of it is
/// left.
fn check(signal: &str, expect: Option<i32>) {
    if Service::Minio.skipped() || Service::Moto.skipped() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let (mut child, lines) = start(directory.path());
    let ports = ports(&lines);
    assert_eq!(ports.len(), 2, "{lines:#?}");
    assert!(ports.iter().all(|port| listens(*port)) && entries(directory.path()) == 2);
    for words in [
        "minio at 127.0.0.1:",
        "moto at 127.0.0.1:",
        "AWS_ACCESS_KEY_ID=",
        "aft serve --store 's3://aft?endpoint=",
    ] {
        assert!(lines.iter().any(|line| line.contains(words)), "{words}: {lines:#?}");
    }
    let sent = Command::new("sh")
        .args(["-c", "kill -s \"$1\" \"$0\"", &child.id().to_string(), signal])
        .status()
        .expect("sh starts");
    assert!(sent.success());
    let ended = child.wait().expect("a child can be waited for");
    assert_eq!(ended.code(), expect, "{ended}");
    // The servers end with the program, and their data is removed, however the program ended.
    for port in ports {
        eventually("a closed port", || !listens(port));
    }
    eventually("an empty directory", || entries(directory.path()) == 0);
}

#[test]
fn an_interrupt_stops_the_servers() {
    check("INT", Some(0));
}

#[test]
fn the_servers_die_with_a_killed_program() {
    check("KILL", None);
}
