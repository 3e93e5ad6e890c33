//! A process is stopped for longer than its transactions may last, and then continues.
//!
//! In the first protocol, calls that a process had prepared before it was stopped were sent when it
//! continued, minutes after their deadline: a request committed twice, and a large value was
//! acknowledged although a collector had removed its parts as unused. Now nothing is sent after its
//! deadline, and Redis rejects calls that arrive later.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use aft_api::{Begin, Code, Commit, Op};
use aft_e2e::client::{CallError, Client};
use aft_e2e::real_store::RealStore;
use aft_e2e::server::Server;
use aft_services::Service;
use futures::future::join_all;
use hyper::Method;
use tokio::task::JoinHandle;

use crate::{QUICK, QUICK_SETTINGS, QUICK_TIMEOUT, insist, read_fresh, run, until, write};

const REQUESTS: usize = 16;
const LARGE_BYTES: usize = 3 << 20;
const PIECES: usize = 6;
const COLLECT_TIME_MAX: Duration = Duration::from_secs(40);
/// The time after which a transaction is over.
const OVER: Duration = Duration::from_millis(QUICK_TIMEOUT.as_millis() as u64 + 300);

/// The instant at which the server is stopped, relative to its clients' commits.
#[derive(Debug, Clone, Copy)]
enum Stop {
    /// Before them: they wait in the server's socket.
    Before,
    /// This many milliseconds after them.
    After(u64),
}

#[test]
fn a_stopped_server_commits_nothing_after_its_deadline() {
    let Some(store) = RealStore::start(Service::Redis) else { return };
    let [stopped, other] = [(); 2].map(|()| Server::start_in(&store.url(), QUICK, QUICK_SETTINGS));
    run(async {
        let mut won_early = 0;
        let stops = [Stop::Before, Stop::After(0), Stop::After(4), Stop::After(12), Stop::Before];
        for (round, stop) in stops.into_iter().enumerate() {
            // In the last round it stays stopped until the records of the other attempts have been
            // collected.
            let is_last = round + 1 == stops.len();
            won_early += one_stop(&stopped, &other, round, stop, is_last).await;
        }
        println!("{won_early} of {} attempts had committed before the stop", stops.len() * REQUESTS);
    });
}

/// Opens attempts on one server and stops it as they commit. In the meantime other attempts of the
/// same requests run on the other server, and their writes are overwritten. Returns the number of
/// attempts that had committed before the stop.
async fn one_stop(stopped: &Server, other: &Server, round: usize, stop: Stop, to_the_end: bool) -> usize {
    let (here, there) = (Client::new(stopped.address()), Client::new(other.address()));
    let id = |number: usize| format!("request-{round}-{number}");
    let key = |number: usize| format!("hot/{number}");
    // The retention is raised to the smallest that is allowed.
    let begin = |number| Begin { request_id: Some(id(number)), retention_s: Some(1), ..Begin::default() };
    let open = (0..REQUESTS).map(async |number| {
        let ops = vec![Op::put(key(number), format!("zombie {round}"))];
        let opened = here.begin(&Begin { ops, ..begin(number) }).await.expect("the server answers");
        opened.transaction.expect("an open transaction has a token")
    });
    let open = join_all(open).await;
    if matches!(stop, Stop::Before) {
        stopped.pause();
    }
    let commits: Vec<JoinHandle<_>> = open
        .into_iter()
        .map(|transaction| {
            let here = here.clone();
            tokio::spawn(async move { here.commit(&transaction, &Commit::default()).await })
        })
        .collect();
    if let Stop::After(ms) = stop {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        stopped.pause();
    }
    let removed = there.metric("aft_records_removed_total").await;
    // A commit that the stopped server had sent is decided; the other server finds its record.
    let attempts = (0..REQUESTS).map(async |number| {
        let ops = vec![Op::put(key(number), format!("attempt {round}"))];
        let reply = insist(&there, &Begin { ops, ..begin(number) }).await;
        assert!(reply.committed != reply.replayed, "{reply:?}");
        write(&there, &key(number), &format!("newer {round}")).await;
        reply
    });
    let attempts = join_all(attempts).await;
    // From here on every attempt of the stopped server is over.
    tokio::time::sleep(OVER).await;
    if to_the_end {
        until("the records of the other attempts have gone", COLLECT_TIME_MAX, async || {
            there.metric("aft_records_removed_total").await >= removed + REQUESTS as f64
        })
        .await;
    }
    stopped.resume();
    let answers = join_all(commits).await;
    let mut won_early = 0;
    for (number, (answer, attempt)) in answers.into_iter().zip(attempts).enumerate() {
        let won_here = attempt.replayed;
        won_early += usize::from(won_here);
        match answer.expect("a call does not panic") {
            Ok(reply) if reply.committed && !reply.replayed => {
                assert!(won_here, "{} committed twice, stop {stop:?}: {reply:?}, {attempt:?}", id(number));
                assert_eq!(reply.version, attempt.version);
            }
            Ok(reply) => {
                assert!(!won_here, "its own commit is no replay: {reply:?}");
                assert_eq!(reply.version, attempt.version, "{reply:?}");
            }
            // The commit's outcome may be unknown, but it was not acknowledged.
            Err(CallError::Refused(problem)) => {
                let expected = [
                    Code::Lost,
                    Code::Unknown,
                    Code::NotFound,
                    Code::ResultGone,
                    Code::Ended,
                    Code::StoreUnavailable,
                ];
                assert!(expected.contains(&problem.code), "{problem:?}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    // Late calls would be visible now, or once all calls in flight have ended.
    for _ in 0..2 {
        for client in [&here, &there] {
            let keys: Vec<String> = (0..REQUESTS).map(key).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            for (at, value) in read_fresh(client, &keys).await.into_iter().enumerate() {
                let newer = format!("newer {round}");
                assert_eq!(value.as_deref(), Some(newer.as_bytes()), "{} after {stop:?}", keys[at]);
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    won_early
}

#[test]
fn a_stopped_redis_executes_no_call_after_its_deadline() {
    let Some(mut store) = RealStore::start(Service::Redis) else { return };
    let server = Server::start_in(&store.url(), QUICK, QUICK_SETTINGS);
    run(async {
        let client = Client::new(server.address());
        write(&client, "warm", "up").await;
        let open = (0..REQUESTS).map(async |number| {
            let ops = vec![Op::put(format!("late/{number}"), "zombie")];
            let begin = Begin { request_id: Some(format!("late-{number}")), ops, ..Begin::default() };
            let opened = client.begin(&begin).await.expect("the server answers");
            opened.transaction.expect("an open transaction has a token")
        });
        let open = join_all(open).await;
        store.service.pause();
        let commits = open.into_iter().map(|transaction| {
            let client = client.clone();
            tokio::spawn(async move { client.commit(&transaction, &Commit::default()).await })
        });
        let commits: Vec<JoinHandle<_>> = commits.collect();
        // The scripts wait in Redis's socket, and the only process that could repeat them is
        // killed.
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.kill();
        tokio::time::sleep(OVER).await;
        store.service.resume();
        for commit in commits {
            let answer = commit.await.expect("a call does not panic");
            assert!(answer.is_err(), "acknowledged although the store was stopped: {answer:?}");
        }
        let server = Server::start_in(&store.url(), QUICK, QUICK_SETTINGS);
        let client = Client::new(server.address());
        let keys: Vec<String> = (0..REQUESTS).map(|number| format!("late/{number}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        for number in 0..REQUESTS {
            let found = client.request(&format!("late-{number}")).await;
            assert!(found.is_err(), "committed after its deadline: {found:?}");
        }
        assert_eq!(read_fresh(&client, &keys).await, vec![None; REQUESTS]);
    });
}

/// A disturbance of an upload when half of it has been sent.
#[derive(Debug, Clone, Copy)]
enum Disturb {
    Nothing,
    /// The server is stopped for less time than its transaction may last.
    ShortStop,
    /// The server is stopped until a sweep of the other one has removed the parts.
    LongStop,
    /// Redis has no memory left, for less time than the transaction may last.
    Full,
    /// Redis has no memory left until the transaction is over.
    FullToTheEnd,
    /// Redis has no memory left until the transaction is over, while the server is stopped even
    /// longer.
    FullAndStopped,
}

#[test]
fn an_acknowledged_large_value_is_whole() {
    let Some(store) = RealStore::start(Service::Redis) else { return };
    let [stopped, other] = [(); 2].map(|()| Server::start_in(&store.url(), QUICK, QUICK_SETTINGS));
    run(async {
        let mut holds = None;
        let rounds = [
            Disturb::Nothing,
            Disturb::ShortStop,
            Disturb::LongStop,
            Disturb::Full,
            Disturb::FullToTheEnd,
            Disturb::FullAndStopped,
            Disturb::LongStop,
            Disturb::Nothing,
        ];
        for (round, disturb) in (1..).zip(rounds) {
            let status = disturbed(&store, &stopped, &other, round, disturb).await;
            println!("{disturb:?}: {status}");
            let found = large(&stopped, &other).await;
            if status == 200 {
                assert_eq!(found, Some(round), "{disturb:?}: it was acknowledged");
            } else {
                assert!(!matches!(disturb, Disturb::Nothing), "{status}");
                // The outcome may be unknown, but the key holds either the old or the new value,
                // and keeps it.
                let is_one = found == holds || (status == 503 && found == Some(round));
                assert!(is_one, "{disturb:?}, {status}: it holds {found:?}, before {holds:?}");
            }
            let is_late = matches!(disturb, Disturb::LongStop | Disturb::FullAndStopped);
            assert!(!is_late || found == holds, "{disturb:?}, {status}: committed after its deadline");
            holds = found;
        }
        // The parts of the other uploads are removed, and nothing else is.
        let there = Client::new(other.address());
        let moved = there.metric("aft_marks_moved_total").await;
        let here = Client::new(stopped.address());
        until("the mark moves once more", COLLECT_TIME_MAX, async || {
            write(&there, "other", "x").await;
            there.metric("aft_marks_moved_total").await > moved
                || here.metric("aft_marks_moved_total").await > moved
        })
        .await;
        assert_eq!(large(&stopped, &other).await, holds);
    });
}

/// Uploads a value that consists of `number`, disturbed in the middle. Returns the answer's status.
async fn disturbed(store: &RealStore, stopped: &Server, other: &Server, number: u8, disturb: Disturb) -> u16 {
    let address = stopped.address();
    let piece = vec![number; LARGE_BYTES / PIECES];
    let mut stream =
        tokio::task::spawn_blocking(move || begin_upload(address, &piece)).await.expect("it sends");
    // Waits until the parts are stored.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let there = Client::new(other.address());
    let port = store.service.port();
    match disturb {
        Disturb::Nothing => {}
        Disturb::ShortStop => {
            stopped.pause();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Disturb::LongStop | Disturb::FullAndStopped => {
            stopped.pause();
            let removed = there.metric("aft_parts_removed_total").await;
            if matches!(disturb, Disturb::FullAndStopped) {
                redis(port, "CONFIG SET maxmemory 1mb");
                tokio::time::sleep(OVER).await;
                redis(port, "CONFIG SET maxmemory 0");
            }
            until("the parts are collected as unused", COLLECT_TIME_MAX, async || {
                there.metric("aft_parts_removed_total").await > removed
            })
            .await;
        }
        Disturb::Full => {
            redis(port, "CONFIG SET maxmemory 1mb");
        }
        Disturb::FullToTheEnd => {
            redis(port, "CONFIG SET maxmemory 1mb");
        }
    }
    let piece = vec![number; LARGE_BYTES / PIECES];
    let ending = tokio::task::spawn_blocking(move || end_upload(&mut stream, &piece));
    match disturb {
        Disturb::Full => {
            tokio::time::sleep(Duration::from_millis(400)).await;
            redis(port, "CONFIG SET maxmemory 0");
        }
        Disturb::FullToTheEnd => {
            tokio::time::sleep(OVER).await;
            redis(port, "CONFIG SET maxmemory 0");
        }
        Disturb::ShortStop | Disturb::LongStop | Disturb::FullAndStopped => stopped.resume(),
        Disturb::Nothing => {}
    }
    ending.await.expect("it is answered")
}

/// Returns the number of which the large value consists, as both servers read it; none if it is
/// absent.
async fn large(one: &Server, other: &Server) -> Option<u8> {
    let of = async |server: &Server| {
        let read = Client::new(server.address()).raw(Method::GET, "/v1/keys/large?fresh=true", &[], "").await;
        let read = read.expect("the server answers");
        if read.status() == 404 {
            return None;
        }
        let text = || String::from_utf8_lossy(&read.body()[..read.body().len().min(500)]).into_owned();
        assert_eq!((read.status().as_u16(), read.body().len()), (200, LARGE_BYTES), "{}", text());
        let first = read.body()[0];
        assert!(read.body().iter().all(|byte| *byte == first), "the value is mixed from two uploads");
        Some(first)
    };
    let found = of(one).await;
    assert_eq!(of(other).await, found);
    found
}

/// Sends the head and the first half of an upload.
fn begin_upload(address: SocketAddr, piece: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out can be set");
    let head = format!(
        "PUT /v1/keys/large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {LARGE_BYTES}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("the server reads");
    for _ in 0..PIECES / 2 {
        stream.write_all(piece).expect("the server reads");
    }
    stream
}

/// Sends the rest of an upload, and returns the answer's status. A server may answer before it has
/// read everything.
fn end_upload(stream: &mut TcpStream, piece: &[u8]) -> u16 {
    for _ in PIECES / 2..PIECES {
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    // The part of the answer before an error counts.
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    if !text.starts_with("HTTP/1.1 200") {
        println!("{}", text.lines().last().unwrap_or("no answer"));
    }
    status.unwrap_or(0)
}

/// Sends Redis a command that it must answer with OK.
fn redis(port: u16, command: &str) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("Redis listens");
    stream.write_all(format!("{command}\r\n").as_bytes()).expect("Redis reads");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).expect("Redis answers");
    assert_eq!(&answer, b"+OK\r\n", "{command}");
}
