//! Measures what a call of the client costs above the same call of bare hyper: `get` of a small
//! key, over one kept connection each, in turns, on one thread.
//!
//! ```text
//! cargo run --release -p aft-client --example overhead -- http://127.0.0.1:7400 [TURNS]
//! ```
//!
//! Latency is the time of a call; CPU time is that of this process. The medians of both and their
//! difference are printed, in microseconds.

use std::time::{Duration, Instant};

use aft_client::Client;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The calls of one kind in one turn.
const CALLS: u32 = 500;
const KEY: &str = "overhead";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().or(std::env::var("AFT_URL").ok()).ok_or("give the server's URL")?;
    let turns: usize = arguments.next().map_or(Ok(40), |text| text.parse())?;
    let client = Client::new(&url)?;
    client.put(KEY, "value").await?;
    let session = client.session().ok_or("a commit has a session")?;
    let address = url.strip_prefix("http://").ok_or("the URL must begin with http://")?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut bare, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);

    let (mut with_client, mut with_hyper) = (Times::default(), Times::default());
    // The first turn warms up.
    for turn in 0..turns + 1 {
        let (mut bare_times, mut client_times) = (Times::default(), Times::default());
        let cpu = cpu_time()?;
        for _ in 0..CALLS {
            let begun = Instant::now();
            get(&mut bare, address, &session).await?;
            bare_times.latency.push(begun.elapsed());
        }
        bare_times.cpu.push((cpu_time()? - cpu) / CALLS);
        let cpu = cpu_time()?;
        for _ in 0..CALLS {
            let begun = Instant::now();
            client.get(KEY).await?;
            client_times.latency.push(begun.elapsed());
        }
        client_times.cpu.push((cpu_time()? - cpu) / CALLS);
        if turn > 0 {
            with_hyper.add(bare_times);
            with_client.add(client_times);
        }
    }
    println!("{} calls each", turns as u32 * CALLS);
    let line = |name: &str, client: Duration, bare: Duration| {
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        println!(
            "{name:<10} client {:7.1} µs   hyper {:7.1} µs   difference {:6.1} µs",
            us(client),
            us(bare),
            us(client) - us(bare)
        );
    };
    line("latency", median(with_client.latency), median(with_hyper.latency));
    line("CPU time", mean(&with_client.cpu), mean(&with_hyper.cpu));
    Ok(())
}

#[derive(Default)]
struct Times {
    latency: Vec<Duration>,
    cpu: Vec<Duration>,
}

impl Times {
    fn add(&mut self, other: Times) {
        self.latency.extend(other.latency);
        self.cpu.extend(other.cpu);
    }
}

async fn get(
    bare: &mut SendRequest<Empty<Bytes>>,
    host: &str,
    session: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    bare.ready().await?;
    let request = Request::get(format!("/v1/keys/{KEY}")).header("host", host);
    // The server reads the session's token, so both have it.
    let request = request.header("aft-session", session).body(Empty::new())?;
    let answer = bare.send_request(request).await?;
    assert!(answer.status().is_success(), "{answer:?}");
    answer.into_body().collect().await?;
    Ok(())
}

/// Returns the CPU time of this process.
fn cpu_time() -> Result<Duration, Box<dyn std::error::Error>> {
    // The first field is the time that this process has run, in nanoseconds.
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    Ok(Duration::from_nanos(text.split(' ').next().unwrap_or_default().parse()?))
}

fn median(mut times: Vec<Duration>) -> Duration {
    assert!(!times.is_empty(), "something was measured");
    times.sort_unstable();
    times[times.len() / 2]
}

fn mean(times: &[Duration]) -> Duration {
    times.iter().sum::<Duration>() / times.len() as u32
}
