//! Goal: a Redis whose keys are overwritten all the time holds the versions of some minutes, and no
//! more.
//!
//! Method: a server with its default settings, sweeps included; 2,000 overwrites of 4 KiB per
//! second for half an hour, and the memory that Redis reports. Three minutes write 360,000
//! versions; the size of one follows from the number of Redis's keys. A machine that is too slow
//! catches up later, at a higher rate than the intended one: then the samples say more than the
//! verdict. Ignored by default:
//!
//! ```sh
//! AFT_BIN=target/release/aft cargo test --release -p aft-e2e --test overwritten -- --ignored
//! --nocapture
//! ```
//!
//! `AFT_OVERWRITTEN_MINUTES` makes it shorter; below ten it shows little.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use aft_e2e::binary::{command, finish};
use aft_e2e::real_store::RealStore;
use aft_services::Service;

const MINUTES: u64 = 30;
const PER_S: u64 = 2_000;
/// The time in which nothing is removed: twice the time in which a mark settles. Until then every
/// key of Redis is a version.
const GROWS_ONLY: Duration = Duration::from_secs(90);
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

#[test]
#[ignore = "long, half an hour: AFT_BIN=target/release/aft cargo test --release -p aft-e2e --test overwritten -- --ignored --nocapture"]
fn redis_keeps_the_versions_of_some_minutes() {
    let Some(store) = RealStore::start_read_atomic(Service::Redis) else { return };
    let minutes = std::env::var("AFT_OVERWRITTEN_MINUTES")
        .map_or(MINUTES, |text| text.parse().expect("AFT_OVERWRITTEN_MINUTES is a number of minutes"));
    let server = store.serve(&[]);
    let url = format!("http://{}", server.address());
    let (seconds, rate) = ((minutes * 60).to_string(), PER_S.to_string());
    let load = thread::spawn(move || {
        let shape = ["--functions", "1", "--writes", "1", "--reads", "0", "--value-bytes", "4096"];
        let keys = ["--keys", "1000", "--zipf", "0", "--clients", "64", "--seed", "1", "--json"];
        let length = ["--seconds", &seconds, "--rate", &rate, "--warm-up", "0"];
        let arguments: Vec<&str> =
            [&["bench", "standard", "--store", &url], &shape[..], &keys[..], &length[..]].concat();
        finish(&mut command(&arguments), Duration::from_secs(minutes * 60 + 120))
    });

    let (since, mut samples) = (Instant::now(), Vec::new());
    while !load.is_finished() {
        samples.push((since.elapsed(), look(&store)));
        thread::sleep(LOOK_INTERVAL);
    }
    let figures = load.join().expect("the load does not panic").json();
    let written = figures["transactions"].as_u64().expect("a number of transactions");

    // In the first 90 s every new key is a version, which gives the size of one.
    let (_, first) = samples[0];
    let (_, later) = *samples.iter().find(|(at, _)| *at >= GROWS_ONLY).expect("the load lasted longer");
    let per_version = (later.used - first.used) as f64 / (later.keys - first.keys) as f64;
    let three_minutes = per_version * (PER_S * 180) as f64;
    let most = samples.iter().map(|(_, seen)| seen.used).max().expect("there are samples") as f64;
    for (time, seen) in samples.iter().step_by(12) {
        println!("{:5.0} s: {:6} MiB, {} keys", time.as_secs_f64(), seen.used >> 20, seen.keys);
    }
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    println!(
        "{written} overwrites; three minutes write {:.0} MiB; at most {:.0} MiB were used, {:.2} of that; p99 {} ms",
        mib(three_minutes),
        mib(most),
        most / three_minutes,
        figures["latency_ms"]["p99"]
    );
    // A load below the intended rate would pass too easily.
    let due = PER_S * 60 * minutes;
    assert!(
        written * 100 >= due * 98,
        "{written} of {due} transactions: the machine is too slow\n{figures:#}"
    );
    assert!(most <= 2.0 * three_minutes, "{:.2} times what three minutes write", most / three_minutes);
}

/// The memory and keys that Redis reports.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    used: u64,
    /// The number of keys: one per version, and one per key of AFT, for the list of its versions.
    keys: u64,
}

fn look(store: &RealStore) -> Seen {
    let mut stream = TcpStream::connect(("127.0.0.1", store.service.port())).expect("Redis listens");
    stream.write_all(b"INFO memory\r\nINFO keyspace\r\nQUIT\r\n").expect("Redis takes commands");
    let mut seen = Seen::default();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if let Some(used) = line.trim_end().strip_prefix("used_memory:") {
            seen.used = used.parse().expect("a number of bytes");
        }
        if let Some(keys) = line.strip_prefix("db0:keys=").and_then(|rest| rest.split(',').next()) {
            seen.keys = keys.parse().expect("a number of keys");
        }
    }
    assert!(seen.used > 0, "Redis reports its memory");
    seen
}
