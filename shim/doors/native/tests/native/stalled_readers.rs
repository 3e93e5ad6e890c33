//! Goal: clients that request large values and do not read them take no more memory than the bound
//! for large bodies, and only for a limited time. Method: a bound of two and a half values, readers
//! that stall over HTTP/1.1 and over HTTP/2, and another client that requests the value.

use std::time::{Duration, Instant};

use aft_api::{Action, Code};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Answer, Server};

/// The size of the large value: more than the kernel buffers for a connection.
const VALUE_BYTES: usize = 16 << 20;
const BODIES_BYTES_MAX: usize = 2 * VALUE_BYTES + VALUE_BYTES / 2;
/// The stall timeout for tests in which stalled readers are cut.
const SHORT: Duration = Duration::from_millis(500);
/// The stall timeout for tests in which they are not cut, even on a slow machine.
const LONG: Duration = Duration::from_secs(3_600);
/// The longest wait for a share: far above `SHORT`. A share that is not given back fails its test.
const PATIENCE: Duration = Duration::from_secs(20);

async fn server(stall: Duration) -> Server {
    let server = Server::with(|_, doors| {
        doors.desk.bodies_bytes_max = BODIES_BYTES_MAX;
        doors.net.reply_stall_timeout = stall;
    })
    .await;
    assert!(server.call("PUT", "/v1/keys/large", &[], vec![7; VALUE_BYTES]).await.status.is_success());
    assert!(server.call("PUT", "/v1/keys/small", &[], "v").await.status.is_success());
    server
}

async fn connect(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("there are sockets");
    socket.set_recv_buffer_size(64 << 10).expect("a buffer may be small");
    socket.connect(server.address).await.expect("the server listens")
}

/// Requests the value, and reads only the status of the answer.
async fn stalled_reader(server: &Server) -> TcpStream {
    let mut stream = connect(server).await;
    stream
        .write_all(b"GET /v1/keys/large HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .expect("the server reads");
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.expect("the server answers");
    assert_eq!(&status, b"HTTP/1.1 200");
    stream
}

fn check_refused(answer: &Answer) {
    let problem = answer.problem();
    assert_eq!((problem.code, problem.status, problem.action), (Code::Overloaded, 429, Action::Retry));
    for part in [&VALUE_BYTES.to_string(), &BODIES_BYTES_MAX.to_string(), "try again"] {
        assert!(problem.detail.contains(part), "{problem:?}");
    }
}

/// Requests the value until there is a share for it, and checks it.
async fn check_served_at_last(server: &Server) {
    let since = Instant::now();
    loop {
        let answer = server.call("GET", "/v1/keys/large", &[], "").await;
        if answer.status.is_success() {
            assert!(answer.body.len() == VALUE_BYTES && answer.body.iter().all(|byte| *byte == 7));
            return;
        }
        check_refused(&answer);
        assert!(since.elapsed() < PATIENCE, "the stalled readers keep their shares");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_large_reply_without_a_share_is_rejected() {
    let server = server(LONG).await;
    let _readers = [stalled_reader(&server).await, stalled_reader(&server).await];
    let t = server.open().await;
    for path in ["/v1/keys/large".to_owned(), format!("/v1/transactions/{t}/keys/large")] {
        check_refused(&server.call("GET", &path, &[], "").await);
        assert!(server.call("HEAD", &path, &[], "").await.status.is_success());
    }
    let batch = server.post("/v1/execute", r#"{"ops": [{"get": "large"}]}"#).await.problem();
    assert_eq!(batch.code, Code::Overloaded);
    assert_eq!(batch.transaction, None, "nothing was opened");
    // A small value needs no share.
    assert_eq!(&server.call("GET", "/v1/keys/small", &[], "").await.body[..], b"v");
}

#[tokio::test]
async fn stalled_connections_are_cut() {
    let server = server(SHORT).await;
    let readers = [stalled_reader(&server).await, stalled_reader(&server).await];
    check_served_at_last(&server).await;
    for mut reader in readers {
        let mut rest = Vec::new();
        // Cut off: with or without an error.
        let ended = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut rest)).await;
        drop(ended.expect("the connection ends"));
        assert!(rest.len() < VALUE_BYTES, "the reply was whole");
    }
}

type Http2 = (http2::SendRequest<Empty<Bytes>>, tokio::task::JoinHandle<hyper::Result<()>>);

/// Opens an HTTP/2 connection that stays alive and answers pings, and whose streams get no window
/// beyond the first.
async fn http2(server: &Server) -> Http2 {
    let handshake = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(32 << 20)
        .handshake(TokioIo::new(connect(server).await));
    let (client, connection) = handshake.await.expect("the server speaks HTTP/2");
    (client, tokio::spawn(connection))
}

async fn get_over(
    client: &mut http2::SendRequest<Empty<Bytes>>,
    server: &Server,
) -> hyper::Response<Incoming> {
    let request = hyper::Request::get(format!("http://{}/v1/keys/large", server.address));
    let request = request.body(Empty::new()).expect("the request is valid");
    client.send_request(request).await.expect("the server answers")
}

#[tokio::test]
async fn a_large_reply_without_a_share_is_rejected_over_http_2() {
    let server = server(LONG).await;
    let (mut client, _connection) = http2(&server).await;
    let stalled = [get_over(&mut client, &server).await, get_over(&mut client, &server).await];
    assert!(stalled.iter().all(|response| response.status().is_success()));
    assert_eq!(get_over(&mut client, &server).await.status(), 429);
    // A client that drops a stream gives its share back.
    drop(stalled);
    check_served_at_last(&server).await;
}

#[tokio::test]
async fn stalled_streams_are_cut() {
    let server = server(SHORT).await;
    let (mut client, connection) = http2(&server).await;
    let stalled = [get_over(&mut client, &server).await, get_over(&mut client, &server).await];
    check_served_at_last(&server).await;
    drop(tokio::time::timeout(PATIENCE, connection).await.expect("the connection ends"));
    for response in stalled {
        assert!(response.into_body().collect().await.is_err(), "the reply was whole");
    }
}

#[tokio::test]
async fn a_slow_reader_gets_the_whole_value() {
    let server = server(Duration::from_secs(2)).await;
    let mut reader = stalled_reader(&server).await;
    let mut received = 0;
    let mut buffer = vec![0; 1 << 20];
    while received < VALUE_BYTES {
        match reader.read(&mut buffer).await.unwrap() {
            0 => panic!("cut off after {received} bytes"),
            len => received += len,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Goal: the share of a reply that was read is given back, also if the connection stays open.
#[tokio::test]
async fn shares_are_given_back_after_each_call() {
    let server = server(LONG).await;
    for _ in 0..3 {
        let answer = server.call("GET", "/v1/keys/large", &[], "").await;
        assert!(answer.status.is_success() && answer.body.len() == VALUE_BYTES);
        let answer = server.call("PUT", "/v1/keys/other", &[], vec![8; VALUE_BYTES]).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
}
