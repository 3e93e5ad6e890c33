//! Slow, silent and dead lines.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aft_api::Reply;
use aft_client::{Client, Error, Request};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::every_call;
use crate::fake::{Act, Fake, aft, reply, value};

/// Starts a server that takes a body of `body_len` bytes at some 6 MB/s, and then answers
/// byte by byte.
async fn slow(body_len: usize, answer: Vec<u8>, pause: Duration) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let address = listener.local_addr().expect("a listener has an address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection comes");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head comes"));
        }
        let mut piece = vec![0; 64 << 10];
        let mut left = body_len;
        while left > 0 {
            let len = left.min(piece.len());
            left -= stream.read_exact(&mut piece[..len]).await.expect("the body comes");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for byte in answer.chunks(8) {
            stream.write_all(byte).await.expect("the client reads");
            tokio::time::sleep(pause).await;
        }
    });
    address
}

#[tokio::test]
async fn a_slow_line_is_not_a_silent_one() {
    let client = |address: SocketAddr, silence| {
        Client::builder(&format!("http://{address}")).call_timeout(silence).build().expect("a URL")
    };
    let down = async {
        let answer = value(&"x".repeat(200));
        let pause = Duration::from_millis(60);
        let address = slow(0, answer, pause).await;
        let begun = Instant::now();
        let got = client(address, Duration::from_secs(1)).get("k").await.unwrap().expect("it has a value");
        assert_eq!(got.bytes.len(), 200);
        assert!(begun.elapsed() > Duration::from_secs(1), "the whole call took longer than its timeout");
    };
    let up = async {
        let value = Bytes::from(vec![7; 20 << 20]);
        let answer = reply(&Reply { committed: true, ..Reply::default() });
        let address = slow(value.len(), answer, Duration::ZERO).await;
        let begun = Instant::now();
        client(address, Duration::from_secs(2)).put("k", value).await.unwrap();
        assert!(begun.elapsed() > Duration::from_secs(2), "the whole call took longer than its timeout");
    };
    tokio::join!(down, up);
}

#[tokio::test]
async fn a_silent_server_costs_no_more_than_the_run_has() {
    let fake = Fake::start(|_| Act::Silence).await;
    let client = Client::builder(&fake.url()).build().unwrap();
    let limited = client.with_run_time_max(Duration::from_millis(300));
    for _ in 0..2 {
        let begun = Instant::now();
        for (name, outcome) in every_call(&limited).await {
            let why = outcome.expect_err(name);
            match name {
                "put" | "execute" => assert!(matches!(why, Error::Unknown(_)), "{name}: {why:?}"),
                _ => assert!(matches!(why, Error::Unavailable(_)) && why.is_retryable(), "{name}: {why:?}"),
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "seven calls of 0.3 s each, and a little");
    }
    let begun = Instant::now();
    let request = Request::named("r").run_time_max(Duration::from_millis(300));
    assert!(client.run(request.clone(), |_| async { Ok::<_, Error>("") }).await.is_err());
    assert!(client.begin(request.clone()).await.is_err());
    assert!(client.request(request).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// Silences the commit: the run ends soon after its time, and says that it may have committed.
#[tokio::test]
async fn a_silent_commit_ends_with_the_runs_time() {
    for request in [Request::named("r"), Request::unnamed()] {
        let fake = Fake::start(|asked| match asked.line.ends_with("/batch") {
            true => Act::Silence,
            false => aft(asked),
        })
        .await;
        let client = Client::new(&fake.url()).unwrap();
        let request = request.run_time_max(Duration::from_millis(500));
        let begun = Instant::now();
        let ran = client.run(request, |t| async move { t.put("k", "v").await.map(|()| "") }).await;
        // With an ID the abort decides: an aborted transaction never commits.
        assert!(matches!(ran, Err(Error::Unknown(_) | Error::Retry(_))), "{ran:?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

/// Lets the function take longer than its run has: it is not interrupted, and its commit is sent.
#[tokio::test]
async fn a_slow_function_is_not_interrupted() {
    let fake = Fake::start(aft).await;
    let request = Request::named("r").run_time_max(Duration::from_millis(50));
    let client = Client::new(&fake.url()).unwrap();
    let ran = client.run(request, |t| async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        t.put("k", "v").await?;
        Ok::<_, Error>("ok")
    });
    assert_eq!(ran.await.unwrap().result, "ok");
}

/// Closes a kept connection in the face of its second call.
#[tokio::test]
async fn a_dead_kept_connection_costs_reads_nothing() {
    let fake = Fake::start(|asked| match asked.line.as_str() {
        "GET /v1/keys/again" if asked.before == 0 => Act::Close,
        "PUT /v1/keys/again" if asked.before == 0 => Act::Close,
        _ => aft(asked),
    })
    .await;
    // Without time for a second try.
    let client = Client::new(&fake.url()).unwrap().with_run_time_max(Duration::ZERO);
    client.get("first").await.unwrap();
    client.get("again").await.unwrap();
    assert_eq!(fake.take().len(), 3);
    let wrote = client.put("again", "v").await;
    assert!(matches!(wrote, Err(Error::Unknown(_))), "{wrote:?}");
    // On a fresh connection the answer is lost in earnest.
    let fake = Fake::start(|_| Act::Close).await;
    let client = Client::new(&fake.url()).unwrap().with_run_time_max(Duration::ZERO);
    assert!(client.get("k").await.unwrap_err().is_retryable());
    assert_eq!(fake.take().len(), 1);
}

/// Closes the connection after each answer: the next call finds it closed before it writes.
#[tokio::test]
async fn a_connection_that_was_closed_between_calls_is_not_used() {
    let fake = Fake::start(|asked| match aft(asked) {
        Act::Say(answer, _) => Act::SayAndClose(answer),
        other => other,
    })
    .await;
    let client = Client::new(&fake.url()).unwrap().with_run_time_max(Duration::ZERO);
    for _ in 0..20 {
        client.put("k", "v").await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(fake.take().len(), 20);
}

#[tokio::test]
async fn a_refused_connection_and_an_unknown_host_are_worth_another_try() {
    // No server listens at this address.
    for url in ["http://127.0.0.1:1", "http://no-such-host.invalid", "https://127.0.0.1:1"] {
        let client = Client::builder(url).run_time_max(Duration::from_millis(100)).ca(ca()).build().unwrap();
        for (name, outcome) in every_call(&client).await {
            let why = outcome.expect_err(name);
            assert!(matches!(why, Error::Unavailable(_)) && why.is_retryable(), "{name} {url}: {why:?}");
            assert!(why.to_string().contains("cannot connect"), "{why}");
        }
    }
}

#[tokio::test]
async fn without_repeats_there_is_one_try() {
    let fake = Fake::start(|_| Act::Close).await;
    let client = Client::builder(&fake.url()).repeats(false).build().unwrap();
    for (name, outcome) in every_call(&client).await {
        outcome.expect_err(name);
    }
    assert_eq!(fake.take().len(), 7);
}

/// Returns a file with some authority.
fn ca() -> std::path::PathBuf {
    let file = std::env::temp_dir().join(format!("aft-client-ca-{}.pem", std::process::id()));
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("it can be made");
    std::fs::write(&file, made.cert.pem()).expect("it can be made");
    file
}
