//! Sends one large value to an S3 server and back: with the plain SDK (one PutObject, one
//! GetObject), and through `aft serve` on the same server.
//!
//! ```sh
//! AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… AFT_SERVE__MEMORY_BYTES_MAX=268435456 \
//!     aft serve --store 's3://aft/p?endpoint=http://127.0.0.1:9000&region=us-east-1'
//! AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \
//!     cargo run --release --package aft-store-tests --example large_value -- \
//!     http://127.0.0.1:9000 aft 127.0.0.1:7400 1024
//! ```
//!
//! Arguments: endpoint, bucket, `aft serve`'s address, size in MiB, and number of rounds (3). The
//! bytes come from a file that was written just before, so that the page cache holds it, and the
//! read bytes are discarded. Rounds alternate, so that other load on the machine affects both.

use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_sdk_s3::primitives::ByteStream;

const MIB: u64 = 1 << 20;
const USAGE: &str = "large_value ENDPOINT BUCKET HOST:PORT MIB [ROUNDS]";

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, bucket, address, mib, rounds @ ..] = arguments.as_slice() else { panic!("{USAGE}") };
    let bytes = mib.parse::<u64>().expect(USAGE) * MIB;
    let rounds = rounds.first().map_or(3, |text| text.parse().expect(USAGE));
    let file = source(bytes);
    let sdk = client(endpoint).await;
    let (mut plain, mut shim) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let put = Box::pin(timed(put_plain(&sdk, bucket, file.path()))).await;
        let got = Box::pin(timed(get_plain(&sdk, bucket, bytes))).await;
        plain.push((put, got));
        let (to, path) = (address.clone(), file.path().to_owned());
        let both = tokio::task::spawn_blocking(move || {
            let since = Instant::now();
            put_shim(&to, &path, bytes);
            let put = since.elapsed().as_secs_f64();
            let since = Instant::now();
            get_shim(&to, bytes);
            (put, since.elapsed().as_secs_f64())
        });
        shim.push(both.await.expect("a round ends"));
        // The ratio is that of the speeds: above 1, aft is faster than the plain SDK.
        let speed = |seconds: f64| bytes as f64 / MIB as f64 / seconds;
        let ((in_plain, out_plain), (in_shim, out_shim)) = (plain[round - 1], shim[round - 1]);
        println!(
            "round {round}: in {:.0} MiB/s plain, {:.0} aft ({:.2}); out {:.0} MiB/s plain, {:.0} aft ({:.2})",
            speed(in_plain),
            speed(in_shim),
            in_plain / in_shim,
            speed(out_plain),
            speed(out_shim),
            out_plain / out_shim
        );
    }
    let best = |times: &[(f64, f64)]| {
        times.iter().fold((f64::MAX, f64::MAX), |best, of| (best.0.min(of.0), best.1.min(of.1)))
    };
    let (plain, shim) = (best(&plain), best(&shim));
    println!(
        "best of {rounds}: aft at {:.2} × plain in, {:.2} × plain out",
        plain.0 / shim.0,
        plain.1 / shim.1
    );
}

async fn timed(work: impl Future<Output = ()>) -> f64 {
    let since = Instant::now();
    work.await;
    since.elapsed().as_secs_f64()
}

fn source(bytes: u64) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    let piece: Vec<u8> = (0..MIB).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 16) as u8).collect();
    for _ in 0..bytes / MIB {
        file.write_all(&piece).expect("a file can be written");
    }
    file
}

async fn client(endpoint: &str) -> Client {
    let config = Box::pin(aws_config::defaults(BehaviorVersion::latest()).region("us-east-1").load()).await;
    let config = aws_sdk_s3::config::Builder::from(&config)
        .endpoint_url(endpoint)
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Client::from_conf(config)
}

async fn put_plain(sdk: &Client, bucket: &str, path: &std::path::Path) {
    let body = ByteStream::from_path(path).await.expect("the file can be read");
    sdk.put_object().bucket(bucket).key("plain").body(body).send().await.expect("the server takes it");
}

async fn get_plain(sdk: &Client, bucket: &str, bytes: u64) {
    let got = sdk.get_object().bucket(bucket).key("plain").send().await.expect("the server gives it");
    let (mut body, mut len) = (got.body, 0);
    while let Some(chunk) = body.next().await {
        len += chunk.expect("the body is whole").len() as u64;
    }
    assert_eq!(len, bytes);
}

fn put_shim(address: &str, path: &std::path::Path, bytes: u64) {
    let mut stream = TcpStream::connect(address).expect("aft serve listens");
    let head = format!(
        "PUT /v1/keys/large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("the server reads");
    let mut file = std::fs::File::open(path).expect("the file is there");
    file.rewind().expect("a file has a start");
    std::io::copy(&mut file, &mut stream).expect("the server reads");
    let (status, _) = answer(&mut BufReader::new(stream));
    assert!(status.contains(" 200 "), "{status}");
}

fn get_shim(address: &str, bytes: u64) {
    let mut stream = TcpStream::connect(address).expect("aft serve listens");
    stream
        .write_all(b"GET /v1/keys/large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .expect("the server reads");
    let mut reader = BufReader::with_capacity(MIB as usize, stream);
    let (status, len) = answer(&mut reader);
    assert!(status.contains(" 200 ") && len == bytes, "{status}, {len} bytes");
    let read = std::io::copy(&mut reader.take(bytes), &mut std::io::sink()).expect("the value is whole");
    assert_eq!(read, bytes);
}

/// Reads the head of an answer: its status line and its length.
fn answer(reader: &mut BufReader<TcpStream>) -> (String, u64) {
    let (mut status, mut len) = (String::new(), 0);
    reader.read_line(&mut status).expect("the server answers");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("the server answers");
        match line.trim_end().split_once(": ") {
            Some(("content-length", text)) => len = text.parse().expect("a length is a number"),
            Some(_) => {}
            None => return (status, len),
        }
    }
}
