//! Ranges, streams and sources, where the line or the source breaks.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aft_api::Code;
use aft_client::{Begun, Client, Error, Request};
use tokio::io::{AsyncRead, ReadBuf};

use crate::fake::{Act, Fake, aft, answer, problem, value};

/// A source that gives its bytes in small pieces, and then fails if it is told to.
struct Pieces {
    left: usize,
    fails: bool,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len = self.left.min(1_000).min(into.remaining());
        into.put_slice(&vec![7; len]);
        self.left -= len;
        match self.fails && len == 0 {
            true => Poll::Ready(Err(io::Error::other("the disk is gone"))),
            false => Poll::Ready(Ok(())),
        }
    }
}

async fn client(fake: &Fake) -> Client {
    Client::builder(&fake.url()).run_time_max(Duration::from_secs(5)).build().expect("a URL")
}

#[tokio::test]
async fn a_range_is_asked_for_and_checked() {
    let fake = Fake::start(|asked| {
        assert!(asked.headers.contains("range: bytes=2-4\r\n"), "{}", asked.headers);
        let headers = "Aft-Version: 1-a\r\nContent-Range: bytes 2-4/10\r\n";
        Act::say(match asked.before {
            0 => answer("206 Partial Content", headers, b"234"),
            // A proxy that knows no ranges, and one that mixes them up.
            1 => answer("200 OK", "Aft-Version: 1-a\r\n", b"0123456789"),
            _ => answer("206 Partial Content", headers, b"23"),
        })
    })
    .await;
    let client = client(&fake).await;
    for _ in 0..2 {
        let value = client.get_range("k", 2, 3).await.unwrap().expect("it has a value");
        assert_eq!((value.bytes.as_ref(), value.size), (&b"234"[..], 10));
    }
    let wrong = client.get_range("k", 2, 3).await;
    assert!(matches!(wrong, Err(Error::Unavailable(_))), "{wrong:?}");
    assert!(matches!(client.get_range("k", 2, 0).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_an_error() {
    let fake = Fake::start(|asked| match asked.line.as_str() {
        "GET /v1/keys/whole" => Act::say(value("12345")),
        "GET /v1/keys/absent" => Act::say(problem(Code::Absent)),
        _ => {
            let head = "HTTP/1.1 200 OK\r\nAft-Version: 1-a\r\nContent-Length: 10\r\n\r\n12345";
            Act::SayAndClose(head.into())
        }
    })
    .await;
    let client = client(&fake).await;
    let mut stream = client.stream("whole").await.unwrap().expect("it has a value");
    assert_eq!((stream.size(), stream.version(), stream.content_type()), (Some(5), "1-a", "text/plain"));
    assert_eq!(stream.next().await.unwrap().unwrap(), "12345");
    assert_eq!(stream.next().await.unwrap(), None);
    assert_eq!(stream.next().await.unwrap(), None);
    assert!(client.stream("absent").await.unwrap().is_none());
    let mut stream = client.stream("broken").await.unwrap().expect("it has a value");
    let mut read = 0;
    let why = loop {
        match stream.next().await {
            Ok(Some(piece)) => read += piece.len(),
            Ok(None) => panic!("the end came after {read} of 10 bytes"),
            Err(why) => break why,
        }
    };
    assert!(read <= 5 && why.to_string().contains("of 10 bytes"), "{why}");
    assert!(stream.next().await.is_err(), "it stays broken");
    assert_eq!(fake.take().len(), 3, "a reading that has begun is not repeated");
}

#[tokio::test]
async fn a_value_that_is_too_large_for_memory_is_not_read() {
    let huge = b"HTTP/1.1 200 OK\r\nAft-Version: 1-a\r\nContent-Length: 300000000\r\n\r\n";
    let fake = Fake::start(|_| Act::say(*huge)).await;
    let why = client(&fake).await.get("k").await.unwrap_err();
    assert!(matches!(why, Error::Invalid(_)) && why.to_string().contains("`stream`"), "{why}");
    assert_eq!(fake.take().len(), 1);
}

#[tokio::test]
async fn a_source_is_sent_with_its_size_or_in_chunks() {
    let fake = Fake::start(aft).await;
    let client = client(&fake).await;
    client.put_stream("k", Pieces { left: 300_000, fails: false }, Some(300_000)).await.unwrap();
    client.put_stream("k", Pieces { left: 2_500, fails: false }, None).await.unwrap();
    client.put_stream("k", Pieces { left: 0, fails: false }, Some(0)).await.unwrap();
    let asked = fake.take();
    assert_eq!(asked[0].body, vec![7; 300_000]);
    assert!(asked[1].headers.contains("transfer-encoding: chunked"), "{}", asked[1].headers);
    assert_eq!(asked[1].body.iter().filter(|byte| **byte == 7).count(), 2_500);
    assert!(asked[2].body.is_empty());
    let Begun::Open(t) = client.begin(Request::unnamed()).await.unwrap() else { panic!("it is new") };
    t.put_stream("k", Pieces { left: 2_500, fails: false }, Some(2_500)).await.unwrap();
    t.commit("").await.unwrap();
}

#[tokio::test]
async fn a_source_that_fails_writes_nothing() {
    let fake = Fake::start(aft).await;
    let client = client(&fake).await;
    for size in [Some(9_000), None] {
        let wrote = client.put_stream("k", Pieces { left: 2_500, fails: true }, size).await;
        let Err(Error::Invalid(details)) = &wrote else { panic!("{wrote:?}") };
        assert!(details.detail.contains("the disk is gone"), "{}", details.detail);
    }
    let short = client.put_stream("k", Pieces { left: 2_500, fails: false }, Some(9_000)).await;
    let Err(Error::Invalid(details)) = &short else { panic!("{short:?}") };
    assert!(details.detail.contains("6500 bytes before the size"), "{}", details.detail);
    assert!(fake.take().is_empty(), "no call came to its end");
}

#[tokio::test]
async fn a_source_is_read_once() {
    // Turned away after the body was read: it cannot be sent again.
    let fake = Fake::start(|_| Act::say(problem(Code::Overloaded))).await;
    let source = Pieces { left: 300_000, fails: false };
    let wrote = client(&fake).await.put_stream("k", source, Some(300_000)).await;
    assert_eq!(wrote.unwrap_err().code(), Some(Code::Overloaded));
    assert_eq!(fake.take().len(), 1);
}

/// Turns the call away at its announcement: nothing was read from the source, so it is sent again.
#[tokio::test]
async fn a_source_that_was_not_read_is_sent_again() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        for nth in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            if nth == 0 {
                stream.write_all(&problem(Code::Overloaded)).await.unwrap();
                continue;
            }
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
            let mut body = vec![0; 300_000];
            stream.read_exact(&mut body).await.unwrap();
            let done = aft_api::Reply { committed: true, ..Default::default() };
            stream.write_all(&crate::fake::reply(&done)).await.unwrap();
            return body;
        }
        unreachable!("the second call ends it")
    });
    let client = Client::new(&url).unwrap();
    client.put_stream("k", Pieces { left: 300_000, fails: false }, Some(300_000)).await.unwrap();
    assert_eq!(server.await.unwrap(), vec![7; 300_000]);
}

#[tokio::test]
async fn an_answer_without_a_length_is_not_taken_for_a_value() {
    let fake = Fake::start(|asked| match asked.line.contains("chunked") {
        true => Act::say(
            "HTTP/1.1 200 OK\r\nAft-Version: 1-a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n123\r\n0\r\n\r\n",
        ),
        false => Act::SayAndClose(b"HTTP/1.1 200 OK\r\nAft-Version: 1-a\r\n\r\n123".to_vec()),
    })
    .await;
    let client = client(&fake).await;
    assert_eq!(client.get("chunked").await.unwrap().expect("it has a value").bytes, "123");
    let mut stream = client.stream("chunked").await.unwrap().expect("it has a value");
    assert_eq!(stream.size(), None);
    assert_eq!(stream.next().await.unwrap().unwrap(), "123");
    assert_eq!(stream.next().await.unwrap(), None);
    fake.take();
    for why in [client.get("k").await.map(|_| ()), client.stream("k").await.map(|_| ())] {
        let why = why.unwrap_err();
        assert!(!why.is_retryable() && why.to_string().contains("no length"), "{why}");
    }
    assert_eq!(fake.take().len(), 2);
}
