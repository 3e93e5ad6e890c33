//! Goal: a Redis whose keys are overwritten all the time keeps some minutes of versions, and no more.
//!
//! Method: a server with its usual settings, sweeps included; 2,000 overwrites of 4 KiB a second, over half an hour, and the memory that Redis
//! says it uses. What three minutes write is taken from the first 90 seconds, in which nothing can go yet. Not run unless asked for:
//!
//! ```sh
//! AFT_BIN=target/release/aft cargo test --release -p aft-e2e --test overwritten -- --ignored --nocapture
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
/// Nothing goes before it is twice a mark's settling old.
const GROWS_ONLY: Duration = Duration::from_secs(90);
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

#[test]
#[ignore = "takes half an hour"]
fn redis_keeps_some_minutes() {
    let Some(store) = RealStore::start(Service::Redis) else { return };
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
        samples.push((since.elapsed(), used_bytes(&store)));
        thread::sleep(LOOK_INTERVAL);
    }
    let figures = load.join().expect("the load does not panic").json();
    let written = figures["transactions"].as_u64().expect("a number of transactions");

    let at = |time: Duration| samples.iter().find(|(at, _)| *at >= time).expect("the load lasted longer").1;
    // From the tenth second on: the first ones make connections and keys.
    let (first, last) = (at(Duration::from_secs(10)), at(GROWS_ONLY));
    let per_s = (last - first) as f64 / (GROWS_ONLY.as_secs_f64() - 10.0);
    let three_minutes = per_s * 180.0;
    let most = samples.iter().map(|(_, used)| *used).max().expect("there are samples") as f64;
    for (time, used) in samples.iter().step_by(12) {
        println!("{:5.0} s: {:6} MiB", time.as_secs_f64(), used >> 20);
    }
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    println!(
        "{written} overwrites; three minutes write {:.0} MiB; at most {:.0} MiB were used, {:.2} of that; p99 {} ms",
        mib(three_minutes),
        mib(most),
        most / three_minutes,
        figures["latency_ms"]["p99"]
    );
    let due = PER_S * 60 * minutes;
    assert!(
        written * 100 >= due * 98,
        "{written} of {due} transactions: the machine is too slow\n{figures:#}"
    );
    assert!(most <= 2.0 * three_minutes, "{:.2} times what three minutes write", most / three_minutes);
}

/// What Redis says that it uses.
fn used_bytes(store: &RealStore) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", store.service.port())).expect("Redis listens");
    stream.write_all(b"INFO memory\r\n").expect("Redis takes a command");
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let mut used = lines.filter_map(|line| line.trim_end().strip_prefix("used_memory:")?.parse().ok());
    used.next().expect("Redis tells its memory")
}
