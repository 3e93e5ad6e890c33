//! Goal: values of many parts are written and read part by part, in whole or in ranges; an upload
//! that breaks off has no effect; results may be as large.
//!
//! Method: a store with parts of 8 MiB, values of two and a half parts, bodies with and without an
//! announced size, and clients that disconnect.

use aft_api::{Code, header};
use aft_store::{Name, Space, Store as _};
use aft_store_memory::MemoryStore;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Answer, Server};

/// Two parts and a half.
const LARGE_BYTES: usize = 20 << 20;
const PART_BYTES: usize = 8 << 20;

/// Returns a store that returns parts whole, and one that returns them in pieces.
fn stores() -> [MemoryStore; 2] {
    [MemoryStore::new(), MemoryStore::new().in_pieces(300_000)]
}

/// Returns bytes that differ from place to place and from seed to seed.
fn value(seed: u8, len: usize) -> Bytes {
    (0..len).map(|at| (at / 4_096) as u8 ^ (at % 251) as u8 ^ seed).collect()
}

fn check_value(answer: &Answer, expected: &[u8]) {
    assert!(answer.status.is_success(), "{answer:?}");
    assert_eq!(answer.body.len(), expected.len());
    assert!(answer.body == expected, "the bytes differ");
}

#[tokio::test]
async fn a_value_of_many_parts_is_read_back_unchanged() {
    for store in stores() {
        comes_and_goes(Server::over(store, |_, _| {}).await).await;
    }
}

async fn comes_and_goes(server: Server) {
    let (one, two) = (value(1, LARGE_BYTES), value(2, 2 * PART_BYTES));
    assert!(
        server
            .call("PUT", "/v1/keys/one", &[("content-type", "text/x")], one.clone())
            .await
            .reply()
            .committed
    );
    let t = server.open().await;
    let path = format!("/v1/transactions/{t}/keys/two");
    assert_eq!(server.call("PUT", &path, &[], two.clone()).await.status, 204);
    // The transaction sees its own write before the commit, and others do not.
    check_value(&server.call("GET", &path, &[], "").await, &two);
    assert_eq!(server.call("GET", "/v1/keys/two", &[], "").await.problem().code, Code::Absent);
    assert!(server.post(&format!("/v1/transactions/{t}/commit"), "").await.reply().committed);
    check_value(&server.call("GET", "/v1/keys/two", &[], "").await, &two);
    let answer = server.call("GET", "/v1/keys/one", &[], "").await;
    check_value(&answer, &one);
    assert_eq!(
        (answer.header("content-type"), answer.header("accept-ranges")),
        (Some("text/x"), Some("bytes"))
    );
    assert!(answer.header(header::SESSION).is_some() && answer.header(header::VERSION).is_some());
    let head = server.call("HEAD", "/v1/keys/one", &[], "").await;
    assert_eq!((head.header("content-length"), head.body.len()), (Some("20971520"), 0));
}

async fn put_chunked(server: &Server, path: &str, headers: &[(&str, &str)], value: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.expect("the server listens");
    let headers: String = headers.iter().map(|(name, text)| format!("{name}: {text}\r\n")).collect();
    let head = format!("PUT {path} HTTP/1.1\r\nhost: localhost\r\n{headers}connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("the server reads and answers");
    for piece in value.chunks(70_001) {
        stream
            .write_all(format!("{:x}\r\n", piece.len()).as_bytes())
            .await
            .expect("the server reads and answers");
        stream.write_all(piece).await.expect("the server reads and answers");
        stream.write_all(b"\r\n").await.expect("the server reads and answers");
    }
    stream.write_all(b"0\r\n\r\n").await.expect("the server reads and answers");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.expect("the server reads and answers");
    reply
}

#[tokio::test]
async fn a_body_without_an_announced_size_is_stored() {
    let server = Server::start().await;
    for len in [0, 1, 100_000, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, PART_BYTES, PART_BYTES + 1] {
        let value = value(3, len);
        let reply = put_chunked(&server, "/v1/keys/k", &[("transfer-encoding", "chunked")], &value).await;
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
        check_value(&server.call("GET", "/v1/keys/k", &[], "").await, &value);
    }
}

#[tokio::test]
async fn ranges_of_a_value_are_served() {
    for store in stores() {
        come_as_asked(Server::over(store, |_, _| {}).await).await;
    }
}

async fn come_as_asked(server: Server) {
    let (large, small) = (value(4, LARGE_BYTES), value(5, 1_000));
    for (key, value) in [("large", &large), ("small", &small)] {
        let path = format!("/v1/keys/{key}");
        assert!(server.call("PUT", &path, &[], value.clone()).await.reply().committed);
        let len = value.len();
        for (text, from, to) in [
            ("bytes=0-0".to_owned(), 0, 1),
            ("bytes=-1".to_owned(), len - 1, len),
            (format!("bytes={}-", len - 7), len - 7, len),
            (format!("bytes=10-{}", len + 5), 10, len),
            (format!("bytes={}-{}", len / 2 - 300, len / 2 + 299), len / 2 - 300, len / 2 + 300),
            (
                format!("bytes={}-{}", PART_BYTES.min(len - 2), PART_BYTES.min(len - 2)),
                PART_BYTES.min(len - 2),
                PART_BYTES.min(len - 2) + 1,
            ),
            // From within a piece of the first part to within one of the last, and to the end of
            // one.
            (format!("bytes=350-{}", len.saturating_sub(200_001)), 350, len.saturating_sub(200_000)),
            (format!("bytes=350-{}", len / 5 * 4 - 1), 350, len / 5 * 4),
        ] {
            if from >= to {
                continue;
            }
            let answer = server.call("GET", &path, &[("range", &text)], "").await;
            assert_eq!(answer.status, 206, "{text}: {answer:?}");
            check_value(&answer, &value[from..to]);
            assert_eq!(answer.header("content-range"), Some(&*format!("bytes {from}-{}/{len}", to - 1)));
        }
        let beyond = server.call("GET", &path, &[("range", &format!("bytes={len}-"))], "").await.problem();
        assert_eq!((beyond.code, beyond.actual), (Code::RangeNotSatisfiable, Some(len as u64)));
        // Several ranges are answered with the whole value.
        let answer = server.call("GET", &path, &[("range", "bytes=0-1,5-6")], "").await;
        assert_eq!(answer.status, 200);
        check_value(&answer, value);
    }
    // A range across two parts, in a transaction.
    let t = server.open().await;
    let range = format!("bytes={}-{}", PART_BYTES - 5, PART_BYTES + 4);
    let path = format!("/v1/transactions/{t}/keys/large");
    check_value(
        &server.call("GET", &path, &[("range", &range)], "").await,
        &large[PART_BYTES - 5..PART_BYTES + 5],
    );
}

#[tokio::test]
async fn an_upload_that_breaks_off_has_no_effect() {
    let server = Server::start().await;
    assert!(server.call("PUT", "/v1/keys/k", &[], "before").await.reply().committed);
    let t = server.open().await;
    for path in ["/v1/keys/k".to_owned(), format!("/v1/transactions/{t}/keys/k")] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!("PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {LARGE_BYTES}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&value(6, PART_BYTES + 1)).await.unwrap();
        drop(stream);
        assert_eq!(&server.call("GET", &path, &[], "").await.body[..], b"before");
    }
    let path = format!("/v1/transactions/{t}/keys/k");
    assert_eq!(server.call("PUT", &path, &[], value(7, LARGE_BYTES)).await.status, 204);
    assert!(server.post(&format!("/v1/transactions/{t}/commit"), "").await.reply().committed);
    check_value(&server.call("GET", "/v1/keys/k", &[], "").await, &value(7, LARGE_BYTES));
}

/// Returns the names of the parts of the one large value in a store, in order.
async fn parts(store: &MemoryStore) -> Vec<Name> {
    let groups = store.groups(Space::Blob, b"", None, 2).await.expect("memory answers").groups;
    assert_eq!(groups.len(), 1, "one attempt stored a large value");
    let items = store.list(Space::Blob, &groups[0], None, 10).await.expect("memory answers").items;
    items.into_iter().map(|item| Name::new(Space::Blob, groups[0].clone(), item)).collect()
}

/// Sends a GET, perhaps of a range. Returns the answer's head, and the part of its body that
/// arrived before the connection ended.
async fn read_to_end(server: &Server, path: &str, range: Option<&str>) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(server.address).await.expect("the server listens");
    let range = range.map_or(String::new(), |range| format!("range: {range}\r\n"));
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{range}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    let mut answer = Vec::new();
    // A reset counts as an end.
    let _ = stream.read_to_end(&mut answer).await;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("the answer has a head") + 4;
    let body = answer.split_off(end);
    (String::from_utf8(answer).expect("a head is text"), body)
}

#[tokio::test]
async fn a_value_with_a_damaged_part_is_never_sent_as_complete() {
    for store in stores() {
        never_whole(store).await;
    }
}

async fn never_whole(store: MemoryStore) {
    let server = Server::over(store.clone(), |_, _| {}).await;
    let large = value(9, LARGE_BYTES);
    assert!(server.call("PUT", "/v1/keys/k", &[], large.clone()).await.reply().committed);
    let names = parts(&store).await;
    assert_eq!(names.len(), 3);
    for (number, name) in names.iter().enumerate() {
        let good = store.get(name).await.expect("memory answers").expect("a part is there").0;
        let flipped = |at: usize| {
            let mut bytes = good.to_vec();
            bytes[at] ^= 1;
            Some(Bytes::from(bytes))
        };
        let longer = [&good[..], b"more"].concat();
        let bad = [
            flipped(1_000),
            flipped(good.len() - 1),
            Some(good.slice(..good.len() - 1)),
            Some(longer.into()),
            None,
        ];
        for (what, bad) in bad.into_iter().enumerate() {
            match bad {
                Some(bad) => store.put(name, bad).await.expect("memory answers"),
                None => store.delete(std::slice::from_ref(name)).await.expect("memory answers"),
            }
            // The whole value, and a range that ends within the part, after the damage at its
            // start.
            let within = number * PART_BYTES + 700_000;
            for (range, len) in [(None, LARGE_BYTES), (Some(format!("bytes=0-{}", within - 1)), within)] {
                let (head, body) = read_to_end(&server, "/v1/keys/k", range.as_deref()).await;
                if number == 0 {
                    // The first part is verified before the head is sent.
                    assert!(!head.contains(" 200 ") && !head.contains(" 206 "), "{head}");
                    continue;
                }
                assert!(head.contains(&format!("content-length: {len}")), "{head}");
                assert!(body.len() < len, "part {number}, {what}, {range:?}: all {len} bytes came");
                // Bytes of the damaged part may have been sent before the answer broke off.
                let right = body.len().min(number * PART_BYTES);
                assert!(body[..right] == large[..right], "the bytes of the parts before differ");
            }
        }
        store.put(name, good).await.expect("memory answers");
        check_value(&server.call("GET", "/v1/keys/k", &[], "").await, &large);
    }
}

#[tokio::test]
async fn a_value_above_the_limit_is_rejected() {
    let server = Server::with(|_, doors| doors.desk.value_bytes_max = PART_BYTES).await;
    let answer = server.call("PUT", "/v1/keys/k", &[], value(0, PART_BYTES + 1)).await.problem();
    let (limit, actual) = (Some(PART_BYTES as u64), Some(PART_BYTES as u64 + 1));
    assert_eq!((answer.code, answer.limit, answer.actual), (Code::TooLarge, limit, actual));
    assert!(server.call("PUT", "/v1/keys/k", &[], value(0, PART_BYTES)).await.reply().committed);
}

#[tokio::test]
async fn a_repeated_upload_is_replayed() {
    let server = Server::start().await;
    let headers = [("idempotency-key", "upload-1")];
    let first = server.call("PUT", "/v1/keys/k", &headers, value(1, LARGE_BYTES)).await.reply();
    let again = server.call("PUT", "/v1/keys/k", &headers, value(1, LARGE_BYTES)).await.reply();
    assert!(first.committed && again.replayed && again.version == first.version, "{first:?}, {again:?}");
    // The fingerprint does not depend on how the bytes arrive, and covers the last one.
    let chunked = [("transfer-encoding", "chunked"), ("idempotency-key", "upload-1")];
    let again = put_chunked(&server, "/v1/keys/k", &chunked, &value(1, LARGE_BYTES)).await;
    assert!(again.contains("\"replayed\":true"), "{again}");
    let mut other = value(1, LARGE_BYTES).to_vec();
    *other.last_mut().unwrap() ^= 1;
    for path in ["/v1/keys/k", "/v1/keys/another"] {
        let payload = if path.ends_with('k') { Bytes::from(other.clone()) } else { value(1, LARGE_BYTES) };
        let refused = server.call("PUT", path, &headers, payload).await.problem();
        assert_eq!(refused.code, Code::KeyReused, "{path}");
    }
    check_value(&server.call("GET", "/v1/keys/k", &[], "").await, &value(1, LARGE_BYTES));
}

/// Goal: headers that would change the meaning of a write, and are not supported, are rejected.
#[tokio::test]
async fn unsupported_headers_of_a_write_are_rejected() {
    let server = Server::start().await;
    for header in [
        ("if-unmodified-since", "Sat, 28 Nov 2026 00:00:00 GMT"),
        ("content-range", "bytes 0-3/10"),
        ("content-encoding", "gzip"),
    ] {
        for value in [value(0, 4), value(0, PART_BYTES)] {
            let refused = server.call("PUT", "/v1/keys/k", &[header], value).await.problem();
            assert!(refused.code == Code::Invalid && refused.detail.contains(header.0), "{refused:?}");
        }
    }
    assert_eq!(server.call("GET", "/v1/keys/k", &[], "").await.problem().code, Code::Absent);
}

#[tokio::test]
async fn results_of_any_size_are_stored_and_read() {
    let server = Server::start().await;
    let large = value(8, 3 << 20);
    for (id, result) in [("large", large), ("small", value(9, 10))] {
        let begin = format!(r#"{{"request_id": "{id}"}}"#);
        let t = server.post("/v1/transactions", begin.as_str()).await.reply().transaction.unwrap();
        assert_eq!(
            server.call("PUT", &format!("/v1/transactions/{t}/result"), &[], "first").await.status,
            204
        );
        let put = server.call("PUT", &format!("/v1/transactions/{t}/result"), &[], result.clone()).await;
        assert_eq!(put.status, 204, "{put:?}");
        assert_eq!(
            server.call("GET", &format!("/v1/results/{id}"), &[], "").await.problem().code,
            Code::NotFound
        );
        assert!(server.post(&format!("/v1/transactions/{t}/commit"), "").await.reply().committed);
        let replayed = server.post("/v1/transactions", begin.as_str()).await.reply();
        assert!(replayed.replayed && replayed.result.is_none(), "{replayed:?}");
        assert_eq!(replayed.result_size, Some(result.len() as u64));
        check_value(&server.call("GET", &format!("/v1/results/{id}"), &[], "").await, &result);
    }
    let commits = r#"{"request_id": "inline", "ops": [], "commit": true, "result": "b2s="}"#;
    assert!(
        server.post("/v1/execute", r#"{"request_id": "inline", "result": "b2s="}"#).await.reply().committed,
        "{commits}"
    );
    check_value(&server.call("GET", "/v1/results/inline", &[], "").await, b"ok");
    assert!(server.post("/v1/execute", r#"{"request_id": "none"}"#).await.reply().committed);
    assert_eq!(server.call("GET", "/v1/results/none", &[], "").await.problem().code, Code::Absent);
}

/// Goal: a client that sends the whole of a large body before it reads can read the answer to a
/// call that was rejected before its body was read.
#[tokio::test]
async fn a_rejected_upload_gets_its_answer() {
    let server = Server::start().await;
    for _ in 0..3 {
        let refused =
            server.call("PUT", "/v1/keys/k?nonsense=1", &[], value(0, 4 * PART_BYTES)).await.problem();
        assert_eq!(refused.code, Code::Invalid);
    }
}
