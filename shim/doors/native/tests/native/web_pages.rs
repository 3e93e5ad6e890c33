//! Goal: a web page cannot use a server without credentials, and proxies and caches do no harm.
//! Method: the heads that browsers and proxies send, over a raw socket where a client library would
//! not send them.

use std::time::{Duration, Instant};

use aft_access::{Credential, Right};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::credentials::{self, credential};
use crate::support::Server;

/// Sends `call` over a connection of its own, and returns all that the server answers.
async fn raw(server: &Server, call: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.expect("the server listens");
    stream.write_all(call.as_bytes()).await.expect("the server reads");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .expect("the server answers and closes")
        .expect("the connection is not reset");
    String::from_utf8(answer).expect("the server answers in text")
}

const BODY: &str = r#"{"ops":[{"put":"k","text":"stolen"}]}"#;

/// Returns a POST of a whole transaction with more lines of its head.
fn execute(lines: &str) -> String {
    let len = BODY.len();
    format!("POST /v1/execute HTTP/1.1\r\n{lines}connection: close\r\ncontent-length: {len}\r\n\r\n{BODY}")
}

fn assert_begins(answer: &str, status: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
}

#[tokio::test]
async fn a_page_of_another_origin_writes_nothing() {
    let server = Server::start().await;
    let json = "content-type: application/json\r\n";
    for lines in [
        "host: localhost\r\norigin: https://evil.example\r\n",
        "host: localhost\r\norigin: null\r\n",
        "host: localhost\r\nsec-fetch-site: cross-site\r\n",
        "host: evil.example\r\n",
        "host: evil.example\r\norigin: http://evil.example\r\n",
    ] {
        let answer = raw(&server, &execute(&format!("{lines}{json}"))).await;
        assert_begins(&answer, "403");
        assert!(answer.contains("aft credentials add"), "{answer}");
    }
    // What a page can send without asking the server first.
    for kind in ["", "content-type: text/plain\r\n", "content-type: application/x-www-form-urlencoded\r\n"] {
        let answer = raw(&server, &execute(&format!("host: localhost\r\n{kind}"))).await;
        assert_begins(&answer, "415");
        assert!(answer.contains("application/json"), "{answer}");
    }
    assert_eq!(server.call("GET", "/v1/keys/k", &[], "").await.status, 404);
    let answer =
        raw(&server, &execute(&format!("host: localhost\r\norigin: http://localhost\r\n{json}"))).await;
    assert_begins(&answer, "200");
}

#[tokio::test]
async fn a_server_with_credentials_serves_every_host_and_origin() {
    let shop = Credential { prefix: String::new(), ..credential("shop", &[Right::Write]) };
    let (server, _) = credentials::start(vec![shop]).await;
    let lines = "host: aft.example\r\norigin: https://shop.example\r\ncontent-type: application/json\r\nauthorization: Bearer token of shop\r\n";
    assert_begins(&raw(&server, &execute(lines)).await, "200");
}

#[tokio::test]
async fn a_call_without_one_host_is_invalid() {
    let server = Server::start().await;
    for lines in ["", "host: localhost\r\nhost: localhost\r\n"] {
        let call = format!("GET /healthz HTTP/1.1\r\n{lines}connection: close\r\n\r\n");
        assert_begins(&raw(&server, &call).await, "400");
    }
}

#[tokio::test]
async fn a_body_in_another_transfer_encoding_is_not_stored() {
    let server = Server::start().await;
    let call = "PUT /v1/keys/k HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip, chunked\r\nconnection: close\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    let answer = raw(&server, call).await;
    assert_begins(&answer, "501");
    assert!(answer.contains("unsupported_transfer_encoding"), "{answer}");
    assert_eq!(server.call("GET", "/v1/keys/k", &[], "").await.status, 404);
}

#[tokio::test]
async fn a_client_that_waits_for_continue_gets_the_refusal_instead() {
    let server = Server::with(|_, settings| settings.desk.value_bytes_max = 1 << 20).await;
    let start = Instant::now();
    let call = "PUT /v1/keys/k HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 9000000\r\nconnection: close\r\n\r\n";
    let answer = raw(&server, call).await;
    assert_begins(&answer, "413");
    assert!(!answer.contains("100 Continue"), "{answer}");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

/// A client that stops in the middle of a body that is too large is answered within the time that
/// the server reads on, and not after twice that time.
#[tokio::test]
async fn a_refusal_waits_for_the_rest_of_the_body_once() {
    let server = Server::with(|_, settings| settings.desk.value_bytes_max = 1 << 20).await;
    let start = Instant::now();
    let call = "PUT /v1/keys/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9000000\r\nconnection: close\r\n\r\nab";
    assert_begins(&raw(&server, call).await, "413");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[tokio::test]
async fn no_answer_may_be_cached_or_guessed_at() {
    let server = Server::start().await;
    server.call("PUT", "/v1/keys/page", &[("content-type", "text/html")], "<script>").await;
    for path in
        ["/v1/keys/page", "/v1/keys/none", "/healthz", "/readyz", "/metrics", "/openapi.json", "/none"]
    {
        let answer = server.call("GET", path, &[], "").await;
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
}

#[tokio::test]
async fn the_form_type_of_curl_is_not_kept_with_a_value() {
    let server = Server::start().await;
    server.call("PUT", "/v1/keys/k", &[("content-type", "application/x-www-form-urlencoded")], "v").await;
    let answer = server.call("GET", "/v1/keys/k", &[], "").await;
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
}

#[tokio::test]
async fn an_empty_execute_is_rejected() {
    let server = Server::start().await;
    for body in ["", "{}"] {
        let answer = server.post("/v1/execute", body).await;
        assert_eq!(answer.status, 400, "{body:?}: {answer:?}");
    }
    let named = r#"{"request_id": "claim"}"#;
    assert_eq!(server.post("/v1/execute", named).await.status, 200, "it records that the request ran");
}

/// A proxy that resolves `..` in paths would write another key.
#[tokio::test]
async fn names_may_be_sent_in_the_query() {
    let server = Server::start().await;
    let put = server.call("PUT", "/v1/key?name=a%2F..%2Fb", &[("idempotency-key", "x//y")], "1").await;
    assert_eq!(put.status, 200, "{put:?}");
    let get = server.call("GET", "/v1/key?name=a/../b", &[], "").await;
    assert_eq!((get.status.as_u16(), &get.body[..]), (200, &b"1"[..]));
    assert_eq!(server.call("GET", "/v1/keys/b", &[], "").await.status, 404);
    let found = server.call("GET", "/v1/request?id=x%2F%2Fy", &[], "").await;
    assert_eq!(found.status, 200, "{found:?}");
    assert!(String::from_utf8_lossy(&found.body).contains("a/../b"), "{found:?}");

    let token = server.open().await;
    let path = format!("/v1/transactions/{token}/key?name=%2Fa");
    assert_eq!(server.call("PUT", &path, &[], "2").await.status, 204);
    assert_eq!(&server.call("GET", &path, &[], "").await.body[..], b"2");
}
