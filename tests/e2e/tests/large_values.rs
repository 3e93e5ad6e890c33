//! Goal: a value of 1 GiB passes through a server whose memory setting is 256 MiB, in both
//! directions, and the process never uses more; the parts of an upload that a killed server has
//! left are removed by the next one.
//!
//! Method: a real server on the embedded store, a client that generates and checks the bytes as
//! they pass, and the process's peak memory as the kernel reports it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use aft_e2e::server::{Server, local};

const GIB: u64 = 1 << 30;
const MEMORY_BYTES: u64 = 256 << 20;
const PIECE_BYTES: usize = 1 << 20;
/// The longest time of a call: far above what a debug build takes.
const CALL_TIME_MAX: Duration = Duration::from_secs(300);
/// The time after which the remains of a killed server must be gone, at times divided by a
/// thousand.
const COLLECT_TIME_MAX: Duration = Duration::from_secs(60);

/// Returns the piece `number` of a value; all pieces differ.
fn piece(number: u64) -> Vec<u8> {
    (0..PIECE_BYTES as u64 / 8)
        .flat_map(|at| (number << 32 | at).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
        .collect()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(CALL_TIME_MAX)).expect("a time-out can be set");
    stream.set_write_timeout(Some(CALL_TIME_MAX)).expect("a time-out can be set");
    stream
}

/// Sends the head of an upload of `announced` bytes, and its first `pieces` pieces.
fn send(address: SocketAddr, key: &str, announced: u64, pieces: u64) -> TcpStream {
    let mut stream = connect(address);
    let head = format!(
        "PUT /v1/keys/{key} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {announced}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("the server reads");
    for number in 0..pieces {
        stream.write_all(&piece(number)).expect("the server reads");
    }
    stream
}

/// Reads the head of an answer: its status line and the length of its body.
fn head(reader: &mut BufReader<TcpStream>) -> (String, u64) {
    let (mut status, mut len) = (String::new(), 0);
    reader.read_line(&mut status).expect("the server answers");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("the server answers");
        match line.trim_end().split_once(": ") {
            Some(("content-length", text)) => len = text.parse().expect("a length is a number"),
            Some(_) => {}
            None => return (status.trim_end().to_owned(), len),
        }
    }
}

fn put(address: SocketAddr, key: &str, bytes: u64) {
    let mut reader = BufReader::new(send(address, key, bytes, bytes / PIECE_BYTES as u64));
    assert_eq!(head(&mut reader).0, "HTTP/1.1 200 OK");
}

/// Reads the bytes `from..to` of the value, and checks each of them.
fn check(address: SocketAddr, key: &str, from: u64, to: u64) {
    let mut stream = connect(address);
    let request = format!(
        "GET /v1/keys/{key} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nrange: bytes={from}-{}\r\n\r\n",
        to - 1
    );
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut reader = BufReader::with_capacity(PIECE_BYTES, stream);
    assert_eq!(head(&mut reader), ("HTTP/1.1 206 Partial Content".to_owned(), to - from));
    let mut at = from;
    while at < to {
        let expected = piece(at / PIECE_BYTES as u64);
        let start = (at % PIECE_BYTES as u64) as usize;
        let len = (PIECE_BYTES - start).min((to - at) as usize);
        let mut bytes = vec![0; len];
        reader.read_exact(&mut bytes).expect("the value is whole");
        assert!(bytes == expected[start..start + len], "the bytes from {at} on differ");
        at += len as u64;
    }
}

fn settings(directory: &Path, text: &str) -> String {
    let file = directory.join("aft.toml");
    fs::write(&file, text).expect("a file can be written");
    file.to_str().expect("a temporary directory's name is text").to_owned()
}

#[test]
fn a_value_of_1_gib_passes_through_a_server_with_256_mib() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let config = settings(directory.path(), &format!("[serve]\nmemory_bytes_max = {MEMORY_BYTES}\n"));
    let server = Server::start_with(&local(&directory.path().join("store")), &["--config", &config]);
    put(server.address(), "large", GIB);
    check(server.address(), "large", 0, GIB);
    check(server.address(), "large", GIB / 2 - 1_000, GIB / 2 + 1_000);
    let peak = server.resident_peak_bytes();
    println!("the server's peak: {} MiB", peak >> 20);
    assert!(peak <= MEMORY_BYTES, "{} MiB", peak >> 20);
}

/// Returns the size of all files below a directory, in bytes.
fn bytes_under(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_under(&entry.path()),
            Ok(metadata) => metadata.len(),
            // Removed in the meantime.
            Err(_) => 0,
        })
        .sum()
}

#[test]
fn an_upload_that_a_killed_server_has_left_is_removed() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let store = local(directory.path());
    let bodies = directory.path().join("bodies");
    let server = Server::start(&store);
    put(server.address(), "kept", 16 << 20);
    let kept = bytes_under(&bodies);
    assert!(kept >= 16 << 20, "{kept} bytes in {}", bodies.display());
    // The connection announces 1 GiB and stays open, so the kill hits an upload in flight.
    let upload = send(server.address(), "lost", GIB, 64);
    let since = Instant::now();
    while bytes_under(&bodies) < kept + (24 << 20) {
        assert!(since.elapsed() < CALL_TIME_MAX, "no part is stored");
        std::thread::sleep(Duration::from_millis(20));
    }
    server.kill();
    drop(upload);

    let server = Server::start_with(&store, &["--test-time-divisor", "1000"]);
    let since = Instant::now();
    while bytes_under(&bodies) > kept {
        assert!(since.elapsed() < COLLECT_TIME_MAX, "{} bytes are left", bytes_under(&bodies) - kept);
        std::thread::sleep(Duration::from_millis(100));
    }
    check(server.address(), "kept", 0, 16 << 20);
}
